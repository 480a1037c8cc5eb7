//! Requests beyond a limit are refused at once, and stalled peers are disconnected, while honest clients are served.

use std::num::NonZeroU32;
use std::time::Duration;

use auditlog::access::Scope;
use auditlog::app::{ConnectionLimits, Limits, Options, Serving};
use auditlog::domain::{Clock, OrganizationId};
use auditlog::grpc::pb::ListAuditLogsRequest;
use auditlog::store::{ReadPermit, Store};
use futures::FutureExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic_types::StatusExt;

mod deadlines;
mod fairness;
mod gateway;
mod peers;
mod refused;
mod table;

use crate::support::json::least;
use crate::support::metrics::comes_to;
use crate::support::service::made_up;
use crate::support::service::{options, serving, with_key};
use crate::support::surfaces::{Ask, Surfaces};
use crate::support::{Backend, Database, Service, TIMEOUT, on_every_database, until};

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

/// Time limits of half a second instead of half a minute.
fn hasty() -> ConnectionLimits {
    let moment = Duration::from_millis(500);
    ConnectionLimits { first_request: moment, idle: moment, stalled: moment, ..ConnectionLimits::default() }
}

/// Entries of 180 KiB each.
fn large(numbers: std::ops::Range<usize>) -> Vec<serde_json::Value> {
    let value = "x".repeat(180 * 1024);
    let entry = |number: usize| {
        let mut entry = least(&format!("log_{number}"));
        entry["changes"] = json!([{"field": "f", "newValue": value}]);
        entry
    };
    numbers.map(entry).collect()
}

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.running.address).await.expect("it connects")
}

/// A connection over HTTP/2 whose streams take one byte of a response. The task ends with the connection.
async fn connect_with_window_of_one_byte(
    service: &Service,
) -> (h2::client::SendRequest<bytes::Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = connect(service).await;
    let connected = h2::client::Builder::new().initial_window_size(1).handshake(stream).await;
    let (client, connection) = connected.expect("it connects");
    (client, tokio::spawn(connection))
}

/// Waits until the peer has closed the connection.
async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    let ended = async { while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(TIMEOUT, ended).await.expect("the service closes it");
}

/// Whether the connection is open and has received nothing.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn is_served(service: &Service, key: &str) {
    let answer = service.get("/v1/org_a/audit-logs", key).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Sends an HTTP/1 request on a new connection and does not read the answer.
async fn asked(service: &Service, request: &str) -> TcpStream {
    let mut stream = connect(service).await;
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    stream
}

/// A request for a list.
fn list(key: &str) -> String {
    format!("GET /v1/org_a/audit-logs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n")
}

/// Sends a request after which the connection closes, and returns the whole answer.
fn asked_all(service: &Service, request: String) -> impl Future<Output = String> + use<> {
    let address = service.running.address;
    async move {
        let mut stream = TcpStream::connect(address).await.expect("it connects");
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer)).await.expect("in time");
        read.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn writing(key: &str, length: usize, sent: &str) -> String {
    format!(
        "POST /v1/org_a/audit-logs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{sent}"
    )
}

/// A request whose body is fast enough to stay open for two minutes, and never ends.
async fn held(service: &Service, key: &str) -> TcpStream {
    asked(service, &writing(key, 2 * 1024 * 1024, &"x".repeat(1024 * 1024))).await
}

/// Waits until `requests` requests are in flight, and one more with `key` is refused.
async fn permits_are_taken(service: &Service, key: &str, requests: f64) {
    comes_to(service, "auditlog_requests_in_flight", |under_way| under_way == requests).await;
    // Requests are counted shortly before they get their permits.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = async || (service.get("/v1/org_a/audit-logs", key).await.status == 429).then_some(());
    until("the permits are taken", refused).await;
}

/// Takes read permits for a key until no connection is free. They count as running, and as none of the waiting reads.
fn all_connections(store: &Store, key_id: &str) -> Vec<ReadPermit> {
    let organization = OrganizationId::parse("org_a").expect("an id");
    let permit = || store.read_permit(key_id, &organization).now_or_never();
    std::iter::from_fn(permit).map(|permit| permit.expect("a permit")).collect()
}

/// Waits until a request was refused for `reason`.
async fn counted(service: &Service, reason: &str) {
    comes_to(service, &format!("auditlog_refusals_total{{reason={reason:?}}}"), |refusals| refusals > 0.0).await;
}

