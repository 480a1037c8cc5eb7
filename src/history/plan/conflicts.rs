//! Entries outside of the selection that change what it changed.

use std::sync::Arc;

use crate::history::{EntryRef, StepStatus};

/// Entries outside of the selection: the first one, a path that it changed, and their number.
#[derive(Debug)]
pub(super) struct OtherEntries {
    first: Arc<EntryRef>,
    field: String,
    entries: u64,
}

impl OtherEntries {
    /// Adds a later entry to `others`.
    pub fn add(others: &mut Option<Self>, entry: &Arc<EntryRef>, field: &str) {
        match others {
            Some(others) => others.entries += 1,
            None => *others = Some(Self { first: Arc::clone(entry), field: field.to_owned(), entries: 1 }),
        }
    }

    /// The status of a step that would undo them, too.
    pub fn into_status(self) -> StepStatus {
        let Self { first, field, entries } = self;
        StepStatus::Conflict { by: first, field: Some(field), entries }
    }
}
