//! Verifies RFC 6962 proofs with `ct-merkle`, so that making and verifying proofs share no code.

use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use sha2::Sha256;

use super::Hash;
use super::proof::MAX_SIZE;

/// A proof that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold")]
pub struct Unproven;

/// Verifies that the tree of `size` leaves with this `root` has `leaf`, given as data, at `index`, from 0.
pub fn verify_inclusion(leaf: &[u8], index: u64, proof: &[Hash], size: u64, root: Hash) -> Result<(), Unproven> {
    let root = root_of(size, root)?;
    let proof = InclusionProof::try_from_bytes(bytes(proof)).map_err(|_| Unproven)?;
    root.verify_inclusion(&leaf, index, &proof).map_err(|_| Unproven)
}

/// Verifies that the tree of `new` leaves with this `root` begins with the tree of `old` leaves with `old_root`.
pub fn verify_consistency(old: u64, old_root: Hash, proof: &[Hash], new: u64, root: Hash) -> Result<(), Unproven> {
    let (old_tree, new_tree) = (root_of(old, old_root)?, root_of(new, root)?);
    if old == 0 {
        // Every tree begins with the empty tree; the crate has no proofs for it.
        let is_new = new > 0 || root == Hash::of_nothing();
        return (proof.is_empty() && old_root == Hash::of_nothing() && is_new).then_some(()).ok_or(Unproven);
    }
    let proof = ConsistencyProof::try_from_bytes(bytes(proof)).map_err(|_| Unproven)?;
    new_tree.verify_consistency(&old_tree, &proof).map_err(|_| Unproven)
}

/// Errors: `size` is above the maximum, for which the crate would overflow.
fn root_of(size: u64, root: Hash) -> Result<RootHash<Sha256>, Unproven> {
    (size <= MAX_SIZE).then(|| RootHash::new(root.0.into(), size)).ok_or(Unproven)
}

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

#[cfg(test)]
mod tests {
    use super::super::naive::{consistency, leaves, path, root};
    use super::*;

    /// Changed copies of `proof`: each hash changed, one hash missing, one added, two exchanged.
    fn forged(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let other = Hash::of_leaf(b"another");
        let changed = (0..proof.len()).map(|place| {
            let mut proof = proof.to_vec();
            proof[place].0[place % 32] ^= 1;
            proof
        });
        let mut forged: Vec<_> = changed.collect();
        forged.extend((0..proof.len()).map(|place| [&proof[..place], &proof[place + 1..]].concat()));
        forged.extend((0..=proof.len()).map(|place| [&proof[..place], &[other], &proof[place..]].concat()));
        forged.extend((1..proof.len()).map(|place| {
            let mut proof = proof.to_vec();
            proof.swap(place - 1, place);
            proof
        }));
        forged
    }

    #[test]
    fn a_forged_inclusion_is_refused() {
        let leaves = leaves(40);
        for size in 1..=leaves.len() {
            let (tree, last) = (root(&leaves[..size]), size as u64);
            for index in 0..size {
                let proof = path(index, &leaves[..size]);
                let leaf = index.to_string();
                let holds = |leaf: &str, index: usize, proof: &[Hash], size: u64, root: Hash| {
                    verify_inclusion(leaf.as_bytes(), index as u64, proof, size, root).is_ok()
                };
                assert!(holds(&leaf, index, &proof, last, tree));
                assert!(
                    !holds("x", index, &proof, last, tree) && !holds(&leaf, index, &proof, last, leaves[0])
                        || size == 1
                );
                assert!(!(0..=size).any(|other| other != index && holds(&leaf, other, &proof, last, tree)));
                assert!(!forged(&proof).iter().any(|forged| holds(&leaf, index, forged, last, tree)));
                assert!(!holds(&leaf, index, &proof, 0, tree) && !holds(&leaf, index, &proof, u64::MAX, tree));
            }
        }
    }

    #[test]
    fn a_forged_consistency_is_refused() {
        let leaves = leaves(40);
        for new in 1..=leaves.len() {
            for old in 1..=new {
                let proof = consistency(old, &leaves[..new]);
                let (old_root, new_root) = (root(&leaves[..old]), root(&leaves[..new]));
                let holds = |old: usize, old_root: Hash, proof: &[Hash], new_root: Hash| {
                    verify_consistency(old as u64, old_root, proof, new as u64, new_root).is_ok()
                };
                assert!(holds(old, old_root, &proof, new_root));
                assert!(!forged(&proof).iter().any(|forged| holds(old, old_root, forged, new_root)));
                let other = Hash::of_leaf(b"another");
                assert!(!holds(old, other, &proof, new_root) && !holds(old, old_root, &proof, other));
                assert!(!holds(new + 1, old_root, &proof, new_root));
            }
            assert!(verify_consistency(0, leaves[0], &[], new as u64, root(&leaves[..new])).is_err());
        }
        let nothing = Hash::of_nothing();
        assert_eq!(verify_consistency(0, nothing, &[], 0, nothing), Ok(()));
        assert!(verify_consistency(0, nothing, &[], 0, leaves[0]).is_err());
        assert!(verify_consistency(0, nothing, &[nothing], 3, leaves[0]).is_err());
        assert!(verify_consistency(1, nothing, &[], u64::MAX, nothing).is_err());
    }
}
