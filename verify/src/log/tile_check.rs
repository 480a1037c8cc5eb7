//! The tiles of a log beside the hashes of its entries: where they differ, and whether the tiles are those of a tree
//! that was signed for.

use crate::merkle::{CompactRange, Hash, Resource, TILE_HEIGHT, TILE_WIDTH, TileId, TilePath};
use crate::types::Seq;

/// The differing hashes that are kept.
const SUSPECTS: usize = 16;

/// Hashes that a tile should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The tile.
    pub tile: TileId,
    /// The place in it of the first of the hashes.
    pub from: u16,
    /// The hashes.
    pub hashes: Vec<Hash>,
}

impl Row {
    /// How many hashes the tile should have.
    pub fn width(&self) -> u16 {
        // A row ends where its tile does.
        self.from + self.hashes.len() as u16
    }

    /// The path of the tile.
    pub fn path(&self) -> TilePath {
        TilePath { resource: Resource::Tile(self.tile), width: self.width() }
    }

    /// The first and the last entry below the hash at `place` of the tile.
    fn entries(&self, place: u16) -> (Seq, Seq) {
        let index = self.tile.index * u64::from(TILE_WIDTH) + u64::from(place);
        let below = TILE_HEIGHT * u32::from(self.tile.level);
        ((index << below) as Seq + 1, ((index + 1) << below) as Seq)
    }
}

/// Rows while they grow, one for each level of tiles.
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

/// An entry whose stored hash is not the one that a tile has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Its number.
    pub seq: Seq,
    /// The hash that the tile has.
    pub in_tree: Hash,
}

/// The state of the comparison so far. Rows of a level come in order.
#[derive(Debug)]
pub struct TileCheck {
    /// Of all hashes that the tiles of level 0 have.
    leaves: CompactRange,
    /// Of those of level 1, and of the leaves after the last of them: what proves level 1.
    blocks: CompactRange,
    tail: CompactRange,
    /// Whether no tile of the level was missing.
    is_whole: [bool; 2],
    /// Of a tree that was seen before, its largest complete subtrees: where each ends, and the edge up to there.
    seen: Vec<(u64, Vec<u8>)>,
    /// The leaves that tiles have as that tree had them.
    proven: u64,
    suspects: Vec<Suspect>,
    /// The root of the first full tile of level 0 that differs.
    suspect_root: Option<Hash>,
    /// The first hash of level 1 that differs: its place, and what the tile has.
    suspect_block: Option<(u64, Hash)>,
    /// The first tile that differs or is missing.
    first: Option<String>,
}

impl TileCheck {
    /// From the tree `known` on; `seen` is one that the log had before.
    pub fn new(known: &CompactRange, seen: Option<&CompactRange>) -> Self {
        let size = known.size();
        let bytes = known.bytes();
        let (blocks, tail) = bytes.split_at((size >> TILE_HEIGHT).count_ones() as usize * Hash::LENGTH);
        // As many hashes as their sizes have bits.
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

    /// Compares `row` with what the tile has, from its beginning; `None` if it could not be had.
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

    /// The entries whose stored hashes are not those of the tiles, first of all.
    pub fn suspects(&self) -> &[Suspect] {
        &self.suspects
    }

    /// The first tile that differs or is missing, in words.
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// How many leaves the tiles have as a tree had them that is vouched for: that of `size` and `root`, or the one that
    /// was seen before.
    pub(super) fn proven(&self, size: u64, root: Hash) -> u64 {
        let is_signed = self.is_whole[0] && (self.leaves.size(), self.leaves.root()) == (size, root);
        if is_signed { size } else { self.proven }
    }

    /// The block of 256 entries, from 0, that is the first to differ from the tree of `size` and `root`, by tiles of
    /// level 1 that are those of that tree; and whether the leaves are, too, that its tile has.
    pub(super) fn differing_block(&self, size: u64, root: Hash) -> Option<(u64, bool)> {
        let bytes = [self.blocks.bytes(), self.tail.bytes()].concat();
        let tree = CompactRange::parse(size, &bytes).ok().filter(|tree| self.is_whole[1] && tree.root() == root)?;
        let blocks = tree.size() >> TILE_HEIGHT;
        let Some((index, in_tree)) = self.suspect_block else {
            // What differs is in the leaves after all blocks, which have just been proven.
            return Some((blocks, true));
        };
        let first = self.suspects.first().map(|suspect| (suspect.seq as u64 - 1) >> TILE_HEIGHT);
        Some((index, first == Some(index) && self.suspect_root == Some(in_tree)))
    }
}

/// The trees that `edge` begins with, of one, two and more of its complete subtrees.
fn subtrees(edge: &CompactRange) -> Vec<(u64, Vec<u8>)> {
    let size = edge.size();
    let heights = (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1);
    // All bits of the size down to that of the height.
    let ends = heights.map(|height| size >> height << height);
    let bytes = edge.bytes();
    ends.zip(1..).map(|(end, hashes)| (end, bytes[..hashes * Hash::LENGTH].to_vec())).collect()
}
