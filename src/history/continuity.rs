//! Whether each change begins with the value that the change before it wrote.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::effect::{LifeEvent, LifeTracker, changes, is_erased};
use super::fields::{HeldField, HeldFields};
use super::json::JsonWalker;
use super::paths::{above, below, rest_below};
use super::values::{HeldValue, ValueWalker};
use super::{BreakClass, ContinuityBreak, ContinuityCounts, EntryRef, LifeActions, ShownValue, TooManyFields};
use crate::domain::{Change, Entry, JsonText, Seq};

/// Checks the changes of a resource, entry by entry.
#[derive(Debug)]
pub struct ContinuityFold {
    life: LifeTracker,
    fields: HeldFields,
    walker: ValueWalker,
    counts: ContinuityCounts,
    last_seq: Seq,
    is_in_recorded_order: bool,
}

impl ContinuityFold {
    /// Without entries.
    pub fn new(actions: LifeActions) -> Self {
        Self {
            life: LifeTracker::new(actions),
            fields: HeldFields::default(),
            walker: ValueWalker::default(),
            counts: ContinuityCounts::default(),
            last_seq: 0,
            is_in_recorded_order: true,
        }
    }

    /// Adds the next entry, and returns the breaks whose later write is in it. All are of class `Unexplained` so far.
    /// Errors: there are too many fields.
    pub fn push(&mut self, entry: &Entry) -> Result<Vec<ContinuityBreak>, TooManyFields> {
        self.counts.entries += 1;
        self.is_in_recorded_order &= self.last_seq < entry.seq;
        self.last_seq = entry.seq;
        let event = match self.life.next(entry) {
            None | Some(LifeEvent::Follows) => return Ok(Vec::new()),
            Some(event) => event,
        };
        if event == LifeEvent::Begins {
            self.forget_fields();
        }
        self.walker.begin_entry(entry.content.size());
        let source = EntryRef::of(entry);
        if is_erased(entry) {
            self.fields.erase(&source);
        }
        let mut breaks = Vec::new();
        let fitting = fitting_before(&self.fields, &mut self.walker, changes(entry), &source);
        for (index, change) in changes(entry).iter().enumerate() {
            let mut check = check_write(&self.fields, &mut self.walker, change, &source);
            check.allow(fitting.contains(&index));
            self.counts.compared += check.compared;
            self.counts.not_comparable += check.not_comparable;
            breaks.extend(check.breaks);
            self.fields.write(&change.field, &change.new_value, &source)?;
        }
        if event == LifeEvent::Ends {
            self.forget_fields();
        }
        Ok(breaks)
    }

    fn forget_fields(&mut self) {
        (self.fields, self.walker) = (HeldFields::default(), ValueWalker::default());
    }

    /// The numbers so far.
    pub fn counts(&self) -> ContinuityCounts {
        self.counts
    }

    /// Whether the entries came in ascending order of their numbers. Then no break is of class `Order`.
    pub fn is_in_recorded_order(&self) -> bool {
        self.is_in_recorded_order
    }
}

/// Sets the class of `breaks`. `remaining` has the breaks in recorded order: the number of the later entry, and the path
/// of its change.
pub fn classify(breaks: &mut [ContinuityBreak], remaining: &HashSet<(Seq, String)>) {
    for one in breaks {
        let remains = remaining.contains(&(one.later.seq, one.field.clone()));
        one.class = if remains { BreakClass::Unexplained } else { BreakClass::Order };
    }
}

/// A write, compared with the earlier ones that it follows.
#[derive(Debug, Default)]
pub(super) struct WriteCheck {
    pub compared: u64,
    pub not_comparable: u64,
    pub breaks: Vec<ContinuityBreak>,
}

/// The paths and entries of two writes.
#[derive(Clone, Copy)]
struct WritePair<'a> {
    earlier: (&'a str, &'a HeldField),
    later: (&'a str, &'a Arc<EntryRef>),
}

