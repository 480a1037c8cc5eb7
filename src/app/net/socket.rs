//! A connection's socket. It reads in portions, and closes without losing a response.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::connection::Connection;

/// After this many bytes, a read pauses once: HTTP/2 hands out the requests it has, and other tasks get their turn. A
/// few bytes of a compressed head can become a hundred times as many, and 16 KiB can have a hundred requests, which are
/// refused in this task if there are too many.
const PORTION: usize = 16 * 1024;
/// How long a lingering close waits for the peer to close.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How many bytes a lingering close discards.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Bytes read since the last read that found nothing.
    portion: usize,
    /// The end of a lingering close, and the number of bytes discarded so far.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, portion: 0, lingering: None }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.portion >= PORTION {
            self.portion = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.portion = if read.is_pending() { 0 } else { self.portion + buffer.filled().len() - before };
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, all: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes the sending side. If bytes of the peer may be unread, reads on for a while: otherwise the kernel would answer
    /// them with a reset, which may overtake the response.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        let Self { stream, connection, lingering, portion: _ } = &mut *self;
        if !connection.lingers.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let (end, discarded) = lingering.get_or_insert_with(|| (Box::pin(sleep(LINGER_TIMEOUT)), 0));
        let mut bytes = [0; 16 * 1024];
        while *discarded < MAX_DISCARDED && end.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *discarded += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
