//! The right edge of a log's tree: the only state that an append needs.

use super::{CompletedNode, Hash, TILE_HEIGHT};
use crate::types::Invalid;

/// The roots of the complete subtrees of a tree, largest first: one for each set bit of its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactRange {
    size: u64,
    hashes: Vec<Hash>,
}

impl CompactRange {
    /// Reads the [`CompactRange::bytes`] of a tree of `size` leaves. Errors: the number of hashes does not fit `size`.
    pub fn parse(size: u64, bytes: &[u8]) -> Result<Self, Invalid> {
        let (hashes, rest) = bytes.as_chunks();
        let expected = size.count_ones() as usize;
        if hashes.len() != expected || !rest.is_empty() {
            let allowed = format!("the edge of {size} leaves must be {expected} hashes of {} bytes", Hash::LENGTH);
            return Err(Invalid::new(allowed, format_args!("{} bytes", bytes.len())));
        }
        Ok(Self { size, hashes: hashes.iter().copied().map(Hash).collect() })
    }

    /// The concatenated hashes.
    pub fn bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| hash.0).collect()
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root hash of the tree.
    pub fn root(&self) -> Hash {
        let root = self.hashes.iter().copied().rev().reduce(|right, left| Hash::of_node(left, right));
        root.unwrap_or_else(Hash::of_nothing)
    }

    /// Appends a leaf. Returns the completed nodes that tiles must store; none for 255 of 256 leaves.
    #[must_use = "the tiles above the leaves have to be written"]
    pub fn append(&mut self, leaf: Hash) -> Vec<CompletedNode> {
        let mut completed = Vec::new();
        let mut hash = leaf;
        for height in 1..=self.size.trailing_ones() {
            let Some(left) = self.hashes.pop() else { break };
            hash = Hash::of_node(left, hash);
            if height % TILE_HEIGHT == 0 {
                // A size has 64 bits, so a level is below 8.
                let level = (height / TILE_HEIGHT) as u8;
                completed.push(CompletedNode { level, index: self.size >> height, hash });
            }
        }
        self.hashes.push(hash);
        self.size += 1;
        completed
    }
}

#[cfg(test)]
mod tests {
    use super::super::naive::{self, leaves};
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn the_root_is_that_of_the_definition() {
        let leaves = leaves(70_000);
        let mut random = StdRng::seed_from_u64(6962);
        let chosen = (0..12).map(|_| random.random_range(0..70_000));
        let sizes = (0..=600).chain([1_023, 1_024, 65_535, 65_536, 65_537, 66_000]).chain(chosen);
        let sizes: std::collections::BTreeSet<u64> = sizes.collect();
        let mut edge = CompactRange::default();
        for (size, leaf) in (0..).zip(&leaves) {
            if sizes.contains(&size) {
                assert_eq!((edge.size(), edge.root()), (size, naive::root(&leaves[..size as usize])), "{size}");
                assert_eq!(CompactRange::parse(size, &edge.bytes()), Ok(edge.clone()));
            }
            let _ = edge.append(*leaf);
        }
    }

    #[test]
    fn a_compact_range_of_another_size_is_refused() {
        let mut edge = CompactRange::default();
        for leaf in leaves(7) {
            let _ = edge.append(leaf);
        }
        let bytes = edge.bytes();
        for size in [0, 1, 6, 8, 15, u64::MAX] {
            assert!(CompactRange::parse(size, &bytes).is_err(), "{size}");
        }
        assert!(
            CompactRange::parse(7, &bytes[1..]).is_err()
                && CompactRange::parse(7, &[&bytes[..], &[0]].concat()).is_err()
        );
    }

    #[test]
    fn a_leaf_completes_the_subtrees_that_end_with_it() {
        let leaves = leaves(65_536);
        let mut edge = CompactRange::default();
        let mut completed = Vec::new();
        for leaf in &leaves {
            completed.extend(edge.append(*leaf));
        }
        let last = completed.pop();
        assert_eq!(last, Some(CompletedNode { level: 2, index: 0, hash: naive::root(&leaves) }));
        assert_eq!(completed.len(), 256);
        for (index, (one, below)) in (0..).zip(completed.iter().zip(leaves.chunks(256))) {
            assert_eq!(*one, CompletedNode { level: 1, index, hash: naive::root(below) });
        }
    }
}
