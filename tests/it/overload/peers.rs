//! Peers that send nothing, read nothing, or send too many HTTP/2 frames.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use auditlog::app::{ConnectionLimits, Serving};
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::{ExportAuditLogsRequest, ListAuditLogsRequest};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::{
    asked, asked_all, closed, connect, connect_with_window_of_one_byte, connections, counted, held, is_open, is_served,
    large, service, writing,
};
use crate::support::metrics::comes_to;
use crate::support::service::made_up;
use crate::support::service::{options, serving, with_key};
use crate::support::surfaces::Surfaces;
use crate::support::{Backend, Database, TIMEOUT, database, until};

/// Runs a test of connections, which does not depend on the database.
pub(super) fn on_sqlite(test: impl AsyncFn(&Database)) {
    database::run(Backend::Sqlite, async |database| test(&database).await);
}

#[test]
fn connections_without_a_request_are_closed_and_others_are_served() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(super::hasty())).await;
        let mut silent = connect(&service).await;
        let mut slow_head = asked(&service, "GET /v1/org_a/audit-logs HTTP/1.1\r\nhost").await;
        let mut half_open = asked(&service, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        is_served(&service, &key).await;
        for stream in [&mut silent, &mut slow_head, &mut half_open] {
            closed(stream).await;
        }
        counted(&service, "stalled").await;
        is_served(&service, &key).await;
    });
}

#[test]
fn an_incomplete_request_head_closes_the_connection() {
    on_sqlite(async |database| {
        let limits = ConnectionLimits { head: Duration::from_millis(500), ..ConnectionLimits::default() };
        let (service, key) = service(database, connections(limits)).await;
        // The slow request is the second one, so the connection no longer counts as one without a request.
        let first = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut slow = asked(&service, &format!("{first}GET /livez HTTP/1.1\r\nhost")).await;
        let mut silent = asked(&service, first).await;
        closed(&mut slow).await;
        closed(&mut silent).await;
        is_served(&service, &key).await;
    });
}

#[test]
fn a_stalled_body_times_out_and_closes_the_connection() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        let slow = writing(&key, 100, "{");
        let keyless = "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: a\r\n\
                       content-type: application/grpc-web\r\ncontent-length: 100\r\n\r\nx";
        let begun = Instant::now();
        let [slow, keyless] = [slow, keyless.to_owned()].map(|request| asked_all(&service, request));
        let (slow, keyless) = tokio::join!(slow, keyless);
        // Long before the request deadline.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert!(slow.starts_with("HTTP/1.1 504") && slow.contains("came too slowly"), "{slow}");
        assert!(slow.contains("connection: close\r\n"), "{slow}");
        assert!(keyless.starts_with("HTTP/1.1 200") && keyless.contains("connection: close\r\n"), "{keyless}");
        is_served(&service, &key).await;
    });
}

#[test]
fn a_connection_without_a_key_can_be_closed_during_its_request() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(ConnectionLimits { most: 8, ..Default::default() })).await;
        let keyless = "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: a\r\n\
                       content-type: application/grpc-web\r\ncontent-length: 100\r\n\r\nx";
        let mut asking = Vec::new();
        for _ in 0..8 {
            asking.push(asked(&service, keyless).await);
        }
        comes_to(&service, "auditlog_connections", |open| open == 8.0).await;
        is_served(&service, &key).await;
        counted(&service, "connections").await;
    });
}

#[test]
fn a_slow_body_times_out_at_the_request_deadline() {
    on_sqlite(async |database| {
        let serving = Serving { request_timeout: Duration::from_millis(500), ..serving() };
        let (service, key) = service(database, auditlog::app::Options { serving, ..options() }).await;
        let mut slow = asked(&service, &writing(&key, 100, "{")).await;
        let mut answer = [0; 12];
        let read = tokio::time::timeout(TIMEOUT, slow.read_exact(&mut answer)).await.expect("in time");
        read.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 504");
    });
}

