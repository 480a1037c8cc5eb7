//! Tiles: how a tree is cut into rows of 256 hashes, and the paths of these rows (C2SP tlog-tiles).

use std::fmt;
use std::str::FromStr;

use super::Hash;
use crate::types::{Invalid, quoted};

/// The number of tree levels in one tile.
pub const TILE_HEIGHT: u32 = 8;
/// The number of hashes in a full tile, and of entries in a full bundle.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;
/// The highest tile level of a tree with a 64-bit size.
const MAX_LEVEL: u8 = 7;

/// The id of a tile. Its hashes are the roots of complete subtrees of 256^level leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    /// 0 for leaf hashes.
    pub level: u8,
    /// The index of the tile in its level, from 0.
    pub index: u64,
}

impl TileId {
    /// The number of its hashes in a tree of `size` leaves, 0 to 256.
    pub fn width(self, size: u64) -> u16 {
        let hashes = size.checked_shr(TILE_HEIGHT * u32::from(self.level)).unwrap_or(0);
        let before = self.index.saturating_mul(u64::from(TILE_WIDTH));
        hashes.saturating_sub(before).min(TILE_WIDTH.into()) as u16
    }
}

/// The root of a complete subtree, which a tile above the leaves must store. A node of level 1 also means that the tile
/// of level 0 with the same index is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedNode {
    /// The level of the tile, 1 or more.
    pub level: u8,
    /// The index of the hash in its level, from 0.
    pub index: u64,
    /// The hash.
    pub hash: Hash,
}

impl CompletedNode {
    /// The tile that stores this hash, after the hashes it has already.
    pub fn tile(&self) -> TileId {
        TileId { level: self.level, index: self.index >> TILE_HEIGHT }
    }
}

/// The target of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A tile of hashes.
    Tile(TileId),
    /// The bundle of the entries below a tile of level 0, by that tile's index.
    Entries(u64),
}

/// A path relative to the log: `tile/0/x001/x234/067`, `tile/entries/000.p/5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TilePath {
    /// The target.
    pub resource: Resource,
    /// The number of hashes or entries, 1 to 256.
    pub width: u16,
}

impl TilePath {
    /// The tile itself, or for a bundle the tile of level 0 with the same width.
    fn tile(&self) -> TileId {
        match self.resource {
            Resource::Tile(tile) => tile,
            Resource::Entries(index) => TileId { level: 0, index },
        }
    }

    /// Whether a tree of `size` leaves has this many hashes or entries.
    pub fn is_in(&self, size: u64) -> bool {
        self.width <= self.tile().width(size)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resource {
            Resource::Tile(tile) => write!(f, "tile/{}/", tile.level)?,
            Resource::Entries(_) => f.write_str("tile/entries/")?,
        }
        let index = self.tile().index;
        for group in (1..=index.checked_ilog(1_000).unwrap_or(0)).rev() {
            write!(f, "x{:03}/", index / 1_000u64.pow(group) % 1_000)?;
        }
        write!(f, "{:03}", index % 1_000)?;
        if self.width < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for TilePath {
    type Err = Invalid;

    /// Errors: any spelling other than the [`fmt::Display`] form.
    fn from_str(path: &str) -> Result<Self, Invalid> {
        let read = parse(path).filter(|read| read.to_string() == path);
        read.ok_or_else(|| Invalid::new("must be a path of C2SP tlog-tiles such as tile/0/x001/234.p/56", quoted(path)))
    }
}

/// Reads a path. Also accepts other spellings; the caller must check for these.
fn parse(path: &str) -> Option<TilePath> {
    // Six groups of three digits are more than any index has.
    const MAX_LENGTH: usize = "tile/entries/x012/x345/x678/x901/x234/567.p/255".len();
    let (layer, rest) = path.strip_prefix("tile/").filter(|_| path.len() <= MAX_LENGTH)?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
        None => (rest, TILE_WIDTH),
    };
    let digits: String = index.split('/').map(|group| group.trim_start_matches('x')).collect();
    let index = digits.parse().ok()?;
    let resource = match layer {
        "entries" => Resource::Entries(index),
        level => {
            let level = level.parse().ok().filter(|level| *level <= MAX_LEVEL)?;
            Resource::Tile(TileId { level, index })
        }
    };
    Some(TilePath { resource, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |level, index, width| TilePath { resource: Resource::Tile(TileId { level, index }), width };
        let entries = |index, width| TilePath { resource: Resource::Entries(index), width };
        for (path, text) in [
            (tile(0, 0, 256), "tile/0/000"),
            (tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
            (tile(3, 999, 255), "tile/3/999.p/255"),
            (tile(7, 1_000, 1), "tile/7/x001/000.p/1"),
            (entries(0, 5), "tile/entries/000.p/5"),
            (tile(0, u64::MAX, 256), "tile/0/x018/x446/x744/x073/x709/x551/615"),
            (entries(36_028_797_018_963_967, 256), "tile/entries/x036/x028/x797/x018/x963/967"),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
        }
    }

    #[test]
    fn another_spelling_is_refused() {
        for text in [
            "",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001/x002",
            "tile/0/xx01/002",
            "tile/0/x01/002",
            "tile/00/000",
            "tile/+0/000",
            "tile/-1/000",
            "tile/8/000",
            "tile/data/000",
            "tile/Entries/000",
            "tile/8/0/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/05",
            "tile/0/000.p/+5",
            "tile/0/000.p/5/",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/٠٠٠",
        ] {
            assert!(text.parse::<TilePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_width_of_a_tile_is_the_number_of_its_complete_subtrees() {
        let width = |level, index, size| TileId { level, index }.width(size);
        assert_eq!([0, 1, 255, 256, 257].map(|size| width(0, 0, size)), [0, 1, 255, 256, 256]);
        assert_eq!([256, 257, 512].map(|size| width(0, 1, size)), [0, 1, 256]);
        assert_eq!([255, 256, 65_535, 65_536].map(|size| width(1, 0, size)), [0, 1, 255, 256]);
        assert_eq!((width(7, 0, u64::MAX), width(9, 0, u64::MAX), width(0, u64::MAX, u64::MAX)), (255, 0, 0));
        let path: TilePath = "tile/entries/000.p/5".parse().expect("a path");
        assert!(path.is_in(5) && path.is_in(256) && !path.is_in(4));
    }
}
