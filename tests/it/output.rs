//! `auditlog export` to a file, a pipe and a spreadsheet.

use std::fs;
use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::json::least;
use crate::support::process::{auditlog, create_key, text};
use crate::support::{Backend, Database, Process, on_every_database};

const COLUMNS: [&str; 21] = [
    "id",
    "organizationId",
    "timestamp",
    "resourceType",
    "resourceId",
    "resourceName",
    "action",
    "userId",
    "userName",
    "userEmail",
    "changes",
    "ipAddress",
    "userAgent",
    "source",
    "metadata",
    "sequence",
    "recordedAt",
    "traceId",
    "outcome",
    "actorType",
    "erased",
];

struct Started {
    service: Process,
    key: String,
}

impl Started {
    async fn with(database: &Database, entries: Vec<Value>) -> Self {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        let service = Process::serve(&database.url);
        for entries in entries.chunks(1_000) {
            let request = reqwest::Client::new().post(service.url("/v1/org_a/audit-logs")).bearer_auth(&key);
            let answer = request.json(&json!({"auditLogs": entries})).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 201, "{:?}", answer.text().await);
        }
        Self { service, key }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = auditlog();
        command.args(["export", "--endpoint", &self.service.url(""), "--organization", "org_a"]).args(arguments);
        command.env("AUDITLOG_API_KEY", &self.key).stdin(Stdio::null());
        command
    }

    fn export(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.export(arguments);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{arguments:?}");
        text(&output.stderr)
    }
}

/// A cell without the documented `'` prefix.
fn plain(cell: &str) -> &str {
    cell.strip_prefix('\'').unwrap_or(cell)
}

/// Parses CSV. Fails on a cell that a spreadsheet would evaluate as a formula.
fn parsed(csv: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    let rows: Vec<Vec<String>> =
        reader.records().map(|row| row.expect("as long as the others").iter().map(str::to_owned).collect()).collect();
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']), "{cell:?}");
    }
    rows
}

/// The expected cells of an entry, from its REST form.
fn cells(entry: &str) -> Vec<String> {
    let raw: std::collections::BTreeMap<&str, &RawValue> = serde_json::from_str(entry).expect("JSON");
    let entry: Value = serde_json::from_str(entry).expect("JSON");
    let shown = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let cell = |column: &str| match column {
        "organizationId" => "org_a".to_owned(),
        "changes" => raw["changes"].get().to_owned(),
        "ipAddress" | "userAgent" | "source" => shown(&entry["metadata"][column]),
        "metadata" => {
            let mut rest = entry["metadata"].as_object().expect("an object").clone();
            rest.retain(|key, _| !["ipAddress", "userAgent", "source"].contains(&key.as_str()));
            Value::Object(rest).to_string()
        }
        "erased" => String::new(),
        name => shown(&entry[name]),
    };
    COLUMNS.map(cell).to_vec()
}

fn odd_entries() -> Vec<Value> {
    let odd = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1",
        "'quoted'",
        "''",
        "a \"quoted\" name, with a comma",
        "two\r\nlines",
        " =1",
        "é\u{1b}\u{202e}",
    ];
    let entry = |(number, odd): (usize, &&str)| {
        let mut entry = least(&format!("log_{number}"));
        entry["resourceName"] = json!(odd);
        entry["userName"] = json!(odd);
        entry["userEmail"] = json!(odd);
        entry["changes"] = json!([{"field": odd, "oldValue": odd, "newValue": {"a": [1, odd]}}]);
        entry["metadata"] = json!({"ipAddress": odd, "source": odd, "other": odd, "another": ""});
        if !odd.contains(char::is_control) {
            entry["resourceId"] = json!(odd);
            entry["userId"] = json!(odd);
            entry["traceId"] = json!(odd);
            entry["outcome"] = json!("failure");
            entry["actorType"] = json!("system");
        }
        entry
    };
    odd.iter().enumerate().map(entry).chain([least("-log_bare")]).collect()
}