#[test]
fn a_stalled_body_times_out_before_the_request_deadline() {
    // It takes about two seconds on a busy machine; the request deadline is 30 seconds.
    const SOON: Duration = Duration::from_secs(15);
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        let check = "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: a\r\ncontent-type: \
                     application/grpc-web+proto\r\ncontent-length: 100\r\n\r\n\0";
        let surfaces = Surfaces::start(service).await;
        let gateway: SocketAddr = surfaces.gateway_url().trim_start_matches("http://").parse().expect("an address");
        let upload = writing(&key, 100, "{");
        let unknown = writing(&made_up(0), 100, "{");
        for address in [surfaces.service.running.address, gateway] {
            for request in [check, &upload, &unknown] {
                let mut stream = TcpStream::connect(address).await.expect("it connects");
                stream.write_all(request.as_bytes()).await.expect("it is sent");
                // Either an answer or the end of the connection.
                let ended = tokio::time::timeout(SOON, stream.read(&mut [0; 1])).await;
                assert!(ended.is_ok(), "{address} waits for the body of {request:?}");
            }
        }
    });
}

#[test]
fn a_flood_of_connections_closes_no_connection_in_use() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(ConnectionLimits { most: 8, ..Default::default() })).await;
        let mut client = service.grpc().await;
        let list =
            || with_key(ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() }, &key);
        client.list_audit_logs(list()).await.expect("a page");
        let mut busy = held(&service, &key).await;
        let mut flood = Vec::new();
        for _ in 0..100 {
            flood.push(connect(&service).await);
            client.list_audit_logs(list()).await.expect("a page, on the same connection");
        }
        let open = async || (flood.iter().filter(|stream| is_open(stream)).count() <= 6).then_some(());
        until("only so many are open", open).await;
        assert!(is_open(&busy), "a request under way is not given up");
        counted(&service, "connections").await;
        // When every connection has a request in flight, a new connection is closed.
        let mut all = Vec::new();
        for under_way in 2..=8 {
            all.push(held(&service, &key).await);
            comes_to(&service, "auditlog_requests_in_flight", |requests| requests == f64::from(under_way)).await;
        }
        closed(&mut connect(&service).await).await;
        busy.write_all(b"x").await.expect("it is open");
        assert!(all.iter().all(is_open), "nor is one of the others");
    });
}

#[test]
fn clients_that_read_nothing_are_disconnected_and_others_are_served() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(super::hasty())).await;
        for request in 0..8 {
            let body = json!({"auditLogs": large(request * 10..request * 10 + 10)});
            let written = service.post("/v1/org_a/audit-logs", &key, &body).await;
            assert_eq!(written.status, 201, "{}", written.text);
        }
        // A response of 14 MiB over HTTP/1 that the client does not read.
        let request =
            format!("GET /v1/org_a/audit-logs?limit=80 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\r\n");
        let mut slow = asked(&service, &request).await;
        // The same over HTTP/2, where the window blocks the stream but not the connection.
        let channel = Channel::from_shared(service.url("")).expect("a URL").connect().await.expect("it connects");
        let export = ExportAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let mut client = AuditLogServiceClient::new(channel.clone()).max_decoding_message_size(64 * 1024 * 1024);
        let mut stream = client.export_audit_logs(with_key(export, &key)).await.expect("it begins").into_inner();
        stream.message().await.expect("a message").expect("not the end");
        let watched = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
        let mut watched = watched.expect("it begins").into_inner();
        watched.message().await.expect("a message").expect("not the end");
        // A piece of an export has 1 MiB, which adds 16 seconds to the limit.
        for _ in 0..100 {
            is_served(&service, &key).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        counted(&service, "stalled").await;
        // Only the bytes that the kernel had buffered arrive.
        let mut taken = Vec::new();
        let _ = tokio::time::timeout(TIMEOUT, slow.read_to_end(&mut taken)).await.expect("it is ended");
        assert!(taken.len() < 13 * 1024 * 1024, "{} bytes came", taken.len());
        let mut pieces = 0;
        let ended = loop {
            match tokio::time::timeout(TIMEOUT, stream.message()).await.expect("it is ended") {
                Ok(Some(_)) => pieces += 1,
                Ok(None) => break Ok(pieces),
                Err(status) => break Err(status),
            }
        };
        assert!(ended.is_err(), "all came: {ended:?}");
        // Only the stream ended; the connection is still open.
        let other = tokio::time::timeout(Duration::from_millis(100), watched.message()).await;
        assert!(other.is_err(), "another stream of the connection ended: {other:?}");
    });
}

