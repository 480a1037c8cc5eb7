//! The state of a resource at a time: from the changes up to then, and from the old values of later ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::effect::{LifeEvent, LifeTracker, changes, is_erased};
use super::fields::{HeldFields, NextErased};
use super::paths::{above, beginnings, below, is_above, overlap};
use super::values::name_bytes;
use super::{Basis, EntryRef, Existence, FieldState, LifeActions, MAX_ANOMALIES, ResourceState, TooManyFields};
use crate::domain::{Change, Entry, Timestamp};

/// Folds the entries of a resource into its state at a time.
#[derive(Debug)]
pub struct StateFold {
    life: LifeTracker,
    /// The end of the time, exclusive.
    before: Timestamp,
    /// Only fields that overlap with one of these are listed; all if there are none.
    prefixes: Vec<String>,
    existence: Existence,
    since: Option<Arc<EntryRef>>,
    anomalies: Vec<Arc<EntryRef>>,
    erased: u64,
    /// The listed fields: those written up to that time, and those inferred from later entries. The sources of the
    /// latter are later.
    fields: HeldFields,
    later: LaterWrites,
}

/// The entries after the time, as far as they belong to its life.
#[derive(Debug, Default)]
struct LaterWrites {
    /// The paths that were written, without those below another. For each, the bytes that its name takes, which are 0 if
    /// the field holds the name.
    paths: BTreeMap<Arc<str>, usize>,
    /// The first erased entry.
    erased: NextErased,
    is_over: bool,
}

impl StateFold {
    /// Without entries. `before` is the end of the time, exclusive. If there are `prefixes`, only these fields and those
    /// above and below them are listed.
    pub fn new(actions: LifeActions, before: Timestamp, prefixes: Vec<String>) -> Self {
        Self {
            life: LifeTracker::new(actions),
            before,
            prefixes,
            existence: Existence::Unknown,
            since: None,
            anomalies: Vec::new(),
            erased: 0,
            fields: HeldFields::default(),
            later: LaterWrites::default(),
        }
    }

    /// Adds the next entry of the resource. Errors: the names of the listed fields do not fit.
    pub fn push(&mut self, entry: &Entry) -> Result<(), TooManyFields> {
        if entry.timestamp < self.before { self.push_before(entry) } else { self.push_after(entry) }
    }

    /// Whether no later entry can change the state.
    pub fn is_over(&self) -> bool {
        self.later.is_over
    }

    /// The state after all entries.
    pub fn finish(self) -> ResourceState {
        let Self { life: _, before, prefixes: _, existence, since, anomalies, erased, fields, later: _ } = self;
        let fields = fields.into_fields().map(|(name, field, value)| {
            let basis = match field.next_erased.get() {
                Some(_) => Basis::Uncertain,
                None if field.source.timestamp < before => Basis::Recorded,
                None => Basis::Inferred,
            };
            FieldState { field: name.to_string(), value, basis, source: field.source, is_partial: field.is_partial }
        });
        ResourceState { existence, since, fields: fields.collect(), anomalies, erased }
    }

    fn push_before(&mut self, entry: &Entry) -> Result<(), TooManyFields> {
        let Some(event) = self.life.next(entry) else { return Ok(()) };
        let source = EntryRef::of(entry);
        match event {
            LifeEvent::Begins => {
                self.existence = Existence::Exists;
                self.since = Some(Arc::clone(&source));
                self.fields = HeldFields::default();
                self.record(entry, &source)
            }
            LifeEvent::Continues => {
                self.existence = Existence::Exists;
                self.record(entry, &source)
            }
            LifeEvent::Ends => {
                self.existence = Existence::Deleted;
                self.since = Some(source);
                self.fields = HeldFields::default();
                Ok(())
            }
            LifeEvent::Follows => {
                if !changes(entry).is_empty() && self.anomalies.len() < MAX_ANOMALIES {
                    self.anomalies.push(source);
                }
                Ok(())
            }
        }
    }

    /// Writes the changes of an entry up to the time.
    fn record(&mut self, entry: &Entry, source: &Arc<EntryRef>) -> Result<(), TooManyFields> {
        if is_erased(entry) {
            self.erased += 1;
            self.fields.erase(source);
        }
        for Change { field, old_value: _, new_value } in changes(entry) {
            if self.is_listed(field) {
                self.fields.write(field, new_value, source)?;
            } else {
                self.fields.mark_partial(field);
            }
        }
        Ok(())
    }