impl WriteCheck {
    /// Drops breaks within one entry if the old value fits what was there before the entry.
    pub fn allow(&mut self, fits_before: bool) {
        if fits_before {
            self.breaks.retain(|found| found.earlier.seq != found.later.seq);
        }
    }

    fn compare(&mut self, pair: WritePair<'_>, written: &HeldValue, found: &JsonText) {
        self.compared += 1;
        if written.is(found) {
            return;
        }
        let WritePair { earlier: (earlier_field, earlier), later: (field, later) } = pair;
        self.breaks.push(ContinuityBreak {
            field: field.to_owned(),
            earlier_field: earlier_field.to_owned(),
            earlier: Arc::clone(&earlier.source),
            later: Arc::clone(later),
            written: written.clone().into(),
            found: ShownValue::Known(found.clone()),
            class: BreakClass::Unexplained,
        });
    }
}

/// The places of changes whose old values fit what was there before their entry `later`. Only those are looked for that
/// follow a change of an overlapping path in the entry: some writers give old values from before the whole entry. The
/// others are compared with what the changes before them wrote.
pub(super) fn fitting_before(
    fields: &HeldFields,
    walker: &mut ValueWalker,
    changes: &[Change],
    later: &Arc<EntryRef>,
) -> HashSet<usize> {
    let (mut fitting, mut seen) = (HashSet::new(), BTreeMap::<&str, ()>::new());
    for (index, change) in changes.iter().enumerate() {
        let path = change.field.as_str();
        let follows = above(&seen, path).next().is_some() || below(&seen, path).next().is_some();
        if follows && check_write(fields, walker, change, later).breaks.is_empty() {
            fitting.insert(index);
        }
        seen.insert(path, ());
    }
    fitting
}

/// Compares the old value of `change` with the values that `fields` have: of the fields below, or else of the field
/// itself or the nearest above. Values with an erased entry since are not compared. `later` is the entry of the change.
pub(super) fn check_write(
    fields: &HeldFields,
    walker: &mut ValueWalker,
    change: &Change,
    later: &Arc<EntryRef>,
) -> WriteCheck {
    let Change { field: path, old_value, new_value: _ } = change;
    let mut check = WriteCheck::default();
    let mut old = JsonWalker::default();
    let mut has_below = false;
    for (name, earlier) in fields.below(path) {
        has_below = true;
        if earlier.is_partial {
            // A later write below it is compared.
            continue;
        }
        let Some((written, rest)) = comparable(fields, earlier).zip(rest_below(path, name)) else { continue };
        let pair = WritePair { earlier: (&**name, earlier), later: (path.as_str(), later) };
        // A writer that takes objects apart calls an object `null`, and has changes of its fields beside that.
        let is_apart = *old_value == JsonText::null() && !written.is(old_value);
        match old.walk(old_value, rest).filter(|_| !is_apart) {
            Some(found) => check.compare(pair, written, &JsonText::stored(found.to_owned())),
            None => check.not_comparable += 1,
        }
    }
    if has_below {
        return check;
    }
    let Some((name, earlier)) = fields.nearest(path) else { return check };
    let Some(written) = comparable(fields, earlier) else { return check };
    let pair = WritePair { earlier: (&**name, earlier), later: (path.as_str(), later) };
    let Some(rest) = rest_below(name, path) else {
        check.compare(pair, written, old_value);
        return check;
    };
    let part = match written {
        HeldValue::Known(whole) => walker.walk(earlier.value, whole, rest).map(str::to_owned),
        HeldValue::LeftOut(_) => None,
    };
    match part {
        Some(part) => check.compare(pair, &HeldValue::Known(JsonText::stored(part)), old_value),
        None => check.not_comparable += 1,
    }
    check
}