on_every_database! {
    async fn csv_has_each_value_and_no_formula(database: &Database) {
        let entries = odd_entries();
        let started = Started::with(database, entries.clone()).await;
        let exported = started.export(&["--format", "csv"]);
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        let rows = parsed(&exported.stdout);
        assert_eq!(rows[0], COLUMNS);
        assert_eq!(rows.len(), entries.len() + 1);
        for (row, entry) in rows[1..].iter().zip(&entries) {
            let url = started.service.url(&format!("/v1/org_a/audit-logs/{}", entry["id"].as_str().expect("an id")));
            let read = reqwest::Client::new().get(url).bearer_auth(&started.key).send().await.expect("an answer");
            let expected = cells(&read.text().await.expect("text"));
            assert_eq!(row.iter().map(|cell| plain(cell)).collect::<Vec<_>>(), expected);
            // Compares the raw cell, so that the `'` is exactly where it must be.
            let name = entry["resourceName"].as_str().unwrap_or_default();
            let is_marked = name.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '\'']);
            assert_eq!(row[5], format!("{}{name}", if is_marked { "'" } else { "" }));
        }
        let path = database.directory.path().join("trail.csv");
        let name = path.to_str().expect("UTF-8");
        assert!(started.export(&["--format", "csv", "--output", name, "--resource-id", "=1+1"]).status.success());
        assert_eq!(parsed(&fs::read(&path).expect("the file")).len(), 2);
        assert!(started.export(&["--format", "csv", "--output", name, "--after", "log_0"]).status.success());
        let whole = fs::read(&path).expect("the file");
        assert!(whole == exported.stdout, "one line of names, and each entry once: {}", text(&whole));
    }

    async fn existing_files_are_not_overwritten_and_missing_ones_not_continued(database: &Database) {
        let started = Started::with(database, vec![least("log_1"), least("log_2")]).await;
        let path = |name: &str| database.directory.path().join(name).to_str().expect("UTF-8").to_owned();
        let file = path("trail.ndjson");
        fs::write(&file, "somebody's\n").expect("a file");
        let stderr = started.refused(&["--output", &file]);
        assert!(stderr.contains("already exists; choose another --output, or continue with --after and its last id"), "{stderr}");
        let stderr = started.refused(&["--output", &file, "--after", "log_none"]);
        assert!(stderr.contains("--after log_none: Audit log not found"), "{stderr}");
        let stderr = started.refused(&["--output", &path("none.ndjson"), "--after", "log_1"]);
        assert!(stderr.contains("cannot continue") && stderr.contains("No such file"), "{stderr}");
        assert!(!fs::exists(path("none.ndjson")).expect("it can be asked"));
        let stderr = started.refused(&["--output", &path("none/trail.ndjson")]);
        assert!(stderr.contains("cannot create") && stderr.contains("No such file"), "{stderr}");
        assert_eq!(fs::read_to_string(&file).expect("the file"), "somebody's\n");
        let stderr = started.refused(&["--output", &file, "--after", "log_1"]);
        assert!(stderr.contains("its last line is not an entry"), "{stderr}");
        let other = path("other.csv");
        fs::write(&other, "\"id\",\"sequence\"\n\"log_1\",\"1\"\n").expect("a file");
        let stderr = started.refused(&["--format", "csv", "--output", &other, "--after", "log_1"]);
        assert!(stderr.contains("its columns are not those of this version; export into a new file"), "{stderr}");
        for (format, file) in [("ndjson", path("first.ndjson")), ("csv", path("first.csv"))] {
            let arguments = ["--format", format, "--output", &file];
            let only_first = started.export(&[&arguments[..], &["--start-date", "2025-01-01"]].concat());
            assert!(only_first.status.success(), "{}", text(&only_first.stderr));
            let before = fs::read_to_string(&file).expect("the file");
            let stderr = started.refused(&[&arguments[..], &["--after", "log_1"]].concat());
            assert!(stderr.contains("its last entry is log_2, but --after is log_1"), "{stderr}");
            assert_eq!(fs::read_to_string(&file).expect("the file"), before);
            assert!(started.export(&[&arguments[..], &["--after", "log_2"]].concat()).status.success());
            assert_eq!(fs::read_to_string(&file).expect("the file"), before, "there is nothing more");
        }
        let refused = path("refused.csv");
        let stderr = started.refused(&["--format", "csv", "--output", &refused, "--action", "create"]);
        assert!(stderr.contains("did you mean created?"), "{stderr}");
        assert!(!fs::exists(&refused).expect("it can be asked"), "nothing is in the way of the next try");
        assert!(started.export(&["--format", "csv", "--output", &refused, "--action", "created"]).status.success());
        let dash = started.export(&["--output", "-"]);
        assert!(dash.status.success() && text(&dash.stdout).lines().count() == 2);
        fs::write(&file, r#"{"id":"log_1""#).expect("the file");
        let stderr = started.refused(&["--output", &file, "--after", "log_1"]);
        assert!(stderr.contains("its last line is incomplete"), "{stderr}");
        assert_eq!(fs::read_to_string(&file).expect("the file"), r#"{"id":"log_1""#);
    }

    async fn a_closed_pipe_is_no_error_and_a_full_disk_is_one(database: &Database) {
        let entries = (0..3_000).map(|number| least(&format!("log_{number:04}"))).collect();
        let started = Started::with(database, entries).await;
        for arguments in [&[][..], &["--format", "csv"]] {
            let mut child = started.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            // Like `head -1`.
            let mut head = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
            let mut line = String::new();
            std::io::BufRead::read_line(&mut head, &mut line).expect("a line");
            drop(head);
            let output = child.wait_with_output().expect("it ends");
            assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{arguments:?}");
            assert!(line.contains("id"), "{line}");
            let full = OpenOptions::new().write(true).open("/dev/full").expect("it is there");
            let output = started.command(arguments).stdout(full).output().expect("it runs");
            assert_eq!(output.status.code(), Some(1));
            assert!(text(&output.stderr).contains("cannot write to standard output: No space left on device"), "{}", text(&output.stderr));
        }
    }
}
