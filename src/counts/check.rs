//! Compares running counts and the index of names with the entries themselves.

use std::collections::BTreeMap;

use super::EntryCounter;
use super::index::CountedEntry;
use crate::domain::{CountKey, Counts, OrganizationId, Position, PositionRange, Seq};
use crate::error::Result;
use crate::store::{KeyCounts, LevelPosition};

/// The number of entries read at once.
const PIECE: i64 = 10_000;

/// The result of checking an organization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountCheck {
    /// The organization's last number.
    pub head: Seq,
    /// Entries up to this number are counted.
    pub counted: Seq,
    /// The number of keys (the organization, users, resources) that have running counts.
    pub keys: usize,
    /// The number of running counts of these keys.
    pub counts: usize,
    /// The wrong counts.
    pub faults: Vec<WrongCount>,
}

/// A count that differs from the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongCount {
    /// The key of the wrong count.
    pub key: CountKey,
    /// The difference.
    pub what: String,
}

impl EntryCounter {
    /// Compares the running counts of each key of `organization`, and its names, with its entries. Calls `progress` with each key
    /// before it is checked. Entries may be counted meanwhile. Errors: there is no such organization.
    pub async fn check(
        &self,
        organization: &OrganizationId,
        mut progress: impl FnMut(&CountKey),
    ) -> Result<CountCheck> {
        let lag = self.lag(organization).await?;
        let mut checked = CountCheck { head: lag.head, counted: lag.counted, ..CountCheck::default() };
        for key in self.store.counted_keys(organization).await? {
            progress(&key);
            let Some(counts) = self.store.key_counts(organization, &key).await? else { continue };
            checked.keys += 1;
            checked.counts += counts.running_counts.len();
            let mut counting = Counting::of(&counts);
            let mut after = Position::START;
            loop {
                let span = PositionRange { after, to: Position::END };
                let entries = self.store.entries(organization, &key, span, counts.counted, PIECE).await?;
                entries.iter().for_each(|entry| counting.pass(*entry));
                match entries.last() {
                    Some((last, _)) => after = *last,
                    None => break,
                }
            }
            let faults = counting.end(&counts).into_iter().map(|what| WrongCount { key: key.clone(), what });
            checked.faults.extend(faults);
        }
        let names = self.store.wrong_names(organization).await?;
        if names > 0 {
            let what = format!("has {names} names that are wrong or missing in the index of names");
            checked.faults.push(WrongCount { key: CountKey::Organization, what });
        }
        Ok(checked)
    }
}

/// Compares each running count as entries are counted in their order.
struct Counting {
    /// The running counts that are not compared yet, the next one last.
    coming: Vec<(Position, i16, Counts)>,
    all: Counts,
    /// The counts up to the last level-0 count.
    below: Counts,
    newest: Position,
    tail: i64,
    faults: Vec<String>,
}

impl Counting {
    fn of(counts: &KeyCounts) -> Self {
        let by_position: &BTreeMap<LevelPosition, Counts> = &counts.running_counts;
        let mut coming: Vec<_> =
            by_position.iter().map(|((level, position), counts)| (*position, *level, counts.clone())).collect();
        coming.sort_by_key(|(position, level, _)| std::cmp::Reverse((*position, *level)));
        let (all, below) = (Counts::default(), Counts::default());
        Self { coming, all, below, newest: Position::START, tail: 0, faults: Vec::new() }
    }

    fn pass(&mut self, (position, kind): CountedEntry) {
        self.counts_before(position);
        if self.all.add(kind).is_err() {
            self.faults.push("has more entries than a count can hold".to_owned());
        }
        self.newest = position;
        self.tail += 1;
    }

    /// Compares the running counts before `position`.
    fn counts_before(&mut self, position: Position) {
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

    fn end(mut self, counts: &KeyCounts) -> Vec<String> {
        self.counts_before(Position { seq: Seq::MAX, ..Position::END });
        let total = &counts.total;
        if total.counts.bytes() != self.all.bytes() {
            self.faults.push(format!("has {} entries and a count of {}", self.all.total(), total.counts.total()));
        }
        if (total.newest, total.tail) != (self.newest, self.tail) {
            self.faults.push("has a wrong end".to_owned());
        }
        self.faults
    }
}
