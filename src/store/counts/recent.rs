//! The entries that this process committed most recently, with only the fields that counting depends on. The counting job
//! takes them from here: to read them from the table costs more than the rest of its work. Entries that are not here
//! are read from the table.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{OrganizationId, Seq};
use crate::store::model::UncountedEntry;

/// The number of entries that are kept, some 4 MB: more than come between two ticks of the counting job.
const MAX_ENTRIES: usize = 10_000;

/// Committed entries that may not be counted yet, in runs without gaps.
#[derive(Default)]
pub(in crate::store) struct Recent(Mutex<Runs>);

#[derive(Default)]
struct Runs {
    runs: HashMap<OrganizationId, Vec<UncountedEntry>>,
    entries: usize,
}

impl Recent {
    /// Keeps committed entries, which come in the order of their numbers.
    pub(in crate::store) fn keep(&self, committed: Vec<(OrganizationId, UncountedEntry)>) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.entries + committed.len() > MAX_ENTRIES {
            *runs = Runs::default();
        }
        let Runs { runs, entries } = &mut *runs;
        for (organization, entry) in committed {
            let run = runs.entry(organization).or_default();
            // Another process wrote in between, or the log was taken back to an earlier time.
            if run.last().is_some_and(|last| last.position.seq + 1 != entry.position.seq) {
                *entries -= run.len();
                run.clear();
            }
            run.push(entry);
            *entries += 1;
        }
    }

    /// Removes and returns the entries up to `to`, as far back as they are here. Empty if `to` is not among them.
    pub(in crate::store) fn take(&self, organization: &OrganizationId, to: Seq) -> Vec<UncountedEntry> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Runs { runs, entries } = &mut *runs;
        let Some(run) = runs.get_mut(organization) else { return Vec::new() };
        let length = run.partition_point(|entry| entry.position.seq <= to);
        let taken: Vec<_> = run.drain(..length).collect();
        if run.is_empty() {
            runs.remove(organization);
        }
        *entries -= taken.len();
        match taken.last() {
            Some(last) if last.position.seq == to => taken,
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Action, EntryKind, Identifier, Position, ResourceType, Timestamp};
    use crate::store::model::EntryNames;

    fn organization(name: &str) -> OrganizationId {
        OrganizationId::parse(name.to_owned()).expect("a name")
    }

    fn entry(seq: Seq) -> UncountedEntry {
        let [user, resource] = ["u", "r"].map(|id| Identifier::parse(id.to_owned()).expect("an id"));
        let position = Position { timestamp: Timestamp::MIN, seq };
        let kind = EntryKind { resource_type: ResourceType(0), action: Action(0), outcome: None };
        UncountedEntry { position, recorded_at: Timestamp::MIN, kind, user, resource, names: EntryNames::default() }
    }

    fn keep(recent: &Recent, name: &str, seqs: std::ops::RangeInclusive<Seq>) {
        recent.keep(seqs.map(|seq| (organization(name), entry(seq))).collect());
    }

    fn taken(recent: &Recent, name: &str, to: Seq) -> Vec<Seq> {
        recent.take(&organization(name), to).iter().map(|entry| entry.position.seq).collect()
    }

    #[test]
    fn committed_entries_are_returned_once_and_up_to_the_requested_number() {
        let recent = Recent::default();
        keep(&recent, "a", 5..=7);
        keep(&recent, "b", 1..=2);
        keep(&recent, "a", 8..=9);
        assert_eq!(taken(&recent, "a", 8), [5, 6, 7, 8]);
        assert_eq!(taken(&recent, "a", 8), [0; 0]);
        assert_eq!(taken(&recent, "a", 9), [9]);
        assert_eq!(taken(&recent, "b", 3), [0; 0], "the last one is not known");
    }

    #[test]
    fn a_gap_or_a_step_back_begins_a_new_run() {
        let recent = Recent::default();
        keep(&recent, "a", 1..=5);
        keep(&recent, "a", 8..=9);
        assert_eq!(taken(&recent, "a", 9), [8, 9]);
        keep(&recent, "a", 10..=20);
        keep(&recent, "a", 15..=16);
        assert_eq!(taken(&recent, "a", 16), [15, 16]);
    }

    #[test]
    fn the_number_of_kept_entries_is_limited() {
        let recent = Recent::default();
        for turn in 0..7 {
            keep(&recent, &format!("o{turn}"), 1..=3_000);
            let runs = recent.0.lock().expect("a lock");
            assert_eq!(runs.entries, runs.runs.values().map(Vec::len).sum::<usize>());
            assert!(runs.entries <= MAX_ENTRIES);
        }
    }
}
