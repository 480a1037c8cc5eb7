//! `auditlog serve`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::HeaderValue;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{Database, DatabaseUrl};
use crate::app::{self, ConnectionLimits, Limits, Options, Parts, RATE, READS, Running};
use crate::domain::{Clock, Invalid, Random, quoted};
use crate::ingest::QueueLimits;
use crate::signer;
use crate::store::schema_version;
use auditlog_verify::merkle::LogName;

/// What to serve, and how.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog serve
  auditlog serve --database-url postgres://auditlog@localhost/auditlog
  auditlog serve --listen 0.0.0.0:8080
  auditlog serve --rest off
  auditlog serve --metrics-listen 127.0.0.1:9464
  auditlog serve --signing-key keys/auditlog.key --log-name audit.example.com
  auditlog serve --cors-origin https://viewer.example.com")]
pub struct Serve {
    #[command(flatten)]
    database: Database,
    /// postgres://… of a role that may erase, where that of --database-url may not. The file
    /// AUDITLOG_ERASE_DATABASE_URL_FILE may hold it.
    #[arg(
        long,
        env = "AUDITLOG_ERASE_DATABASE_URL",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "URL"
    )]
    erase_database_url: Option<DatabaseUrl>,
    /// Where to listen, host:port; port 0 takes a free one and logs it.
    #[arg(long, env = "AUDITLOG_LISTEN", value_parser = address, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: String,
    /// Whether to serve REST beside gRPC.
    #[arg(long, env = "AUDITLOG_REST", default_value = "on", value_enum)]
    rest: Switch,
    /// Whether to keep counts of new entries, in the background. One of several services is enough; where none
    /// does, totals are as exact, and slower.
    #[arg(long, env = "AUDITLOG_FOLD", default_value = "on", value_enum)]
    fold: Switch,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    serving: Serving,
    /// Entries that may wait to be written; more are refused as overloaded.
    #[arg(long, env = "AUDITLOG_QUEUE_ENTRIES", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..), value_name = "N")]
    queue_entries: u32,
    /// Mebibytes of entries that may wait to be written; more are refused as overloaded.
    #[arg(long, env = "AUDITLOG_QUEUE_MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=2_048), value_name = "MIB")]
    queue_mib: u32,
    /// Reads that may run or wait for a connection to the database; more are refused as overloaded.
    #[arg(long, env = "AUDITLOG_MAX_READS", default_value_t = READS as u32, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    max_reads: u32,
    /// Requests a second of each API key, and as many at once; more are refused as rate limited.
    #[arg(long, env = "AUDITLOG_RATE_LIMIT", default_value_t = RATE, value_name = "N")]
    rate_limit: NonZeroU32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What signs checkpoints: both options, or none.
#[derive(Args)]
struct Signing {
    /// The file of the keys that sign checkpoints, made by `auditlog signing-key create`. What was signed last is
    /// remembered beside it. Without it, nothing is signed.
    #[arg(long, env = "AUDITLOG_SIGNING_KEY", value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// What this service is called in checkpoints: a DNS name of yours without scheme, such as audit.example.com. The
    /// origin of a log is this name, / and the log's id. It must not change.
    #[arg(long, env = "AUDITLOG_LOG_NAME", value_name = "NAME")]
    log_name: Option<LogName>,
}

