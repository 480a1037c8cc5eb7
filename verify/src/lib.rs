//! Verifies the logs of the audit log service `auditlog` without the service: leaves, trees, tiles, signed notes,
//! proofs, and whole logs. All functions are pure: the caller reads files, entries and tiles, and passes them in.
//! docs/LEAF_FORMAT.md is the specification.
//!
//! - [`types`]: the plain types of entries.
//! - [`merkle`]: the leaf of an entry, the tree with its tiles and proofs, signed notes and checkpoints.
//! - [`log`]: proof files, and the verification of a whole log.

pub mod log;
pub mod merkle;
pub mod types;

pub use types::{Change, Erased, Group, Invalid, JsonText, Seq, Timestamp};
