//! `auditlog list`, `history`, `get` and `counts`, for people and for programs.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::json::{documented, least};
use crate::support::process::{create_key, output, program, text};
use crate::support::{Backend, Database, Process, on_every_database};

struct Started {
    service: Process,
    key: String,
}

impl Started {
    async fn with(database: &Database, entries: &[Value]) -> Self {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        let started = Self { service: Process::serve(&database.url), key };
        for entries in entries.chunks(1_000) {
            started.write(entries).await;
        }
        started
    }

    async fn write(&self, entries: &[Value]) {
        let request = reqwest::Client::new().post(self.service.url("/v1/org_a/audit-logs")).bearer_auth(&self.key);
        let answer = request.json(&json!({"auditLogs": entries})).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201, "{:?}", answer.text().await);
    }

    async fn rest(&self, path: &str) -> String {
        let answer = reqwest::Client::new().get(self.service.url(path)).bearer_auth(&self.key).send().await;
        answer.expect("an answer").text().await.expect("text")
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let endpoint = self.service.url("");
        let own = [("AUDITLOG_ENDPOINT", endpoint.as_str()), ("AUDITLOG_API_KEY", &self.key)];
        output(arguments, &[&own, environment].concat())
    }

    /// Standard output and standard error.
    fn shown(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (String, String) {
        let output = self.run(arguments, environment);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    }

    fn refused(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self.run(arguments, environment);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{arguments:?}");
        text(&output.stderr)
    }

    /// The output on a terminal; `None` without the program `script`.
    fn on_a_terminal(&self, arguments: &str, environment: &[(&str, &str)]) -> Option<String> {
        let script = program(&["script"], &["--version"])?;
        let mut command = Command::new(script);
        command.args(["-qec", &format!("{} {arguments}", env!("CARGO_BIN_EXE_auditlog")), "/dev/null"]);
        command.env("AUDITLOG_ENDPOINT", self.service.url("")).env("AUDITLOG_API_KEY", &self.key).env("TERM", "xterm");
        command.env_remove("NO_COLOR").env_remove("CI").envs(environment.iter().copied());
        let output = command.stdin(std::process::Stdio::null()).output().expect("it runs");
        assert!(output.status.success(), "{}", text(&output.stdout));
        Some(text(&output.stdout).replace("\r\n", "\n"))
    }
}

const LIST: [&str; 3] = ["list", "--organization", "org_a"];

/// The documented entry, one with many changes, and one whose values contain terminal control characters.
fn entries() -> Vec<Value> {
    let changes: Vec<_> =
        (0..12).map(|place| json!({"field": format!("rules[{place}]"), "oldValue": place, "newValue": null})).collect();
    let long = format!("{}\u{202e}{}", "x".repeat(80), "y".repeat(50));
    vec![
        documented(),
        json!({
            "id": "log_2", "timestamp": "2025-01-21T08:00:00Z", "resourceType": "rule", "resourceId": "rule_1",
            "action": "deleted", "userId": "uid_2", "changes": changes
        }),
        json!({
            "id": "log_3", "timestamp": "2025-01-22T09:00:00.5Z", "resourceType": "thread", "resourceId": "thread_\u{202e}9",
            "resourceName": "n".repeat(50), "action": "created", "userId": "uid_3", "userName": "Eve\u{1b}[2J\n\u{202e}\u{61c}",
            "changes": [{"field": "a\u{1b}]0;b\u{7}\u{9b}", "oldValue": {"b": [1, "é"]}, "newValue": long}],
            "metadata": {"ipAddress": "1\u{1b}c", "k\u{1b}": "v"}, "traceId": "4bf92f35",
            "outcome": "denied", "actorType": "service"
        }),
    ]
}

const SHOWN: &str = r#"TIME                         ACTION            RESOURCE                                                             USER                                   ID
2025-01-22T09:00:00.500000Z  created (denied)  thread thread_\u{202e}9 (nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…)  uid_3 (Eve\u{1b}[2J\n\u{202e}\u{61c})  log_3
    a\u{1b}]0;b\u{7}\u{9b}: {"b":[1,"é"]} → "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\u{202e}yyyyyyyyyyy…
2025-01-21T08:00:00Z         deleted           rule rule_1                                                          uid_2                                  log_2
    rules[0]: 0 → null
    rules[1]: 1 → null
    rules[2]: 2 → null
    rules[3]: 3 → null
    rules[4]: 4 → null
    rules[5]: 5 → null
    rules[6]: 6 → null
    rules[7]: 7 → null
    rules[8]: 8 → null
    rules[9]: 9 → null
    … 2 more: auditlog get log_2
