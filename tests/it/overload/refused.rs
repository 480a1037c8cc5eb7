//! Requests that are refused before their messages arrive. Messages that are still in transit must not count against
//! the peer. The HTTP/2 peer is hand-written and enforces no rules of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use auditlog::access::Scope;
use auditlog::app::{Limits, Options};
use auditlog::grpc::pb::{ListAuditLogsRequest, WriteAuditLogsRequest};
use auditlog::ingest::QueueLimits;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::peers::{frame, on_sqlite};
use super::{connect, counted, held, limited, permits_are_taken, service};
use crate::support::database::hold_head;
use crate::support::metrics::comes_to;
use crate::support::service::{made_up, options};
use crate::support::{Database, Service, TIMEOUT};

/// Frame types and flags. Source: RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const LARGEST_FRAME: usize = 16 * 1024;

/// The header block of a call, with literal headers. Source: RFC 7541, 6.2.2.
fn head(method: &str, key: &str) -> Vec<u8> {
    let (path, bearer) = (format!("/auditlog.v1.AuditLogService/{method}"), format!("Bearer {key}"));
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &path),
        (":authority", "a"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("authorization", &bearer),
    ];
    let string = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect()
}

/// The DATA frames of a length-prefixed message. The last one ends the stream.
fn message(stream: u32, message: &[u8]) -> Vec<Vec<u8>> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let prefixed = [&[0], &length[..], message].concat();
    let last = prefixed.len().div_ceil(LARGEST_FRAME) - 1;
    let pieces = prefixed.chunks(LARGEST_FRAME).enumerate();
    pieces.map(|(index, piece)| frame(DATA, if index == last { END_STREAM } else { 0 }, stream, piece)).collect()
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    /// Bytes of messages that may be sent before the next WINDOW_UPDATE.
    window: usize,
    /// Answers whose heads were received.
    answers: u32,
}

impl Peer {
    async fn connect(service: &Service) -> Self {
        let stream = connect(service).await;
        stream.set_nodelay(true).expect("it is open");
        let mut peer = Self { stream, window: 65_535, answers: 0 };
        peer.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, b"")].concat()).await;
        peer
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it is open");
    }

    async fn next(&mut self) -> Frame {
        let read = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let [long, length @ .., kind, flags, a, b, c, d] = head;
            let length = u32::from_be_bytes([0, long, length[0], length[1]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), payload })
        };
        let read = tokio::time::timeout(TIMEOUT, read).await.expect("in time").expect("the connection is open");
        assert_ne!(read.kind, GOAWAY, "{}", read.payload.escape_ascii());
        assert!(read.kind != RST_STREAM || read.payload == REFUSED_STREAM.to_be_bytes(), "a stream was reset");
        match (read.kind, read.flags, read.stream) {
            // Until the settings are acknowledged, a stream may send 64 KiB.
            (SETTINGS, 0, 0) => self.send(&frame(SETTINGS, ACK, 0, b"")).await,
            (HEADERS, ..) => self.answers += 1,
            (WINDOW_UPDATE, _, 0) => {
                self.window += u32::from_be_bytes(read.payload[..].try_into().expect("four bytes")) as usize;
            }
            _ => {}
        }
        read
    }

    /// Waits for the heads of `streams` answers.
    async fn answered(&mut self, streams: u32) {
        while self.answers < streams {
            self.next().await;
        }
        self.answers -= streams;
    }

    /// Sends the frames of a message when the window allows it.
    async fn send_message(&mut self, frames: &[u8]) {
        while self.window < frames.len() {
            self.next().await;
        }
        self.window -= frames.len();
        self.send(frames).await;
    }
}

/// The ids of a client's streams.
fn streams(numbers: std::ops::Range<u32>) -> impl Iterator<Item = u32> {
    numbers.map(|number| 2 * number + 1)
}

