//! Compares the tiles of a log with the hashes of its entries: where they differ, and whether the tiles belong to a
//! signed tree.

use crate::merkle::{CompactRange, Hash, Resource, TILE_HEIGHT, TILE_WIDTH, TileId, TilePath};
use crate::types::Seq;

/// The number of differing hashes that are kept.
const SUSPECTS: usize = 16;

/// Hashes that a tile should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The tile.
    pub tile: TileId,
    /// The index in the tile of the first of the hashes.
    pub from: u16,
    /// The hashes.
    pub hashes: Vec<Hash>,
}

impl Row {
    /// The number of hashes that the tile should have.
    pub fn width(&self) -> u16 {
        // The cast is safe: a row ends where its tile does.
        self.from + self.hashes.len() as u16
    }

    /// The path of the tile.
    pub fn path(&self) -> TilePath {
        TilePath { resource: Resource::Tile(self.tile), width: self.width() }
    }

    /// The first and the last entry below the hash at index `place` of the tile.
    fn entries(&self, place: u16) -> (Seq, Seq) {
        let index = self.tile.index * u64::from(TILE_WIDTH) + u64::from(place);
        let below = TILE_HEIGHT * u32::from(self.tile.level);
        ((index << below) as Seq + 1, ((index + 1) << below) as Seq)
    }
}

/// Rows that grow, one for each level of tiles.
#[derive(Debug, Default)]
pub(super) struct Rows {
    open: Vec<Option<Row>>,
    full: Vec<Row>,
}

impl Rows {
    pub(super) fn push(&mut self, level: u8, index: u64, hash: Hash) {
        let place = usize::from(level);
        if self.open.len() <= place {
            self.open.resize(place + 1, None);
        }
        let (tile, from) = (TileId { level, index: index >> TILE_HEIGHT }, (index % u64::from(TILE_WIDTH)) as u16);
        let row = self.open[place].get_or_insert_with(|| Row { tile, from, hashes: Vec::new() });
        row.hashes.push(hash);
        if row.width() == TILE_WIDTH {
            self.full.extend(self.open[place].take());
        }
    }

    pub(super) fn full(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.full)
    }

    pub(super) fn open(&mut self) -> Vec<Row> {
        self.open.iter_mut().filter_map(Option::take).collect()
    }
}

/// An entry whose stored hash differs from the hash in a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// The number of the entry.
    pub seq: Seq,
    /// The hash in the tile.
    pub in_tree: Hash,
}

/// The comparison so far. The rows of a level must come in order.
#[derive(Debug)]
pub struct TileCheck {
    /// The tree of all hashes in the tiles of level 0.
    leaves: CompactRange,
    /// The tree of the hashes in the tiles of level 1. With `tail`, it proves level 1.
    blocks: CompactRange,
    /// The tree of the leaves after the last full tile of level 0.
    tail: CompactRange,
    /// Whether no tile of levels 0 and 1 was missing.
    is_whole: [bool; 2],
    /// For each largest complete subtree of a tree seen before: its end, and the compact range up to there.
    seen: Vec<(u64, Vec<u8>)>,
    /// The number of leaves in tiles that match the tree seen before.
    proven: u64,
    suspects: Vec<Suspect>,
    /// The root of the first full tile of level 0 that differs.
    suspect_root: Option<Hash>,
    /// The first differing hash of level 1: its index, and the hash in the tile.
    suspect_block: Option<(u64, Hash)>,
    /// The first tile that differs or is missing, in words.
    first: Option<String>,
}

impl TileCheck {
    /// Starts after the tree `known`. `seen` is a tree that the log had before.
    pub fn new(known: &CompactRange, seen: Option<&CompactRange>) -> Self {
        let size = known.size();
        let bytes = known.bytes();
        let (blocks, tail) = bytes.split_at((size >> TILE_HEIGHT).count_ones() as usize * Hash::LENGTH);
        // Cannot fail: both parts have as many hashes as their sizes have bits.
        let edge = |size, bytes| CompactRange::parse(size, bytes).unwrap_or_default();
        Self {
            leaves: known.clone(),
            blocks: edge(size >> TILE_HEIGHT, blocks),
            tail: edge(size % u64::from(TILE_WIDTH), tail),
            is_whole: [true; 2],
            seen: seen.map(subtrees).unwrap_or_default(),
            proven: 0,
            suspects: Vec::new(),
            suspect_root: None,
            suspect_block: None,
            first: None,
        }
    }

