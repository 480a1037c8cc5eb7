//! Entries of the selection that one step undoes.

use std::sync::Arc;

use crate::history::{EntryRef, PlanStep, StepAction, StepStatus};

/// The selected entries of a step.
#[derive(Debug, Default)]
pub(super) struct SelectedEntries {
    /// The oldest and the newest.
    ends: Option<(Arc<EntryRef>, Arc<EntryRef>)>,
    entries: u64,
}

impl SelectedEntries {
    /// Adds an entry, in any order.
    pub fn add(&mut self, entry: &Arc<EntryRef>) {
        self.append(Self { ends: Some((Arc::clone(entry), Arc::clone(entry))), entries: 1 });
    }

    /// Adds other entries.
    pub fn append(&mut self, other: Self) {
        let Self { ends, entries } = other;
        self.entries += entries;
        self.ends = match (self.ends.take(), ends) {
            (Some((oldest, newest)), Some((other_oldest, other_newest))) => Some((
                if other_oldest.position() < oldest.position() { other_oldest } else { oldest },
                if other_newest.position() > newest.position() { other_newest } else { newest },
            )),
            (own, other) => own.or(other),
        };
    }

    /// The oldest entry.
    pub fn oldest(&self) -> Option<&Arc<EntryRef>> {
        self.ends.as_ref().map(|(oldest, _)| oldest)
    }

    /// The step that undoes the entries. `None` if there are none.
    pub fn into_step(self, action: StepAction, status: StepStatus) -> Option<PlanStep> {
        let Self { ends, entries } = self;
        Some(PlanStep { action, status, undoes: ends?, entries })
    }
}
