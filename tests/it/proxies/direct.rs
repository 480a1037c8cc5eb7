//! Refused uploads without a proxy: with clients that keep connections open, and with hand-written requests.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Body, Origin, Upload, Version};
use super::{Answers, ENTRIES, ORGANIZATION, UNAUTHENTICATED, UPLOADS, check, refused, unknown_key};
use crate::support::process::create_key;
use crate::support::{Backend, Database, Process, database};

/// The pause between the head and the body of a request, so that the answer is sent before the body arrives.
const PAUSE: Duration = Duration::from_millis(50);
/// The time limit of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Sizes of bodies in bytes. The last is larger than the limit of a request.
const BODIES: [usize; 5] = [2, 100_000, 1_000_000, 3_900_000, 6_000_000];
/// How often each hand-written request is sent.
const TIMES: usize = 5;

fn started(database: &Database) -> (Process, String) {
    let key = create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read", "--scope", "write"]);
    (Process::serve(&database.url), key)
}

fn origin(service: &Process) -> Origin {
    Origin { url: service.url(""), certificate: None }
}

fn on_sqlite(test: impl AsyncFn(&Database)) {
    database::run(Backend::Sqlite, async |database| test(&database).await);
}

/// Reads an HTTP/1.1 answer. Returns its status, and whether it announces that the connection closes.
async fn answer(stream: &mut TcpStream) -> Result<(u16, bool), String> {
    let mut read = Vec::new();
    let answered = async {
        loop {
            let text = String::from_utf8_lossy(&read).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let length = header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
                if body.len() >= length {
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                    return status.map(|status| (status, header("connection:") == Some("close"))).ok_or(text);
                }
            }
            match stream.read_buf(&mut read).await {
                Ok(0) => return Err(format!("closed after {text:?}")),
                Ok(_) => {}
                Err(error) => return Err(format!("{:?} after {text:?}", error.kind())),
            }
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, answered).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

/// Sends a head and, after a pause, the whole body before it reads the answer. Unless the answer announces a close, the
/// same connection must then serve another request.
async fn sent_by_hand(service: &Process, method: &str, path: &str, key: &str, bytes: usize) -> String {
    let mut stream = TcpStream::connect(&service.address).await.expect("it connects");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it is open");
    tokio::time::sleep(PAUSE).await;
    // If this fails, the answer must still be there.
    let sent = stream.write_all(&vec![b'x'; bytes]).await;
    let (status, closes) = match answer(&mut stream).await {
        Ok(answer) => answer,
        Err(why) => return format!("{why}, the body: {sent:?}"),
    };
    if closes {
        return status.to_string();
    }
    let next = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await;
    match answer(&mut stream).await {
        Ok((200, _)) => status.to_string(),
        other => format!("{status} without `connection: close`, and then {other:?} ({next:?})"),
    }
}

/// Sends requests of each size, with each body after the answer to its head.
async fn check_by_hand(process: &Process, key: &str) {
    for bytes in BODIES {
        for (method, path, key, expected) in refused(key) {
            let mut answers = Answers::new();
            for _ in 0..TIMES {
                *answers.entry(sent_by_hand(process, method, path, &key, bytes).await).or_default() += 1;
            }
            let status = expected.split(' ').next().unwrap_or_default();
            check(&format!("{method} {path} of {bytes} bytes"), Some(answers), &[status], "");
        }
    }
}

#[test]
fn a_body_that_comes_after_its_answer_harms_no_connection() {
    on_sqlite(async |database| {
        let (service, key) = started(database);
        check_by_hand(&service, &key).await;
    });
}

#[test]
fn a_body_that_comes_after_the_answer_of_a_gateway_harms_no_connection() {
    on_sqlite(async |database| {
        let (service, key) = started(database);
        let gateway = Process::gateway(&service.url(""), &["--drain-delay", "0s"]);
        check_by_hand(&gateway, &key).await;
    });
}

#[test]
fn keep_alive_clients_get_the_response_to_a_refused_upload() {
    on_sqlite(async |database| {
        let (service, key) = started(database);
        let origin = origin(&service);
        for (bytes, times) in [(2, 30)].into_iter().chain(UPLOADS) {
            let body = Body::new(bytes);
            for (method, path, key, expected) in refused(&key) {
                let upload = Upload { method, path, key: &key, body: &body, times };
                let what = |client: &str| format!("{client}, {method} {path} of {bytes} bytes");
                check(&what("Node.js"), origin.node(upload), &[expected], "");
                check(&what("requests"), origin.requests(upload), &[expected], "");
                check(&what("curl"), origin.curl(Version::Http1, upload), &[expected], "");
            }
        }
    });
}

#[test]
fn uploads_over_http2_without_a_proxy_are_answered() {
    on_sqlite(async |database| {
        let (service, _) = started(database);
        let (origin, key) = (origin(&service), unknown_key());
        for bytes in [2, 20_000, 250_000, 1_000_000] {
            let body = Body::new(bytes);
            let upload = Upload { method: "POST", path: ENTRIES, key: &key, body: &body, times: 30 };
            check(&format!("{bytes} bytes"), origin.curl(Version::Http2, upload), &["401 invalid_api_key"], "");
            check(&format!("gRPC, {bytes} bytes"), origin.curl_grpc(&body, &key, 30), &[UNAUTHENTICATED], "");
            check(
                &format!("grpcio, {bytes} bytes"),
                origin.grpcio(&body, &key, 30),
                &["Unauthenticated INVALID_API_KEY"],
                "",
            );
        }
    });
}
