//! `auditlog export`: the output equals the input and what the service added, also after kills and restarts, in constant
//! memory.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::support::json::least;
use crate::support::process::{auditlog, create_key, high_water, output, ran, text};
use crate::support::trail::{self, ENTRIES, ORGANIZATION, lines};
use crate::support::{Backend, Database, Process, on_every_database, say};
use crate::trail::{Asked, model};

/// Random filters on each database.
const FILTERS: usize = 12;
/// The memory limit of a process during an export, in KiB. It includes what a debug build reads of its large program
/// file. `GROWTH` is the limit for the difference between 8,000 and 80,403 entries: less than the additional entries need,
/// but more than the SQLite page caches of a few more connections.
const MEMORY: u64 = 80 * 1024;
const GROWTH: u64 = 16 * 1024;

fn export(service: &Process, key: &str, arguments: &[&str]) -> Command {
    let mut command = auditlog();
    command.args(["export", "--endpoint", &service.url(""), "--organization", ORGANIZATION]).args(arguments);
    command.env("AUDITLOG_API_KEY", key).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn reader(database: &Database) -> String {
    create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read"])
}

fn id(line: &str) -> String {
    serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned()
}

/// An exported line as a writer sent it: without the fields that the service adds.
fn sent(line: &str) -> String {
    let (before, added) = line.rsplit_once(r#","sequence":"#).expect("a sequence");
    let (added, leaf_hash) = added.rsplit_once(r#","leafHash":"#).expect("a leaf hash");
    assert_eq!(leaf_hash.len(), "\"\"}".len() + 44, "{line}");
    // The number and the time, which have no comma. A trace id may follow.
    let after = added.splitn(3, ',').nth(2).map_or_else(String::new, |after| format!(",{after}"));
    format!("{before}{after}}}")
}

/// Whether `exported` has the lines of the trail with one resource type, and no others.
fn is_of_type(exported: &[u8], name: &str) -> bool {
    let marked = format!("\"resourceType\":\"{name}\"");
    text(exported).lines().map(sent).eq(lines().iter().filter(|line| line.contains(&marked)).cloned())
}

/// A whole export of one resource type.
fn export_type(service: &Process, key: &str, name: &str) -> Vec<u8> {
    let exported = export(service, key, &["--resource-type", name]).output().expect("it runs");
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    assert!(is_of_type(&exported.stdout, name));
    exported.stdout
}

/// Exports the entries after the first `skipped` lines of the trail and compares them with the rest. Returns the
/// client's peak memory in KiB and its standard error.
fn export_and_compare(service: &Process, key: &str, skipped: usize) -> (u64, String) {
    let after = skipped.checked_sub(1).map(|last| id(&lines()[last]));
    let arguments: Vec<_> = after.iter().flat_map(|id| ["--after", id]).collect();
    let mut child = export(service, key, &arguments).spawn().expect("it starts");
    let (mut memory, mut count) = (0, 0);
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("UTF-8");
        assert!(sent(&line) == lines()[skipped + count], "line {} is {line}", skipped + count + 1);
        count += 1;
        assert!(line.contains(&format!(",\"sequence\":{},\"recordedAt\":\"", skipped + count)), "{line}");
        if count % 100 == 0 {
            memory = high_water(child.id()).unwrap_or(memory);
        }
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(count, ENTRIES - skipped);
    (memory, text(&output.stderr))
}

on_every_database! {
    /// The trail was imported, so this compares the complete round trip.
    async fn an_export_equals_the_import_and_takes_constant_memory(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let (service, key) = (Process::serve(&trail.url), reader(trail));
        let of_service = || high_water(service.child.id()).expect("it runs");
        let (client_before, _) = export_and_compare(&service, &key, ENTRIES - 8_000);
        let service_before = of_service();
        let (client, summary) = export_and_compare(&service, &key, 0);
        say(&format!(
            "{:?}: export of the trail, {}; VmHWM at 8,000 and {ENTRIES} entries: client {client_before} and {client} KiB, \
             service {service_before} and {} KiB",
            database.backend, summary.trim_end(), of_service()
        ));
        for (before, after) in [(client_before, client), (service_before, of_service())] {
            assert!(after < MEMORY && after < before + GROWTH, "{before} KiB grew to {after} KiB");
        }
        assert!(summary.starts_with("80,403 entries in "), "{summary}");
    }

    async fn a_killed_export_goes_on_after_its_last_whole_line(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let (service, key) = (Process::serve(&trail.url), reader(trail));
        let expected = export_type(&service, &key, "rule");
        let mut child = export(&service, &key, &["--resource-type", "rule"]).spawn().expect("it starts");
        let mut pipe = child.stdout.take().expect("a pipe");
        // The export blocks until its output is read, so this kills it in the middle.
        let mut written = vec![0; expected.len() / 3];
        pipe.read_exact(&mut written).expect("so much");
        child.kill().expect("it is killed");
        pipe.read_to_end(&mut written).expect("the rest of the pipe");
        child.wait().expect("it ends");
        assert!(written.len() < expected.len() / 2 && expected.starts_with(&written));
        if written.ends_with(b"\n") {
            written.pop();
        }
        let path = database.directory.path().join("rules.ndjson");
        fs::write(&path, &written).expect("a file");
        let name = path.to_str().expect("UTF-8");
        let whole = written.iter().rposition(|byte| *byte == b'\n').expect("whole lines") + 1;
        let last = id(text(&written[..whole]).lines().last().expect("a line"));
        let go_on = || {
            let rest = ["--resource-type", "rule", "--output", name, "--after", &last];
            export(&service, &key, &rest).output().expect("it runs")
        };
        let torn = go_on();
        assert_eq!(torn.status.code(), Some(1));
        assert!(text(&torn.stderr).contains("its last line is incomplete; remove that line, and give the id of the line before"), "{}", text(&torn.stderr));
        assert!(fs::read(&path).expect("the file") == written, "it was left alone");
        fs::write(&path, &written[..whole]).expect("the file");
        let rest = go_on();
        assert!(rest.status.success(), "{}", text(&rest.stderr));
        assert!(fs::read(&path).expect("the file") == expected, "the file is whole");
    }

    async fn an_export_outlives_a_restart_of_the_service(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let (service, key) = (Process::serve(&trail.url), reader(trail));
        let address = service.address.clone();
        let mut child = export(&service, &key, &["--resource-type", "rule"]).spawn().expect("it starts");
        let mut pipe = child.stdout.take().expect("a pipe");
        let mut written = vec![0; 100_000];
        pipe.read_exact(&mut written).expect("so much");
        service.kill();
        let reading = std::thread::spawn(move || pipe.read_to_end(&mut written).map(|_| written));
        // Long enough for retries that fail.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(child.try_wait().expect("it can be asked").is_none(), "it waits");
        let begun = Instant::now();
        let _again = Process::serve_with(&trail.url, &["--listen", &address]);
        let written = reading.join().expect("no panic").expect("the rest");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(is_of_type(&written, "rule"), "nothing lost, nothing twice");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    async fn an_interrupted_export_ends_at_the_head_from_its_start(database: &Database) {
        let key = create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read", "--scope", "write"]);
        // Uses the longest lines of the trail, so that the data exceeds the buffers of a connection.
        let mut long: Vec<_> = lines().iter().collect();
        long.sort_by_key(|line| std::cmp::Reverse(line.len()));
        let write = |service: &Process, numbers: std::ops::Range<usize>| {
            let path = database.directory.path().join("more.ndjson");
            fs::write(&path, long[numbers].iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect::<Vec<_>>()).expect("a file");
            let name = path.to_str().expect("UTF-8");
            let imported = ran(&["import", name, "--endpoint", &service.url("")], &[("AUDITLOG_API_KEY", &key)]);
            assert_eq!(imported.0, Some(0), "{}", imported.2);
        };
        let service = Process::serve(&database.url);
        write(&service, 0..2_000);
        let address = service.address.clone();
        let mut child = export(&service, &key, &[]).spawn().expect("it starts");
        let mut pipe = child.stdout.take().expect("a pipe");
        let mut written = vec![0; 100_000];
        pipe.read_exact(&mut written).expect("so much");
        service.kill();
        let again = Process::serve_with(&database.url, &["--listen", &address]);
        write(&again, 2_000..2_010);
        pipe.read_to_end(&mut written).expect("the rest");
        assert!(child.wait().expect("it ends").success());
        assert!(text(&written).lines().map(sent).eq(long[..2_000].iter().map(|line| (*line).clone())), "the first 2,000, and no more");
    }

    async fn a_failed_export_says_how_to_continue(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let key = reader(trail);
        let service = Process::serve(&trail.url);
        let address = service.address.clone();
        let mut child = export(&service, &key, &["--resource-type", "rule"]).spawn().expect("it starts");
        let mut pipe = child.stdout.take().expect("a pipe");
        let mut written = vec![0; 100_000];
        pipe.read_exact(&mut written).expect("so much");
        service.kill();
        let revoked = ran(&["keys", "revoke", &key[3..15]], &[("AUDITLOG_DATABASE_URL", &trail.url)]);
        assert_eq!(revoked.0, Some(0), "{}", revoked.2);
        let _again = Process::serve_with(&trail.url, &["--listen", &address]);
        pipe.read_to_end(&mut written).expect("the rest");
        let output = child.wait_with_output().expect("it ends");
        let written = text(&written);
        let last = id(written.lines().last().expect("a line"));
        let expected = format!("The API key was revoked; {} entries were written; continue with --after {last}", written.lines().count());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(&expected), "{expected:?} in {}", text(&output.stderr));
    }

    async fn its_filters_are_those_of_a_list(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let (service, key) = (Process::serve(&trail.url), reader(trail));
        let (mut rows, mut random) = (model(), StdRng::seed_from_u64(7));
        rows.sort_by_key(|row| row.seq);
        let mut matched = 0;
        for _ in 0..FILTERS {
            let asked = Asked::random(&mut random, &rows);
            let mut arguments: Vec<_> = asked
                .query
                .iter()
                .filter(|(name, _)| name != "limit")
                .map(|(name, value)| format!("--{}={value}", name.replace("Type", "-type").replace("Id", "-id").replace("Date", "-date")))
                .collect();
            if asked.history.is_some() {
                arguments.extend([format!("--resource-type={}", asked.resource_types[0]), format!("--resource-id={}", asked.resource_ids[0])]);
            }
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let output = export(&service, &key, &arguments).output().expect("it runs");
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            let expected = rows.iter().filter(|row| asked.matches(row)).map(|row| lines()[row.seq as usize - 1].clone());
            let expected: Vec<_> = expected.collect();
            matched += expected.len();
            assert!(text(&output.stdout).lines().map(sent).eq(expected.iter().cloned()), "{arguments:?}: {} lines", expected.len());
        }
        assert!(matched > 1_000, "the filters match something: {matched}");
    }

    /// Values that the trail lacks: absent names, empty values, and all kinds of numbers and escapes.
    async fn an_export_can_be_imported_and_exported_again(database: &Database) {
        let (service, key) = (Process::serve(&database.url), create_key(&database.url, &["--all-organizations", "--scope", "read", "--scope", "write"]));
        let odd = r#"{"id":"log_odd","organizationId":"org_bcd","timestamp":"1969-12-31T23:59:59.999999Z","resourceType":"rule","resourceId":"é → \"\\","action":"shared","userId":"u\u2028","changes":[{"field":"","oldValue":{"b":9007199254740993,"a":1e400,"a":"\u00e9é\u0000"},"newValue":null},{"field":"\u001b\n","oldValue":-0.0,"newValue":[]}],"metadata":{"ipAddress":null,"userAgent":"","source":null,"a key":"x"},"traceId":"4bf92f35","outcome":"failure","actorType":"anonymous"}"#;
        let kept = lines()[..300].iter().map(String::as_str).chain([odd]).map(|line| [line, "\n"].concat()).collect::<String>();
        let file = |name: &str| database.directory.path().join(name).to_str().expect("UTF-8").to_owned();
        let (first, second) = (file("first.ndjson"), file("second.ndjson"));
        fs::File::create(file("in.ndjson")).and_then(|mut file| file.write_all(kept.as_bytes())).expect("a file");
        let through = |service: &Process, key: &str, from: &str, to: &str| {
            let (endpoint, environment) = (service.url(""), [("AUDITLOG_API_KEY", key)]);
            let imported = ran(&["import", from, "--strict", "--endpoint", &endpoint], &environment);
            assert_eq!(imported.0, Some(0), "{}", imported.2);
            let exported = output(["export", "--organization", ORGANIZATION, "--endpoint", &endpoint, "--output", to], &environment);
            assert!(exported.status.success(), "{}", text(&exported.stderr));
            fs::read_to_string(to).expect("the file")
        };
        let exported = through(&service, &key, &file("in.ndjson"), &first);
        assert!(exported.lines().take(300).map(sent).eq(lines()[..300].iter().cloned()));
        let shown = exported.lines().last().expect("a line");
        assert!(shown.contains(r#""oldValue":{"b":9007199254740993,"a":1e400,"a":"\u00e9é\u0000"},"newValue":null"#), "{shown}");
        assert!(shown.contains(r#","traceId":"4bf92f35","outcome":"failure","actorType":"anonymous","leafHash":""#), "{shown}");
        let Some(other) = Database::fresh(database.backend).await else { return };
        let key = create_key(&other.url, &["--all-organizations", "--scope", "read", "--scope", "write"]);
        let again = through(&Process::serve(&other.url), &key, &first, &second);
        assert!(again.lines().map(sent).eq(exported.lines().map(sent)));
        assert!(again.lines().zip(exported.lines()).all(|(one, other)| one != other), "each log has its own times and leaf hashes");
    }

    async fn a_line_has_the_number_the_time_and_the_leaf_hash_that_its_writer_received(database: &Database) {
        let (service, key) = (Process::serve(&database.url), create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read", "--scope", "write"]));
        let entries: Vec<_> = (0..250).map(|number| least(&format!("log_{number}"))).collect();
        let url = service.url(&format!("/v1/{ORGANIZATION}/audit-logs"));
        let answer = reqwest::Client::new().post(url).bearer_auth(&key).json(&json!({"auditLogs": entries})).send().await;
        let answer: Value = answer.expect("an answer").json().await.expect("JSON");
        let exported = export(&service, &key, &[]).output().expect("it runs");
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        let exported: Vec<Value> = text(&exported.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let received = answer["auditLogs"].as_array().expect("entries");
        assert_eq!((exported.len(), received.len()), (250, 250));
        for (line, received) in exported.iter().zip(received) {
            for name in ["id", "sequence", "recordedAt", "leafHash"] {
                assert_eq!(line[name], received[name], "{name}");
            }
        }
        // The other formats have no leaf hash.
        let csv = export(&service, &key, &["--format", "csv"]).output().expect("it runs");
        assert!(csv.status.success() && !text(&csv.stdout).contains("leafHash"));
    }
}
