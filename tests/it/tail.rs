//! `auditlog tail`: prints entries as they come, and continues after a restart of the service.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::json::{documented, least};
use crate::support::process::{auditlog, create_key, output, text};
use crate::support::{Backend, Database, Process, TIMEOUT, on_every_database};

/// A running `auditlog tail`. Dropping it kills the process.
struct Tail {
    child: Child,
    /// The lines of standard output.
    lines: mpsc::Receiver<String>,
    /// The lines of standard error.
    said: mpsc::Receiver<String>,
}

fn lines_of(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (lines, received) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    received
}

fn command(service: &Process, key: &str, arguments: &[&str]) -> Command {
    let mut command = auditlog();
    command.args(["tail", "--endpoint", &service.url(""), "--organization", "org_a"]).args(arguments);
    command.env("AUDITLOG_API_KEY", key).env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Tail {
    fn start(service: &Process, key: &str, arguments: &[&str]) -> Self {
        Self::spawn(command(service, key, arguments))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        let said = lines_of(child.stderr.take().expect("a pipe"));
        Self { child, lines, said }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(TIMEOUT).expect("a line in time")
    }

    fn lines(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    /// Waits for a line of standard error that contains `part`.
    fn says(&self, part: &str) -> String {
        loop {
            let line = self.said.recv_timeout(TIMEOUT).unwrap_or_else(|_| panic!("it says {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn write(service: &Process, key: &str, entries: &[Value]) {
    let request = reqwest::Client::new().post(service.url("/v1/org_a/audit-logs")).bearer_auth(key);
    let answer = request.json(&json!({"auditLogs": entries})).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 201, "{:?}", answer.text().await);
}

/// Entries with these numbers in their ids.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|number| least(&format!("log_{number}"))).collect()
}

fn id(line: &str) -> String {
    serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned()
}

fn both(database: &Database) -> String {
    create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"])
}

/// Waits until a child ends.
fn ended(child: &mut Child) -> std::process::ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it can be asked") {
            return status;
        }
        assert!(begun.elapsed() < TIMEOUT, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const SHOWN: [&str; 5] = [
    "2025-01-20T10:30:00Z  uid_user123 (John Doe)  updated  assistant asst_abc123 (Customer Support Bot)",
    "    temperature: 0.7 → 0.9",
    "    tools.webSearch: false → true",
    r"2025-01-22T09:00:00Z  uid_3 (Eve\u{1b}[2J)  deleted  rule rule_1",
    r#"    a\nb: {"b":[1,"é"]} → null"#,
];

on_every_database! {
    async fn entries_are_printed_with_their_changes_as_they_come(database: &Database) {
        let (service, key) = (Process::serve(&database.url), both(database));
        write(&service, &key, &[documented()]).await;
        let tail = Tail::start(&service, &key, &["--after", "0"]);
        assert_eq!(tail.lines(3), SHOWN[..3]);
        let odd = json!({
            "id": "log_3", "timestamp": "2025-01-22T09:00:00Z", "resourceType": "rule", "resourceId": "rule_1",
            "action": "deleted", "userId": "uid_3", "userName": "Eve\u{1b}[2J",
            "changes": [{"field": "a\nb", "oldValue": {"b": [1, "é"]}}]
        });
        write(&service, &key, &[odd]).await;
        assert_eq!(tail.lines(2), SHOWN[3..]);
        let mut coloured = command(&service, &key, &["--after", "1"]);
        coloured.env("CLICOLOR_FORCE", "1");
        let coloured = Tail::spawn(coloured).lines(2);
        assert!(coloured[0].contains("\u{1b}[31mdeleted\u{1b}[0m") && coloured[1].contains("\u{1b}[32mnull\u{1b}[0m"), "{coloured:?}");
    }

    async fn only_new_entries_that_match_are_printed_by_default(database: &Database) {
        let (service, key) = (Process::serve(&database.url), both(database));
        write(&service, &key, &numbered(0..3)).await;
        let tail = Tail::start(&service, &key, &["--json", "--resource-type", "thread"]);
        let (mut written, begun) = (0, Instant::now());
        // It may not follow yet when the first are written.
        let first = loop {
            let mut thread = least(&format!("log_thread_{written}"));
            thread["resourceType"] = json!("thread");
            write(&service, &key, &[least(&format!("log_rule_{written}")), thread]).await;
            written += 1;
            if let Ok(line) = tail.lines.recv_timeout(Duration::from_millis(300)) {
                break line;
            }
            assert!(begun.elapsed() < TIMEOUT, "it prints nothing");
        };
        assert!(id(&first).starts_with("log_thread_"), "{first}");
    }

    async fn json_lines_are_those_of_an_export(database: &Database) {
        let (service, key) = (Process::serve(&database.url), both(database));
        write(&service, &key, &[vec![documented()], numbered(0..300)].concat()).await;
        let tail = Tail::start(&service, &key, &["--after", "0", "--json"]);
        let lines = tail.lines(301);
        let endpoint = service.url("");
        let exported = output(["export", "--organization", "org_a", "--endpoint", &endpoint], &[("AUDITLOG_API_KEY", &key)]);
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        assert!(text(&exported.stdout).lines().eq(lines.iter().map(String::as_str)));
    }

    async fn a_tail_outlives_a_restart_of_the_service(database: &Database) {
        let (service, key) = (Process::serve(&database.url), both(database));
        let address = service.address.clone();
        write(&service, &key, &numbered(0..5)).await;
        let tail = Tail::start(&service, &key, &["--after", "0", "--json"]);
        let mut lines = tail.lines(5);
        service.kill();
        tail.says("retrying");
        // Long enough for retries that fail.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let service = Process::serve_with(&database.url, &["--listen", &address]);
        write(&service, &key, &numbered(5..8)).await;
        lines.extend(tail.lines(3));
        assert!(tail.says("connected again").ends_with("continuing after 5"));
        // A drain ends the stream, too.
        assert_eq!(service.terminate(), Some(0));
        tail.says("retrying");
        let service = Process::serve_with(&database.url, &["--listen", &address]);
        write(&service, &key, &numbered(8..10)).await;
        lines.extend(tail.lines(2));
        let ids: Vec<_> = lines.iter().map(|line| id(line)).collect();
        assert_eq!(ids, (0..10).map(|number| format!("log_{number}")).collect::<Vec<_>>(), "nothing lost, nothing twice");
    }

    async fn it_ends_quietly_when_interrupted_and_when_nobody_reads(database: &Database) {
        let (service, key) = (Process::serve(&database.url), both(database));
        write(&service, &key, &numbered(0..2)).await;
        let mut interrupted = Tail::start(&service, &key, &["--after", "0"]);
        interrupted.lines(2);
        interrupted.signal("INT");
        assert_eq!(ended(&mut interrupted.child).code(), Some(0));
        assert_eq!(interrupted.said.iter().collect::<Vec<_>>(), [""; 0]);
        // No further entry tells it that its reader has gone.
        let mut child = command(&service, &key, &["--after", "0"]).spawn().expect("it starts");
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        reader.read_line(&mut String::new()).expect("a line");
        drop(reader);
        assert_eq!(ended(&mut child).code(), Some(0));
        let Output { stderr, .. } = child.wait_with_output().expect("it ended");
        assert_eq!(text(&stderr), "");
    }

    async fn errors_that_no_retry_mends_end_it(database: &Database) {
        let (service, key) = (Process::serve(&database.url), both(database));
        write(&service, &key, &numbered(0..3)).await;
        let refused = |key: &str, arguments: &[&str]| {
            let output = command(&service, key, arguments).output().expect("it runs");
            assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{arguments:?}");
            text(&output.stderr)
        };
        assert_eq!(refused("al_wrong", &[]), "error: Invalid API key\n");
        let beyond = refused(&key, &["--after", "4"]);
        assert_eq!(beyond, "error: after: must be 0 to 3, the organization's last number, got 4\n");
        let mut tail = Tail::start(&service, &key, &["--after", "1", "--json"]);
        tail.lines(2);
        let revoked = output(["keys", "revoke", &key[3..15]], &[("AUDITLOG_DATABASE_URL", &database.url)]);
        assert!(revoked.status.success(), "{}", text(&revoked.stderr));
        assert_eq!(tail.says("error"), "error: The API key was revoked; continue with --after 3");
        assert_eq!(ended(&mut tail.child).code(), Some(1));
    }
}
