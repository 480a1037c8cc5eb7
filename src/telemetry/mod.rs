//! Logs: to standard error, for people on a terminal and as JSON elsewhere. Never an entry's content.

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

/// Lines that wait until standard error takes them; more are dropped. About two megabytes.
const MAX_WAITING_LINES: usize = 4_096;
/// How long the end of a process waits until the lines that are left are written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The log of a server, once there is one.
static SERVER_LOG: OnceLock<NonBlocking> = OnceLock::new();

/// How lines reach standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The caller waits until the line is written: for a command.
    Blocking,
    /// A thread writes, and where it cannot follow, lines are dropped and counted: for a server, which must go on when
    /// nobody reads its log.
    Lossy,
}

/// Lets the lines that are left be written when it is dropped, for 1.5 s at most.
#[must_use]
pub struct Flush(Option<WorkerGuard>);

impl Drop for Flush {
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        // Not here: where lines wait in vain, the guard prints that, and standard output may be as stuck.
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

/// Starts to log what `filter` lets through.
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
    // The filter is a layer of its own, below.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer);
    // What cannot be logged is lost, and the service goes on: telling of it would fail as well, and panic.
    let log = log.log_internal_errors(false);
    match stderr().is_terminal() {
        true => log.finish().with(filter).init(),
        false => log.json().flatten_event(true).finish().with(filter).init(),
    }
    // The message of a panic may quote what it panicked on, so that only its place is logged.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
    Ok(Flush(guard))
}

/// Writes a line to standard error. Where it cannot be written, it is lost; a server does not wait for it either.
pub fn tell(line: Arguments<'_>) {
    let line = format!("{line}\n");
    let _ = match SERVER_LOG.get() {
        Some(log) => log.clone().write_all(line.as_bytes()),
        None => stderr().write_all(line.as_bytes()),
    };
}

/// Lines of this process that were dropped, since standard error did not take them in time.
pub fn dropped_lines() -> u64 {
    SERVER_LOG.get().map_or(0, |log| log.error_counter().dropped_lines() as u64)
}

/// Standard error as the log's thread writes to it. A descriptor of its own, so that nobody waits for the lock of
/// [`stderr`] while a write hangs.
struct ServerStderr {
    file: File,
    /// How many dropped lines the log has told of.
    told: u64,
}

impl ServerStderr {
    fn open() -> io::Result<Self> {
        Ok(Self { file: File::from(stderr().as_fd().try_clone_to_owned()?), told: 0 })
    }
}

impl Write for ServerStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file.write(line)
    }

    /// Called when all lines that waited are written, so that there is room for one more.
    fn flush(&mut self) -> io::Result<()> {
        let dropped = dropped_lines();
        if dropped > self.told {
            self.told = dropped;
            warn!(
                dropped,
                "log lines were dropped, since standard error did not take them; the number is since the start"
            );
        }
        Ok(())
    }
}
