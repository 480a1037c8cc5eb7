//! A connection's socket, which tells how the peer takes what is written, and reads no faster than its requests can be
//! begun.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::{Connection, PACE};

pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// While nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, pause: None }
    }

    /// Waits a little if a request was refused since it was last asked.
    fn paced(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.is_refused.swap(false, Ordering::Relaxed) {
            self.pause = Some(Box::pin(sleep(PACE)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn noted(&self, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        let Connection { blocked_at, taken, .. } = &*self.connection;
        let was_blocked = blocked_at.load(Ordering::Relaxed) != 0;
        match &written {
            Poll::Pending if !was_blocked => blocked_at.store(self.connection.now(), Ordering::Relaxed),
            Poll::Ready(Ok(bytes)) => {
                taken.fetch_add(*bytes as u64, Ordering::Relaxed);
                if was_blocked {
                    blocked_at.store(0, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        ready!(self.paced(cx));
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
