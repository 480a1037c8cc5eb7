//! Plans of small histories. An entry is selected or not; its number is its second.

use super::*;
use crate::domain::Outcome;
use crate::history::fixtures::{
    ACCESSED, ACTIONS, CREATED, DELETED, UPDATED, at, entry, erased, of_service, update, with_outcome,
};
use crate::history::{MAX_VALUE_BYTES, ShownValue};

fn steps(entries: &[(bool, Entry)]) -> Vec<PlanStep> {
    let mut fold = PlanFold::new(ACTIONS);
    entries.iter().for_each(|(is_selected, entry)| fold.push(entry, *is_selected).expect("few fields"));
    fold.finish(&mut FieldReader::default())
}

fn value(value: &ShownValue) -> &str {
    match value {
        ShownValue::Known(json) => json.as_str(),
        ShownValue::LeftOut => "left out",
    }
}

fn known(fields: &[(String, ShownValue)]) -> String {
    fields.iter().map(|(field, known)| format!("{field}={}", value(known))).collect::<Vec<_>>().join(" ")
}

/// A step as `action | status | oldest-newest x entries`.
fn shown(step: &PlanStep) -> String {
    let PlanStep { action, status, undoes: (oldest, newest), entries } = step;
    let action = match action {
        StepAction::Restore { field, restore, expected } => {
            format!("{field}: {} to {}", expected.as_ref().map_or("unknown", value), value(restore))
        }
        StepAction::Delete { fields } => format!("delete {}", known(fields)),
        StepAction::Recreate { fields, unknown } => {
            format!("recreate {} without [{}]", known(fields), unknown.join(" "))
        }
        StepAction::Nothing => "nothing".to_owned(),
    };
    let status = match status {
        StepStatus::Ready => "ready".to_owned(),
        StepStatus::Noop => "noop".to_owned(),
        StepStatus::Conflict { by, field, entries } => {
            format!("conflict of {entries} from {} {}", by.seq, field.as_deref().unwrap_or("-"))
        }
        StepStatus::Uncertain { erased } => format!("uncertain {}", erased.seq),
        StepStatus::Broken { by } => format!("broken {}", by.seq),
        StepStatus::Impossible => "impossible".to_owned(),
    };
    format!("{action} | {status} | {}-{} x{entries}", oldest.seq, newest.seq)
}

fn plan(entries: &[(bool, Entry)]) -> Vec<String> {
    steps(entries).iter().map(shown).collect()
}

#[test]
fn a_field_gets_the_old_value_of_its_earliest_undone_change() {
    let entries = [
        (false, update(1, &[("a", "0", "1"), ("c", "0", "1")])),
        (true, update(2, &[("a", "1", "2"), ("b", "null", "5"), ("a", "2", "3")])),
        (false, update(3, &[("ab", "1", "2")])),
        (true, update(4, &[("a", "3", "4")])),
    ];
    let expected = ["b: 5 to null | ready | 2-2 x1", "a: 4 to 1 | ready | 2-4 x2"];
    assert_eq!(plan(&entries), expected);
}

