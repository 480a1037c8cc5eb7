//! RFC 6962 proofs from tiles. Our own implementation, in the terms of the RFC: the crate for it brings thirty others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::tile::TILE_HEIGHT;
use super::{Hash, TileId};
use crate::types::Invalid;

/// The maximum number of leaves of a tree: entries are numbered by `i64`.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

/// Tiles that were read, each with as many of its hashes as exist.
pub type Tiles = BTreeMap<TileId, Vec<Hash>>;

/// A tile is missing, or shorter than its tree requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tile of the log is missing or damaged")]
pub struct DamagedTile;

/// A request for a proof or a root. The tiles of the tree answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofRequest(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inclusion { index: u64, size: u64 },
    Consistency { old: u64, new: u64 },
    Root { size: u64 },
}

impl ProofRequest {
    /// Asks for a proof that a tree of `size` leaves has a certain leaf at `index`, from 0. Errors: the tree has no
    /// such index.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, Invalid> {
        check_size(size)?;
        let request = Self(Kind::Inclusion { index, size });
        (index < size).then_some(request).ok_or_else(|| Invalid::new(format_args!("must be below {size}"), index))
    }

    /// Asks for a proof that the tree of `old` leaves is a prefix of the tree of `new` leaves. Errors: `old` is larger.
    pub fn consistency(old: u64, new: u64) -> Result<Self, Invalid> {
        check_size(new)?;
        let request = Self(Kind::Consistency { old, new });
        (old <= new).then_some(request).ok_or_else(|| Invalid::new(format_args!("must be at most {new}"), old))
    }

    /// Asks for the root of the tree of `size` leaves. The answer is that one hash.
    pub fn root(size: u64) -> Result<Self, Invalid> {
        check_size(size)?;
        Ok(Self(Kind::Root { size }))
    }

    /// The tiles to read: a few for each tile level.
    pub fn tiles(&self) -> BTreeSet<TileId> {
        let mut tiles = BTreeSet::new();
        for subtree in self.subtrees() {
            // Only the requested nodes matter here, not their hashes.
            root(subtree, &mut |node| {
                tiles.insert(place(node).0);
                Some(Hash::of_nothing())
            });
        }
        tiles
    }

    /// The answer, from at least the tiles of [`ProofRequest::tiles`]. The proof of an empty tree is empty.
    pub fn answer(&self, tiles: &Tiles) -> Result<Vec<Hash>, DamagedTile> {
        let mut read = |node| {
            let (tile, first, count) = place(node);
            tiles.get(&tile)?.get(first..first + count).map(complete_root)
        };
        self.subtrees().into_iter().map(|subtree| root(subtree, &mut read).ok_or(DamagedTile)).collect()
    }

    /// The subtrees whose roots are the answer, in order.
    fn subtrees(&self) -> Vec<Leaves> {
        let mut subtrees = Vec::new();
        match self.0 {
            Kind::Inclusion { index, size } => path(index, 0..size, &mut subtrees),
            Kind::Consistency { old: 0, .. } => {}
            Kind::Consistency { old, new } => subproof(old, 0..new, true, &mut subtrees),
            Kind::Root { size } => subtrees.push(0..size),
        }
        subtrees
    }
}

/// A subtree, as the range of its leaf indexes.
type Leaves = Range<u64>;

/// The two children of a subtree of at least two leaves. The left child is the largest complete tree that leaves at
/// least one leaf to the right child. Source: RFC 6962, section 2.1.
fn children(tree: &Leaves) -> (Leaves, Leaves) {
    let middle = tree.start + (1 << (tree.end - tree.start - 1).ilog2());
    (tree.start..middle, middle..tree.end)
}

/// PATH(m, D[n]) of RFC 6962, section 2.1.1: the siblings on the way from the leaf `index` to the root.
fn path(index: u64, tree: Leaves, siblings: &mut Vec<Leaves>) {
    if tree.end - tree.start <= 1 {
        return;
    }
    let (left, right) = children(&tree);
    let (child, sibling) = if index < left.end { (left, right) } else { (right, left) };
    path(index, child, siblings);
    siblings.push(sibling);
}

/// SUBPROOF(m, D[n], b) of RFC 6962, section 2.1.2; `old` is the end of the older tree. `is_known` says whether the
/// verifier has the root of this subtree.
fn subproof(old: u64, tree: Leaves, is_known: bool, nodes: &mut Vec<Leaves>) {
    if old == tree.end {
        nodes.extend((!is_known).then_some(tree));
        return;
    }
    let (left, right) = children(&tree);
    let (child, sibling, is_known) = if old <= left.end { (left, right, is_known) } else { (right, left, false) };
    subproof(old, child, is_known, nodes);
    nodes.push(sibling);
}

/// A complete subtree: its height, and its index among the subtrees of that height.
type Node = (u32, u64);

/// The root of `tree`. `node` returns the roots of complete subtrees; `None` if it lacks one.
fn root(tree: Leaves, node: &mut impl FnMut(Node) -> Option<Hash>) -> Option<Hash> {
    let count = tree.end - tree.start;
    match count {
        0 => Some(Hash::of_nothing()),
        // The start is a multiple of the length, as for all results of `children`.
        _ if count.is_power_of_two() => node((count.ilog2(), tree.start >> count.ilog2())),
        _ => {
            let (left, right) = children(&tree);
            Some(Hash::of_node(root(left, node)?, root(right, node)?))
        }
    }
}

