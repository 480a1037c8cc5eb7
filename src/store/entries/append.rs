//! The write transaction: lock heads, look up ids, insert, move the heads, commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};
use serde_json::json;

use crate::domain::{EntryId, OrganizationId, Seq, Timestamp, hex};
use crate::error::{Error, Result};
use crate::store::connections::{Origin, Transaction};
use crate::store::counts::recent::Recent;
use crate::store::entities::audit_log::{self, Column};
use crate::store::entries::follow::FollowedHeads;
use crate::store::model::{HashedEntry, UncountedEntry};
use crate::store::sql::{Sql, number, prepared, text};
use crate::store::{dialect, errors, rows};
use auditlog_verify::merkle::{CompactRange, CompletedNode, Hash, TILE_WIDTH, TileId};

/// How long erasures, the signer and acts of administration wait for the lock of a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

const TILE: [&str; 4] = ["organization_id", "level", "tile_index", "hashes"];

/// An open transaction that appends. Dropping it without a commit undoes it.
pub struct Append {
    transaction: Transaction,
    /// The database that it writes to.
    origin: Arc<Origin>,
    /// Receives the inserted entries after the commit.
    recent: Arc<Recent>,
    /// Wakes followers after the commit.
    followed: Arc<FollowedHeads>,
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
    pub(in crate::store) fn new(
        transaction: Transaction,
        origin: Arc<Origin>,
        recent: Arc<Recent>,
        followed: Arc<FollowedHeads>,
    ) -> Self {
        Self { transaction, origin, recent, followed, inserted: Vec::new() }
    }

    /// Locks those heads of `organizations` that exist and that no other transaction has locked; `None` for the others.
    /// Never waits for a lock of another transaction.
    pub async fn lock_free_heads(&self, organizations: &[&OrganizationId]) -> Result<Vec<Option<Head>>> {
        #[cfg(feature = "positive-controls")]
        if crate::positive_control::is("locks-in-arrival-order") {
            return self.lock_one_by_one(organizations).await;
        }
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let ids = organizations.iter().map(ToString::to_string).collect();
        let statement = format!("{} {}", heads_statement(&mut sql, ids), dialect::hold(sql.backend));
        let mut locked = HashMap::with_capacity(organizations.len());
        for row in self.query(sql.statement(statement)).await? {
            locked.insert(row.try_get_by_index::<String>(0)?, head(&row)?);
        }
        Ok(organizations.iter().map(|id| locked.remove(id.as_str())).collect())
    }

    /// Locks heads one by one, and waits for each. The torture harness must detect that this can deadlock.
    #[cfg(feature = "positive-controls")]
    async fn lock_one_by_one(&self, organizations: &[&OrganizationId]) -> Result<Vec<Option<Head>>> {
        let mut heads = Vec::with_capacity(organizations.len());
        for organization in organizations {
            let mut sql = Sql::new(self.transaction.get_database_backend());
            let ids = vec![organization.to_string()];
            let statement = format!("{} {}", heads_statement(&mut sql, ids), dialect::wait(sql.backend));
            heads.push(self.query(sql.statement(statement)).await?.first().map(head).transpose()?);
        }
        Ok(heads)
    }

    /// Locks the head of `organization`. Waits at most `timeout` for each lock on the way. `None`: another transaction
    /// still holds one; this one can only be rolled back. Creates a missing organization with `log_id`. A
    /// transaction that holds other heads must not call this: it could deadlock.
    pub async fn lock_head(
        &self,
        organization: &OrganizationId,
        log_id: &str,
        now: Timestamp,
        timeout: Duration,
    ) -> Result<Option<Head>> {
        let backend = self.transaction.get_database_backend();
        if let Some(limit) = dialect::lock_timeout(backend, timeout) {
            self.execute(limit).await?;
        }
        // Another process may create the organization between the first two statements.
        for _ in 0..2 {
            let mut sql = Sql::new(backend);
            let statement =
                format!("{} {}", heads_statement(&mut sql, vec![organization.to_string()]), dialect::wait(backend));
            let Some(found) = self.unless_locked(sql.statement(statement)).await? else { return Ok(None) };
            if let Some(row) = found.first() {
                return Ok(Some(head(row)?));
            }
            let Some(created) = self.unless_locked(create_statement(backend, organization, log_id, now)).await? else {
                return Ok(None);
            };
            if let Some(row) = created.first() {
                return Ok(Some(Head { is_new: true, ..head(row)? }));
            }
        }
        Ok(None)
    }

