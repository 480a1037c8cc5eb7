//! Reads stored values that several tables share.

use crate::domain::{Group, Invalid};
use crate::error::{Error, Result};
use auditlog_verify::merkle::Hash;

/// Reads a stored hash.
pub(super) fn hash(bytes: Vec<u8>) -> Result<Hash> {
    Hash::of_bytes(&bytes).map_err(foreign)
}

/// Reads a stored group code.
pub(super) fn group(code: i16) -> Result<Group> {
    Group::of_code(code).ok_or_else(|| foreign(Invalid::new("a group must be 0 to 2", code)))
}

/// The error for a row that this service does not write.
pub(super) fn foreign(error: Invalid) -> Error {
    Error::Internal(anyhow::Error::new(error).context("the database has a value that this service does not write"))
}
