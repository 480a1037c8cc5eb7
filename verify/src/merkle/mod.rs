//! The tamper evidence of a log, as pure functions: the leaf of an entry, the tree of leaves with its tiles and proofs,
//! and signed checkpoints. Uses only `types`.

mod checkpoint;
mod compact_range;
mod endorsement;
mod erasure;
mod fields;
mod group_hash;
mod hash;
mod leaf;
#[cfg(test)]
mod naive;
mod note;
mod proof;
mod tile;
mod verify;

pub use checkpoint::Checkpoint;
pub use compact_range::CompactRange;
pub use endorsement::KeyEndorsement;
pub use erasure::{ErasureRecord, field as erased_field};
pub(crate) use fields::check_fields;
pub use fields::{Fields, Values};
pub use group_hash::{GroupHash, Salt, SaltedFields, Salts};
pub use hash::Hash;
pub use leaf::{Leaf, SERVICE, bundle, group_hashes, unbundle};
pub use note::{KeyName, LogName, PublicKey, SigningKey, Unsigned, VerifierKey, open, sign, signers};
pub use proof::{DamagedTile, ProofRequest, Tiles};
pub use tile::{CompletedNode, Resource, TILE_HEIGHT, TILE_WIDTH, TileId, TilePath};
pub use verify::{Unproven, verify_consistency, verify_inclusion};
