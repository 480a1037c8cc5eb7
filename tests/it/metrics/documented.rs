//! Checks that the served metrics, docs/OPERATIONS.md and the alerts use the same names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use auditlog::access::Scope;

use super::requests::body;
use super::{Seen, whole};
use crate::documentation::file;
use crate::support::process::{program, text};
use crate::support::{Backend, Database, on_every_database};

const PAGE: &str = "docs/OPERATIONS.md";
const ALERTS: &str = "contrib/prometheus-alerts.yml";

/// The names in the table of metrics.
fn documented() -> BTreeSet<String> {
    let page = file(PAGE);
    let section = page.split("\n## ").find(|part| part.starts_with("Metrics\n")).expect("the section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: BTreeSet<_> = rows.filter_map(|row| Some(row.split_once(['`', '{'])?.0.to_owned())).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// The names in `expression` that must be metrics.
fn asked(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metrics = words.filter(|word| word.starts_with("auditlog_") || word.starts_with("process_"));
    metrics
        .map(|name| {
            ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
        })
        .collect()
}

/// The expression of each alert in the rules file.
fn alarms() -> BTreeMap<String, String> {
    let mut alarms = BTreeMap::new();
    let mut name = None;
    for line in file(ALERTS).lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            name = Some(alert.to_owned());
        } else if let Some(expression) = line.strip_prefix("expr: ") {
            alarms.insert(name.take().expect("a name before it"), expression.to_owned());
        }
    }
    assert!(alarms.len() > 5, "{alarms:?}");
    alarms
}

/// Runs `promtool` of Debian's package `prometheus`, which must succeed, and returns its output. `None` without it.
fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let program = program(&["promtool"], &["--version"])?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(said)
}

on_every_database! {
    async fn served_metrics_are_documented_and_accepted_by_prometheus(database: &Database) {
        let service = whole(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        assert_eq!(service.post("/v1/org_a/audit-logs", &key, &body("log_1")).await.status, 201);
        let Seen(served) = Seen::of(&service).await;
        let name = |line: &str| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned());
        let names: Vec<_> = served.lines().filter_map(name).collect();
        let known: BTreeSet<_> = names.iter().cloned().collect();
        assert_eq!(names.len(), known.len(), "each once: {names:?}");
        assert_eq!(known, documented());
        for name in &known {
            let help = served.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
            let help = help.unwrap_or_else(|| panic!("{name} has a help text"));
            assert!(help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
        }
        if let Some(said) = promtool(&["check", "metrics"], &served) {
            assert_eq!(said, "", "it has nothing to say against names and help texts");
        }
        service.stop().await;
    }
}

#[test]
fn alarms_use_only_served_metrics() {
    let documented = documented();
    for (alarm, expression) in alarms() {
        let asked = asked(&expression);
        assert!(!asked.is_empty() && asked.is_subset(&documented), "{alarm} asks for {asked:?}");
    }
    promtool(&["check", "rules", ALERTS], "");
}

#[test]
fn alarms_fire_when_they_should() {
    promtool(&["test", "rules", "tests/data/prometheus-alerts.test.yml"], "");
}

#[test]
fn each_alarm_is_explained_with_its_expression() {
    let page = file(PAGE);
    let explained: BTreeMap<_, _> = page
        .split("\n### ")
        .skip(1)
        .filter(|part| part.starts_with("Auditlog"))
        .map(|part| {
            let (name, rest) = part.split_once('\n').expect("a heading");
            let expression = rest.trim_start().strip_prefix('`').and_then(|rest| rest.split('`').next());
            (name.to_owned(), expression.expect("its expression first").to_owned())
        })
        .collect();
    assert_eq!(explained, alarms());
}