2025-01-20T10:30:00Z         updated           assistant asst_abc123 (Customer Support Bot)                         uid_user123 (John Doe)                 log_abc123
    temperature: 0.7 → 0.9
    tools.webSearch: false → true
"#;

const WHOLE: &str = r#"id                 log_3
organizationId     org_a
timestamp          2025-01-22T09:00:00.500000Z
resourceType       thread
resourceId         thread_\u{202e}9
resourceName       nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn
action             created
userId             uid_3
userName           Eve\u{1b}[2J\n\u{202e}\u{61c}
metadata.ipAddress 1\u{1b}c
metadata.k\u{1b}   v
sequence           3
traceId            4bf92f35
outcome            denied
actorType          service
  a\u{1b}]0;b\u{7}\u{9b}: {"b":[1,"é"]} → "LONG"
"#;

const COUNTED: &str = "\
DAY         ENTRIES
2025-01-20        1
2025-01-21        1
2025-01-22        1
total             3

OUTCOME  ENTRIES
(none)         2
denied         1
total          3

USER   ENTRIES
uid_2        1
other        2
total        3
";

on_every_database! {
    async fn a_list_is_a_table_with_what_changed(database: &Database) {
        let started = Started::with(database, &entries()).await;
        assert_eq!(started.shown(&LIST, &[]), (SHOWN.to_owned(), "1 to 3 of 3\n".to_owned()));
        let (whole, _) = started.shown(&["get", "log_3", "--organization", "org_a"], &[]);
        let whole: String = whole.lines().filter(|line| !line.starts_with("recorded")).map(|line| format!("{line}\n")).collect();
        assert_eq!(whole, WHOLE.replace("LONG", &format!("{}\\u{{202e}}{}", "x".repeat(80), "y".repeat(50))));
        let (changes, _) = started.shown(&["get", "log_2", "--organization", "org_a"], &[]);
        assert!(changes.ends_with("  rules[10]: 10 → null\n  rules[11]: 11 → null\n"), "{changes}");
    }

    async fn counts_are_tables_with_bars_on_a_terminal(database: &Database) {
        let started = Started::with(database, &entries()).await;
        let counts = ["counts", "--organization", "org_a"];
        let grouped = [&counts[..], &["--by", "day", "--by", "outcome", "--by", "user", "--top", "1"]].concat();
        assert_eq!(started.shown(&grouped, &[]), (COUNTED.to_owned(), String::new()));
        assert_eq!(started.shown(&counts, &[]), ("3\n".to_owned(), String::new()));
        let ranged = ["--by", "resource", "--by", "type", "--start-date", "2025-01-21", "--end-date", "2025-01-21"];
        let (ranged, _) = started.shown(&[&counts[..], &ranged].concat(), &[]);
        assert!(ranged.starts_with("RESOURCE     ENTRIES\nrule rule_1        1\ntotal              1\n\nTYPE "), "{ranged}");
        let hours = ["--by", "hour", "--time-zone", "Asia/Kolkata", "--action", "deleted"];
        let hours = [&counts[..], &hours, &["--start-date", "2025-01-21T08:00:00Z", "--end-date", "2025-01-21T08:29:59Z"]].concat();
        let (hours, _) = started.shown(&hours, &[]);
        assert!(hours.contains("\n2025-01-21T13:00+05:30        1\n"), "{hours}");
        let query = "by=day&by=outcome&by=userId&top=1";
        let rest = started.rest(&format!("/v1/org_a/audit-log-counts?{query}")).await + "\n";
        assert_eq!(started.shown(&[&grouped[..], &["--json"]].concat(), &[]), (rest, String::new()));
        let many = [&counts[..], &["--by", "hour", "--start-date", "2024-01-01", "--end-date", "2024-12-31"]].concat();
        let error = started.refused(&many, &[]);
        assert!(error.contains("error: by: must make at most 200 buckets, got 8784 of one hour each"), "{error}");
        let Some(shown) = started.on_a_terminal(&grouped.join(" "), &[("NO_COLOR", "1")]) else { return };
        let plain: String = shown.lines().map(|line| line.trim_end_matches([' ', '█', '▌', '▏']).to_owned() + "\n").collect();
        assert_eq!(plain, COUNTED);
        let length = |line: &str| line.chars().filter(|letter| *letter == '█').count();
        let bars: Vec<_> = shown.lines().map(length).filter(|length| *length > 0).collect();
        assert!(bars.len() == 6 && bars[3] > bars[4], "{shown}");
    }

    async fn a_list_shows_its_range_and_the_total(database: &Database) {
        let started = Started::with(database, &entries()).await;
        for (arguments, ids, footer) in [
            (&["--limit", "2"][..], &["log_3", "log_2"][..], "1 to 2 of 3; continue with --offset 2"),
            (&["--limit", "1", "--offset", "1"], &["log_2"], "2 to 2 of 3; continue with --offset 2"),
            (&["--offset", "2"], &["log_abc123"], "3 to 3 of 3"),
            (&["--offset", "3"], &[], "3 entries match, none after --offset 3."),
            (&["--user-id", "nobody"], &[], "No entries match."),
            (&["--action", "deleted", "--action", "created"], &["log_3", "log_2"], "1 to 2 of 2"),
            (&["--resource-type", "rule", "--resource-id", "rule_1", "--user-id", "uid_2"], &["log_2"], "1 to 1 of 1"),
            (&["--start-date", "2025-01-21", "--end-date", "2025-01-22"], &["log_3", "log_2"], "1 to 2 of 2"),
            (&["--start-date", "2025-01-22T09:00:00.6Z"], &[], "No entries match."),
            (&["--end-date", "2025-01-22T08:59:59Z"], &["log_2", "log_abc123"], "1 to 2 of 2"),
        ] {
            let arguments = [&LIST, arguments].concat();
            let (table, stderr) = started.shown(&arguments, &[]);
            let rows = table.lines().filter(|line| !line.starts_with([' ', 'T']));
            assert_eq!(rows.filter_map(|row| row.split(' ').next_back()).collect::<Vec<_>>(), ids, "{arguments:?}");
            assert_eq!(table.starts_with("TIME "), !ids.is_empty());
            assert_eq!(stderr, format!("{footer}\n"), "{arguments:?}");
            let (lines, stderr) = started.shown(&[&arguments[..], &["--json"]].concat(), &[]);
            assert_eq!((lines.lines().count(), stderr.as_str()), (ids.len(), ""), "{arguments:?}");
        }
        for (arguments, footer) in [
            (&["history", "rule", "rule_1"][..], "1 to 1 of 1\n"),
            (&["history", "rule", "rule_1", "--action", "created"], "No entries match.\n"),
            (&["history", "rule", "rule_1", "--start-date", "2025-01-22"], "No entries match.\n"),
            (&["history", "rule", "rule_1", "--user-id", "uid_2", "--organization", "org_a"], "1 to 1 of 1\n"),
            (&["history", "thread", "rule_1"], "No entries match.\n"),
        ] {
            let (table, stderr) = started.shown(arguments, &[]);
            assert_eq!((stderr.as_str(), table.contains("log_2")), (footer, footer.starts_with('1')), "{arguments:?}");
        }
    }

    async fn programs_read_the_entries_of_rest_byte_for_byte(database: &Database) {
        let started = Started::with(database, &entries()).await;
        for (arguments, path) in [
            (&LIST[..], "/v1/org_a/audit-logs"),
            (&["history", "assistant", "asst_abc123"], "/v1/assistants/asst_abc123/history"),
        ] {
            let page = started.rest(path).await;
            let page: std::collections::BTreeMap<&str, &RawValue> = serde_json::from_str(&page).expect("a page");
            let entries: Vec<&RawValue> = serde_json::from_str(page["auditLogs"].get()).expect("entries");
            let expected: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
            assert!(!expected.is_empty());
            assert_eq!(started.shown(&[arguments, &["--json"]].concat(), &[]), (expected, String::new()));
        }
        let (one, _) = started.shown(&["get", "log_3", "--organization", "org_a", "--json"], &[]);
        assert_eq!(one, started.rest("/v1/org_a/audit-logs/log_3").await + "\n");
    }

    async fn colours_are_for_terminals(database: &Database) {
        let started = Started::with(database, &entries()).await;
        assert!(!started.shown(&LIST, &[]).0.contains('\u{1b}'));
        let (forced, _) = started.shown(&LIST, &[("CLICOLOR_FORCE", "1")]);
        let is_coloured = |shown: &str| {
            let colours = ["\u{1b}[1mTIME\u{1b}[0m", "\u{1b}[31mdeleted\u{1b}[0m", "\u{1b}[31mfalse\u{1b}[0m → \u{1b}[32mtrue\u{1b}[0m"];
            // No other control sequence of a terminal.
            let others = shown.split('\u{1b}').skip(1).find(|rest| !["[0m", "[1m", "[2m", "[31m", "[32m", "[33m"].iter().any(|colour| rest.starts_with(colour)));
            assert_eq!(others, None);
            colours.iter().all(|colour| shown.contains(colour))
        };
        assert!(is_coloured(&forced), "{forced:?}");
        let Some(shown) = started.on_a_terminal(&LIST.join(" "), &[]) else { return };
        assert!(is_coloured(&shown), "{shown:?}");
        let plain = started.on_a_terminal(&LIST.join(" "), &[("NO_COLOR", "1")]).expect("as before");
        assert_eq!(plain, format!("{SHOWN}1 to 3 of 3\n"));
    }

    async fn a_long_list_repeats_nothing_while_others_write(database: &Database) {
        const THERE: usize = 1_500;
        let old = |number: usize| {
            let mut entry = least(&format!("log_{number}"));
            entry["timestamp"] = json!(format!("2025-01-01T00:{:02}:{:02}Z", number / 60, number % 60));
            entry
        };
        let started = Started::with(database, &(0..THERE).map(old).collect::<Vec<_>>()).await;
        started.write(&[least("new")]).await;
        let (begun, mut written) = (Instant::now(), 0);
        let lines = loop {
            let (endpoint, key) = (started.service.url(""), started.key.clone());
            let listing = tokio::task::spawn_blocking(move || {
                let arguments = [&LIST[..], &["--json", "--limit", "1500", "--endpoint", &endpoint]].concat();
                output(arguments, &[("AUDITLOG_API_KEY", &key)])
            });
            let before = written;
            while !listing.is_finished() {
                started.write(&[least(&format!("new_{written}"))]).await;
                written += 1;
            }
            let lines = text(&listing.await.expect("no panic").stdout);
            if written - before > 5 {
                break lines;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "few are written while a list is read");
        };
        let ids: Vec<_> = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned()).collect();
        let newer = ids.iter().take_while(|id| id.starts_with("new")).count();
        assert!(newer >= 1, "some were there before the first page");
        let expected: Vec<_> = (newer..THERE).map(|place| format!("log_{}", THERE - 1 - (place - newer))).collect();
        assert_eq!(ids.len(), THERE);
        assert!(ids[newer..] == expected, "page follows on page without gap or repetition");
    }

    async fn read_errors_are_reported(database: &Database) {
        let started = Started::with(database, &entries()).await;
        let wide = create_key(&database.url, &["--all-organizations", "--scope", "read"]);
        let writer = create_key(&database.url, &["--organization", "org_a", "--scope", "write"]);
        for (arguments, environment, expected) in [
            (&LIST[..], &[("AUDITLOG_API_KEY", "al_wrong")][..], "error: Invalid API key"),
            (&LIST, &[("AUDITLOG_API_KEY", &writer)], "error: Insufficient permissions to view audit logs"),
            (&LIST, &[("AUDITLOG_API_KEY", "al_x\ny")], "error: the API key must be printable ASCII"),
            (&["list", "--organization", "org_none"], &[], "error: Organization not found"),
            (&["get", "log_none", "--organization", "org_a"], &[], "error: Audit log not found"),
            (&["list", "--organization", "org_a", "--resource-type", "rul"], &[], "error: resourceType: must be one of assistant, thread, vector_store, rule, mcp_configuration, user, organization, got \"rul\"; did you mean rule?"),
            (&["history", "vectorstore", "x"], &[], "got \"vectorstore\"; did you mean vector_store?"),
            (&["history", "rule", "rule_1"], &[("AUDITLOG_API_KEY", &wide)], "error: organization_id: is required with a service-wide key"),
            (&LIST, &[("AUDITLOG_ENDPOINT", "http://127.0.0.1:1")], "error: cannot reach the service at http://127.0.0.1:1/: Connection refused"),
        ] {
            let stderr = started.refused(arguments, environment);
            assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
            assert!(!stderr.contains("plain HTTP"), "{stderr}");
        }
        for endpoint in ["http://example.invalid:1", "http://192.0.2.1.invalid:1"] {
            let stderr = started.refused(&LIST, &[("AUDITLOG_ENDPOINT", endpoint)]);
            assert!(stderr.contains("plain HTTP to another host shows API keys and entries to the network; use https"), "{stderr}");
            assert!(stderr.contains(&format!("error: cannot reach the service at {endpoint}/")), "{stderr}");
        }
        let unnamed = started.run(&["list"], &[]);
        assert_eq!(unnamed.status.code(), Some(2));
        assert!(text(&unnamed.stderr).contains("--organization <ORG>"), "{}", text(&unnamed.stderr));
        assert!(started.shown(&["list"], &[("AUDITLOG_ORGANIZATION", "org_a")]).0 == SHOWN);
    }
}
