//! The effect of an entry on its resource, and the lives of a resource.

use std::sync::Arc;

use super::{EntryRef, LifeActions};
use crate::domain::{Change, Entry, Group, Outcome, Position};

/// An entry with an effect, as a part of the lives of its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LifeEvent {
    /// It begins a life. Its changes are writes in this life.
    Begins,
    /// Its changes are writes in the present life.
    Continues,
    /// Its changes are writes in the present life, which it then ends.
    Ends,
    /// The life has ended before. If it has changes, it is an anomaly.
    Follows,
}

/// Tells the lives of a resource apart. The first one begins before the first entry.
#[derive(Debug)]
pub(super) struct LifeTracker {
    actions: LifeActions,
    is_ended: bool,
}

impl LifeTracker {
    pub fn new(actions: LifeActions) -> Self {
        Self { actions, is_ended: false }
    }

    /// The part of the next entry. `None`: the entry has no effect. Such are entries of the service itself, and those
    /// of actions that failed or were denied.
    pub fn next(&mut self, entry: &Entry) -> Option<LifeEvent> {
        let content = &entry.content;
        if content.id.is_service() || matches!(content.outcome, Some(Outcome::Failure | Outcome::Denied)) {
            return None;
        }
        let action = Some(content.action);
        Some(if action == self.actions.created {
            self.is_ended = false;
            LifeEvent::Begins
        } else if self.is_ended {
            LifeEvent::Follows
        } else if action == self.actions.deleted {
            self.is_ended = true;
            LifeEvent::Ends
        } else {
            LifeEvent::Continues
        })
    }
}

impl EntryRef {
    /// The reference to `entry`.
    pub(super) fn of(entry: &Entry) -> Arc<Self> {
        let content = &entry.content;
        Arc::new(Self {
            seq: entry.seq,
            id: content.id.clone(),
            timestamp: entry.timestamp,
            user_id: content.user_id.clone(),
        })
    }

    /// The position of the entry among those of its resource.
    pub(super) fn position(&self) -> Position {
        Position { timestamp: self.timestamp, seq: self.seq }
    }
}

/// Whether the changes of `entry` were erased.
pub(super) fn is_erased(entry: &Entry) -> bool {
    entry.erased.has(Group::Content)
}

/// The changes of `entry`, in their order. None if they were erased.
pub(super) fn changes(entry: &Entry) -> &[Change] {
    if is_erased(entry) { &[] } else { &entry.content.changes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::fixtures::{
        ACCESSED, ACTIONS, CREATED, DELETED, UPDATED, entry, erased, of_service, with_outcome,
    };

    #[test]
    fn a_creation_always_begins_a_life_and_a_deletion_ends_it_once() {
        let mut life = LifeTracker::new(ACTIONS);
        let mut next = |action| life.next(&entry(1, action, &[]));
        assert_eq!(next(UPDATED), Some(LifeEvent::Continues));
        assert_eq!(next(CREATED), Some(LifeEvent::Begins));
        assert_eq!(next(CREATED), Some(LifeEvent::Begins));
        assert_eq!(next(ACCESSED), Some(LifeEvent::Continues));
        assert_eq!(next(DELETED), Some(LifeEvent::Ends));
        assert_eq!(next(DELETED), Some(LifeEvent::Follows));
        assert_eq!(next(UPDATED), Some(LifeEvent::Follows));
        assert_eq!(next(CREATED), Some(LifeEvent::Begins));
    }

    #[test]
    fn entries_of_the_service_and_of_actions_that_were_not_done_have_no_effect() {
        let mut life = LifeTracker::new(ACTIONS);
        for without in [
            with_outcome(entry(1, DELETED, &[]), Outcome::Failure),
            with_outcome(entry(2, DELETED, &[]), Outcome::Denied),
            of_service(entry(3, DELETED, &[])),
        ] {
            assert_eq!(life.next(&without), None);
        }
        assert_eq!(life.next(&with_outcome(entry(4, DELETED, &[]), Outcome::Success)), Some(LifeEvent::Ends));
    }

    #[test]
    fn without_a_catalogue_entry_no_action_begins_or_ends_a_life() {
        let mut life = LifeTracker::new(LifeActions { created: None, deleted: None, accessed: None });
        assert_eq!(life.next(&entry(1, DELETED, &[])), Some(LifeEvent::Continues));
        assert_eq!(life.next(&entry(2, CREATED, &[])), Some(LifeEvent::Continues));
    }

    #[test]
    fn an_erased_entry_has_no_changes() {
        let written = entry(1, UPDATED, &[("a", "1", "2")]);
        assert_eq!((changes(&written).len(), is_erased(&written)), (1, false));
        let erased = erased(written);
        assert_eq!((changes(&erased).len(), is_erased(&erased)), (0, true));
    }
}
