//! Attacks with gRPC messages, which the service must decode after it has accepted the call.

use std::io;
use std::time::Duration;

use auditlog::grpc::pb::{AuditLogInput, Change, WriteAuditLogsRequest};
use futures::FutureExt;
use h2::client::SendRequest;
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::TcpStream;

use super::frames::prefixed;
use super::{MARK, Target, at_once};

/// The time limit of an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

pub fn entry() -> AuditLogInput {
    AuditLogInput {
        resource_type: "rule".to_owned(),
        resource_id: "r".to_owned(),
        action: "created".to_owned(),
        user_id: "u".to_owned(),
        user_name: MARK.to_owned(),
        ..AuditLogInput::default()
    }
}

fn write(target: &Target, audit_logs: Vec<AuditLogInput>) -> Vec<u8> {
    WriteAuditLogsRequest { organization_id: target.organization.clone(), audit_logs }.encode_to_vec()
}

/// A connection that follows the protocol, to carry messages that do not.
async fn connect(target: &Target) -> Result<SendRequest<Bytes>, h2::Error> {
    let stream = TcpStream::connect(target.address).await.map_err(|_| h2::Error::from(h2::Reason::CONNECT_ERROR))?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    sender.ready().await
}

fn head(target: &Target, method: &str) -> http::Request<()> {
    http::Request::post(format!("http://{}/auditlog.v1.AuditLogService/{method}", target.address))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {}", target.key))
        .body(())
        .expect("a request")
}

/// The gRPC status of a write call with `body`.
async fn answer(target: &Target, body: Bytes) -> Result<String, h2::Error> {
    let mut sender = connect(target).await?;
    let (answer, mut sending) = sender.send_request(head(target, "WriteAuditLogs"), false)?;
    sending.send_data(body, true)?;
    let (head, mut body) = answer.await?.into_parts();
    while let Some(piece) = body.data().await {
        body.flow_control().release_capacity(piece?.len())?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let status = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
    Ok(format!("status {}", status.and_then(|status| status.to_str().ok()).unwrap_or("none")))
}

/// Sends each of `bodies` in a write call, `times` each, all at once, and summarizes the results.
async fn send(target: &Target, times: usize, bodies: Vec<Vec<u8>>) -> io::Result<String> {
    let bodies: Vec<_> = bodies.into_iter().map(Bytes::from).collect();
    at_once(times * bodies.len(), |place| {
        let (target, body) = (target.clone(), bodies[place % bodies.len()].clone());
        async move {
            let answered = tokio::time::timeout(TIMEOUT, answer(&target, body)).await;
            Ok(match answered {
                Ok(Ok(status)) => status,
                Ok(Err(error)) => {
                    error.reason().map_or_else(|| "broken off".to_owned(), |reason| format!("{reason:?}"))
                }
                Err(_) => "no answer".to_owned(),
            })
        }
    })
    .await
}

/// Messages without their last byte, on as many streams as the windows allow.
pub async fn withheld(target: Target, duration: Duration) -> io::Result<String> {
    at_once(16, |_| {
        let target = target.clone();
        async move {
            let Ok(mut sender) = connect(&target).await else { return Ok("refused".to_owned()) };
            let announced = [&[0][..], &4_000_000u32.to_be_bytes(), &vec![0; 3_999_999]].concat();
            let mut held = Vec::new();
            for _ in 0..8 {
                let sent = sender.send_request(head(&target, "WriteAuditLogs"), false);
                let Ok((answer, mut sending)) = sent else { break };
                // Sends what the windows allow; the rest waits.
                let _ = sending.send_data(announced.clone().into(), false);
                held.push((answer, sending));
            }
            tokio::time::sleep(duration).await;
            let answered = held.iter_mut().filter_map(|(answer, _)| answer.now_or_never()).count();
            Ok(format!("{answered} of {} answered", held.len()))
        }
    })
    .await
}

/// Messages with a wrong length or an invalid compression flag.
pub async fn false_lengths(target: Target, _: Duration) -> io::Result<String> {
    let message = write(&target, vec![entry()]);
    let body = |flag: u8, length: u32| [&[flag], length.to_be_bytes().as_slice(), message.as_slice()].concat();
    let length = u32::try_from(message.len()).expect("short");
    let bodies = vec![
        body(0, u32::MAX),
        body(0, length + 1),
        body(0, length - 1),
        body(0, 1),
        body(1, length),
        body(255, length),
        body(0, 4 * 1024 * 1024 + 1),
        Vec::new(),
        vec![0, 0],
        [prefixed(&message), prefixed(&message)].concat(),
    ];
    send(&target, 4, bodies).await
}

/// Bodies that are not protobuf, that are cut short, or whose unknown fields never end.
pub async fn broken_protobuf(target: Target, _: Duration) -> io::Result<String> {
    let message = write(&target, vec![entry()]);
    let mut bodies: Vec<_> = (0..message.len()).step_by(7).map(|end| prefixed(&message[..end])).collect();
    bodies.extend([
        prefixed(&[0xff; 10_000]),
        // Nested groups of an unknown field.
        prefixed(&vec![0x7b; 100_000]),
        // A field whose length exceeds any memory.
        prefixed(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        // A string that is not UTF-8.
        prefixed(&[0x0a, 3, 0xff, 0xfe, 0xfd]),
    ]);
    send(&target, 4, bodies).await
}

/// Messages of one byte more than the limit, and of 16 MiB.
pub async fn too_large(target: Target, _: Duration) -> io::Result<String> {
    let of = |length: usize| prefixed(&vec![0x0a; length]);
    send(&target, 8, vec![of(4 * 1024 * 1024 + 1), of(16 * 1024 * 1024)]).await
}

/// Entries and changes of two bytes each, which need a hundred times as much memory when decoded.
pub async fn many_empty_messages(target: Target, _: Duration) -> io::Result<String> {
    let entries = [0x12, 0].repeat(2_000_000);
    let changes = AuditLogInput { changes: vec![Change::default(); 1_900_000], ..entry() };
    let bodies = vec![prefixed(&entries), prefixed(&write(&target, vec![changes]))];
    send(&target, 8, bodies).await
}

/// Deeply nested values, a very long number, and strings with escapes that are invalid or NUL.
pub async fn deep_json(target: Target, _: Duration) -> io::Result<String> {
    let value = |json: String| {
        let change = Change { field: MARK.to_owned(), new_value_json: Some(json), old_value_json: None };
        prefixed(&write(&target, vec![AuditLogInput { changes: vec![change], ..entry() }]))
    };
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let bodies = vec![
        value(nested(33)),
        value(nested(10_000)),
        value(nested(120_000)),
        value("[".repeat(4_000_000)),
        value(format!("{}1{}", r#"{"a":"#.repeat(40_000), "}".repeat(40_000))),
        value(format!("-{}", "9".repeat(250_000))),
        value(r#""\ud800""#.to_owned()),
        value(format!("\"{}\"", "\\u0000".repeat(40_000))),
    ];
    send(&target, 4, bodies).await
}
