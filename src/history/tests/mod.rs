//! The folds of histories, compared with brute force on random logs of one resource.

mod budgets;
mod consistent;
mod document;
mod entries;
mod examples;
mod oracle_continuity;
mod oracle_json;
mod oracle_lives;
mod oracle_plan;
mod oracle_state;
mod random;
mod render;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::oracle_lives::OracleLog;
use self::random::RandomLog;
use self::render::HistoryPrinter;
use super::comparison::compare;
use super::continuity::{ContinuityFold, classify};
use super::model::{ContinuityBreak, ContinuityCounts, LifeActions, PlanStep, ResourceState, StepAction};
use super::plan::{FieldReader, PlanFold, in_order};
use super::state::StateFold;
use crate::domain::{Entry, Seq, Timestamp};

const ROUNDS: usize = 4_000;
const PREFIXES: [&str; 8] = ["a", "a.b", "a.b.c", "a.", "", ".b", "b", "a.b.c.x"];

fn state_of(actions: LifeActions, entries: &[Entry], before: Timestamp, prefixes: &[String]) -> ResourceState {
    let mut fold = StateFold::new(actions, before, prefixes.to_vec());
    for entry in entries {
        fold.push(entry).expect("few fields");
    }
    fold.finish()
}

/// The breaks without their classes, the counts, and whether the entries are in recorded order.
fn checked(actions: LifeActions, entries: &[Entry]) -> (Vec<ContinuityBreak>, ContinuityCounts, bool) {
    let mut fold = ContinuityFold::new(actions);
    let mut breaks = Vec::new();
    for entry in entries {
        let own = fold.push(entry).expect("few fields");
        assert!(own.iter().all(|broken| broken.later.seq == entry.seq), "breaks of #{}: {own:?}", entry.seq);
        breaks.extend(own);
    }
    (breaks, fold.counts(), fold.is_in_recorded_order())
}

/// The breaks with their classes.
fn classified(actions: LifeActions, entries: &[Entry]) -> Vec<ContinuityBreak> {
    let (mut breaks, ..) = checked(actions, entries);
    let mut recorded = entries.to_vec();
    recorded.sort_by_key(|entry| entry.seq);
    let (remaining, ..) = checked(actions, &recorded);
    let remaining: HashSet<(Seq, String)> =
        remaining.into_iter().map(|broken| (broken.later.seq, broken.field)).collect();
    classify(&mut breaks, &remaining);
    breaks
}

fn plan_of(actions: LifeActions, entries: &[Entry], selected: &[bool]) -> Vec<PlanStep> {
    let mut fold = PlanFold::new(actions);
    for (entry, is_selected) in entries.iter().zip(selected) {
        fold.push(entry, *is_selected).expect("few fields");
    }
    fold.finish(&mut FieldReader::default())
}