    fn push_after(&mut self, entry: &Entry) -> Result<(), TooManyFields> {
        if self.later.is_over {
            return Ok(());
        }
        match self.life.next(entry) {
            None => return Ok(()),
            Some(LifeEvent::Continues) => {}
            Some(LifeEvent::Ends) => self.later.is_over = true,
            // At the time, the resource was deleted, or it was in a life that is over now.
            Some(LifeEvent::Begins | LifeEvent::Follows) => {
                self.later.is_over = true;
                return Ok(());
            }
        }
        let source = EntryRef::of(entry);
        if is_erased(entry) && self.later.erased.get().is_none() {
            self.later.erased = NextErased::of(&source);
        }
        changes(entry).iter().try_for_each(|change| self.infer(change, &source))
    }

    /// Takes the old value of a change after the time, if it is still the value at the time.
    fn infer(&mut self, change: &Change, source: &Arc<EntryRef>) -> Result<(), TooManyFields> {
        let Change { field, old_value, new_value: _ } = change;
        let is_listed = self.is_listed(field);
        let path = if is_listed { field.as_str() } else { self.unlisted_beginning(field) };
        let written = &self.later.paths;
        if written.contains_key(path) || above(written, path).next().is_some() {
            return Ok(());
        }
        let overwritten: Vec<_> = below(written, path).map(|(name, _)| Arc::clone(name)).collect();
        let (name, bytes) = if is_listed && !self.fields.has(path) {
            let basis = (self.later.erased.clone(), !overwritten.is_empty());
            (self.fields.infer(path, old_value, source, basis)?, 0)
        } else {
            (self.fields.values.hold_name(path)?, name_bytes(path))
        };
        for name in overwritten {
            let bytes = self.later.paths.remove(&name).unwrap_or(0);
            self.fields.values.release_name_bytes(bytes);
        }
        self.later.paths.insert(name, bytes);
        Ok(())
    }

