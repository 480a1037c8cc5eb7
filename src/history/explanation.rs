//! Sentences about the answers, for people. They quote ids, paths and values in a short form.

use std::collections::BTreeMap;

use super::check::FoundBreak;
use super::limits::{MAX_QUOTED_CHARACTERS, shortened};
use super::model::{
    Basis, BreakClass, ContinuityBreak, EntryRef, Existence, FieldDifference, FieldState, PlanStep, ResourceState,
    ShownValue, StepAction, StepStatus,
};
use super::service::{ComparisonAnswer, RollbackPlan, StateAnswer, WrittenValues};
use super::totals::CheckTotals;
use crate::domain::{Seq, Timestamp, json_equal, quoted};

fn value(value: &ShownValue) -> String {
    match value {
        ShownValue::Known(json) => shortened(json.as_str()),
        ShownValue::LeftOut => "a large value".to_owned(),
    }
}

/// A path or an id. It is quoted if it could be taken for a part of the sentence.
fn name(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_graphic() || letter.is_alphanumeric();
    match !text.is_empty() && text.len() <= MAX_QUOTED_CHARACTERS && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

fn user(entry: &EntryRef) -> String {
    name(entry.user_id.as_str())
}

/// A number with its noun, such as `3 entries` or `1 entry`.
fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn entries(number: u64) -> String {
    count(number, "entry", "entries")
}

/// A resource for a sentence, such as `assistant asst_abc123`.
pub fn resource(resource_type: &str, id: &str) -> String {
    format!("{resource_type} {}", name(id))
}

/// Summarizes a state. `at` is the time that was asked for.
pub fn state(resource: &str, at: Option<Timestamp>, answer: &StateAnswer) -> String {
    let ResourceState { existence, since, fields, anomalies, erased: _ } = &answer.state;
    let time = at.map_or_else(|| format!("As of sequence {}", answer.as_of), |at| format!("At {at}"));
    let by = |entry: &EntryRef, done: &str| format!("{} {done} it at {}", user(entry), entry.timestamp);
    let mut text = match (existence, since) {
        (Existence::Exists, Some(entry)) => format!("{time}, {resource} exists: {}.", by(entry, "created")),
        (Existence::Exists, None) => format!("{time}, {resource} exists. The log does not show its creation."),
        (Existence::Deleted, Some(entry)) => format!("{time}, {resource} is deleted: {}.", by(entry, "deleted")),
        (Existence::Deleted, None) => format!("{time}, {resource} is deleted."),
        (Existence::Unknown, _) => format!("{time}, no entry says whether {resource} exists."),
    };
    if *existence != Existence::Deleted {
        text.push_str(&known_fields(fields));
    }
    text.push_str(&after_deletion(anomalies.len()));
    text
}

fn known_fields(fields: &[FieldState]) -> String {
    let of = |basis: Basis| fields.iter().filter(|field| field.basis == basis).count();
    let mut text = format!(" {} known", count(fields.len() as u64, "field is", "fields are"));
    let notes: Vec<_> = [(Basis::Inferred, "inferred from later changes"), (Basis::Uncertain, "uncertain")]
        .into_iter()
        .filter(|(basis, _)| of(*basis) > 0)
        .map(|(basis, note)| format!("{} {note}", of(basis)))
        .collect();
    if !notes.is_empty() {
        text.push_str(&format!(", {}", notes.join(", ")));
    }
    text + "."
}

fn after_deletion(anomalies: usize) -> String {
    match anomalies {
        0 => String::new(),
        number => format!(" {} changed it after it was deleted.", entries(number as u64)),
    }
}

/// Says where the value of a field comes from.
pub fn field(field: &FieldState) -> String {
    let FieldState { field, value: known, basis, source, is_partial } = field;
    let (path, by, at, known) = (name(field), user(source), source.timestamp, value(known));
    let mut text = match basis {
        Basis::Recorded => format!("{path} was set to {known} by {by} at {at}."),
        Basis::Inferred => format!("{path} was {known}: {by} changed it from that value at {at}."),
        Basis::Uncertain => format!(
            "{path} was perhaps {known}, as the entry of {by} at {at} says. An entry in between was erased, which may \
             have changed it."
        ),
    };
    if *is_partial {
        text.push_str(" Fields below it were changed separately.");
    }
    text
}

/// Summarizes a comparison.
pub fn comparison(resource: &str, [from, to]: [Option<Timestamp>; 2], answer: &ComparisonAnswer) -> String {
    let time = |at: Option<Timestamp>| at.map_or_else(|| format!("sequence {}", answer.as_of), |at| at.to_string());
    let [earlier, later] = answer.existence.map(existence);
    let (fields, differ) = match answer.differences.len() {
        1 => ("1 field".to_owned(), "differs"),
        number => (format!("{number} fields"), "differ"),
    };
    let times = format!("Between {} and {}", time(from), time(to));
    let lives = match earlier == later {
        true => String::new(),
        false => format!(" At the first time it {earlier}, at the second it {later}."),
    };
    let erased = match answer.erased {
        0 => String::new(),
        1 => " 1 entry in between was erased, so more fields may differ.".to_owned(),
        number => format!(" {number} entries in between were erased, so more fields may differ."),
    };
    format!("{times}, {fields} of {resource} {differ}.{lives}{erased}{}", after_deletion(answer.anomalies.len()))
}

fn existence(existence: Existence) -> &'static str {
    match existence {
        Existence::Exists => "exists",
        Existence::Deleted => "is deleted",
        Existence::Unknown => "is unknown",
    }
}