    /// Like [`Self::lock_head`], for work that nothing else waits behind. Errors: `StorageUnavailable` after ten seconds.
    pub async fn wait_for_head(&self, organization: &OrganizationId, log_id: &str, now: Timestamp) -> Result<Head> {
        let head = self.lock_head(organization, log_id, now, HEAD_TIMEOUT).await?;
        head.ok_or_else(|| Error::StorageUnavailable(anyhow!("the log is locked by another process")))
    }

    /// The rows of `statement`; `None` if it waited too long for a lock.
    async fn unless_locked(&self, statement: Statement) -> Result<Option<Vec<QueryResult>>> {
        match self.transaction.query_all_raw(statement).await {
            Err(error) if errors::is_lock_timeout(&error) => Ok(None),
            outcome => Ok(Some(outcome?)),
        }
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
        match &self.transaction {
            _ if entries.is_empty() => {}
            Transaction::Sqlite(transaction) => {
                for statement in audit_log::inserts(entries)? {
                    transaction.execute_raw(statement).await?;
                }
            }
            Transaction::Postgres(transaction) => {
                let arguments = audit_log::insert_arguments(entries)?;
                transaction.execute_with(audit_log::insert_statement(), arguments).await?;
            }
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

    /// Adds the nodes that the last inserted entries completed to the tiles of each organization. For a node of level 1,
    /// also writes the full tile of leaf hashes below it.
    pub async fn complete(&self, completed: &[(&OrganizationId, Vec<CompletedNode>)]) -> Result<()> {
        let mut nodes = Vec::new();
        for (organization, completed) in completed {
            nodes.extend(completed.iter().map(|node| (*organization, node)));
        }
        let mut tiles = self.unfinished_tiles(&nodes).await?;
        if tiles.is_empty() {
            return Ok(());
        }
        for (organization, node) in nodes {
            let hashes = tiles.entry((organization, node.tile())).or_default();
            // There are more hashes if the log, but not its tiles, was restored to an earlier time.
            hashes.truncate((node.index % u64::from(TILE_WIDTH)) as usize * Hash::LENGTH);
            hashes.extend(node.hash.0);
        }
        let backend = self.transaction.get_database_backend();
        let rows: Vec<_> = tiles.into_iter().collect();
        for chunk in prepared(&rows) {
            let text = format!(
                "{} ON CONFLICT (organization_id, level, tile_index) DO UPDATE SET hashes = excluded.hashes",
                dialect::insert(backend, "log_tiles", &TILE, chunk.len())
            );
            let values = chunk.iter().flat_map(|((organization, TileId { level, index }), hashes)| {
                let values: [Value; TILE.len()] = [
                    organization.as_str().into(),
                    i16::from(*level).into(),
                    (*index as i64).into(),
                    hashes.as_slice().into(),
                ];
                values
            });
            self.execute(Statement::from_sql_and_values(backend, text, values)).await?;
        }
        Ok(())
    }

    /// The stored hashes of the tiles that get `nodes`, and the leaf hashes of the tiles below nodes of level 1.
    async fn unfinished_tiles<'n>(
        &self,
        nodes: &[(&'n OrganizationId, &CompletedNode)],
    ) -> Result<BTreeMap<(&'n OrganizationId, TileId), Vec<u8>>> {
        let (mut tiles, mut parents, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for (organization, node) in nodes {
            let TileId { level, index } = node.tile();
            parents.push(json!([tiles.len(), organization.as_str(), level, index]));
            tiles.push((*organization, node.tile()));
            if node.level == 1 {
                let (first, width) = (node.index * u64::from(TILE_WIDTH), u64::from(TILE_WIDTH));
                leaves.push(json!([tiles.len(), organization.as_str(), first, first + width]));
                tiles.push((*organization, TileId { level: 0, index: node.index }));
            }
        }
        let mut found: BTreeMap<_, Vec<u8>> = BTreeMap::new();
        if tiles.is_empty() {
            return Ok(found);
        }
        let mut sql = Sql::new(self.transaction.get_database_backend());
        let statement = tiles_statement(&mut sql, parents, leaves);
        for row in self.query(sql.statement(statement)).await? {
            let (place, _, hashes): (i64, i64, Vec<u8>) = row.try_get_many_by_index()?;
            if let Some(tile) = usize::try_from(place).ok().and_then(|place| tiles.get(place)) {
                let stored = found.entry(*tile).or_default();
                // A tile that gets several nodes is found once for each.
                match tile.1.level {
                    0 => stored.extend(hashes),
                    _ => *stored = hashes,
                }
            }
        }
        // Nothing is stored of a tile that begins.
        for tile in tiles {
            found.entry(tile).or_default();
        }
        Ok(found)
    }

    /// For statements that must succeed or fail together with the append.
    pub(in crate::store) fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    pub(in crate::store) fn connection(&self) -> &Transaction {
        &self.transaction
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
        let Self { transaction, origin, recent, followed, inserted } = self;
        let failed = |error: DbErr| CommitFailed(error.into());
        transaction.commit().await.map_err(failed)?;
        // A commit to a removed file is lost with the process.
        origin.check().map_err(failed)?;
        followed.committed(&inserted, |entry| entry.position.seq);
        recent.keep(inserted);
        Ok(())
    }

    /// Undoes the work.
    pub async fn roll_back(self) -> Result<()> {
        Ok(self.transaction.rollback().await?)
    }
}

/// Selects the heads of the organizations with these ids.
fn heads_statement(sql: &mut Sql, ids: Vec<String>) -> String {
    let ids = sql.bind(dialect::texts(sql.backend, ids));
    let chosen = dialect::among(sql.backend, "id", &ids);
    format!("SELECT id, log_id, head_seq, last_recorded_at, edge FROM organizations WHERE {chosen}")
}

/// Creates an organization, unless it exists. Returns the same columns as [`heads_statement`].
fn create_statement(backend: DbBackend, organization: &OrganizationId, log_id: &str, now: Timestamp) -> Statement {
    let text = "INSERT INTO organizations (id, log_id, head_seq, last_recorded_at, edge, root, created_at) \
                VALUES ($1, $2, 0, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING \
                RETURNING id, log_id, head_seq, last_recorded_at, edge";
    let values: [Value; 6] = [
        organization.as_str().into(),
        log_id.into(),
        Timestamp::MIN.micros().into(),
        Vec::<u8>::new().into(),
        Hash::of_nothing().0.as_slice().into(),
        now.micros().into(),
    ];
    Statement::from_sql_and_values(backend, text, values)
}

/// Reads a row of [`heads_statement`].
fn head(row: &QueryResult) -> Result<Head> {
    let (_, log_id, seq, last_recorded_at, edge): (String, String, Seq, i64, Vec<u8>) = row.try_get_many_by_index()?;
    let last_recorded_at = Timestamp::saturating(last_recorded_at);
    let edge = CompactRange::parse(seq.unsigned_abs(), &edge).map_err(rows::foreign)?;
    Ok(Head { log_id, seq, last_recorded_at, edge, is_new: false })
}

/// `SELECT place, seq, hashes` of stored tiles, `[place, organization, level, index]`, and of the leaves in ranges of
/// numbers, `[place, organization, after, to]`; the leaves in order.
fn tiles_statement(sql: &mut Sql, tiles: Vec<serde_json::Value>, leaves: Vec<serde_json::Value>) -> String {
    let stored = format!(
        "t.organization_id = {} AND t.level = {} AND t.tile_index = {}",
        text("k", 1),
        number("k", 2),
        number("k", 3)
    );
    let stored = dialect::each(sql.backend, "log_tiles", "t", &stored);
    let numbered =
        format!("a.organization_id = {} AND a.seq > {} AND a.seq <= {}", text("k", 1), number("k", 2), number("k", 3));
    let numbered = dialect::each(sql.backend, "audit_logs", "a", &numbered);
    let (tiles, leaves) = (sql.rows(tiles), sql.rows(leaves));
    format!(
        "SELECT {place}, 0, t.hashes FROM {tiles} {stored} \
         UNION ALL SELECT {place}, a.seq, a.leaf_hash FROM {leaves} {numbered} ORDER BY 1, 2",
        place = number("k", 0)
    )
}
