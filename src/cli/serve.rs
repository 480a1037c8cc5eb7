//! `auditlog serve`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::Database;
use crate::app::{self, Options, Parts, Running};
use crate::domain::{Clock, Random};
use crate::ingest::QueueLimits;

/// What to serve, and how.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog serve
  auditlog serve --database-url postgres://auditlog@localhost/auditlog --listen 0.0.0.0:8080
  auditlog serve --rest off")]
pub struct Serve {
    #[command(flatten)]
    database: Database,
    /// Where to listen, host:port; port 0 takes a free one and logs it.
    #[arg(long, env = "AUDITLOG_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: String,
    /// Whether to serve REST beside gRPC.
    #[arg(long, env = "AUDITLOG_REST", default_value = "on", value_enum)]
    rest: Switch,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What the service takes on at most.
#[derive(Args)]
struct Limits {
    /// The longest that one request may take.
    #[arg(long, env = "AUDITLOG_REQUEST_TIMEOUT", default_value = "30s", value_parser = super::positive, value_name = "DURATION")]
    request_timeout: Duration,
    /// How long health checks say NOT_SERVING after SIGTERM, before connections are refused.
    #[arg(long, env = "AUDITLOG_DRAIN_DELAY", default_value = "1s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    drain_delay: Duration,
    /// The longest that open requests may take after that.
    #[arg(long, env = "AUDITLOG_DRAIN_LIMIT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    drain_limit: Duration,
    /// Entries that may wait to be written; more are refused as overloaded.
    #[arg(long, env = "AUDITLOG_QUEUE_ENTRIES", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..), value_name = "N")]
    queue_entries: u32,
    /// Mebibytes of entries that may wait to be written; more are refused as overloaded.
    #[arg(long, env = "AUDITLOG_QUEUE_MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=2_048), value_name = "MIB")]
    queue_mib: u32,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { database, listen, rest, limits } = self;
        let Limits { request_timeout, drain_delay, drain_limit, queue_entries, queue_mib } = limits;
        let store = database.open().await?;
        let parts = Parts { store, clock: Clock::system(), random: Random::system() };
        let queue = QueueLimits { entries: queue_entries as usize, bytes: queue_mib as usize * 1024 * 1024 };
        let options = Options { listen, rest: rest == Switch::On, request_timeout, drain_delay, drain_limit, queue };
        until_signal(app::start(parts, options).await?).await
    }
}

/// Runs the service until SIGTERM or SIGINT, and then drains it; a second signal ends it at once.
pub(super) async fn until_signal(mut running: Running) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        error = running.failed() => return Err(error),
        _ = terminate.recv() => info!("SIGTERM"),
        _ = interrupt.recv() => info!("SIGINT"),
    }
    tokio::select! {
        stopped = running.stop() => stopped,
        _ = terminate.recv() => { warn!("SIGTERM again: stopping at once"); Ok(()) }
        _ = interrupt.recv() => { warn!("SIGINT again: stopping at once"); Ok(()) }
    }
}
