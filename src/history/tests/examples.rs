//! Small logs with the states, breaks and plans that they have.

use super::entries::{ACTIONS, NAMES, change, plain_content, service_id, stored_entry, without};
use super::oracle_lives::OracleLog;
use super::render::HistoryPrinter;
use super::{classified, oracle_continuity, oracle_plan, oracle_state, plan_of, state_of};
use crate::domain::{Content, Entry, Erased, Group, Outcome, Seq, Timestamp};

/// A log, and what is known about it.
struct HistoryExample {
    name: &'static str,
    /// `TIME ACTION [FLAG …] [| FIELD: OLD -> NEW; …]`, the one with the number 1 first.
    log: &'static [&'static str],
    /// The time before which the state is.
    before: i64,
    state: &'static [&'static str],
    breaks: &'static [&'static str],
    /// The numbers of the entries to undo.
    selected: &'static [Seq],
    plan: &'static [&'static str],
}

const EXAMPLES: &[HistoryExample] = &[
    HistoryExample {
        name: "the last change counts",
        log: &["10 created", "20 updated | a: null -> 1", "30 updated | a: 1.0 -> 2"],
        before: 31,
        state: &["exists since #1", "a = 2 recorded #3"],
        breaks: &[],
        selected: &[3],
        plan: &["restore a = 1, expected 2: ready; undoes #3..#3, 1 entries"],
    },
    HistoryExample {
        name: "the old value of the next change is the value before",
        log: &["10 updated | b: null -> 1", "20 updated | a: 5 -> 6"],
        before: 11,
        state: &["exists", "a = 5 inferred #2", "b = 1 recorded #1"],
        breaks: &[],
        selected: &[1, 2],
        plan: &[
            "restore a = 5, expected 6: ready; undoes #2..#2, 1 entries",
            "restore b = null, expected 1: ready; undoes #1..#1, 1 entries",
        ],
    },
    HistoryExample {
        name: "a write above replaces what is below, and a write below a part of what is above",
        log: &["10 updated | a.b: null -> 1", r#"20 updated | a: {"b":1} -> {"c":2}"#, "30 updated | a.x: null -> 3"],
        before: 31,
        state: &["exists", r#"a = {"c":2} recorded #2 partial"#, "a.x = 3 recorded #3"],
        breaks: &[],
        selected: &[2, 3],
        plan: &[
            "restore a.x = null, expected 3: ready; undoes #3..#3, 1 entries",
            r#"restore a = {"b":1}, expected {"c":2,"x":null}: ready; undoes #2..#2, 1 entries"#,
        ],
    },
    HistoryExample {
        name: "a later change below is a conflict",
        log: &[r#"10 updated | a: {} -> {"b":1}"#, "20 updated | a.b: 1 -> 2", "30 updated | b: 0 -> 1"],
        before: 21,
        state: &["exists", r#"a = {"b":1} recorded #1 partial"#, "a.b = 2 recorded #2", "b = 0 inferred #3"],
        breaks: &[],
        selected: &[1],
        plan: &[r#"restore a = {}, expected {"b":2}: conflict with #2 on a.b, 1 entries; undoes #1..#1, 1 entries"#],
    },
    HistoryExample {
        name: "a field may already be as it was",
        log: &["10 updated | a: 1 -> 2", "20 updated | a: 2 -> 10e-1"],
        before: 11,
        state: &["exists", "a = 2 recorded #1"],
        breaks: &[],
        selected: &[1, 2],
        plan: &["restore a = 1, expected 1: noop; undoes #1..#2, 2 entries"],
    },
    HistoryExample {
        name: "a step before may change what is already as it was",
        log: &[r#"10 updated | a: {"b":1} -> {"b":2}"#, "20 updated | a.b: 2 -> 1"],
        before: 11,
        state: &["exists", r#"a = {"b":2} recorded #1"#, "a.b = 2 inferred #2"],
        breaks: &[],
        selected: &[1, 2],
        plan: &[
            "restore a.b = 2, expected 1: ready; undoes #2..#2, 1 entries",
            r#"restore a = {"b":1}, expected {"b":2}: ready; undoes #1..#1, 1 entries"#,
        ],
    },
    HistoryExample {
        name: "an erased entry may have changed everything",
        log: &["10 updated | a: 1 -> 2", "20 updated erased", "30 updated | b: 1 -> 2"],
        before: 11,
        state: &["exists", "a = 2 recorded #1", "b = 1 uncertain #3"],
        breaks: &[],
        selected: &[1, 2, 3],
        plan: &[
            "restore b = 1, expected 2: ready; undoes #3..#3, 1 entries",
            "restore a = 1, expected 2: uncertain since #2; undoes #1..#1, 1 entries",
            "nothing: uncertain since #2; undoes #2..#2, 1 entries",
        ],
    },
    HistoryExample {
        name: "a break shows a change that is not in the log",
        log: &["10 updated | a: 1 -> 2", "20 updated | a: 9 -> 3"],
        before: 11,
        state: &["exists", "a = 2 recorded #1"],
        breaks: &["a of #2 found 9, a of #1 wrote 2: unexplained"],
        selected: &[1, 2],
        plan: &["restore a = 1, expected 3: broken at #2; undoes #1..#2, 2 entries"],
    },
    HistoryExample {
        name: "a late entry breaks the order",
        log: &["10 updated | a: 1 -> 2", "30 updated | a: 2 -> 3", "20 updated | a: 3 -> 4"],
        before: 31,
        state: &["exists", "a = 3 recorded #2"],
        breaks: &["a of #2 found 2, a of #3 wrote 4: order", "a of #3 found 3, a of #1 wrote 2: order"],
        selected: &[2],
        plan: &["restore a = 2, expected 3: ready; undoes #2..#2, 1 entries"],
    },
    HistoryExample {
        name: "the newest value below is compared, not the older one above it",
        log: &[
            r#"10 updated | a.b: null -> {"c":1}"#,
            "20 updated | a.b.c: 1 -> 2",
            r#"30 updated | a: {"b":{"c":2}} -> null"#,
        ],
        before: 31,
        state: &["exists", "a = null recorded #3"],
        breaks: &[],
        selected: &[3],
        plan: &[r#"restore a = {"b":{"c":2}}, expected null: ready; undoes #3..#3, 1 entries"#],
    },
    HistoryExample {
        name: "a key with a dot hides what a path names",
        log: &[r#"10 updated | a: null -> {"b.c":1}"#, "20 updated | a.b: 5 -> 2"],
        before: 21,
        state: &["exists", r#"a = {"b.c":1} recorded #1 partial"#, "a.b = 2 recorded #2"],
        breaks: &[],
        selected: &[1, 2],
        plan: &[
            "restore a.b = 5, expected 2: ready; undoes #2..#2, 1 entries",
            "restore a = null, expected unknown: ready; undoes #1..#1, 1 entries",
        ],
    },
    HistoryExample {
        name: "a created resource is deleted",
        log: &["10 created | a: null -> 1", "20 updated | a: 1 -> 2", "30 accessed"],
        before: 31,
        state: &["exists since #1", "a = 2 recorded #2"],
        breaks: &[],
        selected: &[1],
        plan: &["delete: a = 2: conflict with #2 on a, 1 entries; undoes #1..#1, 1 entries"],
    },
    HistoryExample {
        name: "a deleted resource is created again as it was",
        log: &["10 created | a: null -> 1", r#"20 updated | b: null -> {"c":1}"#, "30 deleted", "40 accessed"],
        before: 41,
        state: &["deleted since #3"],
        breaks: &[],
        selected: &[3],
        plan: &[r#"recreate a = 1, b = {"c":1}: ready; undoes #3..#3, 1 entries"#],
    },
    HistoryExample {
        name: "a deletion with changes is undone with them, unless somebody changed what was deleted",
        log: &["10 updated | a: 1 -> 2", "20 deleted | a: 2 -> null", "30 updated | a: null -> 3"],
        before: 31,
        state: &["deleted since #2", "anomaly #3"],
        breaks: &[],
        selected: &[2],
        plan: &["recreate a = 2: conflict with #3 on a, 1 entries; undoes #2..#2, 1 entries"],
    },
    HistoryExample {
        name: "a new life has nothing of the one before",
        log: &["10 created", "20 updated | a: null -> 1", "30 created", "40 updated | a: null -> 2"],
        before: 31,
        state: &["exists since #3", "a = null inferred #4"],
        breaks: &[],
        selected: &[1, 2, 4],
        plan: &[
            "restore a = null, expected 2: ready; undoes #4..#4, 1 entries",
            "nothing: noop; undoes #1..#2, 2 entries",
        ],
    },
    HistoryExample {
        name: "a deletion before a creation of somebody else stays",
        log: &["10 deleted", "20 created"],
        before: 11,
        state: &["deleted since #1"],
        breaks: &[],
        selected: &[1],
        plan: &["nothing: conflict with #2, 1 entries; undoes #1..#1, 1 entries"],
    },
    HistoryExample {
        name: "entries without an effect are not undone",
        log: &["10 updated failure | a: 1 -> 2", "20 updated service | a: 1 -> 2", "30 accessed", "40 shared"],
        before: 21,
        state: &["unknown"],
        breaks: &[],
        selected: &[1, 2, 3, 4],
        plan: &["nothing: impossible; undoes #4..#4, 1 entries", "nothing: noop; undoes #1..#3, 3 entries"],
    },
];

fn parsed(seq: Seq, line: &str) -> Entry {
    let (facts, changes) = line.split_once(" | ").unwrap_or((line, ""));
    let mut words = facts.split(' ');
    let time = words.next().and_then(|time| time.parse().ok()).expect(line);
    let name = words.next().expect(line);
    let flags: Vec<_> = words.collect();
    let changes = changes.split("; ").filter(|change| !change.is_empty()).map(|text| {
        let (field, values) = text.split_once(": ").expect(line);
        let (old_value, new_value) = values.split_once(" -> ").expect(line);
        change(field, old_value, new_value)
    });
    let (action, _) = NAMES.into_iter().find(|(_, action)| *action == name).expect(line);
    let plain = plain_content(seq, action, changes.collect());
    let content = Content {
        id: if flags.contains(&"service") { service_id(seq) } else { plain.id.clone() },
        outcome: flags.contains(&"failure").then_some(Outcome::Failure),
        ..plain
    };
    let none = Erased::default();
    without(&stored_entry(seq, time, content), if flags.contains(&"erased") { none.with(Group::Content) } else { none })
}

/// The entries of an example in order, and which of them are selected.
fn log_of(example: &HistoryExample) -> (Vec<Entry>, Vec<bool>) {
    let mut entries: Vec<_> = (1..).zip(example.log).map(|(seq, line)| parsed(seq, line)).collect();
    entries.sort_by_key(|entry| (entry.timestamp, entry.seq));
    let selected = entries.iter().map(|entry| example.selected.contains(&entry.seq)).collect();
    (entries, selected)
}

#[test]
fn small_logs_have_these_states_breaks_and_plans() {
    for example in EXAMPLES {
        let (entries, selected) = log_of(example);
        let print = HistoryPrinter(&entries);
        let state = state_of(ACTIONS, &entries, Timestamp::saturating(example.before), &[]);
        assert_eq!(print.state(&state), example.state, "the state: {}", example.name);
        assert_eq!(print.breaks(&classified(ACTIONS, &entries)), example.breaks, "the breaks: {}", example.name);
        let plan = plan_of(ACTIONS, &entries, &selected);
        assert_eq!(print.steps(&plan), example.plan, "the plan: {}", example.name);
    }
}

#[test]
fn brute_force_answers_the_small_logs_alike() {
    for example in EXAMPLES {
        let (entries, selected) = log_of(example);
        let print = HistoryPrinter(&entries);
        let log = OracleLog { actions: ACTIONS, entries: &entries };
        let state = oracle_state::state(log, Timestamp::saturating(example.before), &[]);
        assert_eq!(print.state(&state), example.state, "the state: {}", example.name);
        assert_eq!(print.breaks(&oracle_continuity::classified(log)), example.breaks, "the breaks: {}", example.name);
        assert_eq!(print.steps(&oracle_plan::plan(log, &selected)), example.plan, "the plan: {}", example.name);
    }
}