/// A service whose only permit is taken.
async fn busy(database: &Database) -> (Service, String, TcpStream) {
    let (service, key) = service(database, limited(Limits { requests: 1, ..Limits::default() })).await;
    let busy = held(&service, &key).await;
    permits_are_taken(&service, &key, 1.0).await;
    (service, key, busy)
}

/// Sends requests that are refused, `times` rounds of `batch` requests. Each message has `bytes` bytes and follows the
/// heads.
async fn refused(database: &Database, times: u32, batch: u32, bytes: usize) {
    let (service, key, _busy) = busy(database).await;
    let mut peer = Peer::connect(&service).await;
    let (head, sent) = (head("WriteAuditLogs", &key), vec![0; bytes]);
    for time in 0..times {
        let streams = || streams(time * batch..(time + 1) * batch);
        let heads: Vec<_> = streams().flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &head)).collect();
        peer.send(&heads).await;
        // The second half of a long message is sent after the first was read.
        let halves = streams()
            .map(|stream| message(stream, &sent))
            .map(|mut frames| (frames.split_off(frames.len() / 2), frames));
        let (second, first): (Vec<_>, Vec<_>) = halves.unzip();
        for (half, is_long) in [(first, bytes > LARGEST_FRAME), (second, false)] {
            for frames in half {
                peer.send_message(&frames.concat()).await;
            }
            if is_long {
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        }
        peer.answered(batch).await;
    }
    // The connection still works.
    let next = 2 * times * batch + 1;
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, next, &head)).await;
    peer.answered(1).await;
}

#[test]
fn messages_of_refused_requests_leave_the_connection_open() {
    on_sqlite(async |database| {
        // More than the number of resets that the server's HTTP/2 library allows itself on a connection.
        refused(database, 80, 50, 0).await;
    });
}

#[test]
fn large_messages_of_refused_requests_leave_the_connection_open() {
    on_sqlite(async |database| {
        refused(database, 120, 16, 160 * 1024).await;
    });
}

#[test]
fn uploads_with_an_unknown_key_leave_the_connection_open_too() {
    on_sqlite(async |database| {
        // More in total than the number of resets that the server's HTTP/2 library allows itself on a connection.
        const TIMES: u32 = 40;
        const BATCH: u32 = 30;
        let (service, _) = service(database, limited(Limits::default())).await;
        let mut peer = Peer::connect(&service).await;
        let (head, sent) = (head("WriteAuditLogs", &made_up(0)), vec![0; 2 * LARGEST_FRAME]);
        for time in 0..TIMES {
            let streams = || streams(time * BATCH..(time + 1) * BATCH);
            peer.send(&streams().flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &head)).collect::<Vec<_>>())
                .await;
            // Meanwhile they may be answered, or wait for their messages.
            tokio::time::sleep(Duration::from_millis(200)).await;
            for stream in streams() {
                peer.send_message(&message(stream, &sent).concat()).await;
            }
            peer.answered(BATCH).await;
        }
        // The service has read the last messages, too.
        let last = 2 * TIMES * BATCH + 1;
        peer.send(&[frame(HEADERS, END_HEADERS, last, &head), message(last, &[]).concat()].concat()).await;
        peer.answered(1).await;
    });
}

#[test]
fn requests_that_are_read_together_are_each_answered() {
    on_sqlite(async |database| {
        const TIMES: u32 = 20;
        let (service, key) = service(database, limited(Limits { requests: 1, ..Limits::default() })).await;
        let mut peer = Peer::connect(&service).await;
        let list = ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() }.encode_to_vec();
        let head = head("ListAuditLogs", &key);
        for time in 0..TIMES {
            let asked: BTreeSet<_> = streams(3 * time..3 * time + 3).collect();
            let request =
                |stream: &u32| [frame(HEADERS, END_HEADERS, *stream, &head), message(*stream, &list).concat()].concat();
            peer.send(&asked.iter().flat_map(request).collect::<Vec<_>>()).await;
            let (mut ended, mut served) = (BTreeSet::new(), BTreeSet::new());
            while ended != asked {
                let Frame { kind, flags, stream, .. } = peer.next().await;
                if kind == DATA {
                    served.insert(stream);
                }
                if [DATA, HEADERS].contains(&kind) && flags & END_STREAM > 0 {
                    ended.insert(stream);
                }
            }
            assert!(!served.is_empty(), "one got the permit");
            // A response ends shortly before its permit is free.
            comes_to(&service, "auditlog_requests_in_flight", |requests| requests == 0.0).await;
        }
        counted(&service, "requests").await;
    });
}