on_every_database! {
    async fn requests_beyond_the_limit_are_refused_at_once_on_every_surface(database: &Database) {
        let (service, key) = service(database, limited(Limits { requests: 2, ..Limits::default() })).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let held = [held(service, &key).await, held(service, &key).await];
        let ask = Ask::get("/v1/org_a/audit-logs", &key);
        permits_are_taken(service, &key, 2.0).await;
        let answer = surfaces.rest(&ask).await;
        assert_eq!(answer.code(), "overloaded");
        assert!(answer.headers.contains(&("retry-after", "1".to_owned())), "{answer:?}");
        let list = ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let status = service.grpc().await.list_audit_logs(with_key(list, &key)).await.expect_err("refused");
        assert_eq!((status.code(), status.get_details_error_info().expect("it has").reason.as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        assert_eq!(status.get_details_retry_info().expect("it has").retry_delay, Some(Duration::from_secs(1)));
        counted(service, "requests").await;
        // Health checks are still answered.
        for path in ["/livez", "/readyz"] {
            assert_eq!(service.get(path, &key).await.status, 200, "{path}");
        }
        drop(held);
        until("the permits are released", async || (service.get("/v1/org_a/audit-logs", &key).await.status == 200).then_some(())).await;
    }

    async fn one_key_cannot_take_all_request_permits(database: &Database) {
        let (service, key) = service(database, limited(Limits { requests: 5, ..Limits::default() })).await;
        let other = service.key(Some("org_a"), &[Scope::Read]).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let mut uploads = Vec::new();
        for _ in 0..4 {
            uploads.push(held(service, &key).await);
        }
        permits_are_taken(service, &key, 4.0).await;
        let answer = surfaces.rest(&Ask::get("/v1/org_a/audit-logs", &key)).await;
        assert_eq!(answer.code(), "overloaded");
        assert!(answer.text.contains("with this API key"), "{}", answer.text);
        counted(service, "requests").await;
        is_served(service, &other).await;
        drop(uploads);
        until("the permits are released", async || (service.get("/v1/org_a/audit-logs", &key).await.status == 200).then_some(())).await;
    }

    async fn a_key_beyond_its_rate_limit_is_refused_and_others_are_not(database: &Database) {
        let rate = NonZeroU32::new(5).expect("not 0");
        let (service, key) = service(database, Options { rate, ..options() }).await;
        let other = service.key(Some("org_a"), &[Scope::Read]).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let ask = Ask::get("/v1/org_a/audit-logs", &key);
        let direct = surfaces.refused(&service.url(""), &ask).await;
        let through = surfaces.refused(&surfaces.gateway_url(), &ask).await;
        assert_eq!(direct, through);
        assert_eq!((direct.status, direct.code()), (429, "rate_limited".to_owned()), "{}", direct.text);
        assert_eq!(direct.body()["error"]["type"], "rate_limit_error");
        assert!(direct.headers.contains(&("retry-after", "1".to_owned())), "{direct:?}");
        let list = || with_key(ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() }, &key);
        let mut client = service.grpc().await;
        let status = loop {
            if let Err(status) = client.list_audit_logs(list()).await {
                break status;
            }
        };
        assert_eq!((status.code(), status.get_details_error_info().expect("it has").reason.as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
        assert_eq!(status.get_details_retry_info().expect("it has").retry_delay, Some(Duration::from_secs(1)));
        counted(service, "rate").await;
        is_served(service, &other).await;
    }

    async fn reads_beyond_the_waiting_limit_are_refused_at_once(database: &Database) {
        let (service, key) = service(database, Options { reads: 1, ..options() }).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let running = all_connections(&service.store, "al_test");
        let mut asks = [tokio::spawn(asked_all(service, list(&key))), tokio::spawn(asked_all(service, list(&key)))];
        let (refused, index) = futures::future::select_all(&mut asks).map(|(answer, index, _)| (answer, index)).await;
        let refused = refused.expect("no panic");
        assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("Too many reads are waiting"), "{refused}");
        let ask = Ask::get("/v1/org_a/audit-logs/log_none", &key);
        assert_eq!(surfaces.rest(&ask).await.code(), "overloaded");
        counted(service, "reads").await;
        drop(running);
        let waited = (&mut asks[1 - index]).await.expect("no panic");
        assert!(waited.starts_with("HTTP/1.1 200"), "{waited}");
        is_served(service, &key).await;
    }

    async fn one_key_cannot_take_all_read_permits(database: &Database) {
        // Eight waiting reads for a key and nine in total, besides the running one.
        let (service, key) = service(database, Options { reads: 10, ..options() }).await;
        let other = service.key(Some("org_a"), &[Scope::Read]).await;
        let running = all_connections(&service.store, "al_test");
        let mut asks: Vec<_> = (0..9).map(|_| tokio::spawn(asked_all(&service, list(&key)))).collect();
        let (refused, index) = futures::future::select_all(&mut asks).map(|(answer, index, _)| (answer, index)).await;
        let refused = refused.expect("no panic");
        assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("Too many reads with this API key"), "{refused}");
        counted(&service, "reads").await;
        drop(asks.remove(index));
        asks.push(tokio::spawn(asked_all(&service, list(&other))));
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(running);
        for ask in asks {
            let answer = ask.await.expect("no panic");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }

    async fn unknown_keys_take_no_database_connections_from_others(database: &Database) {
        let (service, key) = service(database, options()).await;
        is_served(&service, &key).await;
        // The cached lookup of the key has expired.
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        // Takes all connections of the readers, so that lookups wait.
        let mut held = Vec::new();
        while let Ok(snapshot) = tokio::time::timeout(Duration::from_millis(500), service.store.held_snapshot()).await {
            held.push(snapshot.expect("a snapshot"));
        }
        // More concurrent lookups than the limit, on one connection and on others.
        let made_up = (0..10).map(|number| tokio::spawn(asked_all(&service, list(&made_up(number)))));
        let made_up: Vec<_> = made_up.collect();
        let new = service.key(Some("org_a"), &[Scope::Read]).await;
        let asks = [&key, &new].map(|key| tokio::spawn(asked_all(&service, list(key))));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!made_up.iter().chain(&asks).any(JoinHandle::is_finished), "all wait for their look-ups");
        drop(held);
        for ask in asks {
            let answer = ask.await.expect("no panic");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        for ask in made_up {
            let answer = ask.await.expect("no panic");
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        }
    }

    async fn a_connection_with_made_up_keys_delays_no_other(database: &Database) {
        let (service, _) = service(database, options()).await;
        let surfaces = [service.grpc().await, service.grpc().await];
        let [flooding, honest] = surfaces;
        let list = |key: &str| with_key(ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() }, key);
        // One connection makes one lookup at a time, and the connections take turns.
        let flood: Vec<_> = (0..200).map(|number| {
            let (mut client, request) = (flooding.clone(), list(&made_up(number)));
            tokio::spawn(async move { client.list_audit_logs(request).await })
        }).collect();
        for _ in 0..5 {
            let key = service.key(Some("org_a"), &[Scope::Read]).await;
            honest.clone().list_audit_logs(list(&key)).await.expect("a key that there is");
        }
        for answer in flood {
            let status = answer.await.expect("no panic").expect_err("made up");
            assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        }
    }

    async fn one_key_cannot_take_all_request_bytes(database: &Database) {
        let (service, key) = service(database, limited(Limits { bytes: 1024 * 1024, ..Limits::default() })).await;
        let other = service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        let held = asked(&service, &writing(&key, 2 * 1024 * 1024, &"x".repeat(800 * 1024))).await;
        comes_to(&service, "auditlog_held_bytes", |bytes| bytes >= 800.0 * 1024.0).await;
        let body = json!({"auditLogs": [least("log_1")], "padding": "x".repeat(100 * 1024)});
        let own = service.post("/v1/org_a/audit-logs", &key, &body).await;
        assert_eq!(own.status, 429, "{}", own.text);
        counted(&service, "bytes").await;
        // The body is read, and has an unknown field.
        let other = service.post("/v1/org_a/audit-logs", &other, &body).await;
        assert_eq!(other.status, 400, "{}", other.text);
        drop(held);
    }

    async fn one_key_cannot_take_all_response_bytes(database: &Database) {
        let (service, key) = service(database, limited(Limits { bytes: 1024 * 1024, ..Limits::default() })).await;
        let other = service.key(Some("org_a"), &[Scope::Read]).await;
        let written = service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": large(0..1)})).await;
        assert_eq!(written.status, 201, "{}", written.text);
        // With a window of one byte, each response of 180 KiB is held.
        let (mut client, connection) = connect_with_window_of_one_byte(&service).await;
        let mut responses = Vec::new();
        for _ in 0..5 {
            let request = http::Request::get("http://a/v1/org_a/audit-logs").header("authorization", format!("Bearer {key}"));
            let (response, _) = client.send_request(request.body(()).expect("a request"), true).expect("it is sent");
            responses.push(response.await.expect("a head"));
            client = client.ready().await.expect("the connection is open");
        }
        // Four fifths; what the key holds beyond them does not count.
        comes_to(&service, "auditlog_held_bytes", |bytes| bytes >= 819.0 * 1024.0).await;
        let own = service.get("/v1/org_a/audit-logs", &key).await;
        assert_eq!(own.status, 429, "{}", own.text);
        counted(&service, "bytes").await;
        let answer = service.get("/v1/org_a/audit-logs?limit=1", &other).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        drop((responses, client));
        connection.abort();
        until("the bytes are released", async || (service.get("/v1/org_a/audit-logs", &key).await.status == 200).then_some(())).await;
    }

    async fn bodies_beyond_the_budget_are_refused(database: &Database) {
        let (service, key) = service(database, limited(Limits { bytes: 1024 * 1024, ..Limits::default() })).await;
        let surfaces = Surfaces::start(service).await;
        let service = &surfaces.service;
        let held = asked(service, &writing(&key, 2 * 1024 * 1024, &"x".repeat(700 * 1024))).await;
        // Wait for the held bytes: of two bodies that arrive at once, either may be refused.
        comes_to(service, "auditlog_held_bytes", |bytes| bytes >= 700.0 * 1024.0).await;
        let body = serde_json::to_vec(&json!({"auditLogs": large(0..4)})).expect("JSON");
        let ask = Ask::post("/v1/org_a/audit-logs", &key, body);
        until("the body is refused", async || (service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": large(0..4)})).await.status == 429).then_some(())).await;
        let answer = surfaces.rest(&ask).await;
        assert_eq!(answer.code(), "overloaded", "{}", answer.text);
        counted(service, "bytes").await;
        is_served(service, &key).await;
        drop(held);
        until("the bytes are released", async || (service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": large(0..4)})).await.status == 201).then_some(())).await;
    }
}
