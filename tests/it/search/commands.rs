//! `auditlog list`, `history` and `export` with searches find what REST and gRPC find.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::started::{BOTH, LIST};
use crate::support::erasure::ORG;
use crate::support::json::{documented, least};
use crate::support::process::ran;
use crate::support::surfaces::{Ask, Surfaces};
use crate::support::{Backend, Database, Service, on_every_database};

/// Options, the same parameters of REST, and the ids of the entries that they select.
type Case = (&'static [&'static str], &'static str, &'static [&'static str]);

const CASES: [Case; 18] = [
    (
        &["--changed", "temperature", "--changed-to", "0.9"],
        "changes.field=temperature&changes.newValue=0.9",
        &["log_abc123"],
    ),
    (&["--changed", "temperature"], "changes.field=temperature", &["log_2", "log_abc123"]),
    (&["--changed-to", "9e-1"], "changes.newValue=9e-1", &["log_abc123"]),
    (&["--changed-to", "\"0.9\""], "changes.newValue=%220.9%22", &["log_2"]),
    (&["--changed-to", "admin"], "changes.newValue=admin", &["log_3"]),
    (
        &["--changed", "tools.*", "--changed-from", "false"],
        "changes.field=tools.*&changes.oldValue=false",
        &["log_abc123"],
    ),
    (&["--metadata", "source=web_ui"], "metadata.source=web_ui", &["log_abc123"]),
    (&["--metadata", "k=a=b"], "metadata.k=a%3Db", &["log_2"]),
    (&["--metadata", "k=a=b", "--metadata", "source=web_ui"], "metadata.k=a%3Db&metadata.source=web_ui", &[]),
    (&["--text", "SUPPORT"], "text=SUPPORT", &["log_abc123"]),
    (&["--trace", "t1", "--trace", "t2"], "traceId=t1&traceId=t2", &["log_3", "log_2"]),
    (&["--user-email", "john*"], "userEmail=john*", &["log_2", "log_abc123"]),
    (&["--user-name", "JOHN doe"], "userName=JOHN+doe", &["log_abc123"]),
    (&["--resource-name", "customer support bot"], "resourceName=customer+support+bot", &["log_abc123"]),
    (&["--outcome", "denied"], "outcome=denied", &["log_2"]),
    (&["--outcome", "denied", "--outcome", "failure"], "outcome=denied&outcome=failure", &["log_3", "log_2"]),
    (&["--actor-type", "service"], "actorType=service", &["log_2"]),
    (
        &["--recorded-after", "2020-01-01", "--recorded-before", "2125-06-01", "--action", "updated"],
        "recordedAfter=2020-01-01&recordedBefore=2125-06-01&action=updated",
        &["log_2", "log_abc123"],
    ),
];

fn entries() -> [Value; 3] {
    let mut second = least("log_2");
    for (name, value) in [
        ("timestamp", json!("2025-01-21T08:00:00Z")),
        ("action", json!("updated")),
        ("userEmail", json!("JOHNNY@EXAMPLE.COM")),
        ("changes", json!([{"field": "temperature", "oldValue": 0.9, "newValue": "0.9"}])),
        ("metadata", json!({"k": "a=b"})),
        ("traceId", json!("t1")),
        ("outcome", json!("denied")),
        ("actorType", json!("service")),
    ] {
        second[name] = value;
    }
    let mut third = least("log_3");
    for (name, value) in [
        ("timestamp", json!("2025-01-22T08:00:00Z")),
        ("changes", json!([{"field": "tools", "newValue": "admin"}])),
        ("traceId", json!("t2")),
        ("outcome", json!("failure")),
    ] {
        third[name] = value;
    }
    [documented(), second, third]
}

/// The entries of a page, each as a line of the text that the page has.
fn lines(page: &str) -> String {
    let page: BTreeMap<&str, &RawValue> = serde_json::from_str(page).expect("a page");
    let entries: Vec<&RawValue> = serde_json::from_str(page["auditLogs"].get()).expect("entries");
    entries.iter().map(|entry| format!("{entry}\n")).collect()
}

fn ids(lines: &str) -> Vec<String> {
    let id = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
    lines.lines().map(id).collect()
}

/// Runs a command of the client. Returns its standard output.
fn shown(surfaces: &Surfaces, key: &str, arguments: &[&str]) -> String {
    let endpoint = surfaces.service.url("");
    let (code, stdout, stderr) = ran(arguments, &[("AUDITLOG_ENDPOINT", endpoint.as_str()), ("AUDITLOG_API_KEY", key)]);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout
}

async fn started(database: &Database) -> (Surfaces, String) {
    let service = Service::start(database).await;
    let key = service.key(Some(ORG), &BOTH).await;
    let written = service.post(LIST, &key, &json!({"auditLogs": entries()})).await;
    assert_eq!(written.status, 201, "{}", written.text);
    (Surfaces::start(service).await, key)
}

on_every_database! {
    async fn the_command_line_rest_and_grpc_find_the_same(database: &Database) {
        let (surfaces, key) = started(database).await;
        for (options, query, expected) in CASES {
            let path = format!("{LIST}?{query}");
            let answer = surfaces.rest(&Ask::get(&path, &key)).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text);
            assert_eq!(ids(&lines(&answer.text)), expected, "{query}");
            assert_eq!(answer.body()["pagination"]["total"], expected.len(), "{query}");
            assert_eq!(surfaces.grpc(&path, &key).await.expect("a request").expect("a page"), answer.text, "{query}");
            let listed = shown(&surfaces, &key, &[&["list", "--organization", ORG, "--json"][..], options].concat());
            assert_eq!(listed, lines(&answer.text), "{options:?}");
            let mut exported = ids(&shown(&surfaces, &key, &[&["export", "--organization", ORG][..], options].concat()));
            // The newest were written last.
            exported.reverse();
            assert_eq!(exported, expected, "{options:?}");
        }
    }

    async fn a_history_can_be_searched_from_the_command_line(database: &Database) {
        let (surfaces, key) = started(database).await;
        for (resource, options, expected) in [
            (["rule", "rule_1"], &["--outcome", "denied"][..], &["log_2"][..]),
            (["rule", "rule_1"], &["--trace", "t2", "--changed", "tools"], &["log_3"]),
            (["rule", "rule_1"], &["--user-name", "john*"], &[]),
            (["assistant", "asst_abc123"], &["--user-name", "john*"], &["log_abc123"]),
        ] {
            let listed = shown(&surfaces, &key, &[&["history", "--json"][..], &resource, options].concat());
            assert_eq!(ids(&listed), expected, "{resource:?} {options:?}");
        }
        let table = shown(&surfaces, &key, &["list", "--organization", ORG, "--metadata", "k=a=b"]);
        assert!(table.contains("log_2") && !table.contains("log_3"), "{table}");
    }
}
