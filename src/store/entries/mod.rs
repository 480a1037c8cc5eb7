//! Entries: appended, listed, counted by group, followed, read by resource, and erased.

pub(super) mod append;
mod around;
pub(super) mod erase;
pub(super) mod follow;
pub(super) mod groups;
pub(super) mod history;
pub(super) mod list;