/// The value of a field, unless an entry was erased since.
fn comparable<'f>(fields: &'f HeldFields, field: &HeldField) -> Option<&'f HeldValue> {
    match field.next_erased.get() {
        None => fields.values.get(field.value),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Outcome;
    use crate::history::MAX_VALUE_BYTES;
    use crate::history::fixtures::{ACTIONS, CREATED, DELETED, at, entry, erased, update, with_outcome};

    fn breaks_of(entries: &[Entry]) -> (Vec<ContinuityBreak>, ContinuityFold) {
        let mut fold = ContinuityFold::new(ACTIONS);
        let breaks = entries.iter().flat_map(|entry| fold.push(entry).expect("few fields")).collect();
        (breaks, fold)
    }

    /// The breaks as `earlier path>later path: written, found`, and the numbers of compared and not comparable pairs.
    fn checked(entries: &[Entry]) -> (Vec<String>, u64, u64) {
        let (breaks, fold) = breaks_of(entries);
        let value = |value: &ShownValue| match value {
            ShownValue::Known(json) => json.as_str().to_owned(),
            ShownValue::LeftOut => "left out".to_owned(),
        };
        let shown = breaks.iter().map(|one| {
            let (earlier, later) = (one.earlier.seq, one.later.seq);
            let paths = format!("{earlier} {}>{later} {}", one.earlier_field, one.field);
            format!("{paths}: {}, {}", value(&one.written), value(&one.found))
        });
        let counts = fold.counts();
        (shown.collect(), counts.compared, counts.not_comparable)
    }

    fn list(breaks: &[&str]) -> Vec<String> {
        breaks.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn the_value_written_before_must_be_the_next_old_value() {
        let entries = [
            update(1, &[("a", "0", "1"), ("b", "0", r#"{"x":1,"y":2}"#)]),
            update(2, &[("a", "1.0", "2"), ("b", r#"{"y":2,"x":10e-1}"#, "null")]),
            update(3, &[("a", "1", "3"), ("b", "null", "1"), ("c", "7", "8")]),
            update(4, &[("a", "3", "4"), ("a", "5", "6")]),
        ];
        assert_eq!(checked(&entries), (list(&["2 a>3 a: 2, 1", "4 a>4 a: 4, 5"]), 6, 0));
    }

    #[test]
    fn a_field_below_is_compared_with_a_part_of_the_one_above() {
        let entries = [
            update(1, &[("a", "null", r#"{"b":{"c":1},"x.y":2,"l":[1]}"#)]),
            update(2, &[("a.b.c", "1.0", "2"), ("a.b.d", "null", "3"), ("a.e.f", "5", "6")]),
            update(3, &[("a.x.y", "2", "3"), ("a.l.0", "1", "2"), ("ab", "1", "2")]),
        ];
        assert_eq!(checked(&entries), (list(&["1 a>2 a.e.f: null, 5"]), 3, 2));
    }

    #[test]
    fn a_field_above_is_compared_with_those_below_that_were_not_overwritten() {
        let entries = [
            update(1, &[("a", "null", r#"{"b":0,"z":1}"#)]),
            update(2, &[("a.b", "0", "1"), ("a.c.d", "null", "2"), ("a.c", r#"{"d":2}"#, r#"{"d":3}"#)]),
            update(3, &[("a", r#"{"b":1,"c":{"d":3},"z":9}"#, "{}")]),
            update(4, &[("a.q", "null", "1")]),
            update(5, &[("a", r#"{"q":2}"#, "7"), ("a", "7", "8")]),
            update(6, &[("a.q", "1", "2")]),
            update(7, &[("a", "8", "9")]),
        ];
        // The change of `a` in entry 3 is compared with those of `a.b` and `a.c`, and not with the one of `a`.
        assert_eq!(checked(&entries), (list(&["4 a.q>5 a: 1, 2"]), 8, 2));
    }

    #[test]
    fn old_values_of_one_entry_may_all_be_from_before_it() {
        let entries = [
            update(1, &[("a", "null", r#"{"b":1,"c":1}"#), ("d.e", "null", "1")]),
            update(2, &[("a", r#"{"b":1,"c":1}"#, r#"{"b":2,"c":1}"#), ("a.b", "1", "2")]),
            update(3, &[("a.b", "2", "3"), ("a", r#"{"b":2,"c":1}"#, r#"{"b":3,"c":1}"#)]),
            update(4, &[("a", r#"{"b":3,"c":1}"#, r#"{"b":4,"c":1}"#), ("a.b", "8", "4")]),
        ];
        // 8 fits neither what was there before entry 4 nor what that entry wrote first.
        assert_eq!(checked(&entries).0, list(&["4 a>4 a.b: 4, 8"]));
    }

    #[test]
    fn null_above_a_value_is_not_comparable() {
        let entries = [
            update(1, &[("a.b", "null", "1"), ("a.c", "1", "null")]),
            update(2, &[("a", "null", "2"), ("a.b", "1", "null"), ("a.c", "null", "null")]),
        ];
        // Of `a`, `null` fits `a.c`. What is below the number that it got is not known.
        assert_eq!(checked(&entries), (list(&[]), 1, 3));
    }

    #[test]
    fn other_lives_anomalies_and_erased_entries_are_not_compared() {
        let entries = [
            entry(1, CREATED, &[("a", "null", "1")]),
            with_outcome(update(2, &[("a", "8", "9")]), Outcome::Denied),
            entry(3, DELETED, &[("a", "1", "null")]),
            update(4, &[("a", "5", "6")]),
            entry(5, CREATED, &[("a", "2", "3")]),
            entry(6, CREATED, &[("a", "4", "5"), ("b", "0", "1")]),
            erased(update(7, &[("a", "5", "6")])),
            update(8, &[("a", "7", "8")]),
            update(9, &[("a", "8", "9"), ("b.c", "1", "2")]),
        ];
        assert_eq!(checked(&entries), (vec![], 2, 0));
        assert_eq!(breaks_of(&entries).1.counts().entries, 9);
    }

    #[test]
    fn empty_segments_and_empty_paths_are_keys() {
        let entries = [
            update(1, &[("", "null", r#"{"":{"b":1}}"#), ("a", "null", r#"{"":{"c":2}}"#)]),
            update(2, &[("..b", "1", "2"), ("a..c", "2", "3"), ("a.", r#"{"c":4}"#, "null")]),
        ];
        assert_eq!(checked(&entries), (list(&["2 a..c>2 a.: 3, 4"]), 3, 0));
    }

    #[test]
    fn a_break_that_vanishes_in_recorded_order_is_of_class_order() {
        // Entry 2 came late: it happened before entry 1.
        let (one, two) = (at(5, update(1, &[("a", "0", "1")])), at(4, update(2, &[("a", "1", "2")])));
        let three = at(6, update(3, &[("a", "2", "3"), ("b", "0", "1")]));
        let four = at(7, update(4, &[("b", "5", "6")]));
        let (mut breaks, fold) = breaks_of(&[two.clone(), one.clone(), three.clone(), four.clone()]);
        assert!(!fold.is_in_recorded_order());
        let (remaining, fold) = breaks_of(&[one, two, three, four]);
        assert!(fold.is_in_recorded_order());
        let remaining = remaining.into_iter().map(|one| (one.later.seq, one.field)).collect();
        classify(&mut breaks, &remaining);
        let classes: Vec<_> = breaks.iter().map(|one| (one.later.seq, one.class)).collect();
        let (order, unexplained) = (BreakClass::Order, BreakClass::Unexplained);
        assert_eq!(classes, [(1, order), (3, order), (4, unexplained)]);
    }

    #[test]
    fn a_value_that_was_left_out_is_still_compared() {
        let large = format!("\"{}\"", "x".repeat(MAX_VALUE_BYTES - 2));
        let large = large.as_str();
        let entries = [
            update(1, &[("a", "null", large), ("b", "null", large), ("c", "null", large), ("d", "null", "1")]),
            update(2, &[("a", large, "1"), ("b", "5", "1"), ("c.d", "null", "1")]),
        ];
        assert_eq!(checked(&entries), (list(&["1 b>2 b: left out, 5"]), 2, 1));
    }
}
