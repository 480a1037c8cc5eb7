//! The data for proofs of a log: its head, tiles, last checkpoint, and entries with their salts.

use std::collections::{BTreeSet, HashMap};

use sea_orm::sea_query::SimpleExpr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};

use crate::domain::{EntryId, Group, OrganizationId, Seq, Timestamp};
use crate::error::{Error, Result};
use crate::store::entities::{audit_log, checkpoint, erasure, log_key, organization};
use crate::store::model::HashedEntry;
use crate::store::sql::{Sql, number};
use crate::store::{Store, dialect, rows};
use auditlog_verify::merkle::{CompactRange, GroupHash, Hash, TILE_WIDTH, TileId, Tiles};

/// The committed state of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The id of the log.
    pub log_id: String,
    /// The right edge of its tree.
    pub edge: CompactRange,
    /// The root of its tree, as stored beside the edge.
    pub root: Hash,
}

/// The last checkpoint of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// The size of the tree, in entries.
    pub size: u64,
    /// The root hash of the tree.
    pub root: Hash,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub signed_at: Timestamp,
}

/// A key that signs for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    /// The public key.
    pub public: Vec<u8>,
    /// The number of the entry that introduced the key; 0 for the first key.
    pub seq: Seq,
}

impl Store {
    /// The log of `organization`; `None` if there is none.
    pub async fn log_head(&self, organization: &OrganizationId) -> Result<Option<LogHead>> {
        let row = organization::Entity::find_by_id(organization.as_str()).one(&self.readers).await?;
        let head = |row: organization::Model| {
            let edge = CompactRange::parse(row.head_seq.unsigned_abs(), &row.edge).map_err(rows::foreign)?;
            Ok(LogHead { log_id: row.log_id, edge, root: rows::hash(row.root)? })
        };
        row.map(head).transpose()
    }

    /// The last checkpoint of `organization`.
    pub async fn checkpoint(&self, organization: &OrganizationId) -> Result<Option<SignedCheckpoint>> {
        let row = checkpoint::Entity::find_by_id(organization.as_str()).one(&self.readers).await?;
        let signed = |row: checkpoint::Model| {
            let checkpoint::Model { organization_id: _, size, root, note, signed_at } = row;
            let (size, signed_at) = (size.unsigned_abs(), Timestamp::saturating(signed_at));
            Ok(SignedCheckpoint { size, root: rows::hash(root)?, note, signed_at })
        };
        row.map(signed).transpose()
    }

    /// The keys that sign for `organization`, oldest first. Keys of one entry are ordered by public key.
    pub async fn log_keys(&self, organization: &OrganizationId) -> Result<Vec<LogKey>> {
        let keys = log_key::Entity::find()
            .filter(log_key::Column::OrganizationId.eq(organization.as_str()))
            .order_by_asc(log_key::Column::Seq)
            .order_by_asc(log_key::Column::PublicKey)
            .all(&self.readers)
            .await?;
        let key = |log_key::Model { organization_id: _, public_key, seq }| LogKey { public: public_key, seq };
        Ok(keys.into_iter().map(key).collect())
    }