#[test]
fn a_partly_read_response_releases_its_bytes() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(super::hasty())).await;
        let written = service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": large(0..1)})).await;
        assert_eq!(written.status, 201, "{}", written.text);
        // With a window of one byte, HTTP/2 accepts the whole answer, so the task of the stream ends.
        let (mut client, connection) = connect_with_window_of_one_byte(&service).await;
        let request =
            http::Request::get("http://a/v1/org_a/audit-logs").header("authorization", format!("Bearer {key}"));
        let (answer, _) = client.send_request(request.body(()).expect("a request"), true).expect("it is sent");
        let answer = answer.await.expect("a head");
        assert_eq!(answer.status(), 200);
        comes_to(&service, "auditlog_held_bytes", |bytes| bytes > 180.0 * 1024.0).await;
        comes_to(&service, "auditlog_held_bytes", |bytes| bytes == 0.0).await;
        counted(&service, "stalled").await;
        drop((answer, client));
        connection.abort();
    });
}

#[test]
fn idle_connections_are_closed_gracefully() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(super::hasty())).await;
        let request = format!("GET /v1/org_a/audit-logs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\r\n");
        let mut idle = asked(&service, &request).await;
        closed(&mut idle).await;
        // A gRPC client reconnects by itself.
        let mut client = service.grpc().await;
        for _ in 0..3 {
            let list = ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
            client.list_audit_logs(with_key(list, &key)).await.expect("a page");
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    });
}

#[test]
fn old_connections_are_closed_gracefully_after_their_open_requests() {
    on_sqlite(async |database| {
        let limits = ConnectionLimits { age: Duration::from_millis(500), ..ConnectionLimits::default() };
        let (service, key) = service(database, connections(limits)).await;
        // Whitespace makes the upload fast enough.
        let body = " ".repeat(64 * 1024) + &json!({"auditLogs": [crate::support::json::least("log_1")]}).to_string();
        let mut old = asked(&service, &writing(&key, body.len(), &body[..64 * 1024])).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        old.write_all(&body.as_bytes()[64 * 1024..]).await.expect("it is open");
        let mut answer = Vec::new();
        tokio::time::timeout(TIMEOUT, old.read_to_end(&mut answer)).await.expect("it is closed").expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer));
    });
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        // A head that fills the buffer without an end, and one with too many headers.
        let begin = "GET /livez HTTP/1.1\r\nhost: a\r\nx: ";
        let long = begin.to_owned() + &"x".repeat(128 * 1024 - begin.len());
        let many = format!("GET /livez HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: x\r\n".repeat(100));
        for request in [long, many] {
            let mut stream = asked(&service, &request).await;
            let mut answer = [0; 12];
            let read = tokio::time::timeout(TIMEOUT, stream.read_exact(&mut answer)).await.expect("in time");
            read.expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 431");
        }
        // The longest allowed path fits.
        let path = format!("/v1/org_a/audit-logs/{}", "x".repeat(60_000));
        assert_eq!(service.get(&path, &key).await.status, 400);
    });
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        let body = json!({"auditLogs": [], "padding": "x".repeat(4 * 1024 * 1024)});
        let answer = service.post("/v1/org_a/audit-logs", &key, &body).await;
        assert_eq!((answer.status, &answer.body["error"]["code"]), (413, &json!("payload_too_large")));
    });
}

#[test]
fn streams_without_a_key_are_limited_per_connection() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        let channel = Channel::from_shared(service.url("")).expect("a URL").connect().await.expect("it connects");
        let mut client = HealthClient::new(channel);
        let mut watched = Vec::new();
        let status = loop {
            match client.watch(HealthCheckRequest::default()).await {
                Ok(stream) => watched.push(stream),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), watched.len()), (Code::ResourceExhausted, 16));
        counted(&service, "requests").await;
        client.check(HealthCheckRequest::default()).await.expect("a check is no stream");
        let channel = Channel::from_shared(service.url("")).expect("a URL").connect().await.expect("it connects");
        HealthClient::new(channel).watch(HealthCheckRequest::default()).await.expect("another connection has its own");
        is_served(&service, &key).await;
        drop(watched);
        let accepted = async || client.watch(HealthCheckRequest::default()).await.is_ok().then_some(());
        until("the streams are released", accepted).await;
    });
}