#[test]
fn a_field_that_has_its_old_value_needs_nothing() {
    let entries = [(true, update(1, &[("a", "1", "2")])), (true, update(2, &[("a", "2", "1.0")]))];
    assert_eq!(plan(&entries), ["a: 1.0 to 1 | noop | 1-2 x2"]);
    // Somebody else has already set it back.
    let entries = [(true, update(1, &[("a", "1", "2")])), (false, update(2, &[("a", "2", "1")]))];
    assert_eq!(plan(&entries), ["a: 1 to 1 | noop | 1-1 x1"]);
    // With a change above or below, the equal value may be a part of what others want.
    for others in [[("a.b", "null", "2"), ("a.b", "2", "null")], [("a.b", "null", "null"), ("c", "1", "2")]] {
        let entries = [(true, update(1, &[("a", r#"{"b":null}"#, "{}")])), (false, update(2, &others))];
        assert_eq!(plan(&entries), [r#"a: {"b":null} to {"b":null} | conflict of 1 from 2 a.b | 1-1 x1"#]);
    }
}

#[test]
fn other_entries_that_changed_an_overlapping_path_are_a_conflict() {
    let entries = [
        (false, update(1, &[("a.b", "null", "0"), ("a", "null", "null")])),
        (true, update(2, &[("a.b", "0", "1"), ("d", "0", "1")])),
        (false, update(3, &[("ab", "0", "1"), ("a.b.c", "null", "1"), ("a.b.d", "null", "1")])),
        (false, update(4, &[("a.b.c", "1", "2"), ("a.b", "1", "2"), ("a", "null", "null"), ("a.b", "null", "1")])),
        (false, with_outcome(update(5, &[("a", "null", "1")]), Outcome::Denied)),
        (false, update(6, &[("a.c", "null", "1"), ("d.e", "null", "1"), ("d.f", "1", "2")])),
        (true, update(7, &[("a.b", "1", "9"), ("d", "1", "3"), ("a", "null", "8")])),
        (false, update(8, &[("a", "8", "7"), ("a", "7", "6")])),
    ];
    let expected = [
        "a: 6 to null | conflict of 1 from 8 a | 7-7 x1",
        "d: 3 to 0 | conflict of 1 from 6 d.e | 2-7 x2",
        "a.b: unknown to 0 | conflict of 3 from 3 a.b.c | 2-7 x2",
    ];
    assert_eq!(plan(&entries), expected);
}

#[test]
fn an_erased_entry_after_the_earliest_change_makes_its_step_uncertain() {
    let entries = [
        (false, erased(update(1, &[("a", "0", "1")]))),
        (true, update(2, &[("a", "1", "2")])),
        (true, erased(update(3, &[("a", "2", "3")]))),
        (true, update(4, &[("a", "3", "1"), ("b", "1", "2")])),
        (true, erased(entry(5, ACCESSED, &[]))),
        (false, with_outcome(erased(update(6, &[])), Outcome::Failure)),
    ];
    let expected =
        ["b: 2 to 1 | uncertain 5 | 4-4 x1", "a: 1 to 1 | uncertain 3 | 2-4 x2", "nothing | uncertain 3 | 3-5 x2"];
    assert_eq!(plan(&entries), expected);
}

#[test]
fn a_break_after_the_earliest_change_makes_its_step_broken() {
    let entries = [
        (false, update(1, &[("a", "0", "1"), ("b", "0", "1")])),
        // The break at the earliest change itself says nothing about later ones.
        (true, update(2, &[("a", "1", "2"), ("b", "7", "2"), ("c.d", "null", "1")])),
        (true, update(3, &[("a", "5", "6"), ("b", "2", "3"), ("c", r#"{"d":5}"#, "{}")])),
        (true, update(4, &[("a", "6", "9")])),
    ];
    let expected = [
        r#"c: {} to {"d":5} | ready | 3-3 x1"#,
        "c.d: 5 to null | broken 3 | 2-2 x1",
        "b: 3 to 7 | ready | 2-3 x2",
        "a: 9 to 1 | broken 3 | 2-4 x3",
    ];
    assert_eq!(plan(&entries), expected);
}

#[test]
fn overlapping_fields_are_restored_from_the_newest_to_the_oldest() {
    let entries = [
        (false, update(1, &[("a", "null", r#"{"b":1,"n":1.50}"#)])),
        (true, update(2, &[("a.b", "1", "2")])),
        (true, update(3, &[("a", r#"{"b":2,"n":1.5}"#, r#"{"b":3}"#)])),
        (true, update(4, &[("a.b", "3", "4")])),
    ];
    let expected = [r#"a: {"b":4} to {"b":2,"n":1.5} | ready | 3-3 x1"#, "a.b: 2 to 1 | ready | 2-4 x2"];
    assert_eq!(plan(&entries), expected);
    // Within one entry, the last change is undone first.
    let entries = [
        (false, update(1, &[("a", "null", "{}")])),
        (true, update(2, &[("a.b", "null", "1"), ("a", r#"{"b":1}"#, r#"{"b":2}"#), ("a.c", "null", "3")])),
    ];
    let expected = [
        "a.c: 3 to null | ready | 2-2 x1",
        r#"a: {"b":2,"c":null} to {"b":1} | ready | 2-2 x1"#,
        "a.b: 1 to null | ready | 2-2 x1",
    ];
    assert_eq!(plan(&entries), expected);
}

#[test]
fn only_ready_steps_change_what_the_next_ones_expect() {
    let entries = [
        (false, update(1, &[("a", "null", "{}")])),
        (true, update(2, &[("a.b", "null", "1")])),
        (true, update(3, &[("a", r#"{"b":1}"#, r#"{"b":5}"#)])),
        (false, update(4, &[("a.c", "null", "6")])),
    ];
    let expected =
        [r#"a: {"b":5,"c":6} to {"b":1} | conflict of 1 from 4 a.c | 3-3 x1"#, "a.b: 5 to null | ready | 2-2 x1"];
    assert_eq!(plan(&entries), expected);
}

#[test]
fn a_ready_step_may_expect_a_value_that_is_unknown() {
    let entries = [(true, update(1, &[("a", "null", "[1]")])), (true, update(2, &[("a.0", "1", "2")]))];
    assert_eq!(plan(&entries), ["a.0: 2 to 1 | ready | 2-2 x1", "a: unknown to null | ready | 1-1 x1"]);
}

#[test]
fn a_field_below_a_value_without_fields_is_undone_with_that_value() {
    for last in ["\"off\"", "[1]", "null"] {
        let entries = [
            (true, update(1, &[("c", r#"{"k":1}"#, r#"{"k":2}"#)])),
            (true, update(2, &[("c.b", "null", "1")])),
            (true, update(3, &[("c", r#"{"k":2,"b":1}"#, last)])),
        ];
        let expected = if last == "null" { "null" } else { "unknown" };
        let below = format!("c.b: {expected} to null | noop | 2-2 x1");
        assert_eq!(plan(&entries), [below, format!(r#"c: {last} to {{"k":1}} | ready | 1-3 x2"#)]);
    }
    // The step above has a conflict, so that nobody knows whether there will be an object.
    let entries = [
        (true, update(1, &[("c", r#"{"k":1}"#, r#"{"k":2}"#)])),
        (false, update(2, &[("c.k", "2", "3")])),
        (true, update(3, &[("c.b", "null", "1")])),
        (true, update(4, &[("c", r#"{"k":3,"b":1}"#, "1")])),
    ];
    let conflict = "conflict of 1 from 2 c.k";
    let expected =
        [format!("c.b: unknown to null | {conflict} | 3-3 x1"), format!(r#"c: 1 to {{"k":1}} | {conflict} | 1-4 x2"#)];
    assert_eq!(plan(&entries), expected);
    // A scalar from before the selection: the entries do not fit together.
    let entries = [(true, update(1, &[("c.b", "0", "1")])), (true, update(2, &[("c", "7", r#"{"b":2}"#)]))];
    assert_eq!(plan(&entries)[1], "c.b: unknown to 0 | noop | 1-1 x1");
}

#[test]
fn a_creation_is_undone_by_a_deletion() {
    let mut entries = vec![
        (true, entry(1, CREATED, &[("a", "null", "1")])),
        (true, update(2, &[("a", "1", "2")])),
        (false, entry(3, ACCESSED, &[])),
    ];
    assert_eq!(plan(&entries), ["delete a=2 | ready | 1-2 x2"]);
    entries.push((false, erased(update(4, &[]))));
    assert_eq!(plan(&entries), ["delete  | uncertain 4 | 1-2 x2"]);
    entries.push((false, update(5, &[("b", "0", "1"), ("a", "2", "3")])));
    entries.push((false, update(6, &[("a", "3", "4")])));
    entries.push((true, update(7, &[("c", "3", "4")])));
    assert_eq!(plan(&entries), ["delete a=4 b=1 c=4 | conflict of 2 from 5 b | 1-7 x3"]);
    entries.push((true, entry(8, DELETED, &[])));
    assert_eq!(plan(&entries), ["nothing | noop | 1-8 x4"]);
    entries.push((false, entry(9, CREATED, &[])));
    assert_eq!(plan(&entries), ["nothing | noop | 1-7 x3", "nothing | conflict of 1 from 9 - | 8-8 x1"]);
}

#[test]
fn a_deletion_is_undone_by_a_recreation_with_the_fields_before_it() {
    let mut entries = vec![
        (false, entry(1, CREATED, &[("a", "null", "1"), ("b", "null", "2"), ("c", "null", "{}"), ("d", "null", "3")])),
        (true, update(2, &[("a", "1", "5"), ("d", "3", "4")])),
        (true, update(3, &[("d", "4", "3"), ("c.x", "null", "1")])),
        (true, entry(4, DELETED, &[("b", "2", "null")])),
    ];
    let recreate = "recreate a=1 b=2 c={} c.x=null d=3 without []";
    assert_eq!(plan(&entries), [format!("{recreate} | ready | 2-4 x3")]);
    entries.push((false, update(5, &[("a", "null", "1")])));
    entries.push((true, update(6, &[("a", "1", "2")])));
    entries.push((false, entry(7, DELETED, &[("z", "1", "2")])));
    let conflict = format!("{recreate} | conflict of 2 from 5 a | 2-4 x3");
    assert_eq!(plan(&entries), [conflict, "nothing | impossible | 6-6 x1".to_owned()]);
}

#[test]
fn a_recreation_names_the_fields_that_are_unknown() {
    let entries = [
        (false, update(1, &[("a", "null", "1"), ("b", "null", "1")])),
        (false, erased(update(2, &[]))),
        (false, update(3, &[("b", "1", "2"), ("c", "1", "2")])),
        (false, erased(update(4, &[]))),
        (false, update(5, &[("c", "2", "3")])),
        (true, entry(6, DELETED, &[])),
    ];
    assert_eq!(plan(&entries), ["recreate c=3 without [a b] | uncertain 2 | 6-6 x1"]);
    let [a, erased, b, ..] = entries;
    let changed = (true, update(4, &[("b", "2", "3")]));
    let by_other = (false, update(5, &[("b", "3", "4")]));
    let entries = [a, erased, b, changed, by_other, (true, entry(6, DELETED, &[]))];
    assert_eq!(plan(&entries), ["recreate b=2 c=2 without [a] | conflict of 1 from 5 b | 4-6 x2"]);
}

#[test]
fn entries_of_ended_lives_have_nothing_left_to_undo() {
    let entries = [
        (true, update(1, &[("a", "0", "1")])),
        (false, entry(2, DELETED, &[])),
        (true, entry(3, CREATED, &[])),
        (true, update(4, &[("a", "null", "1")])),
        (false, entry(5, CREATED, &[])),
        (true, update(6, &[("a", "null", "1")])),
        (false, entry(7, DELETED, &[])),
    ];
    assert_eq!(plan(&entries), ["nothing | noop | 1-6 x4"]);
    let again = [(true, entry(1, DELETED, &[("a", "0", "1")])), (true, entry(2, CREATED, &[]))];
    assert_eq!(plan(&again), ["delete  | ready | 2-2 x1", "nothing | impossible | 1-1 x1"]);
}

#[test]
fn entries_without_an_inverse_are_named() {
    let entries = [
        (true, with_outcome(update(1, &[("a", "0", "1")]), Outcome::Failure)),
        (true, of_service(update(2, &[("a", "0", "1")]))),
        (true, entry(3, ACCESSED, &[])),
        (true, update(4, &[])),
        (true, erased(update(5, &[]))),
        (false, entry(6, DELETED, &[])),
        (true, entry(7, DELETED, &[])),
        (true, update(8, &[("a", "0", "1")])),
        (true, entry(9, UPDATED, &[])),
    ];
    let expected = ["nothing | noop | 1-7 x4", "nothing | impossible | 4-9 x3", "nothing | uncertain 5 | 5-5 x1"];
    assert_eq!(plan(&entries), expected);
    assert!(plan(&[(false, update(1, &[("a", "0", "1")]))]).is_empty());
    assert!(plan(&[]).is_empty());
}

#[test]
fn a_value_that_was_left_out_can_still_be_restored() {
    let large = format!("\"{}\"", "x".repeat(MAX_VALUE_BYTES / 2));
    let large = large.as_str();
    let entries = [(true, update(1, &[("a", large, "1"), ("b", large, "2")]))];
    let steps = steps(&entries);
    let restored = steps.iter().map(|step| match &step.action {
        StepAction::Restore { field, restore, expected } => {
            (field.as_str(), value(restore), expected.as_ref().map(value))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(restored.collect::<Vec<_>>(), [("b", "left out", Some("2")), ("a", large, Some("1"))]);
    assert!(steps.iter().all(|step| step.status == StepStatus::Ready));
}

#[test]
fn steps_of_several_resources_are_recreations_then_fields_then_deletions() {
    let of = |name: &'static str, entries: &[(bool, Entry)]| {
        steps(entries).into_iter().map(move |step| (name, step)).collect::<Vec<_>>()
    };
    let several = [
        of("c", &[(true, entry(1, CREATED, &[])), (true, with_outcome(update(9, &[]), Outcome::Denied))]),
        of("d", &[(true, update(2, &[("x", "0", "1"), ("y", "0", "1")])), (true, update(8, &[("z", "0", "1")]))]),
        of("b", &[(true, entry(3, CREATED, &[]))]),
        of("e", &[(true, at(4, entry(20, DELETED, &[])))]),
        of("f", &[(true, entry(5, DELETED, &[]))]),
        of("a", &[(true, update(6, &[("w", "0", "1")])), (true, update(7, &[]))]),
    ];
    let order = in_order(several.concat());
    let shown = order.into_iter().map(|(name, step)| match step.action {
        StepAction::Restore { field, .. } => format!("{name} {field}"),
        StepAction::Recreate { .. } => format!("{name} recreate"),
        StepAction::Delete { .. } => format!("{name} delete"),
        StepAction::Nothing => format!("{name} nothing"),
    });
    let expected =
        ["f recreate", "e recreate", "d z", "a w", "d y", "d x", "b delete", "c delete", "a nothing", "c nothing"];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[test]
fn an_object_that_was_taken_apart_becomes_null_before_its_fields_come_back() {
    let whole = update(1, &[("a.v", "null", r#""79""#), ("a.w.x", "null", "1")]);
    let apart = [("a", "null", r#""mirror""#), ("a.v", r#""79""#, "null"), ("a.w.x", "1", "null")];
    let expected = [
        "a: unknown to null | ready | 2-2 x1",
        "a.w.x: null to 1 | ready | 2-2 x1",
        r#"a.v: null to "79" | ready | 2-2 x1"#,
    ];
    assert_eq!(plan(&[(false, whole.clone()), (true, update(2, &apart))]), expected);
    // The steps before `a.v` change it, although it is already as it was.
    let back = update(3, &[("a.v", "null", r#""79""#)]);
    let statuses: Vec<_> = steps(&[(false, whole), (true, update(2, &apart)), (true, back)]);
    assert_eq!(statuses.iter().filter(|step| step.status == StepStatus::Ready).count(), 3);
    // Here, each change follows the one before it.
    let one_by_one = update(2, &[("a", "null", r#"{"v":2}"#), ("a.v", "2", "3")]);
    let expected = ["a.v: 3 to 2 | ready | 2-2 x1", r#"a: {"v":2} to null | ready | 2-2 x1"#];
    assert_eq!(plan(&[(true, one_by_one)]), expected);
}
