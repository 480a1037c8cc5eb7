//! The output of `auditlog demo`: the commands work when pasted, and the link opens the log of an invented company.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use auditlog::domain::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::support::process::{auditlog, output, program, text};
use crate::support::{Process, database, run, say};

/// The traces of the incident and of the experiment in the log of the invented company.
const INCIDENT: &str = "5b2e8f14c07d4a6d9e31f7a8b2c4d605";
const EXPERIMENT: &str = "7d1f0c52e8a94b6fa3c05d2b9e41f870";
/// Microseconds.
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// A demo in `directory`, and the lines of its standard output.
fn demo(directory: &Path, arguments: &[&str]) -> (Process, Vec<String>) {
    let mut command = auditlog();
    command.arg("demo").args(["--listen", "127.0.0.1:0"]).args(arguments).current_dir(directory).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let output: ChildStdout = process.child.stdout.take().expect("a pipe");
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let last = line.starts_with("Ctrl-C");
        lines.push(line);
        if last {
            break;
        }
    }
    (process, lines)
}

#[test]
fn its_commands_work_when_they_are_pasted() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    let (_process, lines) = demo(directory.path(), &[]);
    assert!(lines[4].contains("402 written"), "{lines:?}");
    let exports: Vec<_> = lines.iter().filter(|line| line.starts_with("export ")).map(String::as_str).collect();
    let starts = ["curl ", "echo ", "'/", "grpcurl "];
    let commands: Vec<_> = lines.iter().filter(|line| starts.iter().any(|start| line.starts_with(start))).collect();
    assert_eq!((exports.len(), commands.len()), (2, 11), "{lines:?}");
    let curl = program(&["curl"], &["--version"]).is_some();
    // CI has no package of grpcurl; there, another client makes the same calls through reflection.
    let grpcurl = Command::new("grpcurl").arg("--version").output().is_ok_and(|output| output.status.success());
    if !grpcurl {
        say("grpcurl: NOT TESTED (not installed)");
    }
    for command in commands {
        if (command.starts_with("curl ") && !curl) || (command.starts_with("grpcurl ") && !grpcurl) {
            continue;
        }
        let script = format!("set -o pipefail; {}; {command}", exports.join("; "));
        // In another directory, as in another terminal.
        let run = Command::new("bash")
            .args(["-c", &script])
            .current_dir("/")
            .env("AUDITLOG_LOG", "off")
            .output()
            .expect("bash runs");
        let printed = text(&run.stdout);
        assert!(run.status.success(), "{command}: {}", text(&run.stderr));
        let expected = [
            "\"auditLogs\":[{",
            "1 written",
            "org_abc123\tread,write",
            "org_abc123\tlocalhost/",
            "auditlog.v1.AuditLogService",
            "temperature: 0.",
            "TIME                  ACTION ",
            "\"auditLogs\": [",
        ];
        assert!(expected.iter().any(|expected| printed.contains(expected)), "{command} printed {printed}");
    }
}

/// The address and the key of the link.
fn link(lines: &[String]) -> (&str, &str) {
    let link = lines[0].rsplit(' ').next().and_then(|link| link.split_once("#key="));
    link.unwrap_or_else(|| panic!("a link with a key: {lines:?}"))
}

#[test]
fn its_link_opens_the_viewer_with_a_key_that_reads_and_verifies() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    let (process, lines) = demo(directory.path(), &[]);
    let (address, key) = link(&lines);
    assert_eq!(address, process.url("/viewer/?organization=org_demo"));
    let help = text(&output(["demo", "--help"], &[]).stdout);
    assert!(help.contains("/viewer/?organization=org_demo#key="), "{help}");
    run(async {
        let client = reqwest::Client::new();
        let page = client.get(address).send().await.expect("an answer");
        assert_eq!(page.status(), 200, "the viewer");
        let get = async |path: &str| {
            let sent = client.get(process.url(path)).bearer_auth(key).send().await.expect("an answer");
            (sent.status().as_u16(), sent.text().await.expect("a text"))
        };
        assert_eq!(get("/v1/org_demo/audit-logs").await.0, 200);
        // It is signed before the link is printed.
        let (status, checkpoint) = get("/v1/org_demo/log/checkpoint").await;
        let verifier = lines[2].rsplit(' ').next().and_then(|key| key.split('+').next()).expect("a verifier key");
        assert_eq!((status, checkpoint.lines().next()), (200, Some(verifier)), "{lines:?}");
        assert_eq!(get("/v1/org_abc123/audit-logs").await.0, 404);
        let body = json!({ "auditLogs": [] });
        let write = client.post(process.url("/v1/org_demo/audit-logs")).bearer_auth(key).json(&body);
        assert_eq!(write.send().await.expect("an answer").status(), 403);
    });
}

/// The values of a member of the entries.
fn values<'e>(entries: &'e [Value], member: &str) -> BTreeSet<&'e str> {
    entries.iter().filter_map(|entry| entry[member].as_str()).collect()
}

