//! Requests that are refused before their messages have come: what was on its way is no fault of the peer, who is read
//! again a little later.

use std::time::{Duration, Instant};

use auditlog::app::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;

use super::peers::on_sqlite;
use super::{PATIENCE, asked, connect, limited, service, writing};
use crate::metrics::comes_to;
use crate::support::Database;

const BATCH: u32 = 100;
/// More than the resets of its own that the server's HTTP/2 allows on a connection.
const BATCHES: u32 = 40;
/// How long nothing is read after a refusal.
const PACE: Duration = Duration::from_millis(20);
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// A frame of HTTP/2. Source: RFC 9113, 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a write, as literals. Source: RFC 7541, 6.2.2.
fn head() -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/auditlog.v1.AuditLogService/WriteAuditLogs"),
        (":authority", "a"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    let string = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect()
}

/// Waits for the answers to so many requests.
async fn answered(read: &mut OwnedReadHalf, mut streams: u32) {
    while streams > 0 {
        let mut head = [0; 9];
        read.read_exact(&mut head).await.expect("the connection is open");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        read.read_exact(&mut payload).await.expect("the connection is open");
        assert_ne!(head[3], GOAWAY, "{}", String::from_utf8_lossy(&payload));
        streams -= u32::from(head[3] == HEADERS);
    }
}

/// Sends requests that are refused, `batch` at once and their messages after it, so many `times`. Gives how long it took.
async fn refused(database: &Database, times: u32, batch: u32) -> Duration {
    let (service, key) = service(database, limited(Limits { requests: 1, ..Limits::default() })).await;
    let _busy = asked(&service, &writing(&key, 100, "{")).await;
    comes_to(&service, "auditlog_requests_in_flight", |requests| requests == 1.0).await;
    let stream = connect(&service).await;
    stream.set_nodelay(true).expect("it is open");
    let (mut read, mut write) = stream.into_split();
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, b"")].concat();
    write.write_all(&begin).await.expect("it is open");
    let (head, begun) = (head(), Instant::now());
    for time in 0..times {
        let streams = || (0..batch).map(|place| 2 * (time * batch + place) + 1);
        let heads: Vec<_> = streams().flat_map(|stream| frame(HEADERS, 4, stream, &head)).collect();
        write.write_all(&heads).await.expect("it is open");
        tokio::time::timeout(PATIENCE, answered(&mut read, batch)).await.expect("in time");
        let messages: Vec<_> = streams().flat_map(|stream| frame(0, 1, stream, &[0; 5])).collect();
        write.write_all(&messages).await.expect("it is open");
    }
    begun.elapsed()
}

#[test]
fn messages_that_come_after_their_requests_were_refused_leave_the_connection_open() {
    on_sqlite(async |database| {
        refused(database, BATCHES, BATCH).await;
    });
}

#[test]
fn a_connection_with_a_refused_request_is_read_again_a_little_later() {
    on_sqlite(async |database| {
        const TIMES: u32 = 100;
        let elapsed = refused(database, TIMES, 1).await;
        assert!(elapsed >= (TIMES - 1) * PACE, "{TIMES} times refused within {elapsed:?}");
    });
}
