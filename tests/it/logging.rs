//! Logs: their content, a volume that peers cannot control, and a server that does not wait for the reader of its log.

use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use auditlog::grpc::pb::ListAuditLogsRequest;
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::json::least;
use crate::support::process::{auditlog, create_key, output, ran, text};
use crate::support::service::with_key;
use crate::support::until;
use crate::support::{Backend, Database, Process, on_every_database, run};

const LIST: &str = "/v1/org_a/audit-logs";

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Stops a server and returns the events that it logged after it listened.
fn logged(mut server: Process) -> Vec<Value> {
    server.signal("TERM");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    server.log.iter().map(|line| event(&line)).collect()
}

/// A service whose standard output and standard error are one pipe that nobody reads.
struct Stuck {
    child: Child,
    address: String,
    metrics: String,
    lines: BufReader<PipeReader>,
}

impl Stuck {
    fn serve(database: &Database) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = auditlog();
        command.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--drain-delay", "0s"]);
        command.env("AUDITLOG_DATABASE_URL", &database.url).env("AUDITLOG_LOG", "debug").stdin(Stdio::null());
        command.stdout(writer.try_clone().expect("a copy")).stderr(writer);
        let child = command.spawn().expect("it starts");
        let mut lines = BufReader::new(reader);
        let mut address = |message: &str| loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).expect("a line") > 0, "it ended before it was {message}");
            let event = event(&line);
            if event["message"] == message {
                break event["address"].as_str().expect("an address").to_owned();
            }
        };
        let (metrics, address) = (address("serving metrics"), address("listening"));
        Self { child, address, metrics, lines }
    }

    async fn dropped(&self) -> u64 {
        let metrics = reqwest::get(format!("http://{}/metrics", self.metrics)).await.expect("metrics are served");
        let text = metrics.text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("auditlog_log_lines_dropped_total "));
        line.expect("it is always there").parse().expect("a number")
    }

    /// Makes the service log until more than `before` lines were dropped. Returns the number of dropped lines.
    async fn flood(&self, before: u64) -> u64 {
        let (http, url) = (reqwest::Client::new(), format!("http://{}/livez", self.address));
        for _ in 0..100 {
            let requests = futures::stream::iter(0..1_000).map(|_| http.get(&url).send()).buffer_unordered(16);
            requests.for_each(async |answer| assert_eq!(answer.expect("an answer").status(), 200)).await;
            let dropped = self.dropped().await;
            if dropped > before {
                return dropped;
            }
        }
        panic!("100,000 requests filled no pipe");
    }
}