fn check_size(size: u64) -> Result<(), Invalid> {
    (size <= MAX_SIZE).then_some(()).ok_or_else(|| Invalid::new(format_args!("must be at most {MAX_SIZE}"), size))
}

/// The tile that has the hashes below a node, the index of the first of them in the tile, and their number.
fn place((height, number): Node) -> (TileId, usize, usize) {
    let above = height % TILE_HEIGHT;
    let first = number << above;
    // A height is below 64, so the level fits.
    let tile = TileId { level: (height / TILE_HEIGHT) as u8, index: first >> TILE_HEIGHT };
    // The index is below the width of a tile.
    (tile, (first % (1 << TILE_HEIGHT)) as usize, 1 << above)
}

/// The root above hashes whose number is a power of two.
fn complete_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Hash::of_node(complete_root(left), complete_root(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::naive::{self, leaves};
    use super::super::{CompactRange, verify_consistency, verify_inclusion};
    use super::*;

    /// The tiles of a log as a store keeps them: leaf hashes, and above them the nodes that appends complete.
    fn tiles(leaves: &[Hash]) -> Tiles {
        let rows = (0..).zip(leaves.chunks(1 << TILE_HEIGHT));
        let mut tiles: Tiles = rows.map(|(index, row)| (TileId { level: 0, index }, row.to_vec())).collect();
        let mut edge = CompactRange::default();
        for completed in leaves.iter().flat_map(|leaf| edge.append(*leaf)) {
            let row = tiles.entry(completed.tile()).or_default();
            assert_eq!(row.len() as u64, completed.index % 256, "each hash after those before it");
            row.push(completed.hash);
        }
        tiles
    }

    /// The answer from only the tiles that the request asks for.
    fn answered(request: ProofRequest, tiles: &Tiles) -> Vec<Hash> {
        let read = request.tiles().into_iter().map(|tile| (tile, tiles[&tile].clone())).collect();
        request.answer(&read).expect("whole tiles")
    }

    #[test]
    fn proofs_are_those_of_the_definition_and_verify() {
        let leaves = leaves(70);
        let tiles = tiles(&leaves);
        for size in 1..=leaves.len() {
            let (tree, new) = (&leaves[..size], size as u64);
            let root = naive::root(tree);
            assert_eq!(answered(ProofRequest::root(new).expect("a size"), &tiles), [root]);
            for index in 0..size {
                let proof = answered(ProofRequest::inclusion(index as u64, new).expect("an index"), &tiles);
                assert_eq!(proof, naive::path(index, tree), "{index} of {size}");
                let leaf = index.to_string();
                assert_eq!(verify_inclusion(leaf.as_bytes(), index as u64, &proof, new, root), Ok(()));
            }
            for old in 0..=size {
                let proof = answered(ProofRequest::consistency(old as u64, new).expect("sizes"), &tiles);
                if old > 0 {
                    assert_eq!(proof, naive::consistency(old, tree), "{old} of {size}");
                }
                assert_eq!(verify_consistency(old as u64, naive::root(&leaves[..old]), &proof, new, root), Ok(()));
            }
        }
    }

    #[test]
    fn proofs_cross_the_bounds_of_tiles() {
        let leaves = leaves(66_600);
        let tiles = tiles(&leaves);
        let mut random = StdRng::seed_from_u64(256);
        let mut below = |bound: u64| random.random_range(0..bound);
        let chosen: Vec<_> = (0..20).map(|_| 1 + below(66_600)).collect();
        for size in [255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 66_600].into_iter().chain(chosen) {
            let root = naive::root(&leaves[..size as usize]);
            for index in [0, size - 1, size / 2, below(size), below(size)] {
                let request = ProofRequest::inclusion(index, size).expect("an index");
                assert!(request.tiles().len() <= 6, "{:?}", request.tiles());
                let proof = answered(request, &tiles);
                let leaf = index.to_string();
                assert_eq!(verify_inclusion(leaf.as_bytes(), index, &proof, size, root), Ok(()));
            }
            for old in [1, size - size / 3, 256.min(size), 1 + below(size)] {
                let proof = answered(ProofRequest::consistency(old, size).expect("sizes"), &tiles);
                let old_root = naive::root(&leaves[..old as usize]);
                assert_eq!(verify_consistency(old, old_root, &proof, size, root), Ok(()), "{old} of {size}");
            }
        }
    }

    #[test]
    fn a_short_or_missing_tile_is_damaged() {
        let mut tiles = tiles(&leaves(600));
        let request = ProofRequest::inclusion(3, 600).expect("an index");
        assert!(request.answer(&tiles).is_ok());
        tiles.get_mut(&TileId { level: 0, index: 2 }).expect("a tile").pop();
        assert_eq!(request.answer(&tiles), Err(DamagedTile));
        tiles.clear();
        assert_eq!(request.answer(&tiles), Err(DamagedTile));
    }

    #[test]
    fn impossible_proof_requests_are_refused() {
        for (index, size) in [(0, 0), (5, 5), (u64::MAX, 5), (0, MAX_SIZE + 1)] {
            assert!(ProofRequest::inclusion(index, size).is_err(), "{index} of {size}");
        }
        assert!(ProofRequest::consistency(6, 5).is_err() && ProofRequest::consistency(0, u64::MAX).is_err());
        assert!(ProofRequest::inclusion(MAX_SIZE - 1, MAX_SIZE).is_ok_and(|request| request.tiles().len() <= 16));
        assert!(ProofRequest::consistency(1, MAX_SIZE).is_ok_and(|request| request.tiles().len() <= 16));
    }
}
