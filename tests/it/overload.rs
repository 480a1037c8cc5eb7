//! What is too much is refused at once, and what neither sends nor takes is ended, while honest clients are served.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use auditlog::access::Scope;
use auditlog::app::{ConnectionLimits, Limits, Options, Serving};
use auditlog::domain::Clock;
use auditlog::grpc::pb::{ExportAuditLogsRequest, ListAuditLogsRequest};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt;

use crate::rest::least;
use crate::support::service::{options, serving, with_key};
use crate::support::surfaces::{Ask, Surfaces};
use crate::support::{Backend, Database, Service, database, on_every_database};

/// Longer than anything here should take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service with an organization, and a key for it.
async fn service(database: &Database, options: Options) -> (Service, String) {
    let service = Service::start_with(database, Clock::system(), options).await;
    let key = service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
    (service, key)
}

fn limited(limits: Limits) -> Options {
    Options { serving: Serving { limits, ..serving() }, ..options() }
}

fn connections(limits: ConnectionLimits) -> Options {
    limited(Limits { connections: limits, ..Limits::default() })
}

/// Half a second instead of half a minute.
fn hasty() -> ConnectionLimits {
    let moment = Duration::from_millis(500);
    ConnectionLimits { first_request: moment, idle: moment, stalled: moment, ..ConnectionLimits::default() }
}

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.running.address).await.expect("it connects")
}

/// Waits until the peer has closed the connection.
async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    let ended = async { while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the service closes it");
}

/// Whether the connection is open, and nothing came.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn is_served(service: &Service, key: &str) {
    let answer = service.get("/v1/org_a/audit-logs", key).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Asks in HTTP/1 on a connection of its own, and reads nothing yet.
async fn asked(service: &Service, request: &str) -> TcpStream {
    let mut stream = connect(service).await;
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    stream
}

fn writing(key: &str, length: usize, sent: &str) -> String {
    format!(
        "POST /v1/org_a/audit-logs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{sent}"
    )
}

/// Waits until `holds` is true.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

on_every_database! {
    async fn requests_beyond_the_limit_are_refused_at_once_and_alike(database: &Database) {
        let (service, key) = service(database, limited(Limits { requests: 2, ..Limits::default() })).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let held = [asked(service, &writing(&key, 100, "{")).await, asked(service, &writing(&key, 100, "{")).await];
        let ask = Ask::get("/v1/org_a/audit-logs", &key);
        until("refused", async || surfaces.rest(&ask).await.status == 429).await;
        let told = surfaces.rest(&ask).await;
        assert_eq!(told.code(), "overloaded");
        assert!(told.headers.contains(&("retry-after", "1".to_owned())), "{told:?}");
        let list = ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let status = service.grpc().await.list_audit_logs(with_key(list, &key)).await.expect_err("refused");
        assert_eq!((status.code(), status.get_details_error_info().expect("it has").reason.as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        assert_eq!(status.get_details_retry_info().expect("it has").retry_delay, Some(Duration::from_secs(1)));
        // Whoever asks whether it is well is told so.
        for path in ["/livez", "/readyz"] {
            assert_eq!(service.get(path, &key).await.status, 200, "{path}");
        }
        drop(held);
        until("the places are given back", async || surfaces.rest(&ask).await.status == 200).await;
    }

    async fn a_key_that_asks_too_often_is_refused_and_others_are_not(database: &Database) {
        let rate = NonZeroU32::new(5).expect("not 0");
        let (service, key) = service(database, Options { rate, ..options() }).await;
        let other = service.key(Some("org_a"), &[Scope::Read]).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let mut limited = None;
        for _ in 0..200 {
            let answer = service.get("/v1/org_a/audit-logs", &key).await;
            if answer.status != 200 {
                limited = Some(answer);
                break;
            }
        }
        let limited = limited.expect("a request is refused");
        assert_eq!((limited.status, &limited.body["error"]["code"]), (429, &json!("rate_limited")), "{}", limited.text);
        assert_eq!(limited.body["error"]["type"], "rate_limit_error");
        is_served(service, &other).await;
    }

    async fn a_read_beyond_those_that_may_wait_is_refused_at_once(database: &Database) {
        let (service, key) = service(database, Options { reads: 1, ..options() }).await;
        let busy = service.store.clone().with_turns(1, auditlog::budget::Budget::new(1), auditlog::metrics::Metrics::default());
        let turn = busy.turn().await.expect("a turn");
        assert!(busy.turn().await.is_err(), "one may run, and none may wait");
        drop(turn);
        is_served(&service, &key).await;
    }

    async fn bodies_beyond_the_budget_are_refused(database: &Database) {
        let (service, key) = service(database, limited(Limits { bytes: 1024 * 1024, ..Limits::default() })).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let half = "x".repeat(700 * 1024);
        let held = asked(service, &writing(&key, 2 * 1024 * 1024, &half)).await;
        let entry = json!({"auditLogs": [least("log_1")], "padding": half});
        let body = serde_json::to_vec(&entry).expect("JSON");
        let ask = Ask::post("/v1/org_a/audit-logs", &key, body);
        until("refused", async || surfaces.rest(&ask).await.status == 429).await;
        let told = surfaces.rest(&ask).await;
        assert_eq!(told.code(), "overloaded", "{}", told.text);
        is_served(service, &key).await;
        drop(held);
        until("the bytes are given back", async || surfaces.rest(&ask).await.status == 400).await;
    }
}

/// Runs a test that is about connections alone.
fn on_sqlite(test: impl AsyncFn(&Database)) {
    database::run(Backend::Sqlite, async |database| test(&database).await);
}

#[test]
fn who_sends_no_request_is_ended_and_others_are_served() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(hasty())).await;
        let mut silent = connect(&service).await;
        let mut slow_head = asked(&service, "GET /v1/org_a/audit-logs HTTP/1.1\r\nhost").await;
        let mut half_open = asked(&service, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        is_served(&service, &key).await;
        for stream in [&mut silent, &mut slow_head, &mut half_open] {
            closed(stream).await;
        }
        is_served(&service, &key).await;
    });
}

