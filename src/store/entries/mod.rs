//! Entries: appended, listed, and erased.

pub(super) mod append;
pub(super) mod erase;
pub(super) mod list;