/// Says how a field differs.
pub fn difference(difference: &FieldDifference) -> String {
    let FieldDifference { field, before, after } = difference;
    let path = name(field);
    match (before, after) {
        (Some(before), Some(after)) if before.value == after.value && after.value != ShownValue::LeftOut => {
            format!("{path} was {} at both times, but fields below it were changed separately.", value(&after.value))
        }
        (Some(before), Some(after)) => {
            let (from, to, basis) = (value(&before.value), value(&after.value), source(after));
            format!("{path} changed from {from} to {to}: {basis}.")
        }
        (None, Some(after)) => {
            format!("{path} is {} at the later time: {}. It is unknown before.", value(&after.value), source(after))
        }
        (Some(before), None) => {
            format!("{path} was {}, and is gone or unknown at the later time.", value(&before.value))
        }
        (None, None) => format!("{path} is unknown at both times."),
    }
}

/// The source of the value of a field, as a part of a sentence.
fn source(field: &FieldState) -> String {
    let (by, at) = (user(&field.source), field.source.timestamp);
    match field.basis {
        Basis::Recorded => format!("{by} set it at {at}"),
        Basis::Inferred => format!("{by} changed it from that value at {at}"),
        Basis::Uncertain => format!("an entry of {by} at {at} says so, but another one was erased"),
    }
}

/// Says what the two entries of a break disagree about.
pub fn continuity_break(found: &FoundBreak) -> String {
    let FoundBreak { resource: _, found, is_classified } = found;
    let ContinuityBreak { field, earlier_field, earlier, later, written, found, class } = found;
    let longer = if field.len() >= earlier_field.len() { field } else { earlier_field };
    let (before, after) = ((user(earlier), earlier.timestamp), (user(later), later.timestamp));
    let facts = format!(
        "{} set {} to {} at {}, but {} found {} at {}.",
        before.0,
        name(longer),
        value(written),
        before.1,
        after.0,
        value(found),
        after.1
    );
    let reason = match (class, is_classified) {
        (BreakClass::Order, _) => {
            "In the order in which the entries were recorded there is no break: an entry came late, or the clock of a \
             writer is wrong."
        }
        (BreakClass::Unexplained, true) => {
            "Something changed the field outside of the log, an entry is missing, or an old value is wrong."
        }
        (BreakClass::Unexplained, false) => {
            "The resource has too many entries or fields to tell whether an entry came late."
        }
    };
    format!("{facts} {reason}")
}

/// Summarizes a complete check. `resource` is the only one that was checked, if it was not the organization.
pub fn check(resource: Option<&str>, after: Seq, as_of: Seq, totals: &CheckTotals) -> String {
    let CheckTotals { resources, entries: read, compared, not_comparable, breaks, order_breaks, unchecked } = totals;
    let what = match resource {
        Some(resource) => format!("{} of {resource}", entries(*read)),
        None => format!("{} of {}", entries(*read), count(*resources, "resource", "resources")),
    };
    let range = match after {
        0 => format!("up to sequence {as_of}"),
        after => format!("with changes after sequence {after} and up to {as_of}"),
    };
    let result = match breaks {
        0 => "no breaks".to_owned(),
        number => count(*number, "break", "breaks"),
    };
    let mut text = format!("Checked {what} {range}: {result} in {} of values.", comparisons(*compared));
    if *breaks > 0 {
        text.push_str(&format!(" Late entries explain {order_breaks} of them."));
    }
    if *not_comparable > 0 {
        text.push_str(&format!(" {} could not be compared.", count(*not_comparable, "pair", "pairs")));
    }
    if *unchecked > 0 {
        let given_up = count(*unchecked, "resource has", "resources have");
        text.push_str(&format!(" {given_up} too many fields and could not be checked."));
    }
    text
}