    fn is_listed(&self, path: &str) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| overlap(prefix, path))
    }

    /// The shortest path at or above `path` that is not listed. It stands for all of them: the listed fields above are
    /// the same.
    fn unlisted_beginning<'p>(&self, path: &'p str) -> &'p str {
        let is_listed = |path: &str| self.prefixes.iter().any(|prefix| is_above(path, prefix));
        beginnings(path).find(|beginning| !is_listed(beginning)).unwrap_or(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Outcome;
    use crate::history::fixtures::{
        ACCESSED, ACTIONS, CREATED, DELETED, at, entry, erased, of_service, second, update, with_outcome,
    };
    use crate::history::{MAX_VALUE_BYTES, ShownValue};

    fn state_of(entries: &[Entry], seconds: i64, prefixes: &[&str]) -> ResourceState {
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        // Up to the end of the second.
        let mut fold = StateFold::new(ACTIONS, second(seconds).plus(1), prefixes);
        entries.iter().for_each(|entry| fold.push(entry).expect("few fields"));
        fold.finish()
    }

    /// `field=value source basis`, with a star if the field is partial.
    fn shown(state: &ResourceState) -> Vec<String> {
        let field = |field: &FieldState| {
            let FieldState { field, value, basis, source, is_partial } = field;
            let value = match value {
                ShownValue::Known(json) => json.as_str(),
                ShownValue::LeftOut => "left out",
            };
            let basis = match basis {
                Basis::Recorded => "recorded",
                Basis::Inferred => "inferred",
                Basis::Uncertain => "uncertain",
            };
            format!("{field}={value} {} {basis}{}", source.seq, if *is_partial { " *" } else { "" })
        };
        state.fields.iter().map(field).collect()
    }

    fn fields(entries: &[Entry], seconds: i64) -> Vec<String> {
        shown(&state_of(entries, seconds, &[]))
    }

    #[test]
    fn a_field_is_recorded_or_inferred_from_the_next_old_value() {
        let entries = [
            update(1, &[("a", "0", "1")]),
            update(2, &[("b", "null", "2"), ("a", "1", "3")]),
            update(3, &[("c", "4", "5"), ("c", "5", "6")]),
        ];
        assert_eq!(fields(&entries, 2), ["a=3 2 recorded", "b=2 2 recorded", "c=4 3 inferred"]);
        assert_eq!(fields(&entries, 1), ["a=1 1 recorded", "b=null 2 inferred", "c=4 3 inferred"]);
        assert_eq!(fields(&entries, 0), ["a=0 1 inferred", "b=null 2 inferred", "c=4 3 inferred"]);
    }

    #[test]
    fn a_later_write_drops_what_is_below_and_makes_what_is_above_partial() {
        let entries = [
            update(1, &[("a", "null", "{}"), ("a.b", "null", "1"), ("a.b.c", "null", "2"), ("ab", "0", "1")]),
            update(2, &[("a.b", "1", "3")]),
            update(3, &[("a", "{}", "null")]),
        ];
        assert_eq!(
            fields(&entries, 1),
            ["a={} 1 recorded *", "a.b=1 1 recorded *", "a.b.c=2 1 recorded", "ab=1 1 recorded"]
        );
        assert_eq!(fields(&entries, 2), ["a={} 1 recorded *", "a.b=3 2 recorded", "ab=1 1 recorded"]);
        assert_eq!(fields(&entries, 3), ["a=null 3 recorded", "ab=1 1 recorded"]);
    }

    #[test]
    fn an_old_value_counts_only_before_any_write_at_or_above() {
        let entries = [
            update(2, &[("a.b", "1", "2"), ("x..y", "1", "2")]),
            update(3, &[("a", r#"{"b":2}"#, "{}")]),
            update(
                4,
                &[("a.b", "null", "3"), ("a.c", "4", "5"), ("x.", "{}", "1"), ("x", "{}", "1"), ("x.z", "1", "2")],
            ),
        ];
        let inferred = [
            r#"a={"b":2} 3 inferred *"#,
            "a.b=1 2 inferred",
            "x={} 4 inferred *",
            "x.={} 4 inferred *",
            "x..y=1 2 inferred",
        ];
        assert_eq!(fields(&entries, 1), inferred);
    }

    #[test]
    fn a_creation_begins_without_fields_and_a_deletion_leaves_none() {
        let entries = [
            update(1, &[("a", "null", "1")]),
            entry(2, DELETED, &[("a", "1", "null"), ("b", "2", "null")]),
            update(3, &[("a", "null", "7")]),
            entry(4, DELETED, &[]),
            entry(5, DELETED, &[("a", "7", "null")]),
            entry(6, CREATED, &[("c", "null", "3")]),
            entry(7, CREATED, &[]),
            update(8, &[("d", "4", "5")]),
            entry(9, CREATED, &[("e", "1", "2")]),
        ];
        let at = |seconds| {
            let state = state_of(&entries, seconds, &[]);
            let anomalies: Vec<_> = state.anomalies.iter().map(|entry| entry.seq).collect();
            (state.existence, state.since.as_ref().map(|entry| entry.seq), anomalies, shown(&state))
        };
        let list = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        assert_eq!(at(0), (Existence::Unknown, None, vec![], list(&["a=null 1 inferred", "b=2 2 inferred"])));
        assert_eq!(at(1), (Existence::Exists, None, vec![], list(&["a=1 1 recorded", "b=2 2 inferred"])));
        assert_eq!(at(2), (Existence::Deleted, Some(2), vec![], vec![]));
        assert_eq!(at(5), (Existence::Deleted, Some(2), vec![3, 5], vec![]));
        assert_eq!(at(6), (Existence::Exists, Some(6), vec![3, 5], list(&["c=3 6 recorded"])));
        assert_eq!(at(7), (Existence::Exists, Some(7), vec![3, 5], list(&["d=4 8 inferred"])));
        assert_eq!(at(9), (Existence::Exists, Some(9), vec![3, 5], list(&["e=2 9 recorded"])));
    }

    #[test]
    fn entries_without_effect_are_ignored() {
        let entries = [
            with_outcome(update(1, &[("a", "0", "1")]), Outcome::Failure),
            of_service(update(2, &[("a", "0", "1")])),
            entry(3, ACCESSED, &[]),
            with_outcome(entry(4, DELETED, &[]), Outcome::Denied),
        ];
        assert_eq!(state_of(&entries, 2, &[]).existence, Existence::Unknown);
        let state = state_of(&entries, 4, &[]);
        assert_eq!((state.existence, state.since, state.fields), (Existence::Exists, None, vec![]));
    }

    #[test]
    fn an_erased_entry_between_a_value_and_the_time_makes_it_uncertain() {
        let entries = [
            update(1, &[("a", "0", "1"), ("b", "0", "1")]),
            erased(update(2, &[("a", "1", "2")])),
            update(3, &[("b", "1", "2"), ("c", "3", "4")]),
            erased(update(4, &[])),
            update(5, &[("c", "4", "5"), ("d", "6", "7")]),
        ];
        assert_eq!(fields(&entries, 3), ["a=1 1 uncertain", "b=2 3 recorded", "c=4 3 recorded", "d=6 5 uncertain"]);
        assert_eq!(fields(&entries, 1), ["a=1 1 recorded", "b=1 1 recorded", "c=3 3 uncertain", "d=6 5 uncertain"]);
        // An erasure in another life, or by a failed action, says nothing.
        let entries = [
            erased(update(1, &[])),
            entry(2, CREATED, &[("a", "null", "1")]),
            with_outcome(erased(update(3, &[])), Outcome::Failure),
            update(4, &[("b", "1", "2")]),
        ];
        assert_eq!(fields(&entries, 2), ["a=1 2 recorded", "b=1 4 inferred"]);
    }

    #[test]
    fn the_order_is_that_of_time_and_then_of_numbers() {
        let entries = [at(5, update(9, &[("a", "null", "1")])), at(5, update(10, &[("a", "1", "2")])), update(6, &[])];
        assert_eq!(fields(&entries, 5), ["a=2 10 recorded"]);
        assert_eq!(fields(&entries, 4), ["a=null 9 inferred"]);
    }

    #[test]
    fn prefixes_list_the_fields_that_overlap_with_one() {
        let entries = [
            update(
                1,
                &[("a", "null", "{}"), ("a.b", "0", "1"), ("a.b.c", "0", "1"), ("a.c", "0", "1"), ("ab", "0", "1")],
            ),
            update(2, &[("x.y.z", "0", "1"), ("x.b", "0", "1"), ("x", "{}", "1"), ("x.b", "1", "2"), ("y", "0", "1")]),
        ];
        let listed = |prefixes: &[&str]| {
            let state = state_of(&entries, 1, prefixes);
            // The same fields as without prefixes.
            let all = shown(&state_of(&entries, 1, &[]));
            let fields = shown(&state);
            assert!(fields.iter().all(|field| all.contains(field)), "{fields:?} {all:?}");
            state.fields.into_iter().map(|field| field.field).collect::<Vec<_>>()
        };
        assert_eq!(listed(&["a.b"]), ["a", "a.b", "a.b.c"]);
        assert_eq!(listed(&["a.d"]), ["a"]);
        assert_eq!(listed(&["a.c", "y"]), ["a", "a.c", "y"]);
        assert_eq!(listed(&["x.b"]), ["x", "x.b"]);
        assert_eq!(listed(&["x.c.d"]), ["x"]);
        assert_eq!(listed(&["z", ""]), Vec::<String>::new());
    }

    #[test]
    fn values_beyond_the_limit_are_left_out_and_named() {
        let large = format!("\"{}\"", "x".repeat(MAX_VALUE_BYTES / 4 - 2));
        let large = large.as_str();
        let mut entries: Vec<_> =
            (1..).zip(["a", "b", "c", "d"]).map(|(seq, path)| update(seq, &[(path, "null", large)])).collect();
        let is_left_out = |entries: &[Entry]| {
            let fields = state_of(entries, 9, &[]).fields;
            fields.into_iter().map(|field| field.value == ShownValue::LeftOut).collect::<Vec<_>>()
        };
        assert_eq!(is_left_out(&entries), [false; 4]);
        entries.push(update(5, &[("e", "null", "1")]));
        assert_eq!(is_left_out(&entries), [false, false, false, true, false]);
        entries.push(update(6, &[("a", large, "null"), ("f", "null", large)]));
        assert_eq!(is_left_out(&entries), [false, false, false, true, false, false]);
    }

    #[test]
    fn only_the_first_anomalies_are_listed() {
        let mut entries = vec![entry(1, DELETED, &[])];
        entries.extend((2..200).map(|seq| update(seq, &[("a", "0", "1")])));
        let anomalies = state_of(&entries, 200, &[]).anomalies;
        assert_eq!((anomalies.len(), anomalies[0].seq), (MAX_ANOMALIES, 2));
    }
}
