//! Compares counts with the entries themselves.

use std::collections::BTreeMap;

use super::Folder;
use super::ladder::Counted;
use crate::domain::{Counts, Key, OrganizationId, Position, PositionRange, Seq};
use crate::error::Result;
use crate::store::{KeyMarks, Rung};

/// Entries read at once.
const PIECE: i64 = 10_000;

/// The result of checking an organization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Its last number.
    pub head: Seq,
    /// How far its counts reach.
    pub folded: Seq,
    /// Keys that have marks.
    pub keys: usize,
    /// Their marks.
    pub marks: usize,
    /// The differences that were found.
    pub faults: Vec<Fault>,
}

/// A count that is not what the entries say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key of the wrong count.
    pub key: Key,
    /// The difference.
    pub what: String,
}

impl Folder {
    /// Counts the entries of each key of `organization` that has marks, and tells its name before. What is folded
    /// meanwhile does no harm.
    pub async fn check(&self, organization: &OrganizationId, mut told: impl FnMut(&Key)) -> Result<Checked> {
        let lag = self.lag(organization).await?;
        let mut checked = Checked { head: lag.head, folded: lag.folded, ..Checked::default() };
        for key in self.store.marked_keys(organization).await? {
            told(&key);
            let Some(marks) = self.store.key_marks(organization, &key).await? else { continue };
            checked.keys += 1;
            checked.marks += marks.rungs.len();
            let mut counting = Counting::of(&marks);
            let mut after = Position::START;
            loop {
                let span = PositionRange { after, to: Position::END };
                let entries = self.store.entries(organization, &key, span, marks.folded, PIECE).await?;
                entries.iter().for_each(|entry| counting.pass(*entry));
                match entries.last() {
                    Some((last, _)) => after = *last,
                    None => break,
                }
            }
            let faults = counting.end(&marks).into_iter().map(|what| Fault { key: key.clone(), what });
            checked.faults.extend(faults);
        }
        Ok(checked)
    }
}

/// Marks passed while entries are counted in their order.
struct Counting {
    /// Marks that are still to come, by position.
    coming: Vec<(Position, i16, Counts)>,
    all: Counts,
    /// Up to the last super mark.
    below: Counts,
    newest: Position,
    tail: i64,
    faults: Vec<String>,
}

impl Counting {
    fn of(marks: &KeyMarks) -> Self {
        let by_rung: &BTreeMap<Rung, Counts> = &marks.rungs;
        let mut coming: Vec<_> =
            by_rung.iter().map(|((level, position), counts)| (*position, *level, counts.clone())).collect();
        coming.sort_by_key(|(position, level, _)| std::cmp::Reverse((*position, *level)));
        let (all, below) = (Counts::default(), Counts::default());
        Self { coming, all, below, newest: Position::START, tail: 0, faults: Vec::new() }
    }

    fn pass(&mut self, (position, leaf): Counted) {
        self.marks_before(position);
        if self.all.add(leaf).is_err() {
            self.faults.push("has more entries than a count can hold".to_owned());
        }
        self.newest = position;
        self.tail += 1;
    }

    /// Compares the marks that lie before `position`.
    fn marks_before(&mut self, position: Position) {
        while self.coming.last().is_some_and(|(at, ..)| *at < position) {
            let Some((at, level, counts)) = self.coming.pop() else { return };
            let expected = if level == 0 { Ok(self.all.clone()) } else { self.all.minus(&self.below) };
            if expected.map(|expected| expected.bytes()) != Ok(counts.bytes()) {
                let count = counts.total();
                self.faults.push(format!("has a wrong count of {count} at {} (number {})", at.timestamp, at.seq));
            }
            if level == 0 {
                self.below = self.all.clone();
            }
            self.tail = 0;
        }
    }

    fn end(mut self, marks: &KeyMarks) -> Vec<String> {
        self.marks_before(Position { seq: Seq::MAX, ..Position::END });
        let whole = &marks.whole;
        if whole.counts.bytes() != self.all.bytes() {
            self.faults.push(format!("has {} entries and a count of {}", self.all.total(), whole.counts.total()));
        }
        if (whole.newest, whole.tail) != (self.newest, self.tail) {
            self.faults.push("has a wrong end".to_owned());
        }
        self.faults
    }
}
