//! The check of continuity of a resource, by its definition.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use auditlog::grpc::pb::ContinuityBreak;

use super::resources::{PastEntry, Resource};
use super::values::{are_equal, beginnings, overlap, part, rest};

/// The number of an entry, and the path of one of its changes.
pub type Change<'a> = (i64, &'a str);

/// A break, as an answer has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundBreak<'a> {
    resource: (&'a str, &'a str),
    later: Change<'a>,
    earlier: Change<'a>,
    written: &'a str,
    found: &'a str,
    pub class: &'a str,
}

impl<'a> FoundBreak<'a> {
    /// The break of an answer.
    pub fn answered(found: &'a ContinuityBreak) -> Self {
        let ContinuityBreak {
            resource_type,
            resource_id,
            field,
            earlier_field,
            earlier,
            later,
            written_json,
            found_json,
            left_out: _,
            class,
            explanation: _,
        } = found;
        let [earlier, later] = [earlier, later].map(|entry| entry.as_ref().expect("an entry").sequence);
        let [written, found] = [written_json, found_json].map(|json| json.as_deref().unwrap_or("left out"));
        let (later, earlier) = ((later, field.as_str()), (earlier, earlier_field.as_str()));
        Self { resource: (resource_type.as_str(), resource_id.as_str()), later, earlier, written, found, class }
    }
}

/// A change in a life of a resource.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// The place among the changes of the life.
    place: usize,
    pub seq: i64,
    pub field: &'a str,
    old: &'a str,
    new: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Equal,
    Break,
    NotComparable,
}

/// A change, and an earlier one that it is compared with.
pub struct Comparison<'a> {
    pub earlier: Write<'a>,
    pub later: Write<'a>,
    /// The value of the longer path, as the earlier change wrote it and as the later one found it. `None` if the other
    /// value does not show it.
    values: Option<(&'a str, &'a str)>,
    pub outcome: Outcome,
}

impl<'a> Comparison<'a> {
    fn of(earlier: Write<'a>, later: Write<'a>) -> Self {
        let values = if let Some(below) = rest(later.field, earlier.field) {
            let is_apart = later.old == "null" && earlier.new != "null";
            part(later.old, below).filter(|_| !is_apart).map(|found| (earlier.new, found))
        } else if let Some(below) = rest(earlier.field, later.field) {
            part(earlier.new, below).map(|written| (written, later.old))
        } else {
            Some((earlier.new, later.old))
        };
        let outcome = match values {
            None => Outcome::NotComparable,
            Some((written, found)) if are_equal(written, found) => Outcome::Equal,
            Some(_) => Outcome::Break,
        };
        Self { earlier, later, values, outcome }
    }

    /// The number of the later entry, and the path of its change.
    pub fn change(&self) -> Change<'a> {
        (self.later.seq, self.later.field)
    }

    /// The break; `None` if the values are equal or cannot be compared.
    pub fn found(&self, resource: Resource, unexplained: &HashSet<Change<'a>>) -> Option<FoundBreak<'a>> {
        let (written, found) = self.values.filter(|_| self.outcome == Outcome::Break)?;
        let class = if unexplained.contains(&self.change()) { "unexplained" } else { "order" };
        let earlier = (self.earlier.seq, self.earlier.field);
        Some(FoundBreak { resource, later: self.change(), earlier, written, found, class })
    }
}

/// The changes of each life, in order.
fn lives<'a>(entries: &[&'a PastEntry]) -> Vec<Vec<Write<'a>>> {
    let (mut lives, mut is_over) = (vec![Vec::new()], false);
    for entry in entries.iter().copied() {
        if entry.action == "created" {
            lives.push(Vec::new());
            is_over = false;
        }
        let Some(life) = lives.last_mut().filter(|_| !is_over) else { continue };
        for change in &entry.changes {
            let (place, old, new) = (life.len(), change.old_json(), change.new_json());
            life.push(Write { place, seq: entry.seq, field: &change.field, old, new });
        }
        is_over = entry.action == "deleted";
    }
    lives
}

/// The earlier changes that a change of `field` is compared with. `last` has the last change of each path.
fn predecessors<'a>(last: &BTreeMap<&'a str, Write<'a>>, field: &str) -> Vec<Write<'a>> {
    let whole = beginnings(field).chain([field]).filter_map(|path| last.get(path)).max_by_key(|write| write.place);
    let since = whole.map_or(0, |write| write.place + 1);
    // `/` is the character after the dot.
    let (start, end) = (format!("{field}."), format!("{field}/"));
    let range = (Bound::Included(start.as_str()), Bound::Excluded(end.as_str()));
    let below: Vec<_> = last.range::<str, _>(range).map(|(_, write)| *write).collect();
    let below: Vec<_> = below.into_iter().filter(|write| write.place >= since).collect();
    let is_changed_later =
        |write: &Write<'a>| below.iter().any(|other| other.place > write.place && overlap(other.field, write.field));
    let latest: Vec<_> = below.iter().copied().filter(|write| !is_changed_later(write)).collect();
    if latest.is_empty() { whole.copied().into_iter().collect() } else { latest }
}

/// Compares all changes of a resource.
pub fn compared<'a>(entries: &[&'a PastEntry]) -> Vec<Comparison<'a>> {
    let mut comparisons = Vec::new();
    for life in lives(entries) {
        let mut last = BTreeMap::new();
        for later in life {
            let earlier = predecessors(&last, later.field).into_iter();
            comparisons.extend(earlier.map(|earlier| Comparison::of(earlier, later)));
            last.insert(later.field, later);
        }
    }
    comparisons
}

/// The changes that have a break in the order in which their entries were recorded. `comparisons` are those of
/// `entries`.
pub fn unexplained<'a>(entries: &[&'a PastEntry], comparisons: &[Comparison<'a>]) -> HashSet<Change<'a>> {
    let breaks = |comparisons: &[Comparison<'a>]| -> HashSet<Change<'a>> {
        let breaks = comparisons.iter().filter(|one| one.outcome == Outcome::Break);
        breaks.map(Comparison::change).collect()
    };
    if entries.is_sorted_by_key(|entry| entry.seq) {
        return breaks(comparisons);
    }
    let mut recorded = entries.to_vec();
    recorded.sort_by_key(|entry| entry.seq);
    breaks(&compared(&recorded))
}
