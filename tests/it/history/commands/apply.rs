//! contrib/apply_rollback_plan.py applies a plan to a store, and records it in the log.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{Started, entries};
use crate::support::process::{program, text};
use crate::support::{Backend, Database, on_every_database};

const SCRIPT: &str = "contrib/apply_rollback_plan.py";
/// Creates the store, with rows of type, id and body.
const CREATE: &str = "
import json, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute('CREATE TABLE documents (type TEXT, id TEXT, body TEXT NOT NULL, PRIMARY KEY (type, id))')
store.execute('CREATE TABLE outbox (place INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT, refused TEXT)')
for type, id, body in json.loads(sys.argv[2]):
    store.execute('INSERT INTO documents VALUES (?, ?, ?)', (type, id, json.dumps(body)))
store.commit()
";
const WAITING: &str = "
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute('INSERT INTO outbox (entry) VALUES (?)', [sys.argv[2]])
store.commit()
";
/// Prints the rows of the store, and the number of entries in the outbox.
const SHOW: &str = "
import json, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
rows = store.execute('SELECT type, id, body FROM documents ORDER BY type, id')
rows = [[type, id, json.loads(body)] for type, id, body in rows]
print(json.dumps([rows, store.execute('SELECT count(*) FROM outbox').fetchone()[0]]))
";

/// A store beside the service.
struct DocumentStore<'a> {
    python: &'a str,
    path: String,
    started: &'a Started,
}

impl<'a> DocumentStore<'a> {
    fn new(python: &'a str, started: &'a Started, database: &Database, name: &str, rows: &Value) -> Self {
        let path = database.directory.path().join(name).to_str().expect("UTF-8").to_owned();
        let store = Self { python, path, started };
        store.python(CREATE, &rows.to_string());
        store
    }

