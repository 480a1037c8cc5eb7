//! The write transaction: lock heads, look up ids, insert, move the heads, commit.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, Statement};
use serde_json::json;

use super::entities::organization;
use super::fold::Unfolded;
use super::recent::Recent;
use super::sql::{Sql, number, prepared, text};
use super::{dialect, rows};
use crate::domain::{Entry, EntryId, OrganizationId, Seq, Timestamp};
use crate::error::{Error, Result};

/// An open transaction that appends. Dropped without a commit, it leaves nothing behind.
pub struct Append {
    transaction: DatabaseTransaction,
    /// Told of what was inserted once it is committed.
    recent: Arc<Recent>,
    inserted: Vec<(OrganizationId, Unfolded)>,
}

/// Where an organization's log ends. Held by the transaction that read it, until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last number given out.
    pub seq: Seq,
    /// The time of the last recording.
    pub last_recorded_at: Timestamp,
    /// Whether this transaction made the organization.
    pub is_new: bool,
}

/// The database did not say whether it committed.
#[derive(Debug)]
pub struct CommitFailed(pub Error);

impl Append {
    pub(super) fn new(transaction: DatabaseTransaction, recent: Arc<Recent>) -> Self {
        Self { transaction, recent, inserted: Vec::new() }
    }

    /// Locks the heads of `organizations`, which are sorted: two transactions that lock in different orders wait for
    /// each other. One that is not there is made, with the log id beside it.
    pub async fn lock_heads(&self, organizations: &[(&OrganizationId, String)], now: Timestamp) -> Result<Vec<Head>> {
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let rows = organizations.iter().map(|(id, log_id)| json!([id.as_str(), log_id]));
        let (k, never, now) = (sql.rows(rows.collect()), sql.bind(Timestamp::MIN.micros()), sql.bind(now.micros()));
        // An update that changes nothing waits for the row's lock and then sees what was committed.
        let text = format!(
            "INSERT INTO organizations (id, log_id, head_seq, last_recorded_at, created_at) \
             SELECT {}, {}, 0, {never}, {now} FROM {k} WHERE true \
             ON CONFLICT (id) DO UPDATE SET head_seq = organizations.head_seq \
             RETURNING id, log_id, head_seq, last_recorded_at",
            text("k", 0),
            text("k", 1)
        );
        let mut locked = HashMap::with_capacity(organizations.len());
        for row in self.transaction.query_all_raw(sql.statement(text)).await? {
            let (id, log_id): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            locked.insert(id, (log_id, row.try_get_by_index(2)?, row.try_get_by_index(3)?));
        }
        let head = |(id, own_log_id): &(&OrganizationId, String)| {
            let gone = || Error::Internal(anyhow::anyhow!("a head was not locked"));
            let (log_id, seq, last_recorded_at) = locked.get(id.as_str()).ok_or_else(gone)?;
            let last_recorded_at = Timestamp::saturating(*last_recorded_at);
            Ok(Head { seq: *seq, last_recorded_at, is_new: log_id == own_log_id && *seq == 0 })
        };
        organizations.iter().map(head).collect()
    }

    /// The entries that are there under `ids`, each of its organization. Call it under the heads' locks, as a
    /// statement of its own: one that waited for a lock still sees the rows from before its wait.
    pub async fn find(&self, ids: &[(&OrganizationId, &EntryId)]) -> Result<Vec<(String, Entry)>> {
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let k = sql.rows(ids.iter().map(|(organization, id)| json!([organization.as_str(), id.as_str()])).collect());
        let text = format!(
            "SELECT {} FROM {k} {} audit_logs a {} ON a.organization_id = {} AND a.id = {}",
            rows::columns("a"),
            dialect::join_each(sql.backend),
            dialect::indexed_by(sql.backend, "audit_logs_id"),
            text("k", 0),
            text("k", 1)
        );
        self.transaction.query_all_raw(sql.statement(text)).await?.iter().map(rows::listed).collect()
    }

    /// Inserts `entries`, each of its organization, and those of one in the order of their numbers.
    pub async fn insert(&mut self, entries: &[(&OrganizationId, Entry)]) -> Result<()> {
        let backend = self.transaction.get_database_backend();
        for chunk in prepared(entries) {
            let mut values = Vec::with_capacity(chunk.len() * rows::COLUMNS.len());
            for (organization, entry) in chunk {
                values.extend(rows::values(organization, entry)?);
            }
            let text = dialect::insert(backend, "audit_logs", &rows::COLUMNS, chunk.len());
            self.transaction.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
        }
        let inserted = entries.iter().map(|(organization, entry)| ((*organization).clone(), entry.into()));
        self.inserted.extend(inserted);
        Ok(())
    }

    /// Moves heads, whose locks this transaction holds, to the last number given out and its time of recording.
    pub async fn move_heads(&self, heads: &[(&OrganizationId, Seq, Timestamp)]) -> Result<()> {
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let rows = heads.iter().map(|(id, seq, recorded_at)| json!([id.as_str(), seq, recorded_at.micros()]));
        let k = sql.rows(rows.collect());
        let text = format!(
            "UPDATE organizations SET head_seq = {}, last_recorded_at = {} FROM {k} WHERE organizations.id = {}",
            number("k", 1),
            number("k", 2),
            text("k", 0)
        );
        self.transaction.execute_raw(sql.statement(text)).await?;
        Ok(())
    }

    /// Takes back an organization that this transaction made and that got no entry.
    pub async fn forget(&self, organization: &OrganizationId) -> Result<()> {
        organization::Entity::delete_by_id(organization.as_str()).exec(&self.transaction).await?;
        Ok(())
    }

    /// Makes all of it durable and visible. Errors: the outcome is unknown; the work may be there.
    pub async fn commit(self) -> std::result::Result<(), CommitFailed> {
        let Self { transaction, recent, inserted } = self;
        transaction.commit().await.map_err(|error: DbErr| CommitFailed(error.into()))?;
        recent.keep(inserted);
        Ok(())
    }

    /// Takes all of it back.
    pub async fn roll_back(self) -> Result<()> {
        Ok(self.transaction.rollback().await?)
    }
}