fn comparisons(number: u64) -> String {
    count(number, "comparison", "comparisons")
}

/// Says what a step does, and whether it can be applied. `resource` is its resource.
pub fn step(resource: &str, step: &PlanStep, written: &WrittenValues) -> String {
    let PlanStep { action, status, undoes: (oldest, newest), entries: number } = step;
    let undone = undone(oldest, newest, *number);
    match action {
        StepAction::Restore { field, restore, expected } => {
            match *status == StepStatus::Noop && !is_equal(expected.as_ref(), restore) {
                true => format!("The step that sets a field above {} back undoes its change, too.", name(field)),
                false => restoring(name(field), value(restore), expected.as_ref().map(value), step, written),
            }
        }
        StepAction::Delete { fields: _ } => {
            let reason = match status {
                StepStatus::Broken { .. } => {
                    " Earlier entries show it, and none deleted it, so it may have existed before. Deleting it may be \
                     wrong."
                        .to_owned()
                }
                status => reason(status, "Deleting it"),
            };
            format!("{}{reason}", deleting(resource, oldest))
        }
        StepAction::Recreate { fields, unknown } => {
            let known = count(fields.len() as u64, "known field", "known fields");
            let unknown = match unknown.len() {
                0 => String::new(),
                number => format!(", without {}", count(number as u64, "unknown field", "unknown fields")),
            };
            let text = format!(
                "{undone} {resource} is deleted. Create it again with {known}{unknown}. The log does not have fields that \
                 no entry changed since it was created."
            );
            format!("{text}{}", reason(status, "Creating it again"))
        }
        StepAction::Nothing => format!("{undone}{}", nothing(resource, status)),
    }
}

/// Whether a field has the value that it would get, as far as the two are known.
fn is_equal(expected: Option<&ShownValue>, restore: &ShownValue) -> bool {
    match (expected, restore) {
        (None, _) => false,
        (Some(ShownValue::Known(expected)), ShownValue::Known(restore)) => json_equal(expected, restore),
        (Some(_), _) => true,
    }
}

/// Says who made the undone entries, such as `u1 made 1 selected entry at 2025-01-20T10:30:00Z.`
fn undone(oldest: &EntryRef, newest: &EntryRef, number: u64) -> String {
    let made = count(number, "selected entry", "selected entries");
    match (oldest.seq == newest.seq, oldest.user_id == newest.user_id) {
        (true, _) => format!("{} made {made} at {}.", user(newest), newest.timestamp),
        (false, true) => {
            format!("{} made {made} from {} to {}.", user(newest), oldest.timestamp, newest.timestamp)
        }
        (false, false) => {
            let (oldest_by, newest_by) = (user(oldest), user(newest));
            let times = (oldest.timestamp, newest.timestamp);
            format!("{made}: the first by {oldest_by} at {}, the last by {newest_by} at {}.", times.0, times.1)
        }
    }
}

fn deleting(resource: &str, created: &EntryRef) -> String {
    format!("{} created {resource} at {}. Delete it.", user(created), created.timestamp)
}

fn restoring(
    path: String,
    restore: String,
    expected: Option<String>,
    step: &PlanStep,
    written: &WrittenValues,
) -> String {
    let (newest, number) = (&step.undoes.1, step.entries);
    let by = format!("{} at {}", user(newest), newest.timestamp);
    match &step.status {
        StepStatus::Ready => {
            let now = expected.map_or_else(String::new, |now| format!(" from {now}"));
            let what = count(number, "change", "changes");
            format!("Set {path}{now} back to {restore}. This undoes {what}, the last one by {by}.")
        }
        StepStatus::Noop => format!("{path} is {restore} already, so there is nothing to undo."),
        StepStatus::Conflict { by: later, field, entries: others } => {
            let oldest = &step.undoes.0;
            let by = format!("{} at {}", user(oldest), oldest.timestamp);
            let own = written.get(&(oldest.seq, field_of(step).to_owned()));
            let first = match own {
                Some(own) => format!("{path} was set to {own} by {by}"),
                None => format!("{path} was changed by {by}"),
            };
            let (later_path, later_by) = (field.as_deref().unwrap_or_default(), user(later));
            let shown = if later_path == field_of(step) { "it".to_owned() } else { name(later_path) };
            let second = match written.get(&(later.seq, later_path.to_owned())) {
                Some(value) => format!("{later_by} set {shown} to {value} at {}", later.timestamp),
                None => format!("{later_by} changed {shown} at {}", later.timestamp),
            };
            let more = match others.saturating_sub(1) {
                0 => String::new(),
                more => format!(" {} changed it after that.", count(more, "more entry", "more entries")),
            };
            format!("{first}; {second}.{more} Restoring {restore} would undo that too.")
        }
        status => format!("{path} was changed by {by}.{}", reason(status, &format!("Restoring {restore}"))),
    }
}