    /// The hashes of each of `tiles` in the tree of `size` leaves, a size that the log has had. Stored tiles may have
    /// more hashes by now. Leaf hashes of an unfilled tile come from the entries. A missing tile is left out.
    pub async fn tiles(&self, organization: &OrganizationId, tiles: &BTreeSet<TileId>, size: u64) -> Result<Tiles> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let rows = tiles.iter().map(|TileId { level, index }| serde_json::json!([level, index]));
        let k = sql.rows(rows.collect());
        let chosen =
            format!("t.organization_id = $1 AND t.level = {} AND t.tile_index = {}", number("k", 0), number("k", 1));
        let each = dialect::each(sql.backend, "log_tiles", "t", &chosen);
        let statement = sql.statement(format!("SELECT t.level, t.tile_index, t.hashes FROM {k} {each}"));
        let mut found = Tiles::new();
        for row in self.readers.query_all_raw(statement).await? {
            let (level, index, hashes): (i16, i64, Vec<u8>) = row.try_get_many_by_index()?;
            let tile = TileId { level: level.unsigned_abs() as u8, index: index.unsigned_abs() };
            found.insert(tile, of_width(&hashes, tile.width(size))?);
        }
        for tile in tiles.iter().filter(|tile| tile.level == 0 && tile.width(size) > 0) {
            if !found.contains_key(tile) {
                let hashes = leaf_hashes(&self.readers, organization, tile.index, tile.width(size)).await?;
                found.insert(*tile, hashes.into_iter().map(rows::hash).collect::<Result<_>>()?);
            }
        }
        Ok(found)
    }

    /// The number and the leaf hash of the entry `id`.
    pub async fn leaf_of_id(&self, organization: &OrganizationId, id: &EntryId) -> Result<Option<(Seq, Hash)>> {
        self.leaf(organization, audit_log::Column::Id.eq(id.as_str())).await
    }

    /// The number and the leaf hash of the entry `seq`.
    pub async fn leaf_of_seq(&self, organization: &OrganizationId, seq: Seq) -> Result<Option<(Seq, Hash)>> {
        self.leaf(organization, audit_log::Column::Seq.eq(seq)).await
    }

    async fn leaf(&self, organization: &OrganizationId, which: SimpleExpr) -> Result<Option<(Seq, Hash)>> {
        let found: Option<(Seq, Vec<u8>)> = audit_log::Entity::find()
            .select_only()
            .columns([audit_log::Column::Seq, audit_log::Column::LeafHash])
            .filter(audit_log::Column::OrganizationId.eq(organization.as_str()))
            .filter(which)
            .into_tuple()
            .one(&self.readers)
            .await?;
        found.map(|(seq, leaf)| Ok((seq, rows::hash(leaf)?))).transpose()
    }

    /// The hashes of the groups erased from the entries `first` to `last`.
    pub async fn erased(
        &self,
        organization: &OrganizationId,
        first: Seq,
        last: Seq,
    ) -> Result<HashMap<(Seq, Group), GroupHash>> {
        let erased = erasure::Entity::find()
            .filter(erasure::Column::OrganizationId.eq(organization.as_str()))
            .filter(erasure::Column::Seq.between(first, last))
            .all(&self.readers)
            .await?;
        let hash = |erasure::Model { organization_id: _, seq, group_code, hash, erased_by: _ }| {
            Ok(((seq, rows::group(group_code)?), GroupHash(rows::hash(hash)?)))
        };
        erased.into_iter().map(hash).collect()
    }

    /// The first entry with a number above the last number of `organization`. This service never writes one.
    pub async fn after_end(&self, organization: &OrganizationId) -> Result<Option<Seq>> {
        let sql = Sql::of(self.readers.get_database_backend(), organization);
        // In one statement, so that the end and the entries are from one moment.
        let last = "(SELECT head_seq FROM organizations WHERE id = $1)";
        let statement = format!("SELECT MIN(seq) FROM audit_logs WHERE organization_id = $1 AND seq > {last}");
        let row = self.readers.query_one_raw(sql.statement(statement)).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.flatten())
    }

    /// At most `limit` entries with numbers after `after` and up to `to`, in order of their numbers. Errors:
    /// `EntryDamaged`.
    pub async fn hashed_entries(
        &self,
        organization: &OrganizationId,
        after: Seq,
        to: Seq,
        limit: u64,
    ) -> Result<Vec<HashedEntry>> {
        let text = format!(
            "SELECT {} FROM audit_logs a WHERE a.organization_id = $1 AND a.seq > $2 AND a.seq <= $3 ORDER BY a.seq LIMIT $4",
            audit_log::all_columns("a")
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = [organization.as_str().into(), after.into(), to.into(), limit.into()];
        let statement = Statement::from_sql_and_values(self.readers.get_database_backend(), text, values);
        let rows = self.readers.query_all_raw(statement).await?;
        let read = |row| match audit_log::hashed_entry(row) {
            Ok(hashed) => Ok(hashed),
            Err(_) => Err(Error::EntryDamaged(audit_log::read(row, audit_log::Column::Seq)?)),
        };
        rows.iter().map(read).collect()
    }
}

/// The hashes of the first `width` leaves of a tile of level 0, read from the entries.
async fn leaf_hashes(
    connection: &impl ConnectionTrait,
    organization: &OrganizationId,
    index: u64,
    width: u16,
) -> Result<Vec<Vec<u8>>> {
    // The cast is safe: no log has more leaves than there are numbers.
    let after = (index * u64::from(TILE_WIDTH)) as Seq;
    let text = "SELECT leaf_hash FROM audit_logs WHERE organization_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq";
    let values = [organization.as_str().into(), after.into(), (after + Seq::from(width)).into()];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), text, values);
    let rows = connection.query_all_raw(statement).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// The first `width` of the concatenated hashes in `bytes`.
fn of_width(bytes: &[u8], width: u16) -> Result<Vec<Hash>> {
    bytes.chunks(Hash::LENGTH).take(width.into()).map(|bytes| rows::hash(bytes.to_vec())).collect()
}