#[test]
fn the_input_of_a_stream_without_a_key_is_limited() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        let channel = Channel::from_shared(service.url("")).expect("a URL").connect().await.expect("it connects");
        let list = MessageRequest::ListServices("x".repeat(3 * 1024));
        let list = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        let asked = tokio_stream::iter(vec![list; 1_000]);
        let answers = ServerReflectionClient::new(channel).server_reflection_info(asked).await;
        let mut answers = answers.expect("it begins").into_inner();
        let mut answered = 0;
        while let Ok(Some(_)) = answers.message().await {
            answered += 1;
        }
        assert!(answered < 100, "{answered} were answered");
        is_served(&service, &key).await;
    });
}

#[test]
fn http2_settings_announce_the_limits() {
    on_sqlite(async |database| {
        let (service, _) = service(database, options()).await;
        let mut stream = asked(&service, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        stream.write_all(&frame(4, 0, 0, &[])).await.expect("it is open");
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("a frame");
        assert_eq!(head[3], 4, "SETTINGS comes first");
        let mut settings = vec![0; usize::from(head[2])];
        stream.read_exact(&mut settings).await.expect("its payload");
        let announced: Vec<_> = settings
            .chunks(6)
            .map(|one| (one[1], u32::from_be_bytes(one[2..].try_into().expect("four bytes"))))
            .collect();
        // SETTINGS_MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE and MAX_HEADER_LIST_SIZE. Source: RFC
        // 9113, section 6.5.2.
        for setting in [(3, 512), (4, 1024 * 1024), (5, 16 * 1024), (6, 80 * 1024)] {
            assert!(announced.contains(&setting), "{setting:?}: {announced:?}");
        }
    });
}

/// An HTTP/2 frame. Source: RFC 9113, section 4.1.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the frames of iteration n.
type Flood<'a> = Box<dyn Fn(u32) -> Vec<u8> + 'a>;

/// The header block of `GET /livez`, with HPACK's static table.
const HEAD: [u8; 16] = *b"\x82\x86\x04\x06/livez\x01\x01a\0\0\0";

#[test]
fn others_are_served_during_floods_of_http2_frames() {
    on_sqlite(async |database| {
        let (service, key) = service(database, connections(ConnectionLimits::default())).await;
        let head = &HEAD[..13];
        let opened = |number: u32| frame(1, 4, number * 2 + 1, head);
        let floods: [(&str, bool, Flood<'_>); 6] = [
            ("resets", true, Box::new(|n| [opened(n), frame(3, 0, n * 2 + 1, &[0, 0, 0, 8])].concat())),
            (
                "continuations",
                true,
                Box::new(|n| if n == 0 { frame(1, 0, 1, head) } else { frame(9, 0, 1, &[0; 1024]) }),
            ),
            ("window updates of nothing", true, Box::new(|n| [opened(n), frame(8, 0, n * 2 + 1, &[0; 4])].concat())),
            ("pings", false, Box::new(|_| frame(6, 0, 0, &[0; 8]))),
            ("settings", false, Box::new(|_| frame(4, 0, 0, &[]))),
            ("empty data", false, Box::new(|n| if n == 0 { frame(1, 4, 1, head) } else { frame(0, 0, 1, &[]) })),
        ];
        for (what, is_ended, flood) in floods {
            let stream = asked(&service, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            let (mut answers, mut sending) = stream.into_split();
            sending.write_all(&frame(4, 0, 0, &[])).await.expect("it is open");
            let reading = tokio::spawn(async move { answers.read_to_end(&mut Vec::new()).await });
            let mut is_open = true;
            for first in (0..20_000).step_by(100) {
                let frames: Vec<u8> = (first..first + 100).flat_map(&flood).collect();
                if tokio::time::timeout(TIMEOUT, sending.write_all(&frames)).await.expect("it is read").is_err() {
                    is_open = false;
                    break;
                }
                if first % 2_000 == 0 {
                    is_served(&service, &key).await;
                }
            }
            assert!(!(is_open && is_ended), "{what} are not ended");
            drop(sending);
            let _ = tokio::time::timeout(TIMEOUT, reading).await.expect("it is closed");
            is_served(&service, &key).await;
        }
    });
}
