//! A naive check, which compares only changes of the very same path, and what the check of continuity says of its breaks.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::continuity::{Change, Comparison, Outcome};
use super::resources::PastEntry;
use super::values::are_equal;

/// The comparisons of the naive check, and its breaks by their fate.
#[derive(Default)]
pub struct NaiveCheck {
    pub compared: i64,
    pub breaks: BTreeMap<Fate, i64>,
}

/// The verdict of the check of continuity on a change with a naive break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// An unexplained break of the same field.
    SameField,
    /// An unexplained break with a field that overlaps and was written in between.
    OverlappingField,
    /// A break of the class `order`.
    Order,
    /// No break: a field that overlaps was written in between, and its value fits.
    Overwritten,
    /// A field that overlaps was written in between, and the values do not show the common part.
    NotComparable,
    /// The other value is of another life.
    OtherLife,
}

impl Fate {
    fn of(found: &[&Comparison<'_>], is_unexplained: bool) -> Self {
        let breaks: Vec<_> = found.iter().filter(|one| one.outcome == Outcome::Break).collect();
        if found.is_empty() {
            Self::OtherLife
        } else if breaks.iter().any(|one| is_unexplained && one.earlier.field == one.later.field) {
            Self::SameField
        } else if !breaks.is_empty() {
            if is_unexplained { Self::OverlappingField } else { Self::Order }
        } else if found.iter().any(|one| one.outcome == Outcome::NotComparable) {
            Self::NotComparable
        } else {
            Self::Overwritten
        }
    }

    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameField => "unexplained break of the same field",
            Self::OverlappingField => "unexplained break with an overlapping field that was written in between",
            Self::Order => "break of the class `order`: an entry came late",
            Self::Overwritten => "no break: an overlapping field was written in between, and fits",
            Self::NotComparable => "not comparable: an overlapping field was written in between",
            Self::OtherLife => "not compared: the value before is of another life",
        }
    }
}

impl NaiveCheck {
    /// Adds a resource, which begins anew after each deletion. `comparisons` are those of the check of continuity, and
    /// `unexplained` has the changes with such a break.
    pub fn add<'a>(
        &mut self,
        entries: &[&'a PastEntry],
        comparisons: &[Comparison<'a>],
        unexplained: &HashSet<Change<'a>>,
    ) {
        let mut by_change = HashMap::<Change<'a>, Vec<&Comparison<'a>>>::new();
        for comparison in comparisons {
            by_change.entry(comparison.change()).or_default().push(comparison);
        }
        let mut last = HashMap::<&'a str, &'a str>::new();
        for entry in entries.iter().copied() {
            for change in &entry.changes {
                let Some(written) = last.insert(&change.field, change.new_json()) else { continue };
                self.compared += 1;
                if !are_equal(written, change.old_json()) {
                    let change: Change<'a> = (entry.seq, &change.field);
                    let found = by_change.get(&change).map(Vec::as_slice).unwrap_or_default();
                    *self.breaks.entry(Fate::of(found, unexplained.contains(&change))).or_default() += 1;
                }
            }
            if entry.action == "deleted" {
                last.clear();
            }
        }
    }
}