on_every_database! {
    async fn a_server_serves_and_stops_while_nobody_reads_its_log(database: &Database) {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "write"]);
        let mut service = Stuck::serve(database);
        assert_eq!(service.dropped().await, 0);
        let dropped = service.flood(0).await;
        let http = reqwest::Client::new();
        for number in 0..20 {
            let body = json!({ "auditLogs": [least(&format!("log_{number}"))] });
            let write = http.post(format!("http://{}{LIST}", service.address)).bearer_auth(&key).json(&body);
            assert_eq!(write.send().await.expect("an answer").status(), 201);
        }
        // Reads the log again, up to the line that reports dropped lines.
        let (sender, receiver) = mpsc::channel();
        let reading = std::thread::spawn(move || {
            loop {
                let mut line = String::new();
                assert!(service.lines.read_line(&mut line).expect("a line") > 0, "it goes on");
                let event = event(&line);
                if event["message"].as_str().is_some_and(|message| message.starts_with("log lines were dropped")) {
                    sender.send(event).expect("somebody waits");
                    return service;
                }
            }
        });
        let warning = until("the dropped lines are reported", async || receiver.try_recv().ok()).await;
        assert_eq!(warning["level"], "WARN");
        assert!(warning["dropped"].as_u64().expect("a number") >= dropped, "{warning}");
        let mut service = reading.join().expect("no panic");
        service.flood(service.dropped().await).await;
        let killed = Command::new("bash").args(["-c", &format!("kill -TERM {}", service.child.id())]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        let ended = until("SIGTERM ends it", async || service.child.try_wait().expect("it can be asked")).await;
        assert_eq!(ended.code(), Some(0));
    }

    async fn the_first_log_line_describes_the_server(database: &Database) {
        // The server of the tests asks for no password.
        let url = database.url.replace("postgres://postgres@", "postgres://postgres:hunter2@");
        let service = Process::serve(&url);
        let first = event(&service.said[0]);
        assert_eq!((&first["message"], &first["version"]), (&json!("starting"), &json!(env!("CARGO_PKG_VERSION"))));
        assert_eq!((&first["address"], &first["pid"]), (&json!("127.0.0.1:0"), &json!(service.child.id())));
        assert_eq!(first["schema"], "m0001_create");
        assert_eq!(first["database"], database.url.as_str());
        assert!(!service.said.concat().contains("hunter2"), "{:?}", service.said);
    }

    async fn refused_access_is_logged_by_reason_and_key(database: &Database) {
        let key = |scope: &str| create_key(&database.url, &["--organization", "org_a", "--scope", scope]);
        let (reader, writer, revoked) = (key("read"), key("write"), key("read"));
        let id = |key: &str| key[3..15].to_owned();
        assert_eq!(ran(&["keys", "revoke", &id(&revoked)], &[("AUDITLOG_DATABASE_URL", &database.url)]).0, Some(0));
        let service = Process::serve_with(&database.url, &["--listen", "127.0.0.1:0", "--rate-limit", "1"]);
        let http = reqwest::Client::new();
        for _ in 0..50 {
            assert_eq!(http.get(service.url(LIST)).send().await.expect("an answer").status(), 401);
        }
        let ask = async |key: &str| http.get(service.url(LIST)).bearer_auth(key).send().await.expect("an answer").status();
        assert_eq!(ask(&revoked).await, 401);
        assert_eq!(ask(&writer).await, 403);
        let mut client = AuditLogServiceClient::connect(service.url("")).await.expect("it accepts");
        let list = ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        // The rate limit allows one request per second, so a refusal follows soon.
        let mut codes = Vec::new();
        while !codes.contains(&tonic::Code::ResourceExhausted) {
            let answer = client.list_audit_logs(with_key(list.clone(), &reader)).await;
            codes.push(answer.err().map_or(tonic::Code::Ok, |status| status.code()));
        }
        let lines: Vec<_> = logged(service).into_iter().filter(|line| line["target"] == "auditlog::security").collect();
        let route = "GET /v1/{organization_id}/audit-logs";
        let expected = [
            ("missing_authentication", None, None, route),
            ("invalid_api_key", Some(id(&revoked)), None, route),
            ("insufficient_permissions", Some(id(&writer)), Some("org_a"), route),
            ("rate_limited", Some(id(&reader)), Some("org_a"), "ListAuditLogs"),
        ];
        for (reason, key, organization, method) in &expected {
            let is_it = |line: &&Value| line["reason"] == *reason;
            let line = lines.iter().find(is_it).unwrap_or_else(|| panic!("{reason}: {lines:?}"));
            assert_eq!((&line["level"], &line["message"]), (&json!("WARN"), &json!("access refused")));
            assert_eq!((line["key"].as_str(), line["organization"].as_str()), (key.as_deref(), *organization), "{line}");
            assert_eq!(line["method"], *method);
        }
        let revoked_line = lines.iter().find(|line| line["key"] == id(&revoked)).expect("it is logged");
        assert_eq!(revoked_line["detail"], "The API key was revoked");
        let without_key = lines.iter().filter(|line| line["reason"] == "missing_authentication");
        let count = without_key.clone().count() as u64;
        let left_out = without_key.chain([revoked_line]).filter_map(|line| line["left_out"].as_u64()).sum::<u64>();
        assert!(count < 50, "{count} lines of 50 requests");
        assert_eq!(count + left_out, 50, "each was logged or is counted");
        let all = format!("{lines:?}");
        for secret in [&reader, &writer, &revoked] {
            assert!(!all.contains(&secret[16..59]), "{all}");
        }
    }

    async fn keys_are_logged_when_they_are_made_and_revoked(database: &Database) {
        let environment = [("AUDITLOG_DATABASE_URL", database.url.as_str())];
        let arguments = ["keys", "create", "--organization", "org_a", "--scope", "read", "--scope", "write"];
        let made = output(arguments, &environment);
        let (key, log) = (text(&made.stdout), text(&made.stderr));
        let id = &key[3..15];
        let line = |log: &str, message: &str| {
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut lines = lines.filter(|line| line["target"] == "auditlog::security" && line["message"] == message);
            lines.next().unwrap_or_else(|| panic!("{message}: {log}"))
        };
        let made = line(&log, "an API key was created");
        let shown = (&made["key"], &made["organization"], &made["scopes"]);
        assert_eq!(shown, (&json!(id), &json!("org_a"), &json!("read,write")));
        assert!(!log.contains(&key[16..59]), "{log}");
        let (code, _, log) = ran(&["keys", "revoke", id], &environment);
        assert_eq!((code, &line(&log, "an API key was revoked")["key"]), (Some(0), &json!(id)));
        let (_, list, _) = ran(&["keys", "list"], &environment);
        let columns: Vec<_> = list.trim().split('\t').collect();
        assert!(columns[0] == id && columns[4].ends_with('Z') && columns[6].ends_with('Z'), "made and revoked: {list}");
    }
}

/// An HTTP/2 frame on stream 0.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 0], payload].concat()
}

#[test]
fn unsolicited_frames_are_not_logged() {
    run(async {
        let database = Database::fresh(Backend::Sqlite).await.expect("SQLite is there");
        for level in ["info", "debug"] {
            let service = Process::serve_with(&database.url, &["--listen", "127.0.0.1:0", "--log", level]);
            let mut peer = TcpStream::connect(&service.address).await.expect("it accepts");
            let (settings, ping) = (frame(4, 0, &[]), 6);
            let unasked = frame(ping, 1, b"unasked!").repeat(100);
            let asked = frame(ping, 0, b"answer!!");
            let sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, unasked, asked].concat();
            peer.write_all(&sent).await.expect("it reads");
            let (mut got, answer) = (Vec::new(), frame(ping, 1, b"answer!!"));
            while !got.windows(answer.len()).any(|part| part == answer) {
                assert!(peer.read_buf(&mut got).await.expect("it answers") > 0, "it ended the connection: {got:?}");
            }
            drop(peer);
            let lines = logged(service);
            let foreign = |line: &&Value| !line["target"].as_str().unwrap_or_default().starts_with("auditlog");
            assert_eq!(lines.iter().find(foreign), None, "{level}");
        }
    });
}

#[test]
fn an_unreachable_service_is_not_logged_for_every_request() {
    run(async {
        let gateway = Process::gateway("http://127.0.0.1:9", &[]);
        for _ in 0..100 {
            assert_eq!(reqwest::get(gateway.url("/readyz")).await.expect("an answer").status(), 503);
        }
        let lines = logged(gateway);
        let away = lines.iter().filter(|line| line["message"] == "the service cannot be reached").count();
        assert!((1..50).contains(&away), "{away} lines of 100 requests");
    });
}