    fn python(&self, script: &str, argument: &str) -> String {
        let output = Command::new(self.python).args(["-c", script, &self.path, argument]).output().expect("it runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The rows, and the number of entries in the outbox.
    fn content(&self) -> (Value, Value) {
        let content: Value = serde_json::from_str(&self.python(SHOW, "")).expect("JSON");
        (content[0].clone(), content[1].clone())
    }

    /// Applies the plan for the trace t1 as of entry 8.
    fn apply(&self, decisions: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(self.python);
        command.args(["-B", SCRIPT, &self.path, "--by", "uid_9", "--as-of", "8", "--trace", "t1"]).args(decisions);
        command.env("AUDITLOG_ENDPOINT", self.started.service.url("")).env("AUDITLOG_ORGANIZATION", "org_a");
        let Output { status, stdout, stderr } =
            command.env("AUDITLOG_API_KEY", &self.started.key).output().expect("it runs");
        (status.code(), text(&stdout), text(&stderr))
    }
}

/// The rows of a store at the time of entry 8.
fn rows(temperature: f64) -> Value {
    json!([["assistant", "asst_1", {"temperature": temperature, "model": "medium", "tools": {"search": false}}]])
}

fn python() -> Option<&'static str> {
    program(&["python3", "/usr/bin/python3"], &["-c", "import sqlite3, urllib.request"])
}

on_every_database! {
    async fn a_plan_is_applied_and_recorded(database: &Database) {
        let Some(python) = python() else { return };
        let started = Started::with(database, entries()).await;
        let store = DocumentStore::new(python, &started, database, "store.db", &rows(1.5));
        let (code, stdout, stderr) = store.apply(&[]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        let lines: Vec<_> = stderr.lines().collect();
        assert!(lines[0].starts_with("step 1 of thread thread_1 needs a decision (ready): "), "{stderr}");
        assert!(lines[1].starts_with("step 2 of assistant asst_1 needs a decision (conflict): "), "{stderr}");
        assert!(stderr.ends_with("\nnothing was applied: decide with --apply STEP or --skip STEP\n"), "{stderr}");
        assert_eq!(store.content(), (rows(1.5), json!(0)), "nothing was applied");
        let (code, stdout, stderr) = store.apply(&["--apply", "1", "--skip", "2"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        let steps = "step 1: recreate thread thread_1\nstep 3: restore assistant asst_1 temperature\nrecorded log_";
        assert!(stdout.starts_with(steps) && stdout.lines().count() == 4, "{stdout}");
        let assistant = rows(0.9)[0].clone();
        assert_eq!(store.content(), (json!([assistant, ["thread", "thread_1", {}]]), json!(0)));
        let recorded = |id: &str| started.json(&["list", "--metadata", &format!("revertOf={id}")]).1;
        let (restored, recreated) = (recorded("log_4"), recorded("log_5"));
        assert_eq!([&restored["action"], &restored["userId"]], ["updated", "uid_9"]);
        assert_eq!(restored["changes"], json!([{"field": "temperature", "oldValue": 1.5, "newValue": 0.9}]));
        assert_eq!([&recreated["action"], &recreated["resourceId"]], ["created", "thread_1"]);
        let state = started.json(&["state", "assistant", "asst_1", "--field", "temperature"]).1;
        assert_eq!(state["fields"][0]["value"], json!(0.9));
        let plan = started.json(&["rollback-plan", "--entry", "log_4"]).1;
        let statuses: Vec<_> = plan["steps"].as_array().expect("steps").iter().map(|step| &step["status"]).collect();
        assert_eq!(statuses, ["conflict", "noop"], "what is undone already is a noop");
    }

    async fn a_resource_that_somebody_changed_since_is_left_alone(database: &Database) {
        let Some(python) = python() else { return };
        let started = Started::with(database, entries()).await;
        let store = DocumentStore::new(python, &started, database, "changed.db", &rows(1.4));
        let (code, stdout, stderr) = store.apply(&["--apply", "1", "--apply", "2"]);
        // The steps of a resource are applied together, or not at all.
        let left = "assistant asst_1 is left as it is, and so are the resources after it: \
                    temperature is 1.4, and the plan expects 1.5\n";
        assert_eq!((code, stderr.as_str()), (Some(1), left), "{stdout}");
        let assistant = rows(1.4)[0].clone();
        assert_eq!(store.content(), (json!([assistant, ["thread", "thread_1", {}]]), json!(0)));
        assert_eq!(stdout.lines().count(), 2, "the step before is applied and recorded: {stdout}");
    }

    async fn entries_that_were_not_recorded_are_sent_by_the_next_run(database: &Database) {
        let Some(python) = python() else { return };
        let started = Started::with(database, entries()).await;
        let store = DocumentStore::new(python, &started, database, "waiting.db", &rows(1.5));
        let waiting = crate::support::json::least("log_waiting").to_string();
        store.python(WAITING, &waiting);
        // The plan is refused, because a decision is missing.
        let (code, stdout, _) = store.apply(&[]);
        assert_eq!((code, stdout.as_str()), (Some(1), "recorded log_waiting\n"));
        assert_eq!(store.content(), (rows(1.5), json!(0)));
        assert_eq!(started.json(&["get", "log_waiting"]).1["sequence"], 9);
    }

    async fn an_entry_that_the_service_refuses_does_not_hold_up_the_others(database: &Database) {
        let Some(python) = python() else { return };
        let started = Started::with(database, entries()).await;
        let store = DocumentStore::new(python, &started, database, "refused.db", &rows(1.5));
        let mut refused = crate::support::json::least("log_refused");
        refused["userId"] = json!("");
        for waiting in [refused, crate::support::json::least("log_waiting")] {
            store.python(WAITING, &waiting.to_string());
        }
        let (code, stdout, stderr) = store.apply(&["--apply", "1", "--skip", "2"]);
        let begins = "log_refused is refused; the outbox keeps it: audit-logs: auditLogs[0].userId: ";
        assert!(code == Some(1) && stderr.starts_with(begins) && stderr.lines().count() == 1, "{code:?}: {stderr}");
        assert!(stdout.starts_with("recorded log_waiting\nstep 1: "), "{stdout}");
        assert_eq!(store.content().1, json!(1), "only the refused entry is left: {stdout}");
    }

    async fn a_user_whom_the_service_would_refuse_is_wrong_usage(database: &Database) {
        let Some(python) = python() else { return };
        let started = Started::with(database, entries()).await;
        let store = DocumentStore::new(python, &started, database, "user.db", &rows(1.5));
        let (code, stdout, stderr) = store.apply(&["--apply", "1", "--skip", "2", "--by", ""]);
        let ends = "argument --by: must be 1 to 256 bytes of printable text, got ''\n";
        assert!(code == Some(2) && stderr.ends_with(ends), "{code:?}: {stdout}{stderr}");
        assert_eq!(store.content(), (rows(1.5), json!(0)));
    }
}