#[test]
fn a_slow_body_ends_with_the_time_of_its_request() {
    on_sqlite(async |database| {
        let serving = Serving { request_timeout: Duration::from_millis(500), ..serving() };
        let (service, key) = service(database, Options { serving, ..options() }).await;
        let mut slow = asked(&service, &writing(&key, 100, "{")).await;
        let mut answer = [0; 12];
        let read = tokio::time::timeout(PATIENCE, slow.read_exact(&mut answer)).await.expect("in time");
        read.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 504");
    });
}

#[test]
fn a_flood_of_connections_takes_no_place_from_those_in_use() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(ConnectionLimits { most: 8, ..Default::default() })).await;
        let mut client = service.grpc().await;
        let list =
            || with_key(ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() }, &key);
        client.list_audit_logs(list()).await.expect("a page");
        let mut busy = asked(&service, &writing(&key, 100, "{")).await;
        let mut flood = Vec::new();
        for _ in 0..100 {
            flood.push(connect(&service).await);
            client.list_audit_logs(list()).await.expect("a page, on the same connection");
        }
        let open = async || flood.iter().filter(|stream| is_open(stream)).count() <= 6;
        until("only so many are open", open).await;
        assert!(is_open(&busy), "a request under way is not given up");
        // What is under way everywhere leaves no room.
        let mut all = Vec::new();
        for _ in 0..6 {
            all.push(asked(&service, &writing(&key, 100, "{")).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        busy.write_all(b"x").await.expect("it is open");
    });
}

#[test]
fn who_takes_nothing_is_ended_and_others_are_served() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(hasty())).await;
        let value = "x".repeat(200 * 1024);
        for request in 0..8 {
            let entry = |number: usize| {
                let mut entry = least(&format!("log_{request}_{number}"));
                entry["changes"] = json!([{"field": "f", "newValue": value}]);
                entry
            };
            let body = json!({"auditLogs": (0..10).map(entry).collect::<Vec<_>>()});
            let written = service.post("/v1/org_a/audit-logs", &key, &body).await;
            assert_eq!(written.status, 201, "{}", written.text);
        }
        // 16 MiB of response over HTTP/1, of which nothing is read.
        let request =
            format!("GET /v1/org_a/audit-logs?limit=80 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\r\n");
        let mut slow = asked(&service, &request).await;
        // And over HTTP/2, where the stream's window holds it back while the connection goes on.
        let export = ExportAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let mut stream =
            service.grpc().await.export_audit_logs(with_key(export, &key)).await.expect("it begins").into_inner();
        stream.message().await.expect("a message").expect("not the end");
        for _ in 0..20 {
            is_served(&service, &key).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        // What the kernel held comes, and not all.
        let mut taken = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut taken)).await.expect("it is ended");
        assert!(taken.len() < 15 * 1024 * 1024, "{} bytes came", taken.len());
        let mut pieces = 0;
        let ended = loop {
            match tokio::time::timeout(PATIENCE, stream.message()).await.expect("it is ended") {
                Ok(Some(_)) => pieces += 1,
                Ok(None) => break Ok(pieces),
                Err(status) => break Err(status),
            }
        };
        assert!(ended.is_err(), "all came: {ended:?}");
    });
}

#[test]
fn who_is_idle_is_asked_to_come_again() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(hasty())).await;
        let request = format!("GET /v1/org_a/audit-logs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\r\n");
        let mut idle = asked(&service, &request).await;
        closed(&mut idle).await;
        // A client of gRPC connects again by itself.
        let mut client = service.grpc().await;
        for _ in 0..3 {
            let list = ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
            client.list_audit_logs(with_key(list, &key)).await.expect("a page");
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    });
}
