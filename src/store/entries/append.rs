//! The write transaction: lock heads, look up ids, insert, move the heads, commit.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryResult, Statement};
use serde_json::json;

use crate::domain::{EntryId, OrganizationId, Seq, Timestamp, hex};
use crate::error::{Error, Result};
use crate::store::connections::Origin;
use crate::store::counts::recent::Recent;
use crate::store::entities::audit_log::{self, Column};
use crate::store::entities::log_tile;
use crate::store::log::tiles::leaf_hashes;
use crate::store::model::{HashedEntry, UncountedEntry};
use crate::store::sql::{Sql, number, prepared, text};
use crate::store::{dialect, rows};
use auditlog_verify::merkle::{CompactRange, CompletedNode, Hash, TILE_WIDTH, TileId};

/// An open transaction that appends. Dropping it without a commit undoes it.
pub struct Append {
    transaction: DatabaseTransaction,
    /// The database that it writes to.
    origin: Arc<Origin>,
    /// Receives the inserted entries after the commit.
    recent: Arc<Recent>,
    inserted: Vec<(OrganizationId, UncountedEntry)>,
}

/// The end of an organization's log, locked until the end of the transaction that read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The id of the log, which its leaves contain.
    pub log_id: String,
    /// The last number in use.
    pub seq: Seq,
    /// The `recorded_at` of the last entry.
    pub last_recorded_at: Timestamp,
    /// The right edge of the log's tree.
    pub edge: CompactRange,
    /// Whether this transaction created the organization.
    pub is_new: bool,
}

/// The database did not confirm the commit; it may have happened.
#[derive(Debug)]
pub struct CommitFailed(pub Error);

impl Append {
    pub(in crate::store) fn new(transaction: DatabaseTransaction, origin: Arc<Origin>, recent: Arc<Recent>) -> Self {
        Self { transaction, origin, recent, inserted: Vec::new() }
    }

    /// Locks the heads of `organizations`, which must be sorted: transactions that lock in different orders can
    /// deadlock. Creates a missing organization with the log id beside it.
    pub async fn lock_heads(&self, organizations: &[(&OrganizationId, String)], now: Timestamp) -> Result<Vec<Head>> {
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let rows = organizations.iter().map(|(id, log_id)| json!([id.as_str(), log_id]));
        let (k, never, now) = (sql.rows(rows.collect()), sql.bind(Timestamp::MIN.micros()), sql.bind(now.micros()));
        let (edge, root) = (sql.bind(Vec::<u8>::new()), sql.bind(Hash::of_nothing().0.as_slice()));
        // An update that changes nothing still waits for the row's lock, and then sees the committed row.
        let text = format!(
            "INSERT INTO organizations (id, log_id, head_seq, last_recorded_at, edge, root, created_at) \
             SELECT {}, {}, 0, {never}, {edge}, {root}, {now} FROM {k} WHERE true \
             ON CONFLICT (id) DO UPDATE SET head_seq = organizations.head_seq \
             RETURNING id, log_id, head_seq, last_recorded_at, edge",
            text("k", 0),
            text("k", 1)
        );
        let mut locked = HashMap::with_capacity(organizations.len());
        for row in self.transaction.query_all_raw(sql.statement(text)).await? {
            let (id, log_id, seq, last_recorded_at, edge): (String, String, Seq, i64, Vec<u8>) =
                row.try_get_many_by_index()?;
            let last_recorded_at = Timestamp::saturating(last_recorded_at);
            let edge = CompactRange::parse(seq.unsigned_abs(), &edge).map_err(rows::foreign)?;
            locked.insert(id, Head { log_id, seq, last_recorded_at, edge, is_new: false });
        }
        let head = |(id, own_log_id): &(&OrganizationId, String)| {
            let head = locked.remove(id.as_str());
            let head = head.ok_or_else(|| Error::Internal(anyhow::anyhow!("a head was not locked")))?;
            Ok(Head { is_new: head.log_id == *own_log_id && head.seq == 0, ..head })
        };
        organizations.iter().map(head).collect()
    }

    /// The stored entries with `ids`, each with its organization. Call it under the locks of the heads, in a statement
    /// of its own: a statement that waits for a lock still sees the rows from before its wait.
    pub async fn find(&self, ids: &[(&OrganizationId, &EntryId)]) -> Result<Vec<(String, HashedEntry)>> {
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let k = sql.rows(ids.iter().map(|(organization, id)| json!([organization.as_str(), id.as_str()])).collect());
        let text = format!(
            "SELECT {} FROM {k} {}",
            audit_log::all_columns("a"),
            dialect::entry(sql.backend, "a", &text("k", 0), "id", &text("k", 1))
        );
        let found =
            |row: &QueryResult| Ok((audit_log::read(row, Column::OrganizationId)?, audit_log::hashed_entry(row)?));
        self.transaction.query_all_raw(sql.statement(text)).await?.iter().map(found).collect()
    }