/// The path of the field that a step restores.
fn field_of(step: &PlanStep) -> &str {
    match &step.action {
        StepAction::Restore { field, .. } => field,
        StepAction::Delete { .. } | StepAction::Recreate { .. } | StepAction::Nothing => "",
    }
}

/// Says why a step needs a decision. `doing` names the step, such as `Deleting it`. The text begins with a space, and
/// is empty for a step that is ready.
fn reason(status: &StepStatus, doing: &str) -> String {
    let by = |entry: &EntryRef| format!("{} at {}", user(entry), entry.timestamp);
    match status {
        StepStatus::Ready => String::new(),
        StepStatus::Noop => " There is nothing left to do.".to_owned(),
        StepStatus::Conflict { by: later, field, entries: number } => {
            let what = field.as_deref().map_or_else(|| "the resource".to_owned(), name);
            let others = count(*number, "entry", "entries");
            format!(
                " Outside of the selection, {} changed {what} later, {others} in all. {doing} would undo that too.",
                by(later)
            )
        }
        StepStatus::Uncertain { erased } => {
            format!(" The entry of {} was erased and may have changed the same. {doing} may be wrong.", by(erased))
        }
        StepStatus::Broken { by: later } => format!(
            " {} found another value than the one written before it, so the log does not show all changes. {doing} may \
             be wrong.",
            by(later)
        ),
        StepStatus::Impossible => " The log does not show how to undo it.".to_owned(),
    }
}

/// Says why a step does nothing. The text begins with a space.
fn nothing(resource: &str, status: &StepStatus) -> String {
    match status {
        StepStatus::Noop => format!(" No change of {resource} is left to undo."),
        StepStatus::Impossible => format!(" The log does not show how to undo a change of {resource}."),
        StepStatus::Uncertain { erased: _ } => {
            format!(" The values were erased, so the change of {resource} is unknown.")
        }
        StepStatus::Conflict { by, field: None, entries: _ } => {
            let (by, at) = (user(by), by.timestamp);
            format!(" {resource} was created again by {by} at {at}, so its deletion cannot be undone.")
        }
        other => reason(other, "Undoing them"),
    }
}

/// Summarizes a plan.
pub fn plan(plan: &RollbackPlan) -> String {
    let RollbackPlan { as_of, entries: _, selected, resources, steps, written: _ } = plan;
    if *selected == 0 {
        return format!("No entry up to sequence {as_of} is selected: there is nothing to undo.");
    }
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for (_, step) in steps {
        *counts.entry(status_note(&step.status)).or_default() += 1;
    }
    let counts: Vec<_> = counts.into_iter().map(|((_, note), number)| format!("{number} {note}")).collect();
    let undone = format!("{} of {}", entries(*selected), count(*resources, "resource", "resources"));
    let there = if steps.len() == 1 { "there is" } else { "there are" };
    let steps = count(steps.len() as u64, "step", "steps");
    format!("To undo {undone} as of sequence {as_of}, {there} {steps}: {}.", counts.join(", "))
}

/// The words for a status in the summary, with their rank in it.
fn status_note(status: &StepStatus) -> (u8, &'static str) {
    match status {
        StepStatus::Ready => (0, "ready"),
        StepStatus::Noop => (1, "without effect"),
        StepStatus::Conflict { .. } => (2, "in conflict with later changes"),
        StepStatus::Uncertain { .. } => (3, "uncertain, because values were erased"),
        StepStatus::Broken { .. } => (4, "uncertain, because the log misses changes"),
        StepStatus::Impossible => (5, "impossible"),
    }
}