/// The number of lines that contain each word.
#[derive(Default)]
struct WordCounts(BTreeMap<&'static str, usize>);

impl WordCounts {
    fn add(&mut self, lines: &[String], words: &[&'static str]) {
        for &word in words {
            *self.0.entry(word).or_default() += lines.iter().filter(|line| line.contains(word)).count();
        }
    }

    /// Checks that the random logs have all cases.
    fn assert_at_least(&self, least: usize) {
        assert!(self.0.values().all(|count| *count >= least), "{:?}", self.0);
    }
}

fn assert_same(question: &str, log: &[String], product: &[String], oracle: &[String]) {
    let [log, product, oracle] = [log, product, oracle].map(|lines| lines.join("\n"));
    assert!(product == oracle, "{question}\n{log}\n--- the product says\n{product}\n--- the oracle says\n{oracle}\n");
}

/// A few prefixes, or none.
fn prefixes(random: &mut StdRng) -> Vec<String> {
    let count = if random.random_bool(0.5) { 0 } else { random.random_range(1..3) };
    (0..count).map(|_| PREFIXES[random.random_range(0..PREFIXES.len())].to_owned()).collect()
}

/// The entries with some ids, of a user within a window, or from a time on.
fn selection(random: &mut StdRng, log: &RandomLog) -> Vec<bool> {
    let mut times = [log.time(random), log.time(random)].map(Timestamp::saturating);
    times.sort_unstable();
    let [from, to] = times;
    let (kind, share) = (random.random_range(0..5), random.random_range(0.2..0.9));
    let is_selected = |entry: &Entry| match kind {
        0 | 1 => random.random_bool(share),
        2 => entry.timestamp >= from,
        3 => entry.content.user_id.as_str() == "u1" && from <= entry.timestamp && entry.timestamp <= to,
        _ => entry.content.user_id.as_str() == "u1",
    };
    log.entries.iter().map(is_selected).collect()
}

#[test]
fn a_state_is_that_of_brute_force() {
    let mut random = StdRng::seed_from_u64(11);
    let mut seen = WordCounts::default();
    for round in 0..ROUNDS {
        let log = RandomLog::any(&mut random);
        let (time, prefixes) = (log.time(&mut random), prefixes(&mut random));
        let before = Timestamp::saturating(time);
        let oracle = OracleLog { actions: log.actions, entries: &log.entries };
        let expected = oracle_state::state(oracle, before, &prefixes);
        let state = state_of(log.actions, &log.entries, before, &prefixes);
        let print = HistoryPrinter(&log.entries);
        let (state, expected) = (print.state(&state), print.state(&expected));
        let question = format!("round {round}: the state before {time}, below {prefixes:?}, with {:?}", log.actions);
        assert_same(&question, &print.log(&[]), &state, &expected);
        let words =
            ["exists", "deleted", "unknown", "since", "recorded", "inferred", "uncertain", "partial", "anomaly"];
        seen.add(&state, &words);
    }
    seen.assert_at_least(50);
}

#[test]
fn a_comparison_is_that_of_brute_force() {
    let mut random = StdRng::seed_from_u64(12);
    let (mut equal, mut different) = (0, 0);
    for round in 0..ROUNDS {
        let log = RandomLog::any(&mut random);
        let mut times = [log.time(&mut random), log.time(&mut random)];
        times.sort_unstable();
        let prefixes = prefixes(&mut random);
        let [before, after] =
            times.map(|time| state_of(log.actions, &log.entries, Timestamp::saturating(time), &prefixes));
        let print = HistoryPrinter(&log.entries);
        let found = compare(&before, &after);
        let expected = oracle_state::differences(&before, &after);
        let (lines, expected) = (print.differences(&found), print.differences(&expected));
        let question = format!("round {round}: the differences between {times:?}, below {prefixes:?}");
        assert_same(&question, &print.log(&[]), &lines, &expected);
        different += found.len();
        equal += before.fields.len().max(after.fields.len()).saturating_sub(found.len());
    }
    assert!(equal > 500 && different > 500, "{equal} equal, {different} different");
}

#[test]
fn a_check_of_continuity_is_that_of_brute_force() {
    let mut random = StdRng::seed_from_u64(13);
    let mut seen = WordCounts::default();
    let (mut compared, mut not_comparable) = (0, 0);
    for round in 0..ROUNDS {
        let log = RandomLog::any(&mut random);
        let oracle = OracleLog { actions: log.actions, entries: &log.entries };
        let print = HistoryPrinter(&log.entries);
        let (_, counts, is_in_recorded_order) = checked(log.actions, &log.entries);
        let mut lines = print.breaks(&classified(log.actions, &log.entries));
        let mut expected = print.breaks(&oracle_continuity::classified(oracle));
        lines.push(render::counts(counts));
        expected.push(render::counts(oracle_continuity::continuity(oracle).1));
        let question = format!("round {round}: continuity, with {:?}", log.actions);
        assert_same(&question, &print.log(&[]), &lines, &expected);
        let is_sorted = log.entries.windows(2).all(|pair| pair[0].seq < pair[1].seq);
        assert_eq!(is_in_recorded_order, is_sorted, "round {round}\n{}", print.log(&[]).join("\n"));
        seen.add(&lines, &[": order", ": unexplained"]);
        compared += counts.compared;
        not_comparable += counts.not_comparable;
    }
    seen.assert_at_least(50);
    assert!(compared > 2_000 && not_comparable > 50, "{compared} compared, {not_comparable} not comparable");
}

#[test]
fn a_plan_is_that_of_brute_force() {
    let mut random = StdRng::seed_from_u64(14);
    let mut seen = WordCounts::default();
    for round in 0..2 * ROUNDS {
        let log = RandomLog::any(&mut random);
        let selected = selection(&mut random, &log);
        let oracle = OracleLog { actions: log.actions, entries: &log.entries };
        let print = HistoryPrinter(&log.entries);
        let steps = print.steps(&plan_of(log.actions, &log.entries, &selected));
        let expected = print.steps(&oracle_plan::plan(oracle, &selected));
        let question = format!("round {round}: the plan, with {:?}", log.actions);
        assert_same(&question, &print.log(&selected), &steps, &expected);
        seen.add(&steps, &["restore ", "delete: ", "recreate ", "nothing: ", "expected unknown"]);
        seen.add(&steps, &["ready", "noop", "conflict", "uncertain", "broken", "impossible"]);
    }
    seen.assert_at_least(20);
}

/// The answers about `entries`: the state at a time, the breaks and the plan that undoes the user `u1`.
fn answers(actions: LifeActions, entries: &[Entry], before: Timestamp) -> Vec<String> {
    let print = HistoryPrinter(entries);
    let selected: Vec<_> = entries.iter().map(|entry| entry.content.user_id.as_str() == "u1").collect();
    let mut lines = print.state(&state_of(actions, entries, before, &[]));
    lines.extend(print.breaks(&classified(actions, entries)));
    lines.extend(print.steps(&plan_of(actions, entries, &selected)));
    lines
}

#[test]
fn an_answer_as_of_a_number_stays_when_entries_are_added() {
    let mut random = StdRng::seed_from_u64(15);
    let mut late = 0;
    for round in 0..ROUNDS {
        let log = RandomLog::any(&mut random);
        let before = Timestamp::saturating(log.time(&mut random));
        let head = random.random_range(0..=log.entries.len());
        let as_of = Seq::try_from(head).expect("a small number");
        // The log as it was when it ended with this number.
        let mut then = log.entries.clone();
        then.sort_by_key(|entry| entry.seq);
        then.truncate(head);
        then.sort_by_key(|entry| (entry.timestamp, entry.seq));
        // The log as it is now, of which readers take a part.
        let now: Vec<_> = log.entries.iter().filter(|entry| entry.seq <= as_of).cloned().collect();
        let [then, now] = [then, now].map(|entries| answers(log.actions, &entries, before));
        assert_same(&format!("round {round}: as of {as_of}"), &HistoryPrinter(&log.entries).log(&[]), &now, &then);
        let is_late = |entry: &Entry| {
            entry.seq > as_of && log.entries.iter().any(|other| other.seq <= as_of && other.timestamp > entry.timestamp)
        };
        late += usize::from(log.entries.iter().any(is_late));
    }
    assert!(late > 100, "{late} logs have an entry that came late");
}

/// The place of a step among all steps.
fn rank(step: &PlanStep) -> usize {
    match step.action {
        StepAction::Recreate { .. } => 0,
        StepAction::Restore { .. } => 1,
        StepAction::Delete { .. } => 2,
        StepAction::Nothing => 3,
    }
}

#[test]
fn the_steps_of_several_resources_have_one_order() {
    let mut random = StdRng::seed_from_u64(16);
    for round in 0..ROUNDS / 4 {
        let mut all = Vec::new();
        for resource in 0..4 {
            let log = RandomLog::any(&mut random);
            let selected = selection(&mut random, &log);
            let mut entries = log.entries;
            // A number belongs to one entry of one resource.
            entries.iter_mut().for_each(|entry| entry.seq = 4 * entry.seq + resource);
            all.extend(plan_of(log.actions, &entries, &selected).into_iter().map(|step| (resource, step)));
        }
        let sorted = in_order(all.clone());
        assert_eq!(sorted.len(), all.len(), "round {round}");
        assert!(sorted.is_sorted_by_key(|(_, step)| rank(step)), "round {round}: {sorted:?}");
        let restored = |steps: &[(Seq, PlanStep)], resource: Option<Seq>| -> Vec<PlanStep> {
            let own = steps.iter().filter(|(of, step)| rank(step) == 1 && resource.is_none_or(|one| one == *of));
            own.map(|(_, step)| step.clone()).collect()
        };
        // A resource keeps the order of its own steps.
        for resource in (0..4).map(Some) {
            assert_eq!(restored(&sorted, resource), restored(&all, resource), "round {round}");
        }
        let begins = |step: &PlanStep| Reverse((step.undoes.0.timestamp, step.undoes.0.seq));
        assert!(restored(&sorted, None).is_sorted_by_key(begins), "round {round}: {sorted:?}");
        let recreated: Vec<_> = sorted.iter().filter(|(_, step)| rank(step) == 0).collect();
        let ends = |(_, step): &&(Seq, PlanStep)| Reverse((step.undoes.1.timestamp, step.undoes.1.seq));
        assert!(recreated.is_sorted_by_key(ends), "round {round}: {sorted:?}");
        assert!(all.iter().all(|step| sorted.contains(step)), "round {round}: {sorted:?}");
    }
}
