//! Checkpoints and log keys, as the signer writes them. `tiles` reads them.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryResult, QuerySelect, Statement, Value,
};

use crate::domain::{Change, OrganizationId, Random, Seq, ServiceEntry, Timestamp};
use crate::error::Result;
use crate::store::entities::{checkpoint, log_key};
use crate::store::log::tiles::SignedCheckpoint;
use crate::store::sql::prepared;
use crate::store::{CommitFailed, Store, dialect};

/// A log, and the size of its signed tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// The organization.
    pub organization: OrganizationId,
    /// The id of the log.
    pub log_id: String,
    /// The number of entries in the log.
    pub size: u64,
    /// The number of entries in its last checkpoint, 0 without one.
    pub signed: u64,
    /// Whether the key in question signs for the log.
    pub has_key: bool,
}

const CHECKPOINT: [&str; 5] = ["organization_id", "size", "root", "note", "signed_at"];

impl Store {
    /// All logs. `has_key` says whether the key with this public part signs for them.
    pub async fn log_statuses(&self, public: &[u8]) -> Result<Vec<LogStatus>> {
        let text = "SELECT o.id, o.log_id, o.head_seq, coalesce(c.size, 0), k.seq FROM organizations o \
                    LEFT JOIN checkpoints c ON c.organization_id = o.id \
                    LEFT JOIN log_keys k ON k.organization_id = o.id AND k.public_key = $1 ORDER BY o.id";
        let statement = Statement::from_sql_and_values(self.readers.get_database_backend(), text, [public.into()]);
        let status = |row: &QueryResult| {
            let (size, signed): (Seq, Seq) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
            Ok(LogStatus {
                organization: OrganizationId::stored(row.try_get_by_index(0)?),
                log_id: row.try_get_by_index(1)?,
                size: size.unsigned_abs(),
                signed: signed.unsigned_abs(),
                has_key: row.try_get_by_index::<Option<Seq>>(4)?.is_some(),
            })
        };
        self.readers.query_all_raw(statement).await?.iter().map(status).collect()
    }

    /// Whether any log was ever signed.
    pub async fn was_signed(&self) -> Result<bool> {
        let checkpoint = checkpoint::Entity::find().limit(1).one(&self.readers).await?;
        Ok(checkpoint.is_some() || log_key::Entity::find().limit(1).one(&self.readers).await?.is_some())
    }

    /// Stores checkpoints, except where another process has stored a larger one.
    pub async fn keep_checkpoints(&self, checkpoints: &[(OrganizationId, SignedCheckpoint)]) -> Result<()> {
        let backend = self.writers.get_database_backend();
        for chunk in prepared(checkpoints) {
            let text = format!(
                "{} ON CONFLICT (organization_id) DO UPDATE SET size = excluded.size, root = excluded.root, \
                 note = excluded.note, signed_at = excluded.signed_at WHERE checkpoints.size < excluded.size",
                dialect::insert(backend, "checkpoints", &CHECKPOINT, chunk.len())
            );
            let values = chunk.iter().flat_map(|(organization, checkpoint)| {
                let SignedCheckpoint { size, root, note, signed_at } = checkpoint;
                // The cast is safe: no log has more entries than there are numbers.
                let values: [Value; CHECKPOINT.len()] = [
                    organization.as_str().into(),
                    (*size as Seq).into(),
                    root.0.as_slice().into(),
                    note.as_str().into(),
                    signed_at.micros().into(),
                ];
                values
            });
            self.writers.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
        }
        Ok(())
    }

    /// Records acknowledged rollbacks, each with its facts, in the log of the service.
    pub async fn record_rollbacks(&self, rollbacks: Vec<Vec<Change>>, now: Timestamp, random: &Random) -> Result<()> {
        let mut append = self.append().await?;
        append.record(ServiceEntry::RollbackAcknowledged, rollbacks, now, random).await?;
        append.commit().await.map_err(|CommitFailed(error)| error)
    }

    /// Deletes the checkpoint of `organization` if the checkpoint's size is still `size`.
    pub async fn forget_checkpoint(&self, organization: &OrganizationId, size: u64) -> Result<()> {
        let of_size = checkpoint::Column::Size.eq(size as Seq);
        checkpoint::Entity::delete_by_id(organization.as_str()).filter(of_size).exec(&self.writers).await?;
        Ok(())
    }

    /// Stores a key that signs for `organization`. `seq` is the entry that introduced it, 0 for a first key. A known
    /// key is not changed.
    pub async fn keep_log_key(&self, organization: &OrganizationId, public: &[u8], seq: Seq) -> Result<()> {
        use log_key::Column as C;
        let row = log_key::Model { organization_id: organization.to_string(), public_key: public.to_vec(), seq };
        let unless_known = OnConflict::columns([C::OrganizationId, C::PublicKey]).do_nothing().to_owned();
        let insert = log_key::Entity::insert(row.into_active_model()).on_conflict(unless_known);
        insert.exec_without_returning(&self.writers).await?;
        Ok(())
    }
}
