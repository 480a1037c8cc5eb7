//! Logs to standard error: text on a terminal, else JSON. They never contain an entry's content.

mod filter;
mod limit;

use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, IsTerminal, Write, stderr};
use std::os::fd::AsFd;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tracing::warn;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use filter::LogFilter;
pub use limit::LineLimit;

/// The number of lines that may wait for standard error; more are dropped. About two megabytes.
const MAX_WAITING_LINES: usize = 4_096;
/// How long a process waits at its end until the remaining lines are written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The writer of a server's log, once it is set up.
static SERVER_LOG: OnceLock<NonBlocking> = OnceLock::new();

/// How lines reach standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The caller waits until the line is written. For commands.
    Blocking,
    /// A thread writes. Lines that it cannot write in time are dropped and counted. For servers, which must go on when
    /// nobody reads their log.
    Lossy,
}

/// On drop, waits at most 1.5 s until the remaining lines are written.
#[must_use]
pub struct Flush(Option<WorkerGuard>);

impl Drop for Flush {
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        // In another thread: if lines cannot be written, the guard prints a message to standard output, which may hang
        // too.
        let (done, waiting) = mpsc::channel();
        let flushing = thread::Builder::new().spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if flushing.is_ok() {
            let _ = waiting.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Starts logging with `filter`.
pub fn init(LogFilter(filter): LogFilter, delivery: Delivery) -> anyhow::Result<Flush> {
    let (writer, guard) = match delivery {
        Delivery::Blocking => (BoxMakeWriter::new(stderr), None),
        Delivery::Lossy => {
            let stderr = ServerStderr::open().context("cannot write to standard error")?;
            let lossy = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING_LINES);
            let (writer, guard) = lossy.thread_name("log").finish(stderr);
            let _ = SERVER_LOG.set(writer.clone());
            (BoxMakeWriter::new(writer), Some(guard))
        }
    };
    // The filter is a separate layer, added below.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer);
    // A log line that cannot be written is lost and the service goes on: an error message would fail too, and panic.
    let log = log.log_internal_errors(false);
    match stderr().is_terminal() {
        true => log.finish().with(filter).init(),
        false => log.json().flatten_event(true).finish().with(filter).init(),
    }
    // A panic's message may quote an entry, so only its place is logged.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
    Ok(Flush(guard))
}

/// Writes a line to standard error. A line that cannot be written is lost. A server does not wait for the write.
pub fn tell(line: Arguments<'_>) {
    let line = format!("{line}\n");
    let _ = match SERVER_LOG.get() {
        Some(log) => log.clone().write_all(line.as_bytes()),
        None => stderr().write_all(line.as_bytes()),
    };
}

/// The number of log lines that this process dropped because standard error was too slow.
pub fn dropped_lines() -> u64 {
    SERVER_LOG.get().map_or(0, |log| log.error_counter().dropped_lines() as u64)
}

/// Standard error for the log's thread, with a descriptor of its own: while a write hangs, other threads can still take
/// the lock of [`stderr`].
struct ServerStderr {
    file: File,
    /// The number of dropped lines reported so far.
    reported: u64,
}

impl ServerStderr {
    fn open() -> io::Result<Self> {
        Ok(Self { file: File::from(stderr().as_fd().try_clone_to_owned()?), reported: 0 })
    }
}

impl Write for ServerStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file.write(line)
    }

    /// Called when all waiting lines are written, so there is room for one more.
    fn flush(&mut self) -> io::Result<()> {
        let dropped = dropped_lines();
        if dropped > self.reported {
            self.reported = dropped;
            warn!(
                dropped,
                "log lines were dropped because standard error was too slow; `dropped` counts since the start"
            );
        }
        Ok(())
    }
}
