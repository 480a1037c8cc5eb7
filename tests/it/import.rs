//! `auditlog import`: invalid and altered lines, input formats, and a service that restarts.

use std::io::Write;
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::database::execute;
use crate::support::log::literal;
use crate::support::process::{auditlog, create_key, output, text};
use crate::support::{Backend, Database, Process, on_every_database};

fn line(id: &str, organization: &str) -> String {
    let entry = json!({
        "id": id, "organizationId": organization, "timestamp": "2025-01-20T10:30:00Z", "resourceType": "rule",
        "resourceId": "r", "action": "created", "userId": "u"
    });
    entry.to_string()
}

/// Runs an import. Returns the exit code, standard output and standard error.
fn import(service: &Process, key: &str, lines: &[u8], arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut child = auditlog()
        .args(["import", "-", "--endpoint", &service.url("")])
        .args(arguments)
        .env("AUDITLOG_API_KEY", key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the import starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(lines).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The lines of an export.
fn export(service: &Process, key: &str, organization: &str) -> Vec<String> {
    let arguments = ["export", "--endpoint", &service.url(""), "--organization", organization];
    let exported = output(arguments, &[("AUDITLOG_API_KEY", key)]);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    text(&exported.stdout).lines().map(str::to_owned).collect()
}

async fn ids(service: &Process, key: &str, organization: &str) -> Vec<String> {
    let url = service.url(&format!("/v1/{organization}/audit-logs"));
    let page: Value =
        reqwest::Client::new().get(url).bearer_auth(key).send().await.expect("an answer").json().await.expect("JSON");
    let mut entries: Vec<_> = page["auditLogs"].as_array().cloned().unwrap_or_default();
    entries.sort_by_key(|entry| entry["sequence"].as_i64());
    entries.iter().map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
}

fn started(database: &Database) -> (Process, String) {
    let key = create_key(&database.url, &["--all-organizations", "--scope", "read", "--scope", "write"]);
    (Process::serve(&database.url), key)
}

on_every_database! {
    async fn bad_lines_are_reported_by_number_and_skipped(database: &Database) {
        let (service, key) = started(database);
        let unknown_action = line("log_5", "a").replace("created", "made");
        let other_content = line("log_1", "a").replace("\"r\"", "\"s\"");
        let lines = [
            line("log_1", "a"), "{".to_owned(), line("log_3", "a"), String::new(), unknown_action, line("log_6", "b"),
            line("log_7", "a"), other_content, line("log_9", "a").replace("\"organizationId\":\"a\",", ""),
            line("log_10", "a").replace("userId", "userid"), line("bad id", "a"),
        ];
        let (code, summary, stderr) = import(&service, &key, lines.join("\n").as_bytes(), &[]);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(summary.starts_with("4 written, 0 already there, 6 skipped"), "{summary}");
        for expected in [
            "line 2: EOF", "line 5: action: must be one of created", "line 8: id: log_1 is the id of an entry with other content",
            "line 9: organizationId is missing", "line 10: unknown field `userid`", "line 11: id: must be of",
        ] {
            assert!(stderr.contains(expected), "{expected:?} in {stderr}");
        }
        assert_eq!(ids(&service, &key, "a").await, ["log_1", "log_3", "log_7"]);
        assert_eq!(ids(&service, &key, "b").await, ["log_6"]);
    }

    async fn strict_stops_at_the_first_bad_line(database: &Database) {
        let (service, key) = started(database);
        for (organization, bad) in [("a", "{".to_owned()), ("b", line("log_3", "b").replace("created", "made"))] {
            let lines = [line("log_1", organization), line("log_2", organization), bad, line("log_4", organization)].join("\n");
            let (code, summary, stderr) = import(&service, &key, lines.as_bytes(), &["--strict"]);
            assert_eq!((code, summary.as_str()), (Some(1), ""));
            assert!(stderr.contains("error: line 3: ") && stderr.contains("2 written"), "{stderr}");
            assert_eq!(ids(&service, &key, organization).await, ["log_1", "log_2"]);
        }
    }

    async fn a_compressed_file_without_ids_is_imported(database: &Database) {
        let (service, key) = started(database);
        let without_id = line("x", "a").replace("\"id\":\"x\",", "");
        let lines = format!("{without_id}\n{without_id}\n");
        let path = database.directory.path().join("trail.bin");
        let mut packed = GzEncoder::new(std::fs::File::create(&path).expect("a file"), Compression::fast());
        packed.write_all(lines.as_bytes()).expect("it packs");
        packed.finish().expect("it is whole");
        let arguments = ["import", "--endpoint", &service.url(""), path.to_str().expect("UTF-8"), "--organization", "b"];
        let first = output(arguments, &[("AUDITLOG_API_KEY", &key)]);
        assert!(text(&first.stdout).starts_with("2 written, 0 already there"), "{}", text(&first.stderr));
        let again = output(arguments, &[("AUDITLOG_API_KEY", &key)]);
        assert!(text(&again.stdout).starts_with("0 written, 2 already there"), "{}", text(&again.stderr));
        assert_eq!(ids(&service, &key, "b").await.len(), 2);
    }

    async fn byte_order_marks_at_the_beginning_of_lines_are_passed_over(database: &Database) {
        let (service, key) = started(database);
        let packed = |lines: &str| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(lines.as_bytes()).expect("it packs");
            packed.finish().expect("it is whole")
        };
        let without_id = |organization: &str| line("x", organization).replace("\"id\":\"x\",", "");
        // Three files that begin with a byte order mark, plain and compressed. The last one has two marks and no entry.
        let files = |of: &str| [
            format!("\u{feff}{}\n{}\n", line("log_1", of), line("log_2", of)),
            format!("\u{feff}{}\r\n\u{feff}\n{}\n", line("log_3", of), without_id(of)),
            "\u{feff}\u{feff}".to_owned(),
        ];
        let plain = files("plain").concat();
        let members = files("members").iter().flat_map(|file| packed(file)).collect();
        let one_member = packed(&files("whole").concat());
        for (organization, bytes) in [("plain", plain.clone().into_bytes()), ("members", members), ("whole", one_member)] {
            let (code, summary, stderr) = import(&service, &key, &bytes, &[]);
            assert_eq!(code, Some(0), "{organization}: {stderr}");
            assert!(summary.starts_with("4 written, 0 already there, 0 skipped"), "{summary}");
            assert_eq!(ids(&service, &key, organization).await[..3], ["log_1", "log_2", "log_3"]);
        }
        // The id for a line without one is derived from its text.
        let (code, summary, _) = import(&service, &key, plain.replace('\u{feff}', "").as_bytes(), &[]);
        assert_eq!((code, summary.starts_with("0 written, 4 already there, 0 skipped")), (Some(0), true), "{summary}");
    }

    async fn an_export_is_imported_into_its_own_log_and_into_others(database: &Database) {
        let (service, key) = started(database);
        let lines = [1, 2, 3].map(|number| line(&format!("log_{number}"), "a")).join("\n");
        assert_eq!(import(&service, &key, lines.as_bytes(), &[]).0, Some(0));
        let exported = export(&service, &key, "a").join("\n");
        let (code, summary, stderr) = import(&service, &key, exported.as_bytes(), &["--strict"]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(summary.starts_with("0 written, 3 already there, 0 skipped"), "{summary}");
        // In other logs, the entries have the same numbers, but other times and leaf hashes. That is no alteration.
        let Some(other) = Database::fresh(database.backend).await else { return };
        let (elsewhere, elsewhere_key) = started(&other);
        for counts in ["3 written, 0 already there, 0 skipped", "0 written, 3 already there, 0 skipped"] {
            for (service, key, organization) in [(&service, &key, "b"), (&elsewhere, &elsewhere_key, "a")] {
                let (code, summary, stderr) = import(service, key, exported.as_bytes(), &["--strict", "--organization", organization]);
                assert_eq!(code, Some(0), "{organization}: {stderr}");
                assert!(summary.starts_with(counts), "{organization}: {summary}");
            }
        }
        assert_ne!(export(&elsewhere, &elsewhere_key, "a").join("\n"), exported);
    }

    async fn an_altered_line_of_the_same_log_is_reported(database: &Database) {
        let (service, key) = started(database);
        let lines = [1, 2, 3, 4].map(|number| line(&format!("log_{number}"), "a")).join("\n");
        assert_eq!(import(&service, &key, lines.as_bytes(), &[]).0, Some(0));
        let exported = export(&service, &key, "a");
        let entries: Vec<Value> = exported.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (field, value) in [("leafHash", entries[2]["leafHash"].clone()), ("sequence", json!(9)), ("recordedAt", json!("2025-01-20T10:30:00Z"))] {
            let mut altered = entries.clone();
            altered[1][field] = value.clone();
            let altered = altered.iter().map(|entry| format!("{entry}\n")).collect::<String>();
            let (code, summary, stderr) = import(&service, &key, altered.as_bytes(), &[]);
            assert_eq!(code, Some(3), "{stderr}");
            assert!(summary.starts_with("0 written, 4 already there (1 altered), 0 skipped"), "{summary}");
            let (came, stored) = (shown(&value), shown(&entries[1][field]));
            let expected = format!("line 2: log_2: {field} is {came} in the file and {stored} in the log; the file or the log was altered");
            assert!(stderr.contains(&expected), "{expected:?} in {stderr}");
            assert_eq!(stderr.matches("was altered").count(), 1, "{stderr}");
            let (code, summary, stderr) = import(&service, &key, altered.as_bytes(), &["--strict"]);
            assert_eq!((code, summary.as_str()), (Some(1), ""));
            assert!(stderr.contains(&format!("error: {expected}")) && stderr.contains("4 already there (1 altered)"), "{stderr}");
            // Another log never had these values.
            assert_eq!(import(&service, &key, altered.as_bytes(), &["--strict", "--organization", "b"]).0, Some(0));
        }
        // Or the file is right, and somebody altered the log.
        let zeros = literal(database, &[0; 32]);
        execute(database, &format!("UPDATE audit_logs SET leaf_hash = {zeros} WHERE organization_id = 'a' AND id = 'log_3'")).await;
        let (code, summary, stderr) = import(&service, &key, exported.join("\n").as_bytes(), &[]);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(summary.starts_with("0 written, 4 already there (1 altered), 0 skipped"), "{summary}");
        assert!(stderr.contains("line 3: log_3: leafHash is "), "{stderr}");
    }

    async fn malformed_sequences_times_and_leaf_hashes_are_bad_lines(database: &Database) {
        let (service, key) = started(database);
        let with = |id: &str, fields: &str| line(id, "a").replacen('{', &format!("{{{fields},"), 1);
        let lines = [
            with("log_1", r#""leafHash":"JvrsJYTMI3ABfKXi""#),
            with("log_2", r#""leafHash":7"#),
            with("log_3", r#""sequence":0"#),
            with("log_4", r#""sequence":"4""#),
            with("log_5", r#""sequence":1.5"#),
            with("log_6", r#""recordedAt":"2025-01-20""#),
            with("log_7", r#""sequence":null,"recordedAt":null,"leafHash":null"#),
        ];
        let (code, summary, stderr) = import(&service, &key, lines.join("\n").as_bytes(), &[]);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(summary.starts_with("1 written, 0 already there, 6 skipped"), "{summary}");
        for expected in [
            "line 1: leafHash: must be 32 bytes in base64, got \"JvrsJYTMI3ABfKXi\"; skipped",
            "line 2: leafHash: invalid type: integer `7`, expected a string",
            "line 3: sequence: must be 1 or more, got 0",
            "line 4: sequence: invalid type: string \"4\", expected an integer",
            "line 5: sequence: invalid type: floating point `1.5`, expected an integer",
            "line 6: recordedAt: must be an RFC 3339 date-time",
        ] {
            assert!(stderr.contains(expected), "{expected:?} in {stderr}");
        }
        assert_eq!(ids(&service, &key, "a").await, ["log_7"]);
    }

    async fn a_file_without_a_single_entry_is_an_error(database: &Database) {
        let (service, key) = started(database);
        let (code, summary, stderr) = import(&service, &key, b"id,organizationId\nlog_1,a\n", &[]);
        assert_eq!(code, Some(1));
        assert!(summary.starts_with("0 written, 0 already there, 2 skipped"), "{summary}");
        assert!(stderr.contains("takes one JSON object per line"), "{stderr}");
        assert_eq!(import(&service, &key, b"", &[]).0, Some(0), "nothing is no mistake");
    }

    async fn a_refused_key_ends_the_import(database: &Database) {
        let (service, _) = started(database);
        let reader = create_key(&database.url, &["--organization", "a", "--scope", "read"]);
        let (code, _, stderr) = import(&service, &reader, line("log_1", "a").as_bytes(), &[]);
        assert_eq!(code, Some(1));
        assert!(stderr.contains("Insufficient permissions to write audit logs"), "{stderr}");
    }

    async fn an_import_outlives_a_restart_of_the_service(database: &Database) {
        let key = create_key(&database.url, &["--all-organizations", "--scope", "read", "--scope", "write"]);
        let first = Process::serve(&database.url);
        let address = first.address.clone();
        let mut child = auditlog()
            .args(["import", "-", "--endpoint", &first.url("")])
            .env("AUDITLOG_API_KEY", &key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the import starts");
        let mut input = child.stdin.take().expect("a pipe");
        let lines = |from: usize| (from..from + 600).map(|id| line(&format!("log_{id}"), "a") + "\n").collect::<String>();
        input.write_all(lines(0).as_bytes()).expect("it reads");
        // The import sends full batches while it waits for more input.
        while ids(&first, &key, "a").await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        first.kill();
        input.write_all(lines(600).as_bytes()).expect("it reads");
        drop(input);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let mut command = auditlog();
        command.arg("serve").env("AUDITLOG_DATABASE_URL", &database.url).env("AUDITLOG_LISTEN", &address);
        let _second = Process::spawn(command);
        let output = child.wait_with_output().expect("it ends");
        let summary = text(&output.stdout);
        assert!(output.status.success() && summary.contains("0 skipped"), "{summary}");
        let counts: Vec<u64> = summary.replace(',', "").split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(counts[0] + counts[1], 1_200, "{summary}");
    }
}
