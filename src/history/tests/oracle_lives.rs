//! The lives of a resource and the writes in them, found by a look at all entries for each question.

use std::ops::Range;
use std::sync::Arc;

use crate::domain::{Action, Change, Entry, Group, Outcome};
use crate::history::model::{EntryRef, LifeActions};

/// The entries of a resource. An entry is named by its index.
#[derive(Clone, Copy)]
pub(super) struct OracleLog<'e> {
    pub actions: LifeActions,
    /// In order.
    pub entries: &'e [Entry],
}

/// A change of a field in a life of the resource.
#[derive(Clone, Copy)]
pub(super) struct OracleWrite<'e> {
    pub place: usize,
    /// The entry that began the life; `None` for the first life.
    pub life: Option<usize>,
    pub change: &'e Change,
}

impl<'e> OracleLog<'e> {
    pub fn has_effect(self, place: usize) -> bool {
        let content = &self.entries[place].content;
        !content.id.is_service() && !matches!(content.outcome, Some(Outcome::Failure | Outcome::Denied))
    }

    /// Whether the entry has this action, and an effect.
    pub fn does(self, place: usize, action: Option<Action>) -> bool {
        self.has_effect(place) && action == Some(self.entries[place].content.action)
    }

    pub fn creates(self, place: usize) -> bool {
        self.does(place, self.actions.created)
    }

    pub fn deletes(self, place: usize) -> bool {
        self.does(place, self.actions.deleted)
    }

    /// Whether an entry with an effect has lost its changes.
    pub fn is_erased(self, place: usize) -> bool {
        self.has_effect(place) && self.entries[place].erased.has(Group::Content)
    }

    /// The first erased entry of `places`.
    pub fn erased_in(self, mut places: Range<usize>) -> Option<usize> {
        places.find(|place| self.is_erased(*place))
    }

    pub fn changes(self, place: usize) -> &'e [Change] {
        if !self.has_effect(place) || self.is_erased(place) {
            return &[];
        }
        &self.entries[place].content.changes
    }

    /// The life that the first `end` entries lead to: the entries that began and ended it. Only the first deletion of a
    /// life ends it.
    pub fn life_after(self, end: usize) -> (Option<usize>, Option<usize>) {
        let begin = (0..end).rev().find(|place| self.creates(*place));
        let after = begin.map_or(0, |begin| begin + 1);
        (begin, (after..end).find(|place| self.deletes(*place)))
    }

    /// The entry that began the life that the entry is in.
    pub fn begin_of(self, place: usize) -> Option<usize> {
        self.life_after(place + 1).0
    }

    /// Whether the entry comes after a deletion and before the next creation.
    pub fn is_after_deletion(self, place: usize) -> bool {
        !self.creates(place) && self.life_after(place).1.is_some()
    }

    /// Whether the entry changes what is deleted.
    pub fn is_anomaly(self, place: usize) -> bool {
        self.is_after_deletion(place) && !self.changes(place).is_empty()
    }

    /// All changes within lives, in order.
    pub fn writes(self) -> Vec<OracleWrite<'e>> {
        let mut writes = Vec::new();
        for place in (0..self.entries.len()).filter(|place| !self.is_after_deletion(*place)) {
            let life = self.begin_of(place);
            writes.extend(self.changes(place).iter().map(|change| OracleWrite { place, life, change }));
        }
        writes
    }

    pub fn named(self, place: usize) -> Arc<EntryRef> {
        let Entry { seq, timestamp, recorded_at: _, writer_key_id: _, erased: _, content } = &self.entries[place];
        let (id, user_id) = (content.id.clone(), content.user_id.clone());
        Arc::new(EntryRef { seq: *seq, id, timestamp: *timestamp, user_id })
    }
}
