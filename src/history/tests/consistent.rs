//! Properties of logs that have all changes of a resource: states, checks and plans agree with its document.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::document::{changed, found, without_nulls};
use super::entries::{CREATED, DELETED};
use super::oracle_json::value;
use super::random::RandomLog;
use super::render::HistoryPrinter;
use super::{ROUNDS, checked, plan_of, state_of};
use crate::domain::{Entry, Timestamp};
use crate::history::model::{Existence, PlanStep, ShownValue, StepAction, StepStatus};

fn known(part: &ShownValue) -> Value {
    match part {
        ShownValue::Known(json) => value(json),
        ShownValue::LeftOut => panic!("the values are small"),
    }
}

/// The number of entries before a time.
fn count_before(entries: &[Entry], before: Timestamp) -> usize {
    entries.iter().filter(|entry| entry.timestamp < before).count()
}

#[test]
fn each_whole_field_of_a_state_is_that_of_the_document() {
    let mut random = StdRng::seed_from_u64(21);
    let mut fields = 0;
    for round in 0..ROUNDS {
        let log = RandomLog::consistent(&mut random);
        let before = Timestamp::saturating(log.time(&mut random));
        let state = state_of(log.actions, &log.entries, before, &[]);
        let document = &log.documents[count_before(&log.entries, before)];
        let print = HistoryPrinter(&log.entries);
        for field in state.fields.iter().filter(|field| !field.is_partial) {
            let lines = [print.log(&[]), print.state(&state)].concat().join("\n");
            assert_eq!(known(&field.value), found(document, &field.field), "round {round}, {}\n{lines}", field.field);
            fields += 1;
        }
        assert!(state.existence != Existence::Deleted || state.fields.is_empty(), "round {round}");
    }
    assert!(fields > 2_000, "only {fields} fields are known");
}

#[test]
fn a_log_with_all_changes_has_no_breaks() {
    let mut random = StdRng::seed_from_u64(22);
    let mut compared = 0;
    for round in 0..ROUNDS {
        let log = RandomLog::consistent(&mut random);
        let (breaks, counts, is_in_recorded_order) = checked(log.actions, &log.entries);
        let print = HistoryPrinter(&log.entries);
        let lines = [print.log(&[]), print.breaks(&breaks)].concat().join("\n");
        assert!(breaks.is_empty() && is_in_recorded_order, "round {round}\n{lines}");
        compared += counts.compared;
    }
    assert!(compared > 2_000, "only {compared} are compared");
}

/// Applies a step as compare-and-set. Returns the new document, or the reason why it cannot be applied.
fn applied(document: Value, step: &PlanStep) -> Result<Value, String> {
    let StepAction::Restore { field, restore, expected } = &step.action else {
        return Ok(document);
    };
    match step.status {
        StepStatus::Ready => {}
        StepStatus::Noop => return Ok(document),
        _ => return Err(format!("{field} is not ready")),
    }
    let now = found(&document, field);
    match expected {
        Some(expected) if known(expected) != now => Err(format!("{field} is {now} and not as expected")),
        _ => Ok(changed(document, field, known(restore))),
    }
}

/// A time within the last life, in which the resource still is; `None` if it was deleted or nothing happened since.
fn time_in_last_life(random: &mut StdRng, log: &RandomLog) -> Option<Timestamp> {
    let is_boundary = |entry: &&Entry| [CREATED, DELETED].contains(&entry.content.action);
    let begin = match log.entries.iter().rfind(is_boundary) {
        Some(entry) if entry.content.action == DELETED => return None,
        Some(entry) => entry.timestamp.micros() + 1,
        None => log.entries.first()?.timestamp.micros(),
    };
    let end = log.entries.last()?.timestamp.micros();
    (begin <= end).then(|| Timestamp::saturating(random.random_range(begin..=end)))
}

#[test]
fn the_ready_steps_give_the_document_at_an_earlier_time() {
    let mut random = StdRng::seed_from_u64(23);
    let (mut ready, mut unknown, mut noop) = (0, 0, 0);
    for round in 0..2 * ROUNDS {
        let log = RandomLog::consistent(&mut random);
        let Some(from) = time_in_last_life(&mut random, &log) else {
            continue;
        };
        let selected: Vec<_> = log.entries.iter().map(|entry| entry.timestamp >= from).collect();
        let steps = plan_of(log.actions, &log.entries, &selected);
        let print = HistoryPrinter(&log.entries);
        let lines = [print.log(&selected), print.steps(&steps)].concat().join("\n");
        let now = log.documents.last().cloned().expect("the last document");
        let restored = steps.iter().try_fold(now.clone(), applied);
        let restored = restored.unwrap_or_else(|why| panic!("round {round}: {why}\n{lines}\nfrom {now}"));
        let then = log.documents[count_before(&log.entries, from)].clone();
        let (restored, then) = (without_nulls(restored), without_nulls(then));
        assert_eq!(restored, then, "round {round}: the document at {}\n{lines}\nfrom {now}", from.micros());
        for step in &steps {
            let is_expected = matches!(&step.action, StepAction::Restore { expected: Some(_), .. });
            ready += usize::from(is_expected && step.status == StepStatus::Ready);
            noop += usize::from(is_expected && step.status == StepStatus::Noop);
            unknown += usize::from(matches!(&step.action, StepAction::Restore { expected: None, .. }));
        }
    }
    assert!(ready > 2_000 && noop > 50, "{ready} ready, {noop} already so");
    assert!(unknown < ready, "{unknown} with an unknown value, {ready} ready");
}
