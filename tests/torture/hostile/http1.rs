//! Attacks on the TCP port and over HTTP/1.

use std::io;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::frames::PREFACE;
use super::{MARK, Target, at_once};

const TICK: Duration = Duration::from_millis(500);
/// The time limit of an answer, and of opening a connection.
const TIMEOUT: Duration = Duration::from_secs(3);

async fn connect(target: &Target) -> io::Result<TcpStream> {
    TcpStream::connect(target.address).await
}

/// Sends `bytes` and returns the first line of the answer.
pub(super) async fn exchange(target: &Target, bytes: &[u8]) -> io::Result<String> {
    let (mut read, mut write) = connect(target).await?.into_split();
    let mut answer = [0; 256];
    let exchange = async {
        // The service may answer before it has read everything, and then closes the connection.
        let (sent, length) = tokio::join!(write.write_all(bytes), read.read(&mut answer));
        length.or_else(|error| sent.and(Err(error)))
    };
    let Ok(length) = tokio::time::timeout(TIMEOUT, exchange).await else { return Ok("no answer".to_owned()) };
    let text = String::from_utf8_lossy(&answer[..length?]).into_owned();
    let line = text.lines().next().unwrap_or_default();
    // An HTTP/2 answer is not text.
    Ok(if line.starts_with("HTTP/1") { line.to_owned() } else { "closed".to_owned() })
}

fn random_bytes(seed: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed as u64).fill_bytes(&mut bytes);
    bytes
}

/// The head of a request with the API key; the caller appends further headers.
fn head(target: &Target, method: &str) -> String {
    let Target { address, organization, key } = target;
    format!("{method} /v1/{organization}/audit-logs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n")
}

/// Random bytes, alone and after a valid start of HTTP/2, HTTP/1 or TLS.
pub async fn garbage(target: Target, _: Duration) -> io::Result<String> {
    at_once(60, |place| {
        let target = target.clone();
        let beginning: &[u8] =
            [b"", PREFACE, b"GET / HTTP/1.1\r\n", &PREFACE[..20], b"\x16\x03\x01\x02\x00"][place % 5];
        async move { exchange(&target, &[beginning, &random_bytes(place, 1 << 20)].concat()).await }
    })
    .await
}

/// Requests that contradict themselves or the specification.
pub async fn bad_requests(target: Target, _: Duration) -> io::Result<String> {
    let post = head(&target, "POST");
    let ends = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 99999999999999999999999\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        "Transfer-Encoding: gzip, chunked, gzip\r\n\r\n",
        "Expect: 100-continue\r\nContent-Length: 4194305\r\n\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAAA\r\n\r\n",
        "no colon at all\r\n\r\n",
        "\0: \0\r\n\r\n",
        "Authorization: Bearer another\r\n\r\n",
        "Content-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0",
        "Content-Type: application/grpc-web-text\r\nContent-Length: 4\r\n\r\n!!!!",
    ];
    let lines = [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "GET http:// HTTP/1.1\r\n\r\n",
    ];
    let posts = ends.iter().map(|end| format!("{post}{end}"));
    let all: Vec<_> = posts.chain(lines.map(str::to_owned)).collect();
    at_once(all.len(), |place| {
        let (target, request) = (target.clone(), all[place].clone());
        async move { exchange(&target, request.as_bytes()).await }
    })
    .await
}

/// Megabytes of headers, and long paths and queries.
pub async fn huge_headers(target: Target, _: Duration) -> io::Result<String> {
    at_once(30, |place| {
        let target = target.clone();
        async move {
            let get = head(&target, "GET");
            let request = match place % 4 {
                0 => format!("{get}X-{MARK}: {}\r\n\r\n", "a".repeat(8 << 20)),
                1 => format!("{get}{}\r\n", format!("X-A: {MARK}\r\n").repeat(100_000)),
                2 => format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", MARK.repeat(100_000)),
                _ => format!("GET /v1/a/audit-logs?{} HTTP/1.1\r\nHost: a\r\n\r\n", "userId=u&".repeat(6_000)),
            };
            exchange(&target, request.as_bytes()).await
        }
    })
    .await
}

