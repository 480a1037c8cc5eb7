//! `auditlog serve`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::HeaderValue;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{DatabaseArgs, DatabaseUrl};
use crate::app::{self, CONTINUITY_PERIOD, ConnectionLimits, Limits, Options, RATE, READS, Running, ServiceParts};
use crate::domain::{Clock, Invalid, Random, quoted};
use crate::ingest::QueueLimits;
use crate::signer;
use crate::store::schema_version;
use auditlog_verify::merkle::LogName;

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog serve
  auditlog serve --database-url postgres://auditlog@localhost/auditlog
  auditlog serve --listen 0.0.0.0:8080
  auditlog serve --rest off
  auditlog serve --viewer off
  auditlog serve --metrics-listen 127.0.0.1:9464
  auditlog serve --metrics-listen 127.0.0.1:9464 --continuity-checks on
  auditlog serve --signing-key keys/auditlog.key --log-name audit.example.com
  auditlog serve --cors-origin https://viewer.example.com")]
pub struct ServeArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Database URL of a PostgreSQL role that may erase, if the role of --database-url may not.
    /// AUDITLOG_ERASE_DATABASE_URL_FILE may name a file with the URL in its first line.
    #[arg(
        long,
        env = "AUDITLOG_ERASE_DATABASE_URL",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "URL"
    )]
    erase_database_url: Option<DatabaseUrl>,
    /// Address to listen on, as host:port. Port 0 takes a free port, which the log shows.
    #[arg(long, env = "AUDITLOG_LISTEN", value_parser = address, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: String,
    /// Serve REST on the same port as gRPC.
    #[arg(long, env = "AUDITLOG_REST", default_value = "on", value_enum)]
    rest: Switch,
    /// Update the running counts in the background. One service for each database is enough. Without any, totals are
    /// exact but slower.
    #[arg(long, env = "AUDITLOG_RUNNING_COUNTS", default_value = "on", value_enum)]
    running_counts: Switch,
    /// Check new entries once a minute for changes that found another value than the one written before. The metric
    /// auditlog_continuity_breaks_total counts them. One service for each database is enough.
    #[arg(long, env = "AUDITLOG_CONTINUITY_CHECKS", default_value = "off", value_enum)]
    continuity_checks: Switch,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    serving: ServingArgs,
    /// Maximum number of entries that wait to be written, 1000 or more. Further writes are refused as overloaded.
    #[arg(long, env = "AUDITLOG_QUEUE_ENTRIES", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..), value_name = "N")]
    queue_entries: u32,
    /// Maximum MiB of entries that wait to be written, 8 to 2048. Further writes are refused as overloaded.
    #[arg(long, env = "AUDITLOG_QUEUE_MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=2_048), value_name = "MIB")]
    queue_mib: u32,
    /// Maximum number of reads that run or wait for a database connection, 1 to 100000. One API key may have four
    /// fifths of them. Further reads are refused as overloaded.
    #[arg(long, env = "AUDITLOG_MAX_READS", default_value_t = READS as u32, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    max_reads: u32,
    /// Rate limit of each API key in requests per second, 1 or more. A burst may have as many. Further requests are
    /// refused as rate_limited.
    #[arg(long, env = "AUDITLOG_RATE_LIMIT", default_value_t = RATE, value_name = "N")]
    rate_limit: NonZeroU32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// The options for signing: both or none.
#[derive(Args)]
struct SigningArgs {
    /// File with the keys that sign checkpoints, made by `auditlog signing-key create`. Its directory must be writable:
    /// the service stores the last signed state beside the file. Needs --log-name. Default: checkpoints are not signed.
    #[arg(long, env = "AUDITLOG_SIGNING_KEY", value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Name of this service in checkpoints: a DNS name of yours without scheme, such as audit.example.com. The origin
    /// of a log is this name, / and the log id. The name must never change. Needs --signing-key.
    #[arg(long, env = "AUDITLOG_LOG_NAME", value_name = "NAME")]
    log_name: Option<LogName>,
}

