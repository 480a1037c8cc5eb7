//! RFC 6962 section 2.1, word for word, as a reference for tests.

use super::Hash;

/// The hashes of the leaves `0`, `1`, … as decimal numbers.
pub fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| Hash::of_leaf(number.to_string().as_bytes())).collect()
}

fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

/// MTH(D[n]).
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_nothing(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Hash::of_node(root(left), root(right))
        }
    }
}

/// PATH(m, D[n]).
pub fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (path(index, left), root(right)),
        Some(index) => (path(index, right), root(left)),
    };
    path.push(other);
    path
}

/// PROOF(m, D[n]).
pub fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
    fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut proof, other) = match old.checked_sub(left.len()) {
            None | Some(0) => (subproof(old, left, whole), root(right)),
            Some(old) => (subproof(old, right, false), root(left)),
        };
        proof.push(other);
        proof
    }
    subproof(old, leaves, true)
}