/// Connections that are reset right after they open.
pub async fn connect_and_reset(target: Target, duration: Duration) -> io::Result<String> {
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < duration {
        let stream = connect(&target).await?;
        stream.set_zero_linger()?;
        count += 1;
        if count % 64 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(format!("{count} connections"))
}

/// Opens `count` connections, sends `begin` on each, then `next` every half second.
async fn hold(target: &Target, count: usize, duration: Duration, begin: &[u8], next: &[u8]) -> io::Result<String> {
    let begun = Instant::now();
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..count {
        let opened = async {
            let mut stream = connect(target).await?;
            stream.write_all(begin).await?;
            Ok::<_, io::Error>(stream)
        };
        match tokio::time::timeout(TIMEOUT, opened).await {
            Ok(Ok(stream)) => held.push(stream),
            _ => refused += 1,
        }
    }
    let opened = held.len();
    while begun.elapsed() < duration {
        tokio::time::sleep(TICK).await;
        let mut going_on = Vec::new();
        for stream in held {
            if next.is_empty() || stream.try_write(next).is_ok() {
                going_on.push(stream);
            }
        }
        held = going_on;
    }
    let is_open = |stream: &TcpStream| {
        let mut answer = [0; 16];
        stream.try_read(&mut answer).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    };
    let left = held.iter().filter(|stream| is_open(stream)).count();
    Ok(format!("{opened} held, {refused} refused, {left} open and unanswered in the end"))
}

/// Connections that send nothing.
pub async fn idle_connections(target: Target, duration: Duration) -> io::Result<String> {
    hold(&target, 900, duration, b"", b"").await
}

/// Connections that send half of the HTTP/2 preface.
pub async fn half_prefaces(target: Target, duration: Duration) -> io::Result<String> {
    hold(&target, 300, duration, &PREFACE[..12], b"").await
}

/// Headers, one byte every half second: Slowloris.
pub async fn slow_headers(target: Target, duration: Duration) -> io::Result<String> {
    let begin = format!("{}X-Slow: ", head(&target, "GET"));
    hold(&target, 300, duration, begin.as_bytes(), b"a").await
}

/// Bodies, one byte every half second.
pub async fn slow_bodies(target: Target, duration: Duration) -> io::Result<String> {
    let begin = format!("{}Content-Type: application/json\r\nContent-Length: 4000000\r\n\r\n[", head(&target, "POST"));
    hold(&target, 300, duration, begin.as_bytes(), b" ").await
}

/// Bodies of 4 MB without their last bytes.
pub async fn withheld_bodies(target: Target, duration: Duration) -> io::Result<String> {
    let body = format!("{{\"auditLogs\":[\"{}", "a".repeat(4_000_000));
    let head = head(&target, "POST");
    let begin = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 3);
    at_once(64, |_| {
        let (target, begin) = (target.clone(), begin.clone());
        async move { hold(&target, 1, duration, begin.as_bytes(), b"").await }
    })
    .await
}

/// Requests many lists on one connection with a small receive buffer, and reads no answer.
pub async fn unread_answers(target: Target, duration: Duration) -> io::Result<String> {
    let Target { address, organization, key } = &target;
    let ask = format!(
        "GET /v1/{organization}/audit-logs?limit=100 HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    let asks = ask.repeat(100);
    at_once(100, |_| {
        let (target, asks) = (target.clone(), asks.clone());
        async move {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(2_048)?;
            let mut stream = socket.connect(target.address).await?;
            let sent = tokio::time::timeout(duration, stream.write_all(asks.as_bytes())).await;
            tokio::time::sleep(duration).await;
            Ok(format!("all asked: {}", sent.is_ok_and(|sent| sent.is_ok())))
        }
    })
    .await
}

/// Bodies with JSON that is deep, long or large, and bodies that are not JSON.
pub async fn rest_bodies(target: Target, _: Duration) -> io::Result<String> {
    let entry = |end: &str| {
        format!(r#"{{"auditLogs":[{{"resourceType":"rule","resourceId":"r","action":"created","userId":"u"{end}}}]}}"#)
    };
    let value = |json: String| entry(&format!(r#","changes":[{{"field":"f","newValue":{json}}}]"#));
    let bodies = [
        "[".repeat(10_000),
        "[".repeat(4_000_000),
        r#"{"auditLogs":"#.repeat(200_000),
        value(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))),
        value(format!("{}1{}", r#"{"a":"#.repeat(40_000), "}".repeat(40_000))),
        value(format!("1{}", "0".repeat(250_000))),
        value("1e999999999".to_owned()),
        value(r#""\ud800""#.to_owned()),
        value(format!("{{{}\"z\":1}}", r#""a":1,"#.repeat(40_000))),
        entry(&format!(r#","metadata":{{{}"z":"{MARK}"}}"#, r#""a":"b","#.repeat(100_000))),
        entry(&format!(r#","userName":"{}""#, MARK.repeat(150_000))),
        entry(&format!(r#","{MARK}":1"#)),
        format!(r#"{{"auditLogs":[{}{{}}]}}"#, "{},".repeat(1_000_000)),
        format!(r#"{{"auditLogs":[{}{{}}]}}"#, "{},".repeat(2_000_000)),
        "\u{0}".repeat(1_000),
        String::new(),
    ];
    at_once(3 * bodies.len(), |place| {
        let (target, body) = (target.clone(), bodies[place % bodies.len()].clone());
        async move {
            let mut request = head(&target, "POST");
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            exchange(&target, request.as_bytes()).await
        }
    })
    .await
}
