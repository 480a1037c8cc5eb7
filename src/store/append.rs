//! The write transaction: lock heads, look up ids, insert, move the heads, commit.

use sea_orm::{ActiveValue, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QuerySelect};

use super::entities::{audit_log, organization};
use super::rows;
use crate::domain::{Entry, EntryId, OrganizationId, Seq, Timestamp};
use crate::error::{Error, Result};

/// Rows an INSERT; more are not faster, and SQLite takes at most 32,766 values.
const ROWS: usize = 100;

/// An open transaction that appends. Dropped without a commit, it leaves nothing behind.
pub struct Append(DatabaseTransaction);

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
    pub(super) fn new(transaction: DatabaseTransaction) -> Self {
        Self(transaction)
    }

    /// Locks the head of `organization`, made with `log_id` if there is none. Call it in the order of
    /// the ids: two transactions that lock in different orders wait for each other.
    pub async fn lock_head(&self, organization: &OrganizationId, log_id: &str, now: Timestamp) -> Result<Head> {
        if let Some(head) = self.locked(organization, false).await? {
            return Ok(head);
        }
        let is_new = super::organizations::insert(&self.0, organization, log_id, now).await?;
        let head = self.locked(organization, is_new).await?;
        head.ok_or_else(|| Error::Internal(anyhow::anyhow!("an organization vanished while its head was locked")))
    }

    async fn locked(&self, organization: &OrganizationId, is_new: bool) -> Result<Option<Head>> {
        let row = organization::Entity::find_by_id(organization.as_str()).lock_exclusive().one(&self.0).await?;
        Ok(row.map(|row| Head {
            seq: row.head_seq,
            last_recorded_at: Timestamp::saturating(row.last_recorded_at),
            is_new,
        }))
    }

    /// The entries among `ids` that `organization` has. Call it under the head's lock, as a statement
    /// of its own: one that waited for the lock still sees the rows from before its wait.
    pub async fn find(&self, organization: &OrganizationId, ids: &[&EntryId]) -> Result<Vec<Entry>> {
        let rows = audit_log::Entity::find()
            .filter(audit_log::Column::OrganizationId.eq(organization.as_str()))
            .filter(audit_log::Column::Id.is_in(ids.iter().map(|id| id.as_str())))
            .all(&self.0)
            .await?;
        rows.into_iter().map(rows::entry).collect()
    }

    /// Inserts `entries` of `organization`.
    pub async fn insert(&self, organization: &OrganizationId, entries: &[Entry]) -> Result<()> {
        for chunk in entries.chunks(ROWS) {
            let rows = chunk.iter().map(|entry| rows::row(organization, entry)).collect::<Result<Vec<_>>>()?;
            audit_log::Entity::insert_many(rows).exec_without_returning(&self.0).await?;
        }
        Ok(())
    }

    /// Moves the head of `organization`, whose lock this transaction holds.
    pub async fn move_head(&self, organization: &OrganizationId, seq: Seq, recorded_at: Timestamp) -> Result<()> {
        let head = organization::ActiveModel {
            id: ActiveValue::Unchanged(organization.as_str().to_owned()),
            head_seq: ActiveValue::Set(seq),
            last_recorded_at: ActiveValue::Set(recorded_at.micros()),
            ..Default::default()
        };
        organization::Entity::update_many()
            .set(head)
            .filter(organization::Column::Id.eq(organization.as_str()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Takes back an organization that this transaction made and that got no entry.
    pub async fn forget(&self, organization: &OrganizationId) -> Result<()> {
        organization::Entity::delete_by_id(organization.as_str()).exec(&self.0).await?;
        Ok(())
    }

    /// Makes all of it durable and visible. Errors: the outcome is unknown; the work may be there.
    pub async fn commit(self) -> std::result::Result<(), CommitFailed> {
        self.0.commit().await.map_err(|error: DbErr| CommitFailed(error.into()))
    }

    /// Takes all of it back.
    pub async fn roll_back(self) -> Result<()> {
        Ok(self.0.rollback().await?)
    }
}
