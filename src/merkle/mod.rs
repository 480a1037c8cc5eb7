//! The tamper evidence of a log, as pure functions: the leaf that stands for an entry, the tree of leaves with its
//! tiles and proofs, and signed checkpoints. Uses `domain` and nothing else.

mod checkpoint;
mod edge;
mod erasure;
mod group;
mod hash;
mod introduction;
mod leaf;
#[cfg(test)]
mod naive;
mod note;
mod proof;
mod tile;
mod verify;

pub use checkpoint::Checkpoint;
pub use edge::Edge;
pub use erasure::{ErasureRecord, field as erased_field};
pub use group::{GroupHash, Salt, Salts, Values, hash_of_fields};
pub use hash::Hash;
pub use introduction::Introduction;
pub use leaf::{Leaf, SERVICE, bundle, group_hashes, leaf_hash, unbundle};
pub use note::{KeyName, LogName, PublicKey, SigningKey, Unsigned, VerifierKey, open, sign, signers};
pub use proof::{DamagedTile, Question, Tiles};
pub use tile::{Completed, Resource, TILE_HEIGHT, TILE_WIDTH, TileId, TilePath};
pub use verify::{Unproven, verify_consistency, verify_inclusion};