    /// Compares `row` with the stored hashes of its tile, from the tile's start; `None` if the tile cannot be read.
    pub fn take(&mut self, row: &Row, stored: Option<&[Hash]>) {
        let stored = stored.and_then(|stored| stored.get(usize::from(row.from)..usize::from(row.width())));
        let Some(stored) = stored else {
            if let Some(level) = self.is_whole.get_mut(usize::from(row.tile.level)) {
                *level = false;
            }
            self.first.get_or_insert_with(|| format!("{} cannot be had", row.path()));
            return;
        };
        let differing: Vec<_> =
            (0..).zip(stored).zip(&row.hashes).filter(|((_, a), b)| a != b).map(|(one, _)| one).collect();
        if let Some((place, _)) = differing.first() {
            let place = row.from + place;
            let (first, last) = row.entries(place);
            self.first.get_or_insert_with(|| match first == last {
                true => format!("{} has another hash for entry {first}", row.path()),
                false => format!("{} has another hash for the entries {first} to {last}", row.path()),
            });
        }
        match row.tile.level {
            0 => self.take_leaves(row, stored, &differing),
            1 => self.take_blocks(row, stored, &differing),
            _ => {}
        }
    }

    fn take_leaves(&mut self, row: &Row, stored: &[Hash], differing: &[(u16, &Hash)]) {
        let is_first = self.suspects.is_empty() && !differing.is_empty();
        for (place, hash) in differing {
            if self.suspects.len() < SUSPECTS {
                self.suspects.push(Suspect { seq: row.entries(row.from + place).0, in_tree: **hash });
            }
        }
        for hash in stored {
            let _ = self.leaves.append(*hash);
            let _ = self.tail.append(*hash);
            let size = self.leaves.size();
            let is_seen = |(end, edge): &(u64, Vec<u8>)| *end == size && *edge == self.leaves.bytes();
            if self.is_whole[0] && self.seen.iter().any(is_seen) {
                self.proven = size;
            }
        }
        if row.width() == TILE_WIDTH {
            let tail = std::mem::take(&mut self.tail);
            self.suspect_root = self.suspect_root.or(is_first.then(|| tail.root()));
        }
    }

    fn take_blocks(&mut self, row: &Row, stored: &[Hash], differing: &[(u16, &Hash)]) {
        for hash in stored {
            let _ = self.blocks.append(*hash);
        }
        if let Some((place, hash)) = differing.first() {
            let index = row.tile.index * u64::from(TILE_WIDTH) + u64::from(row.from + place);
            self.suspect_block.get_or_insert((index, **hash));
        }
    }

    /// The entries whose stored hashes differ from the tiles, in order.
    pub fn suspects(&self) -> &[Suspect] {
        &self.suspects
    }

    /// The first tile that differs or is missing, in words.
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// The number of leaves in the tiles that belong to a trusted tree: the tree of `size` and `root`, or the tree seen
    /// before.
    pub(super) fn proven(&self, size: u64, root: Hash) -> u64 {
        let is_signed = self.is_whole[0] && (self.leaves.size(), self.leaves.root()) == (size, root);
        if is_signed { size } else { self.proven }
    }

    /// The index of the first block of 256 entries that differs from the tree of `size` and `root`, by tiles of level 1
    /// that match this tree. The flag says whether the leaf hashes in the block's tile match it too.
    pub(super) fn differing_block(&self, size: u64, root: Hash) -> Option<(u64, bool)> {
        let bytes = [self.blocks.bytes(), self.tail.bytes()].concat();
        let tree = CompactRange::parse(size, &bytes).ok().filter(|tree| self.is_whole[1] && tree.root() == root)?;
        let blocks = tree.size() >> TILE_HEIGHT;
        let Some((index, in_tree)) = self.suspect_block else {
            // The difference is in the leaves after all blocks. These leaves have just been proven.
            return Some((blocks, true));
        };
        let first = self.suspects.first().map(|suspect| (suspect.seq as u64 - 1) >> TILE_HEIGHT);
        Some((index, first == Some(index) && self.suspect_root == Some(in_tree)))
    }
}

/// The prefixes of `edge` that consist of its first one, two and more complete subtrees: size and hashes of each.
fn subtrees(edge: &CompactRange) -> Vec<(u64, Vec<u8>)> {
    let size = edge.size();
    let heights = (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1);
    // All bits of the size down to the bit of this height.
    let ends = heights.map(|height| size >> height << height);
    let bytes = edge.bytes();
    ends.zip(1..).map(|(end, hashes)| (end, bytes[..hashes * Hash::LENGTH].to_vec())).collect()
}
