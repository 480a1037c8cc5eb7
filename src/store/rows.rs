//! Reads stored values that several tables share.

use crate::domain::{Action, EntryKind, Group, Invalid, Outcome, ResourceType};
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

/// Reads the stored codes of a kind.
pub(super) fn kind(resource_type: i16, action: i16, outcome: i16) -> Result<EntryKind> {
    let outcome = Outcome::stored(outcome).map_err(foreign)?;
    Ok(EntryKind { resource_type: ResourceType(resource_type), action: Action(action), outcome })
}

/// The error for a row that this service does not write.
pub(super) fn foreign(error: Invalid) -> Error {
    Error::Internal(anyhow::Error::new(error).context("the database has a value that this service does not write"))
}
