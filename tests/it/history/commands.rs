//! `auditlog state`, `compare`, `continuity`, `rollback-plan` and `around`: their output as exact text, `--json`, exit
//! codes and mistakes. The sentences of the service are those of the JSON answer.

mod apply;
mod stream;

use serde_json::{Value, json};

use crate::support::process::{create_key, ran};
use crate::support::{Backend, Database, Process, on_every_database};

const ASSISTANT: (&str, &str) = ("assistant", "asst_1");
const RULE: (&str, &str) = ("rule", "rule_1");

fn entry(number: u32, timestamp: &str, resource: (&str, &str), action: &str, user: &str, changes: Value) -> Value {
    json!({
        "id": format!("log_{number}"), "timestamp": timestamp, "resourceType": resource.0, "resourceId": resource.1,
        "action": action, "userId": user, "changes": changes
    })
}

fn change(field: &str, old_value: Value, new_value: Value) -> Value {
    json!({"field": field, "oldValue": old_value, "newValue": new_value})
}

fn in_trace(mut entry: Value, trace: &str) -> Value {
    entry["traceId"] = json!(trace);
    entry
}

/// Entries 1 to 8. Trace t1 changes an assistant and deletes a thread; user uid_1 then changes the same assistant. The
/// history of the rule has a break.
fn entries() -> Vec<Value> {
    let search = change("tools", json!(null), json!({"search": true}));
    let hot = json!([change("temperature", json!(0.9), json!(1.5)), change("model", json!("small"), json!("large"))]);
    let thread = ("thread", "thread_1");
    vec![
        entry(1, "2025-01-20T09:00:00Z", ASSISTANT, "created", "uid_1", json!([])),
        entry(
            2,
            "2025-01-20T10:00:00Z",
            ASSISTANT,
            "updated",
            "uid_1",
            json!([change("temperature", json!(0.7), json!(0.9)), search]),
        ),
        entry(
            3,
            "2025-01-20T11:00:00Z",
            ASSISTANT,
            "updated",
            "uid_2",
            json!([change("tools.search", json!(true), json!(false))]),
        ),
        in_trace(entry(4, "2025-01-21T12:00:00Z", ASSISTANT, "updated", "uid_2", hot), "t1"),
        in_trace(entry(5, "2025-01-21T12:01:00Z", thread, "deleted", "uid_2", json!([])), "t1"),
        entry(
            6,
            "2025-01-21T12:30:00Z",
            ASSISTANT,
            "updated",
            "uid_1",
            json!([change("model", json!("large"), json!("medium"))]),
        ),
        entry(7, "2025-01-22T08:00:00Z", RULE, "updated", "uid_1", json!([change("version", json!(1), json!(2))])),
        entry(8, "2025-01-22T09:00:00Z", RULE, "updated", "uid_1", json!([change("version", json!(3), json!(4))])),
    ]
}

/// A service with entries of the organization `org_a`.
struct Started {
    service: Process,
    key: String,
}

impl Started {
    async fn with(database: &Database, entries: Vec<Value>) -> Self {
        let scopes = ["--scope", "read", "--scope", "write", "--scope", "erase"];
        let key = create_key(&database.url, &[&["--organization", "org_a"][..], &scopes].concat());
        let started = Self { service: Process::serve(&database.url), key };
        started.write(entries).await;
        started
    }

    async fn write(&self, entries: Vec<Value>) {
        let request = reqwest::Client::new().post(self.service.url("/v1/org_a/audit-logs")).bearer_auth(&self.key);
        let answer = request.json(&json!({"auditLogs": entries})).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201, "{:?}", answer.text().await);
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let endpoint = self.service.url("");
        let environment = [
            ("AUDITLOG_ENDPOINT", endpoint.as_str()),
            ("AUDITLOG_API_KEY", self.key.as_str()),
            ("AUDITLOG_ORGANIZATION", "org_a"),
        ];
        ran(arguments, &environment)
    }

    /// The answer of a command with `--json`, and its exit code.
    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let (code, stdout, stderr) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!((stdout.lines().count(), stderr.as_str()), (1, ""), "{arguments:?}: {stdout}");
        (code, serde_json::from_str(&stdout).expect("JSON"))
    }

    /// Checks the exit code, standard error and the output. `output` makes the output from the answer in JSON.
    fn check(&self, arguments: &[&str], expected: (i32, &str), output: impl Fn(&Value) -> String) {
        let (code, answer) = self.json(arguments);
        assert_eq!(code, Some(expected.0), "{arguments:?}: {answer}");
        let (code, stdout, stderr) = self.run(arguments);
        let is_as_expected =
            (code, stdout.as_str(), stderr.as_str()) == (Some(expected.0), output(&answer).as_str(), expected.1);
        assert!(is_as_expected, "{arguments:?}: {code:?}\n{stdout}\n{stderr}\nand not\n{}", output(&answer));
    }
}

