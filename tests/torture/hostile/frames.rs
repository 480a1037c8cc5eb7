//! Hand-written HTTP/2 frames that no library would send.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::Target;

/// The connection preface of a client. Source: RFC 9113, 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types. Source: RFC 9113, 6.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Setting identifiers.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// The default maximum length of a frame's payload, in bytes.
pub const MAX_PAYLOAD: usize = 16_384;

/// Appends a frame to `to`.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    to.extend_from_slice(&length[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

/// Appends a header as a literal without indexing. Source: RFC 7541, 6.2.2.
pub fn literal(name: &str, value: &[u8], to: &mut Vec<u8>) {
    to.push(0);
    string(name.as_bytes(), to);
    string(value, to);
}

/// Appends a string without Huffman coding. Source: RFC 7541, 5.2.
pub fn string(bytes: &[u8], to: &mut Vec<u8>) {
    let mut length = bytes.len();
    if length < 127 {
        to.push(length as u8);
    } else {
        to.push(127);
        length -= 127;
        while length >= 128 {
            to.push((length % 128) as u8 | 128);
            length /= 128;
        }
        to.push(length as u8);
    }
    to.extend_from_slice(bytes);
}

/// The HPACK header block of a gRPC call.
pub fn call(target: &Target, method: &str) -> Vec<u8> {
    let mut block = Vec::new();
    literal(":method", b"POST", &mut block);
    literal(":scheme", b"http", &mut block);
    literal(":path", format!("/auditlog.v1.AuditLogService/{method}").as_bytes(), &mut block);
    literal(":authority", target.address.to_string().as_bytes(), &mut block);
    literal("te", b"trailers", &mut block);
    literal("content-type", b"application/grpc", &mut block);
    literal("authorization", format!("Bearer {}", target.key).as_bytes(), &mut block);
    block
}

/// A gRPC message with its uncompressed flag and length. Source: gRPC over HTTP2, "Length-Prefixed-Message".
pub fn prefixed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// Appends `bytes` as DATA frames of `stream`. The last one has END_STREAM.
pub fn data(stream: u32, bytes: &[u8], to: &mut Vec<u8>) {
    let pieces = bytes.chunks(MAX_PAYLOAD);
    let last = pieces.len().saturating_sub(1);
    for (place, piece) in pieces.enumerate() {
        frame(DATA, if place == last { END_STREAM } else { 0 }, stream, piece, to);
    }
    if bytes.is_empty() {
        frame(DATA, END_STREAM, stream, b"", to);
    }
}

/// The frames that the service sent on a connection.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Streams that the service ended. `reset` counts streams that it reset.
    pub ended: usize,
    pub reset: usize,
    /// Streams that it ended or reset.
    pub over: usize,
    /// The error code of GOAWAY, if the service sent one.
    pub goaway: Option<u32>,
    pub is_closed: bool,
}

/// A connection that sends arbitrary bytes.
pub struct Raw {
    write: OwnedWriteHalf,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
    /// Keeps the socket open on a connection that never reads.
    _unread: Option<OwnedReadHalf>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

impl Raw {
    /// Connects, sends the preface and `settings`, and reads in the background.
    pub async fn open(target: &Target, settings: &[(u16, u32)]) -> io::Result<Self> {
        let (read, write) = TcpStream::connect(target.address).await?.into_split();
        let seen = Arc::<Mutex<Seen>>::default();
        let reader = Some(tokio::spawn(watch(read, Arc::clone(&seen))));
        Self { write, seen, reader, _unread: None }.begun(settings).await
    }

    /// Like [`Self::open`], but never reads from the socket.
    pub async fn open_unread(target: &Target, settings: &[(u16, u32)]) -> io::Result<Self> {
        let (read, write) = TcpStream::connect(target.address).await?.into_split();
        Self { write, seen: Arc::default(), reader: None, _unread: Some(read) }.begun(settings).await
    }

    async fn begun(mut self, settings: &[(u16, u32)]) -> io::Result<Self> {
        let setting = |(name, value): &(u16, u32)| [name.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
        let mut bytes = PREFACE.to_vec();
        frame(SETTINGS, 0, 0, &settings.iter().flat_map(setting).collect::<Vec<_>>(), &mut bytes);
        self.send(&bytes).await?;
        Ok(self)
    }

    /// Errors: the service has closed the connection, or accepts no bytes for five seconds.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = tokio::time::timeout(Duration::from_secs(5), self.write.write_all(bytes)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("no panic").clone()
    }

    /// Waits until `streams` streams were ended or reset, the connection closes, or `limit` is over.
    pub async fn ends(&self, streams: usize, limit: Duration) -> Seen {
        let waits = async {
            loop {
                let seen = self.seen();
                if seen.ended + seen.reset >= streams || seen.is_closed {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // After a timeout, return the frames seen so far.
        let _ = tokio::time::timeout(limit, waits).await;
        self.seen()
    }
}

/// Records frames until the connection ends.
async fn watch(mut read: OwnedReadHalf, seen: Arc<Mutex<Seen>>) {
    let (mut head, mut over) = ([0; 9], HashSet::new());
    while read.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        let mut seen = seen.lock().expect("no panic");
        match head[3] {
            DATA | HEADERS if head[4] & END_STREAM != 0 => seen.ended += 1,
            RST_STREAM => seen.reset += 1,
            GOAWAY => seen.goaway = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four"))),
            _ => {}
        }
        let is_over = head[3] == RST_STREAM || [DATA, HEADERS].contains(&head[3]) && head[4] & END_STREAM != 0;
        if is_over && over.insert(stream) {
            seen.over += 1;
        }
    }
    seen.lock().expect("no panic").is_closed = true;
}