impl SigningArgs {
    fn options(self) -> anyhow::Result<Option<signer::Signing>> {
        match (self.signing_key, self.log_name) {
            (Some(key_file), Some(log_name)) => Ok(Some(signer::Signing { key_file, log_name })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(super::usage("--signing-key needs --log-name NAME; give both or neither")),
            (None, Some(_)) => Err(super::usage("--log-name needs --signing-key FILE; give both or neither")),
        }
    }
}

/// The options that `serve` and `gateway` share.
#[derive(Args)]
pub(super) struct ServingArgs {
    /// Address to serve Prometheus metrics on, as host:port. Port 0 takes a free port, which the log shows. Metrics
    /// need no API key, so use a private address. Default: metrics are not served.
    #[arg(long, env = "AUDITLOG_METRICS_LISTEN", value_parser = address, value_name = "ADDRESS")]
    metrics_listen: Option<String>,
    /// Maximum time of one request, such as 10s. A caller may ask for less with `grpc-timeout`.
    #[arg(long, env = "AUDITLOG_REQUEST_TIMEOUT", default_value = "30s", value_parser = super::positive, value_name = "DURATION")]
    request_timeout: Duration,
    /// Time after SIGTERM during which health checks report NOT_SERVING, before new connections are refused.
    #[arg(long, env = "AUDITLOG_DRAIN_DELAY", default_value = "1s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    drain_delay: Duration,
    /// Maximum time that open requests may still take after the drain delay.
    #[arg(long, env = "AUDITLOG_DRAIN_LIMIT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    drain_limit: Duration,
    /// Origin whose pages may call the API from a browser, such as https://viewer.example.com, or * for any. Repeat the
    /// option, or separate origins by commas. Default: only the server's own origin.
    #[arg(long, env = "AUDITLOG_CORS_ORIGIN", value_parser = origin, value_delimiter = ',', value_name = "ORIGIN")]
    cors_origin: Vec<HeaderValue>,
    /// Serve the viewer at /viewer/: web pages that search and show the log. They call REST with an API key that their
    /// reader enters. Default: on, unless REST is off.
    #[arg(long, env = "AUDITLOG_VIEWER", value_enum)]
    viewer: Option<Switch>,
    /// Maximum number of open connections, 1 to 1000000. At the limit, a new connection replaces the oldest one without
    /// an authenticated request in progress. If there is none, the new connection is closed.
    #[arg(long, env = "AUDITLOG_MAX_CONNECTIONS", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    max_connections: u32,
    /// Maximum number of requests in progress, 1 to 1000000. A request counts until the last byte of its response. One
    /// API key may have four fifths of them. Further requests are refused as overloaded.
    #[arg(long, env = "AUDITLOG_MAX_REQUESTS", default_value_t = 320, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    max_requests: u32,
    /// Maximum number of followers, 1 to 1000000: streams of FollowAuditLogs and feeds of REST. They are no requests in
    /// progress. One API key may have four fifths of them. Further followers are refused as overloaded.
    #[arg(long, env = "AUDITLOG_MAX_FOLLOWERS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "N")]
    max_followers: u32,
    /// Maximum MiB of requests and responses in memory, 8 to 65536. Further requests are refused as overloaded.
    #[arg(long, env = "AUDITLOG_BODIES_MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=65_536), value_name = "MIB")]
    bodies_mib: u32,
}

impl ServingArgs {
    pub(super) fn at(self, listen: String) -> app::Serving {
        let Self {
            metrics_listen,
            request_timeout,
            drain_delay,
            drain_limit,
            cors_origin: cors_origins,
            viewer,
            max_connections,
            max_requests,
            max_followers,
            bodies_mib,
        } = self;
        let connections = ConnectionLimits { most: max_connections as usize, ..ConnectionLimits::default() };
        let bytes = bodies_mib as usize * 1024 * 1024;
        let (requests, followers) = (max_requests as usize, max_followers as usize);
        let limits = Limits { connections, requests, followers, bytes };
        app::Serving {
            listen,
            metrics_listen,
            request_timeout,
            drain_delay,
            drain_limit,
            cors_origins,
            viewer: viewer != Some(Switch::Off),
            limits,
        }
    }
}

/// Parses a listen address: a host and a port.
pub(super) fn address(text: &str) -> Result<String, Invalid> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err(Invalid::new("must be host:port such as 127.0.0.1:8080", quoted(text))),
    }
}

/// Parses `*`, or an origin as browsers send it: scheme, host and port, nothing after.
fn origin(given: &str) -> Result<HeaderValue, Invalid> {
    let refuse = || Invalid::new("must be * or an origin such as https://viewer.example.com", quoted(given));
    // Browsers send an origin in lower case, and without the default port of its scheme.
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

impl ServeArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self {
            database,
            erase_database_url,
            listen,
            rest,
            running_counts,
            continuity_checks,
            signing,
            serving,
            queue_entries,
            queue_mib,
            max_reads,
            rate_limit: rate,
        } = self;
        let signing = signing.options()?;
        if rest == Switch::Off && serving.viewer == Some(Switch::On) {
            return Err(super::usage("--viewer on needs --rest on, because the viewer reads through REST"));
        }
        let (version, schema, database_shown) = (env!("CARGO_PKG_VERSION"), schema_version(), database.shown());
        info!(version, schema, database = database_shown, address = listen, pid = std::process::id(), "starting");
        let DatabaseArgs { database_url: DatabaseUrl(url), database_connections: connections } = &database;
        let store = database.open().await?.limiting_reads(url, *connections, serving.request_timeout).await?;
        let store = match &erase_database_url {
            Some(DatabaseUrl(url)) => store.erasing_by(url).await?,
            None => store,
        };
        let parts = ServiceParts { store, clock: Clock::system(), random: Random::system() };
        let queue = QueueLimits { entries: queue_entries as usize, bytes: queue_mib as usize * 1024 * 1024 };
        let (rest, running_counts) = (rest == Switch::On, running_counts == Switch::On);
        let continuity_checks = (continuity_checks == Switch::On).then_some(CONTINUITY_PERIOD);
        let (serving, reads) = (serving.at(listen), max_reads as usize);
        let options = Options { serving, rest, running_counts, continuity_checks, queue, reads, rate, signing };
        let signals = Signals::heard()?;
        until_signal(app::start(parts, options).await?, signals).await
    }
}

/// The signals that stop a server. Register them before the server reports its address: a signal right after that
/// report would otherwise kill the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Registers SIGTERM and SIGINT. From now on, they no longer kill the process.
    pub(super) fn heard() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
}

/// Runs a server until SIGTERM or SIGINT, and then drains it. A second signal stops it at once.
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