impl Signing {
    fn options(self) -> anyhow::Result<Option<signer::Signing>> {
        match (self.signing_key, self.log_name) {
            (Some(key_file), Some(log_name)) => Ok(Some(signer::Signing { key_file, log_name })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(super::usage("--signing-key needs a --log-name NAME, or neither")),
            (None, Some(_)) => Err(super::usage("--log-name needs a --signing-key FILE, or neither")),
        }
    }
}

/// How `serve` and `gateway` are served.
#[derive(Args)]
pub(super) struct Serving {
    /// Where to serve metrics for Prometheus, host:port; port 0 takes a free one and logs it. Nowhere without it. Whoever
    /// reaches it may read them, so that the address should be a private one.
    #[arg(long, env = "AUDITLOG_METRICS_LISTEN", value_parser = address, value_name = "ADDRESS")]
    metrics_listen: Option<String>,
    /// The longest that one request may take. A caller's own `grpc-timeout` may be shorter.
    #[arg(long, env = "AUDITLOG_REQUEST_TIMEOUT", default_value = "30s", value_parser = super::positive, value_name = "DURATION")]
    request_timeout: Duration,
    /// How long health checks say NOT_SERVING after SIGTERM, before connections are refused.
    #[arg(long, env = "AUDITLOG_DRAIN_DELAY", default_value = "1s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    drain_delay: Duration,
    /// The longest that open requests may take after that.
    #[arg(long, env = "AUDITLOG_DRAIN_LIMIT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    drain_limit: Duration,
    /// An origin whose pages may call from a browser, such as https://viewer.example.com, or * for any.
    /// Repeat it for more; without it, none but its own.
    #[arg(long, env = "AUDITLOG_CORS_ORIGIN", value_parser = origin, value_delimiter = ',', value_name = "ORIGIN")]
    cors_origin: Vec<HeaderValue>,
    /// Connections that may be open. Where there are more, an idle one gives way; where none is, the new one is
    /// closed.
    #[arg(long, env = "AUDITLOG_MAX_CONNECTIONS", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    max_connections: u32,
    /// Requests that may be under way, exports until their last byte, of one API key four fifths; more are refused as
    /// overloaded.
    #[arg(long, env = "AUDITLOG_MAX_REQUESTS", default_value_t = 320, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    max_requests: u32,
    /// Mebibytes of requests and responses that may be held at once; requests beyond are refused as overloaded.
    #[arg(long, env = "AUDITLOG_BODIES_MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=65_536), value_name = "MIB")]
    bodies_mib: u32,
}

impl Serving {
    pub(super) fn at(self, listen: String) -> app::Serving {
        let Self {
            metrics_listen,
            request_timeout,
            drain_delay,
            drain_limit,
            cors_origin: cors_origins,
            max_connections,
            max_requests,
            bodies_mib,
        } = self;
        let connections = ConnectionLimits { most: max_connections as usize, ..ConnectionLimits::default() };
        let bytes = bodies_mib as usize * 1024 * 1024;
        let limits = Limits { connections, requests: max_requests as usize, bytes };
        app::Serving { listen, metrics_listen, request_timeout, drain_delay, drain_limit, cors_origins, limits }
    }
}

/// Where to listen: a host and a port.
pub(super) fn address(text: &str) -> Result<String, Invalid> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err(Invalid::new("must be host:port such as 127.0.0.1:8080", quoted(text))),
    }
}

/// What a browser sends as `Origin`: scheme, host and port, and nothing after.
fn origin(given: &str) -> Result<HeaderValue, Invalid> {
    let refuse = || Invalid::new("must be * or an origin such as https://viewer.example.com", quoted(given));
    // As browsers write it: in lower case, and without the scheme's own port.
    let text = given.to_lowercase();
    let text = match text.split_once("://") {
        Some(("http", rest)) => format!("http://{}", rest.strip_suffix(":80").unwrap_or(rest)),
        Some(("https", rest)) => format!("https://{}", rest.strip_suffix(":443").unwrap_or(rest)),
        _ => text,
    };
    let after_scheme = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_origin = after_scheme.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#', '@', ' ']));
    match is_origin || text == "*" {
        true => HeaderValue::from_str(&text).map_err(|_| refuse()),
        false => Err(refuse()),
    }
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self {
            database,
            erase_database_url,
            listen,
            rest,
            fold,
            signing,
            serving,
            queue_entries,
            queue_mib,
            max_reads,
            rate_limit: rate,
        } = self;
        let signing = signing.options()?;
        let (version, schema, database_shown) = (env!("CARGO_PKG_VERSION"), schema_version(), database.shown());
        info!(version, schema, database = database_shown, address = listen, pid = std::process::id(), "starting");
        let Database { database_url: DatabaseUrl(url), database_connections: connections } = &database;
        let store = database.open().await?.limiting_reads(url, *connections, serving.request_timeout).await?;
        let store = match &erase_database_url {
            Some(DatabaseUrl(url)) => store.erasing_by(url).await?,
            None => store,
        };
        let parts = Parts { store, clock: Clock::system(), random: Random::system() };
        let queue = QueueLimits { entries: queue_entries as usize, bytes: queue_mib as usize * 1024 * 1024 };
        let (rest, folds) = (rest == Switch::On, fold == Switch::On);
        let reads = max_reads as usize;
        let options = Options { serving: serving.at(listen), rest, folds, queue, reads, rate, signing };
        let signals = Signals::heard()?;
        until_signal(app::start(parts, options).await?, signals).await
    }
}

/// What ends a server. Heard before it says that it listens, or a signal right after that would end the process
/// as it ends any other.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    pub(super) fn heard() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
}

/// Runs a server until SIGTERM or SIGINT, and then drains it; a second signal ends it at once.
pub(super) async fn until_signal(mut running: Running, signals: Signals) -> anyhow::Result<()> {
    let Signals { mut terminate, mut interrupt } = signals;
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
