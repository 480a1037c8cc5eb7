//! Entries: appended, listed, followed, and erased.

pub(super) mod append;
pub(super) mod erase;
pub(super) mod follow;
pub(super) mod list;