/// A sentence of an answer.
fn sentence(value: &Value) -> &str {
    value.as_str().filter(|text| text.ends_with('.')).unwrap_or_else(|| panic!("{value} is a sentence"))
}

/// An answer without its sentences.
fn without_sentences(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let is_fact = |(name, _): &(&String, &Value)| !["summary", "explanation"].contains(&name.as_str());
            let members = members.iter().filter(is_fact);
            Value::Object(members.map(|(name, value)| (name.clone(), without_sentences(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_sentences).collect(),
        other => other.clone(),
    }
}

/// A reference to one of [`entries`].
fn reference(number: usize) -> Value {
    let entry = &entries()[number - 1];
    json!({
        "sequence": number, "id": entry["id"], "timestamp": entry["timestamp"], "userId": entry["userId"]
    })
}

const STATE: &str = r#"
FIELD         VALUE            BASIS              TIME                  USER   ID
model         "small"          inferred           2025-01-21T12:00:00Z  uid_2  log_4
temperature   0.9              recorded           2025-01-20T10:00:00Z  uid_1  log_2
tools         {"search":true}  recorded, partial  2025-01-20T10:00:00Z  uid_1  log_2
tools.search  false            recorded           2025-01-20T11:00:00Z  uid_2  log_3
"#;

const UNCERTAIN_STATE: &str = r#"
FIELD  VALUE            BASIS      TIME                  USER   ID
tools  {"search":true}  uncertain  2025-01-20T10:00:00Z  uid_1  log_2
"#;

const COMPARISON: &str = r#"
model: "small" → "large"
    before: inferred  2025-01-21T12:00:00Z  uid_2  log_4
    after:  recorded  2025-01-21T12:00:00Z  uid_2  log_4
temperature: 0.9 → 1.5
    before: recorded  2025-01-20T10:00:00Z  uid_1  log_2
    after:  recorded  2025-01-21T12:00:00Z  uid_2  log_4
"#;

const BREAK: &str = "\
rule rule_1  version  unexplained
    written 2  2025-01-22T08:00:00Z  uid_1  log_7
    found   3  2025-01-22T09:00:00Z  uid_1  log_8
";

const PLAN: &str = r#"
STEP  RESOURCE          CHANGE                     STATUS
1     thread thread_1   create again, 0 fields     ready
2     assistant asst_1  model: "medium" → "small"  conflict
3     assistant asst_1  temperature: 1.5 → 0.9     ready
"#;

const UNCERTAIN_PLAN: &str = r#"
STEP  RESOURCE          CHANGE                         STATUS
1     assistant asst_1  tools: {"search":true} → null  uncertain
2     assistant asst_1  temperature: 1.5 → 0.7         uncertain
"#;

const UNDONE_PLAN: &str = r#"
STEP  RESOURCE          CHANGE                STATUS
1     assistant asst_1  color: "red" → "red"  noop
2     rule rule_3       delete                ready
"#;

const AROUND: &str = r#"TIME                  ACTION   RESOURCE          USER   ID
2025-01-21T12:01:00Z  deleted  thread thread_1   uid_2  log_5
2025-01-21T12:00:00Z  updated  assistant asst_1  uid_2  log_4
    temperature: 0.9 → 1.5
    model: "small" → "large"

trace t1  2 entries
    log_5 log_4

user uid_2  2 entries
    log_5 log_4

resource thread thread_1  1 entry
    log_5
resource assistant asst_1  1 entry
    log_4
"#;

/// Arguments that are refused, the exit code, and a part of the message.
const MISTAKES: [(&[&str], i32, &str); 36] = [
    (&["state", "asistant", "asst_1"], 1, "error: <TYPE>: must be one of "),
    (&["state", "asistant", "asst_1"], 1, "got \"asistant\"; did you mean assistant?"),
    (&["state", "assistant", ""], 1, "error: <ID>: must be 1 to 256 bytes, got 0"),
    (&["state", "assistant"], 2, "<ID>"),
    (&["state", "assistant", "asst_1", "--at", "yesterday"], 2, "or a date such as 2025-01-31, got \"yesterday\""),
    (
        &["state", "assistant", "asst_1", "--as-of", "9"],
        1,
        "error: --as-of: must be 0 to 8, the organization's last number, got 9\n",
    ),
    (&["state", "assistant", "asst_1", "--as-of=-1"], 2, "must be a sequence number, 0 or more, got \"-1\""),
    (
        &["state", "assistant", "asst_1", "--as-of", "-1"],
        2,
        "invalid value '-1' for '--as-of <N>': must be a sequence number, 0 or more, got \"-1\"",
    ),
    (
        &["state", "assistant", "asst_1", "--at", "2025-01-21", "--as-of", "9"],
        1,
        "must be 0 to 8, the organization's last number, got 9",
    ),
    (&["compare", "assistant", "asst_1"], 2, "--from <TIME>"),
    (
        &["compare", "assistant", "asst_1", "--from", "2025-01-21", "--to", "2025-01-20"],
        2,
        "--to must not be before --from",
    ),
    (&["compare", "asistant", "asst_1", "--from", "2025-01-21"], 1, "did you mean assistant?"),
    (&["continuity", "assistant"], 2, "<ID>"),
    (&["continuity", "asistant", "asst_1"], 1, "did you mean assistant?"),
    (&["continuity", "--as-of", "9"], 1, "must be 0 to 8, the organization's last number, got 9"),
    (&["continuity", "--after", "5", "--as-of", "4"], 1, "error: --after: must be 0 to 4"),
    (
        &["continuity", "--resume", "nonsense"],
        1,
        "error: --resume: must be the resume token of an earlier answer of the same check, got \"nonsense\"\n",
    ),
    (&["continuity", "--resume", ""], 2, "a value is required for '--resume <TOKEN>'"),
    (&["continuity", "", "asst_1"], 2, "a value is required for '[TYPE]'"),
    (&["continuity", "assistant", "asst_1", "--resume", "x"], 2, "cannot be used with"),
    (&["rollback-plan"], 2, "<--entry <ID>|--resource <TYPE> <ID>|--user <ID>|--trace <ID>>"),
    (&["rollback-plan", "--entry", "log_1", "--trace", "t1"], 2, "cannot be used with"),
    (&["rollback-plan", "--resource", "assistant", "asst_1"], 2, "--at <TIME>"),
    (&["rollback-plan", "--resource", "assistant", "--at", "2025-01-20"], 2, "2 values required"),
    (&["rollback-plan", "--trace", "t1", "--at", "2025-01-20"], 2, "cannot be used with"),
    (&["rollback-plan", "--trace", "t1", "--end-date", "2025-01-20"], 2, "cannot be used with"),
    (&["rollback-plan", "--trace", "t1", "--as-of", "9"], 1, "must be 0 to 8, the organization's last number, got 9"),
    (&["rollback-plan", "--user", "uid_1", "--start-date", "2025-01-20"], 2, "--end-date <DATE>"),
    (
        &["rollback-plan", "--user", "uid_1", "--start-date", "2025-01-21", "--end-date", "2025-01-20"],
        2,
        "--start-date must not be after --end-date",
    ),
    (
        &["rollback-plan", "--entry", "log_1", "--entry", "log_none"],
        1,
        "error: --entry log_none: there is no entry log_none\n",
    ),
    (
        &["rollback-plan", "--entry", "log_1", "--entry", "log_6", "--as-of", "5"],
        1,
        "error: --entry log_6: must be an entry up to sequence 5, got one with sequence 6\n",
    ),
    (
        &["rollback-plan", "--resource", "asistant", "asst_1", "--at", "2025-01-20"],
        1,
        "error: --resource: must be one of ",
    ),
    (
        &["rollback-plan", "--user", "", "--start-date", "2025-01-20", "--end-date", "2025-01-20"],
        1,
        "error: --user: must be 1 to 256 bytes, got 0\n",
    ),
    (&["around"], 2, "<ID>"),
    (&["around", "log_none"], 1, "error: <ID>: there is no entry log_none\n"),
    (&["around", "log_1", "--minutes", "1441"], 2, "1441 is not in 1..=1440"),
];

on_every_database! {
    async fn a_state_shows_where_each_value_comes_from(database: &Database) {
        let started = Started::with(database, entries()).await;
        let read = "5 entries read; --as-of 8 gives the same answer again\n";
        let state = ["state", "assistant", "asst_1", "--at", "2025-01-20"];
        started.check(&state, (0, read), |answer| format!("{}\n{STATE}", sentence(&answer["summary"])));
        let (_, answer) = started.json(&state);
        let field = |field: &str, value: Value, basis: &str, source: usize, partial: bool| {
            json!({"field": field, "value": value, "basis": basis, "source": reference(source), "partial": partial})
        };
        let fields = [
            field("model", json!("small"), "inferred", 4, false),
            field("temperature", json!(0.9), "recorded", 2, false),
            field("tools", json!({"search": true}), "recorded", 2, true),
            field("tools.search", json!(false), "recorded", 3, false),
        ];
        let expected = json!({
            "asOfSequence": 8, "entries": 5, "existence": "exists", "since": reference(1), "fields": fields,
            "anomalies": []
        });
        assert_eq!(without_sentences(&answer), expected);
        for field in answer["fields"].as_array().expect("fields") {
            sentence(&field["explanation"]);
        }
        // A date is the end of its day, and a second its end.
        let at = |time: &str| started.run(&["state", "assistant", "asst_1", "--field", "tools.search", "--at", time]).1;
        assert!(at("2025-01-20T11:00:00Z").contains("tools.search  false"), "{}", at("2025-01-20T11:00:00Z"));
        assert!(at("2025-01-20T10:59:59Z").contains("tools.search  true"), "{}", at("2025-01-20T10:59:59Z"));
        // Later entries than --as-of do not count, also for inferred values.
        let early = ["state", "assistant", "asst_1", "--at", "2025-01-22", "--as-of", "2"];
        let (code, stdout, stderr) = started.run(&early);
        assert_eq!((code, stderr.as_str()), (Some(0), "2 entries read; --as-of 2 gives the same answer again\n"));
        let fields: Vec<_> = stdout.lines().skip(3).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(fields, ["temperature", "tools"], "{stdout}");
        let deleted = ["state", "thread", "thread_1"];
        let read = "1 entry read; --as-of 8 gives the same answer again\n";
        started.check(&deleted, (0, read), |answer| format!("{}\n", sentence(&answer["summary"])));
        assert_eq!(started.json(&deleted).1["existence"], "deleted");
        assert_eq!(started.json(&["state", "rule", "rule_none"]).1["existence"], "unknown");
    }

    async fn an_erased_entry_makes_values_uncertain(database: &Database) {
        let started = Started::with(database, entries()).await;
        let erase = ["erase", "--entry", "log_3", "--groups", "content", "--reason", "Request 4711", "--yes"];
        assert_eq!(started.run(&erase).0, Some(0));
        let read = "5 entries read; --as-of 9 gives the same answer again\n";
        let state = ["state", "assistant", "asst_1", "--field", "tools"];
        started.check(&state, (0, read), |answer| format!("{}\n{UNCERTAIN_STATE}", sentence(&answer["summary"])));
        started.check(&["rollback-plan", "--entry", "log_2"], (1, read), |answer| {
            let explained = |step: usize| sentence(&answer["steps"][step]["explanation"]);
            let cause = "    2025-01-20T11:00:00Z  uid_2  log_3\n";
            format!(
                "{}\n{UNCERTAIN_PLAN}\nStep 1, uncertain: {}\n{cause}\nStep 2, uncertain: {}\n{cause}",
                sentence(&answer["summary"]),
                explained(0),
                explained(1)
            )
        });
    }

    async fn a_comparison_shows_the_fields_that_differ(database: &Database) {
        let started = Started::with(database, entries()).await;
        let read = "5 entries read; --as-of 8 gives the same answer again\n";
        let compare = ["compare", "assistant", "asst_1", "--from", "2025-01-20", "--to", "2025-01-21T12:15:00Z"];
        started.check(&compare, (0, read), |answer| format!("{}\n{COMPARISON}", sentence(&answer["summary"])));
        let (_, answer) = started.json(&compare);
        assert_eq!([&answer["existenceBefore"], &answer["existenceAfter"]], ["exists", "exists"]);
        assert_eq!(answer["since"], reference(1));
        let differences: Vec<_> = answer["differences"].as_array().expect("differences").iter().collect();
        let values = |side: &str| differences.iter().map(|one| one[side]["value"].clone()).collect::<Vec<_>>();
        assert_eq!([values("before"), values("after")], [[json!("small"), json!(0.9)], [json!("large"), json!(1.5)]]);
        let same = ["compare", "assistant", "asst_1", "--from", "2025-01-22"];
        started.check(&same, (0, read), |answer| format!("{}\n", sentence(&answer["summary"])));
    }

    async fn a_check_exits_with_1_at_an_unexplained_break(database: &Database) {
        let started = Started::with(database, entries()).await;
        started.check(&["continuity"], (1, ""), |answer| {
            let found = &answer["breaks"][0];
            format!("{BREAK}    {}\n\n{}\n", sentence(&found["explanation"]), sentence(&answer["summary"]))
        });
        let (_, answer) = started.json(&["continuity"]);
        let found = json!({
            "resourceType": "rule", "resourceId": "rule_1", "field": "version", "earlierField": "version",
            "earlier": reference(7), "later": reference(8), "written": 2, "found": 3, "class": "unexplained"
        });
        let expected = json!({
            "breaks": [found], "asOfSequence": 8, "resources": 3, "entries": 8, "compared": 4, "notComparable": 0,
            "breakCount": 1, "orderBreakCount": 0, "uncheckedResources": 0, "complete": true
        });
        assert_eq!(without_sentences(&answer), expected);
        let whole = |answer: &Value| format!("{}\n", sentence(&answer["summary"]));
        started.check(&["continuity", "assistant", "asst_1"], (0, ""), whole);
        started.check(&["continuity", "--after", "8"], (0, ""), whole);
        started.check(&["continuity", "--as-of", "7"], (0, ""), whole);
        assert_eq!(started.run(&["continuity", "rule", "rule_1", "--after", "7"]).0, Some(1));
    }

    async fn a_late_entry_is_no_unexplained_break(database: &Database) {
        let change = |old: u32, new: u32| json!([change("version", json!(old), json!(new))]);
        let first = entry(1, "2025-01-22T10:30:00Z", RULE, "updated", "uid_1", change(1, 2));
        let skewed = entry(2, "2025-01-22T10:00:00Z", RULE, "updated", "uid_2", change(2, 3));
        let started = Started::with(database, vec![first, skewed]).await;
        let found = "rule rule_1  version  order\n    written 3  2025-01-22T10:00:00Z  uid_2  log_2\n    \
                     found   1  2025-01-22T10:30:00Z  uid_1  log_1\n";
        started.check(&["continuity", "rule", "rule_1"], (0, ""), |answer| {
            let explanation = sentence(&answer["breaks"][0]["explanation"]);
            format!("{found}    {explanation}\n\n{}\n", sentence(&answer["summary"]))
        });
    }

    async fn a_plan_exits_with_1_if_a_step_needs_a_decision(database: &Database) {
        let started = Started::with(database, entries()).await;
        let read = "6 entries read; --as-of 8 gives the same answer again\n";
        let conflict = |answer: &Value| {
            let (summary, explanation) = (sentence(&answer["summary"]), sentence(&answer["steps"][1]["explanation"]));
            format!("{summary}\n{PLAN}\nStep 2, conflict: {explanation}\n    2025-01-21T12:30:00Z  uid_1  log_6\n")
        };
        started.check(&["rollback-plan", "--trace", "t1"], (1, read), conflict);
        let dates = ["--start-date", "2025-01-21", "--end-date", "2025-01-21"];
        started.check(&[&["rollback-plan", "--user", "uid_2"][..], &dates].concat(), (1, read), conflict);
        started.check(&["rollback-plan", "--entry", "log_5", "--entry", "log_4"], (1, read), conflict);
        let (_, answer) = started.json(&["rollback-plan", "--trace", "t1"]);
        let step = json!({
            "resourceType": "assistant", "resourceId": "asst_1", "action": "restore", "status": "conflict",
            "field": "model", "restore": "small", "expected": "medium", "entries": 1, "oldest": reference(4),
            "newest": reference(4), "cause": reference(6), "causeField": "model", "causeEntries": 1
        });
        assert_eq!(without_sentences(&answer["steps"][1]), step);
        for arguments in [
            &["--resource", "assistant", "asst_1", "--at", "2025-01-21T12:29:59Z"][..],
            &["--entry", "log_5"],
            &["--user", "nobody", "--start-date", "2025-01-01", "--end-date", "2025-12-31"],
            &["--trace", "t1", "--as-of", "5"],
        ] {
            let (code, stdout, stderr) = started.run(&[&["rollback-plan"], arguments].concat());
            assert_eq!(code, Some(0), "{arguments:?}: {stdout}{stderr}");
        }
        let one = started.run(&["rollback-plan", "--entry", "log_5"]).1;
        assert!(one.starts_with("To undo 1 entry of 1 resource as of sequence 8, there is 1 step: 1 ready.\n"), "{one}");
    }

    async fn what_is_undone_already_is_a_noop(database: &Database) {
        let started = Started::with(database, entries()).await;
        let created = entry(9, "2025-01-23T08:00:00Z", ("rule", "rule_3"), "created", "uid_2", json!([]));
        let color = |old: &str, new: &str| json!([change("color", json!(old), json!(new))]);
        let painted = entry(10, "2025-01-23T08:01:00Z", ASSISTANT, "updated", "uid_2", color("red", "blue"));
        let repaired = entry(11, "2025-01-23T08:05:00Z", ASSISTANT, "updated", "uid_1", color("blue", "red"));
        started.write(vec![in_trace(created, "t2"), in_trace(painted, "t2"), repaired]).await;
        let read = "8 entries read; --as-of 11 gives the same answer again\n";
        started.check(&["rollback-plan", "--trace", "t2"], (0, read), |answer| {
            let (summary, explanation) = (sentence(&answer["summary"]), sentence(&answer["steps"][0]["explanation"]));
            format!("{summary}\n{UNDONE_PLAN}\nStep 1, noop: {explanation}\n")
        });
    }

    async fn entries_around_an_entry_are_grouped(database: &Database) {
        let started = Started::with(database, entries()).await;
        let around = ["around", "log_5", "--minutes", "5"];
        let window = "from 2025-01-21T11:56:00Z to 2025-01-21T12:06:00Z";
        let shown = (Some(0), AROUND.to_owned(), format!("2 entries {window}\n"));
        assert_eq!(started.run(&around), shown);
        let (code, stdout, stderr) = started.run(&[&around[..], &["--limit", "1"]].concat());
        assert!(code == Some(0) && stdout.contains("log_5\n") && !stdout.contains("log_4"), "{stdout}");
        let list = "`auditlog list --start-date 2025-01-21T11:56:00Z --end-date 2025-01-21T12:06:00Z` has all";
        assert_eq!(stderr, format!("the 1 nearest of 2 entries {window}; {list}\n"));
        // The entry is shown, not the newest one.
        let (code, stdout, _) = started.run(&["around", "log_4", "--minutes", "5", "--limit", "1"]);
        assert!(code == Some(0) && stdout.contains("log_4\n") && !stdout.contains("log_5"), "{stdout}");
        assert!(started.run(&["around", "log_4", "--minutes", "1"]).2.starts_with("2 entries from "));
        assert!(started.run(&["around", "log_6", "--minutes", "1"]).2.starts_with("1 entry from "));
        // Both ends belong to the window.
        let (code, answer) = started.json(&["around", "log_4", "--minutes", "30"]);
        let ids: Vec<_> = answer["auditLogs"].as_array().expect("entries").iter().map(|entry| &entry["id"]).collect();
        assert_eq!((code, ids), (Some(0), vec![&json!("log_6"), &json!("log_5"), &json!("log_4")]));
        let (start, end) = ("2025-01-21T11:30:00Z", "2025-01-21T12:30:00Z");
        assert_eq!(answer["around"], json!({"id": "log_4", "startDate": start, "endDate": end}));
        assert_eq!(answer["groups"]["traces"], json!([{"traceId": "t1", "ids": ["log_5", "log_4"]}]));
        let pagination = json!({"total": 3, "limit": 100, "offset": 0, "hasMore": false, "nextCursor": null});
        assert_eq!(answer["pagination"], pagination);
    }

    async fn mistakes_are_explained(database: &Database) {
        let started = Started::with(database, entries()).await;
        for (arguments, expected, message) in MISTAKES {
            let (code, stdout, stderr) = started.run(arguments);
            assert_eq!((code, stdout.as_str()), (Some(expected), ""), "{arguments:?}: {stderr}");
            assert!(stderr.contains(message), "{arguments:?}: {stderr}");
        }
    }
}
