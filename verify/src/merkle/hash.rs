//! The hashes of a log's tree, by RFC 6962 section 2.1.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::types::{Invalid, quoted};

/// A SHA-256 hash, shown as base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; Hash::LENGTH]);

impl Hash {
    /// The length of a hash. Bytes.
    pub const LENGTH: usize = 32;

    /// The root of a log without entries: the hash of the empty string.
    pub fn of_nothing() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// The hash of a leaf. The byte before the data keeps leaves and nodes apart.
    pub fn of_leaf(data: &[u8]) -> Self {
        Self(Sha256::new_with_prefix([0]).chain_update(data).finalize().into())
    }

    /// The hash of a node with two children.
    pub fn of_node(left: Self, right: Self) -> Self {
        Self(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// Errors: not 32 bytes.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        bytes.try_into().map(Self).map_err(|_| Invalid::new("a hash must be 32 bytes", bytes.len()))
    }

    /// Reads base64. Errors: also any spelling other than the canonical one.
    pub fn parse(base64: &str) -> Result<Self, Invalid> {
        let bytes = STANDARD.decode(base64).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| Invalid::new("must be 32 bytes in base64", quoted(base64)))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