#[test]
fn streams_beyond_the_limit_of_a_connection_are_refused() {
    on_sqlite(async |database| {
        const MOST: u32 = 512;
        let (service, key) = service(database, limited(Limits { requests: 1_000, ..Limits::default() })).await;
        let mut peer = Peer::connect(&service).await;
        let head = head("WriteAuditLogs", &key);
        let open = |stream: u32| frame(HEADERS, END_HEADERS, stream, &head);
        peer.send(&streams(0..MOST + 1).flat_map(open).collect::<Vec<_>>()).await;
        let reset = loop {
            let frame = peer.next().await;
            assert_ne!(frame.kind, HEADERS, "none is answered, since none is whole");
            if frame.kind == RST_STREAM {
                break frame;
            }
        };
        assert_eq!((reset.stream, &reset.payload[..]), (2 * MOST + 1, &REFUSED_STREAM.to_be_bytes()[..]));
        comes_to(&service, "auditlog_requests_in_flight", |requests| requests == f64::from(MOST)).await;
    });
}

#[test]
fn a_write_to_a_full_queue_is_refused_before_it_is_decoded() {
    on_sqlite(async |database| {
        let queue = QueueLimits { entries: 6, bytes: 1024 * 1024 };
        let (service, of_one) = service(database, Options { queue, ..options() }).await;
        let of_all = service.key(None, &[Scope::Write]).await;
        let blocker = hold_head(&service.store, "org_a").await;
        let entry = json!({"resourceType": "rule", "resourceId": "r", "action": "created", "userId": "u"});
        let body = json!({ "auditLogs": [entry] });
        let write = || service.http.post(service.url("/v1/org_a/audit-logs")).bearer_auth(&of_all).json(&body).send();
        let waiting = [write(), write(), write()].map(tokio::spawn);
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 3.0).await;
        // A message that begins with its organization, and cannot be decoded after that.
        let status = async |key: &str, organization: &str| {
            let begin = WriteAuditLogsRequest { organization_id: organization.to_owned(), audit_logs: Vec::new() };
            let message = [begin.encode_to_vec(), vec![0xff; 20]].concat();
            let length = u32::try_from(message.len()).expect("short").to_be_bytes();
            let call = service.http.post(service.url("/auditlog.v1.AuditLogService/WriteAuditLogs"));
            let call = call.header("content-type", "application/grpc-web+proto").bearer_auth(key);
            let answer = call.body([&[0][..], &length, &message].concat()).send().await.expect("an answer");
            answer.headers()["grpc-status"].to_str().expect("a number").to_owned()
        };
        const RESOURCE_EXHAUSTED: &str = "8";
        assert_eq!(status(&of_one, "org_a").await, RESOURCE_EXHAUSTED, "the key is for the organization alone");
        assert_eq!(status(&of_all, "org_a").await, RESOURCE_EXHAUSTED, "the message begins with the organization");
        assert_ne!(status(&of_all, "org_b").await, RESOURCE_EXHAUSTED, "the queue has room for another organization");
        let refused =
            service.http.post(service.url("/v1/org_a/audit-logs")).bearer_auth(&of_all).body("{").send().await;
        assert_eq!(refused.expect("an answer").status(), 429, "the path names the organization");
        blocker.roll_back().await.expect("the lock is given back");
        for write in waiting {
            assert_eq!(write.await.expect("no panic").expect("an answer").status(), 201);
        }
    });
}
