//! Checkpoints and the keys of each log, as the signer writes them. They are read in `store::log`.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryResult, QuerySelect, Statement, Value,
};

use super::entities::{checkpoint, log_key};
use super::sql::prepared;
use super::{SignedCheckpoint, Store, dialect};
use crate::domain::{OrganizationId, Seq};
use crate::error::Result;

/// A log, and how far it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// The organization.
    pub organization: OrganizationId,
    /// Names the log.
    pub log_id: String,
    /// The entries that it has.
    pub size: u64,
    /// Those of its last checkpoint, 0 without one.
    pub signed: u64,
    /// Whether a certain key signs for it.
    pub has_key: bool,
}

const CHECKPOINT: [&str; 5] = ["organization_id", "size", "root", "note", "signed_at"];

impl Store {
    /// All logs, and whether the key with this public part signs for them.
    pub async fn growth(&self, public: &[u8]) -> Result<Vec<LogStatus>> {
        let text = "SELECT o.id, o.log_id, o.head_seq, coalesce(c.size, 0), k.seq FROM organizations o \
                    LEFT JOIN checkpoints c ON c.organization_id = o.id \
                    LEFT JOIN log_keys k ON k.organization_id = o.id AND k.public_key = $1 ORDER BY o.id";
        let statement = Statement::from_sql_and_values(self.readers.get_database_backend(), text, [public.into()]);
        let growth = |row: &QueryResult| {
            let (size, signed): (Seq, Seq) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
            Ok(LogStatus {
                organization: OrganizationId::stored(row.try_get_by_index(0)?),
                log_id: row.try_get_by_index(1)?,
                size: size.unsigned_abs(),
                signed: signed.unsigned_abs(),
                has_key: row.try_get_by_index::<Option<Seq>>(4)?.is_some(),
            })
        };
        self.readers.query_all_raw(statement).await?.iter().map(growth).collect()
    }

    /// Whether any log was ever signed.
    pub async fn was_signed(&self) -> Result<bool> {
        let checkpoint = checkpoint::Entity::find().limit(1).one(&self.readers).await?;
        Ok(checkpoint.is_some() || log_key::Entity::find().limit(1).one(&self.readers).await?.is_some())
    }

    /// Keeps the checkpoints of logs, those aside that another process has gone beyond.
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
                // A log has no more entries than there are numbers.
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

    /// Takes the last checkpoint of `organization` away, if it is still the one of `size` entries.
    pub async fn forget_checkpoint(&self, organization: &OrganizationId, size: u64) -> Result<()> {
        let of_size = checkpoint::Column::Size.eq(size as Seq);
        checkpoint::Entity::delete_by_id(organization.as_str()).filter(of_size).exec(&self.writers).await?;
        Ok(())
    }

    /// Keeps a key that signs for `organization`, which the entry `seq` introduced, 0 for a first one. One that is known
    /// stays as it is.
    pub async fn keep_log_key(&self, organization: &OrganizationId, public: &[u8], seq: Seq) -> Result<()> {
        use log_key::Column as C;
        let row = log_key::Model { organization_id: organization.to_string(), public_key: public.to_vec(), seq };
        let unless_known = OnConflict::columns([C::OrganizationId, C::PublicKey]).do_nothing().to_owned();
        let insert = log_key::Entity::insert(row.into_active_model()).on_conflict(unless_known);
        insert.exec_without_returning(&self.writers).await?;
        Ok(())
    }
}