/// Checks that the entries cover two weeks with a rhythm: working days, weekends, mornings, afternoons and nights.
fn check_rhythm(entries: &[Value]) {
    let now = Clock::system().now().micros();
    let times = entries.iter().map(|entry| {
        let time = entry["timestamp"].as_str().expect("a time");
        Timestamp::parse(time).expect("a time").micros()
    });
    let times: Vec<_> = times.collect();
    let oldest = now - times.iter().copied().min().expect("an entry");
    assert!((13 * DAY..15 * DAY).contains(&oldest), "the oldest entry is {oldest} µs old");
    assert!(times.iter().all(|time| *time <= now), "an entry is in the future");
    // 1970-01-01 was a Thursday; days 2 and 3 are a weekend. Today is not over.
    let (weekend, working): (Vec<i64>, Vec<i64>) = times
        .iter()
        .map(|time| time.div_euclid(DAY))
        .filter(|day| *day < now.div_euclid(DAY))
        .partition(|day| matches!(day.rem_euclid(7), 2 | 3));
    assert!(2 * working.len() > 7 * weekend.len(), "{} on working days, {} on weekends", working.len(), weekend.len());
    let between = |hours: std::ops::Range<i64>| {
        times.iter().filter(|time| hours.contains(&(time.rem_euclid(DAY) / HOUR))).count()
    };
    let (morning, noon, afternoon, night) = (between(8..11), between(12..13), between(13..16), between(20..24));
    assert!(morning > 2 * noon && 2 * afternoon > 3 * noon, "{morning}, {noon}, {afternoon}");
    assert!(morning > 5 * night, "{morning}, {night}");
}

#[test]
fn the_log_of_its_link_shows_each_page_of_the_viewer() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    let (process, lines) = demo(directory.path(), &[]);
    let (_, key) = link(&lines);
    let export = ["export", "--organization", "org_demo", "--endpoint", &process.url("")];
    let exported = output(export, &[("AUDITLOG_API_KEY", key)]);
    let exported = text(&exported.stdout);
    let entries: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let is_of_story = |entry: &&Value| entry["id"].as_str().is_some_and(|id| id.starts_with("log_demo_"));
    let written = entries.iter().filter(is_of_story).count();
    assert!((1_300..1_800).contains(&written) && written < entries.len(), "{written} of {} entries", entries.len());
    assert!(lines[1].contains(&format!(" {written} entries")), "{lines:?}");
    check_rhythm(&entries);
    let types = "assistant mcp_configuration organization rule thread user vector_store";
    assert_eq!(values(&entries, "resourceType").into_iter().collect::<Vec<_>>().join(" "), types);
    assert_eq!(values(&entries, "action").len(), 6);
    assert_eq!(values(&entries, "outcome").into_iter().collect::<Vec<_>>(), ["denied", "failure", "success"]);
    assert_eq!(values(&entries, "actorType").len(), 4);
    assert_eq!(values(&entries, "userEmail").len(), 12, "the people");
    for value in [":0.70,", "9007199254740993", "https://", "\u{202e}"] {
        assert!(exported.contains(value), "{value}");
    }
    let erased = entries.iter().filter(|entry| entry["erased"] == json!(["content"])).count();
    assert_eq!((erased, exported.contains("Rosa Almeida")), (3, false));
    let count = |member: &str, value: &str| entries.iter().filter(|entry| entry[member] == value).count();
    assert_eq!((count("traceId", INCIDENT), count("resourceId", "asst_travel_concierge")), (22, 41));
}

/// The number of steps of the plan for a trace, by action and status.
async fn steps(process: &Process, key: &str, trace: &str) -> BTreeMap<String, usize> {
    let request = reqwest::Client::new().post(process.url("/v1/org_demo/rollback-plans")).bearer_auth(key);
    let plan = request.json(&json!({ "traceId": trace })).send().await.expect("an answer");
    let plan: Value = plan.json().await.expect("JSON");
    let mut steps = BTreeMap::new();
    for step in plan["steps"].as_array().unwrap_or_else(|| panic!("steps: {plan}")) {
        let name = |member: &str| step[member].as_str().unwrap_or_default().to_owned();
        *steps.entry(format!("{} {}", name("action"), name("status"))).or_default() += 1;
    }
    steps
}

#[test]
fn the_log_of_its_link_has_an_incident_and_an_experiment_to_undo() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    let (process, lines) = demo(directory.path(), &[]);
    let (_, key) = link(&lines);
    run(async {
        let expected = [
            ("delete ready", 1),
            ("nothing noop", 4),
            ("recreate ready", 1),
            ("restore broken", 1),
            ("restore conflict", 2),
            ("restore noop", 3),
            ("restore ready", 24),
        ];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(steps(&process, key, INCIDENT).await, expected.into());
        let expected = [("restore broken", 1), ("restore conflict", 1), ("restore noop", 1), ("restore ready", 4)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(steps(&process, key, EXPERIMENT).await, expected.into());
        let request = reqwest::Client::new().get(process.url("/v1/org_demo/continuity")).bearer_auth(key);
        let check: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let breaks = check["breaks"].as_array().expect("breaks").iter();
        let breaks: Vec<_> = breaks.map(|found| (found["resourceId"].as_str(), found["class"].as_str())).collect();
        let (late, unexplained) = (Some("order"), Some("unexplained"));
        let expected = [
            (Some("asst_travel_concierge"), unexplained),
            (Some("asst_visa_helper"), unexplained),
            (Some("rule_quiet_hours"), late),
            (Some("rule_quiet_hours"), late),
        ];
        assert_eq!(breaks, expected, "{check}");
    });
}

#[test]
fn no_file_is_overwritten() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    std::fs::write(directory.path().join("auditlog-demo.db"), "somebody's").expect("a file");
    let (process, lines) = demo(directory.path(), &[]);
    assert!(lines[4].contains("auditlog-demo-2.db"), "{lines:?}");
    drop(process);
    assert_eq!(std::fs::read(directory.path().join("auditlog-demo.db")).expect("it is there"), b"somebody's");
    let named = auditlog()
        .args(["demo", "--file", "auditlog-demo.db"])
        .current_dir(directory.path())
        .output()
        .expect("it runs");
    assert_eq!(named.status.code(), Some(1));
    assert!(text(&named.stderr).contains("overwrites nothing"), "{}", text(&named.stderr));
}