    /// Inserts `entries`, each into its organization. The entries of one organization must be in order of their
    /// numbers.
    pub async fn insert(&mut self, entries: &[(&OrganizationId, HashedEntry)]) -> Result<()> {
        let backend = self.transaction.get_database_backend();
        let columns = audit_log::names();
        for chunk in prepared(entries) {
            let mut values = Vec::with_capacity(chunk.len() * columns.len());
            for (organization, hashed) in chunk {
                for value in audit_log::values(organization, hashed) {
                    values.push(value?);
                }
            }
            let text = dialect::insert(backend, "audit_logs", &columns, chunk.len());
            self.transaction.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
        }
        let inserted = entries.iter().map(|(organization, hashed)| ((*organization).clone(), (&hashed.entry).into()));
        self.inserted.extend(inserted);
        Ok(())
    }

    /// Moves heads to the last `recorded_at` and the edge of the tree. The size of the edge is the last number in use.
    /// This transaction must hold the locks of the heads.
    pub async fn move_heads(&self, heads: &[(&OrganizationId, Timestamp, &CompactRange)]) -> Result<()> {
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let rows = heads.iter().map(|(id, recorded_at, edge)| {
            json!([id.as_str(), edge.size(), recorded_at.micros(), hex(&edge.bytes()), hex(&edge.root().0)])
        });
        let k = sql.rows(rows.collect());
        // All rows exist. For an UPDATE with a join, PostgreSQL might read all heads.
        let text = format!(
            "INSERT INTO organizations (id, log_id, head_seq, last_recorded_at, edge, root, created_at) \
             SELECT {}, '', {}, {}, {}, {}, 0 FROM {k} WHERE true \
             ON CONFLICT (id) DO UPDATE SET head_seq = excluded.head_seq, \
             last_recorded_at = excluded.last_recorded_at, edge = excluded.edge, root = excluded.root",
            text("k", 0),
            number("k", 1),
            number("k", 2),
            dialect::bytes(sql.backend, &text("k", 3)),
            dialect::bytes(sql.backend, &text("k", 4)),
        );
        self.transaction.execute_raw(sql.statement(text)).await?;
        Ok(())
    }

    /// Adds each node of `completed`, which the last inserted entries completed, to its tile. For a node of level 1, also
    /// writes the full tile of leaf hashes below it.
    pub async fn complete(&self, organization: &OrganizationId, completed: &[CompletedNode]) -> Result<()> {
        for completed in completed {
            if completed.level == 1 {
                let hashes = leaf_hashes(&self.transaction, organization, completed.index, TILE_WIDTH).await?;
                self.write_tile(organization, TileId { level: 0, index: completed.index }, hashes.concat()).await?;
            }
            let tile = completed.tile();
            let mut hashes = self.tile(organization, tile).await?;
            // There are more hashes if the log, but not its tiles, was restored to an earlier time.
            hashes.truncate((completed.index % u64::from(TILE_WIDTH)) as usize * Hash::LENGTH);
            hashes.extend(completed.hash.0);
            self.write_tile(organization, tile, hashes).await?;
        }
        Ok(())
    }

    async fn tile(&self, organization: &OrganizationId, TileId { level, index }: TileId) -> Result<Vec<u8>> {
        let id = (organization.to_string(), i16::from(level), index as i64);
        Ok(log_tile::Entity::find_by_id(id).one(&self.transaction).await?.map_or_else(Vec::new, |tile| tile.hashes))
    }

    async fn write_tile(&self, organization: &OrganizationId, tile: TileId, hashes: Vec<u8>) -> Result<()> {
        use log_tile::Column as C;
        let (organization_id, level, tile_index) = (organization.to_string(), tile.level.into(), tile.index as i64);
        let row = log_tile::Model { organization_id, level, tile_index, hashes };
        let longer =
            OnConflict::columns([C::OrganizationId, C::Level, C::TileIndex]).update_column(C::Hashes).to_owned();
        let insert = log_tile::Entity::insert(row.into_active_model()).on_conflict(longer);
        insert.exec_without_returning(&self.transaction).await?;
        Ok(())
    }

    pub(super) fn sql(&self, organization: &OrganizationId) -> Sql {
        Sql::of(self.transaction.get_database_backend(), organization)
    }

    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        Ok(self.transaction.query_all_raw(statement).await?)
    }

    pub(super) async fn execute(&self, statement: Statement) -> Result<()> {
        self.transaction.execute_raw(statement).await?;
        Ok(())
    }

    /// Makes the work durable and visible. Errors: the outcome is unknown; the work may be stored.
    pub async fn commit(self) -> std::result::Result<(), CommitFailed> {
        let Self { transaction, origin, recent, inserted } = self;
        let failed = |error: DbErr| CommitFailed(error.into());
        transaction.commit().await.map_err(failed)?;
        // A commit to a removed file is lost with the process.
        origin.check().map_err(failed)?;
        recent.keep(inserted);
        Ok(())
    }

    /// Undoes the work.
    pub async fn roll_back(self) -> Result<()> {
        Ok(self.transaction.rollback().await?)
    }
}
