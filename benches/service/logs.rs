//! The heads, trees and tiles of the bulk-loaded organizations, as the service would have built them.

use std::collections::BTreeMap;

use auditlog::domain::hex;
use auditlog_verify::merkle::{CompactRange, Hash, TILE_WIDTH};
use sea_orm::DbBackend;

use crate::data::{BEGIN, Entry, ORGANIZATIONS, log_id, organization_id};
use crate::database::Database;

/// Tiles in an INSERT.
const ROWS: usize = 50;

/// The logs of all organizations, by rank.
pub struct Logs {
    heads: Vec<Head>,
    /// Tiles by rank, level and index.
    tiles: BTreeMap<(usize, u8, u64), Vec<u8>>,
}

struct Head {
    edge: CompactRange,
    recorded_at: i64,
    /// The leaf hashes after the last full tile.
    leaves: Vec<u8>,
}

impl Logs {
    pub fn new() -> Self {
        let head = |_| Head { edge: CompactRange::default(), recorded_at: BEGIN, leaves: Vec::new() };
        Self { heads: (0..ORGANIZATIONS.ranks).map(head).collect(), tiles: BTreeMap::new() }
    }

    pub fn append(&mut self, entry: &Entry, leaf: Hash) {
        let rank = entry.organization as usize;
        let head = &mut self.heads[rank];
        head.recorded_at = entry.recorded_at;
        head.leaves.extend(leaf.0);
        for completed in head.edge.append(leaf) {
            let tile = completed.tile();
            self.tiles.entry((rank, tile.level, tile.index)).or_default().extend(completed.hash.0);
        }
        if head.leaves.len() == usize::from(TILE_WIDTH) * Hash::LENGTH {
            let index = (head.edge.size() - 1) / u64::from(TILE_WIDTH);
            self.tiles.insert((rank, 0, index), std::mem::take(&mut head.leaves));
        }
    }

    pub async fn write(self, database: &Database) -> anyhow::Result<()> {
        let blob = |bytes: &[u8]| match database.backend() {
            DbBackend::Sqlite => format!("x'{}'", hex(bytes)),
            _ => format!("'\\x{}'", hex(bytes)),
        };
        let organization = |(rank, head): (usize, &Head)| {
            let Head { edge, recorded_at, leaves: _ } = head;
            let (id, log_id) = (organization_id(rank as u32), log_id(rank as u32));
            let (size, root, edge) = (edge.size(), blob(&edge.root().0), blob(&edge.bytes()));
            format!("('{id}', '{log_id}', {size}, {recorded_at}, {edge}, {root}, {BEGIN})")
        };
        let rows = self.heads.iter().enumerate().map(organization).collect::<Vec<_>>().join(", ");
        let columns = "id, log_id, head_seq, last_recorded_at, edge, root, created_at";
        database.execute(&format!("INSERT INTO organizations ({columns}) VALUES {rows}")).await?;
        let tile = |((rank, level, index), hashes): (&(usize, u8, u64), &Vec<u8>)| {
            format!("('{}', {level}, {index}, {})", organization_id(*rank as u32), blob(hashes))
        };
        let tiles: Vec<_> = self.tiles.iter().collect();
        for tiles in tiles.chunks(ROWS) {
            let rows = tiles.iter().copied().map(tile).collect::<Vec<_>>().join(", ");
            let columns = "organization_id, level, tile_index, hashes";
            database.execute(&format!("INSERT INTO log_tiles ({columns}) VALUES {rows}")).await?;
        }
        Ok(())
    }
}
