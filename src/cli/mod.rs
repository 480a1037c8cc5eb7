//! The command line: one file per subcommand.

/// Prints a line to standard error for a person. A full disk or a closed pipe loses the line; `eprintln!` would panic.
macro_rules! tell {
    ($($line:tt)*) => {
        crate::telemetry::tell(format_args!($($line)*))
    };
}

mod catalogue;
mod client;
mod completions;
mod counts;
mod demo;
mod erase;
mod export;
mod filters;
mod gateway;
mod health;
mod history;
mod import;
mod keys;
mod migrate;
mod organizations;
mod prove;
mod read;
mod running_counts;
mod secrets;
mod serve;
mod signing_key;
mod table;
mod tail;
mod verify;

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use tracing::info;
use url::Url;

use crate::config;
use crate::domain::{Invalid, Secret, quoted};
use crate::store::Store;
use crate::telemetry::{self, Delivery, LogFilter};

/// An audit log service: it records who did what to which resource, and what changed.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// TOML file with values for the options that have an environment variable, such as `listen = "0.0.0.0:8080"`. A
    /// key is the variable's name in lower case without `auditlog_`. Flags and variables override the file.
    #[arg(long, global = true, env = "AUDITLOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log level for standard error: off, error, warn, info, debug or trace. The level is for auditlog itself; its
    /// libraries log warnings at most. A pair such as auditlog=debug sets the level of one library or module. Commas
    /// separate several.
    #[arg(long, global = true, env = "AUDITLOG_LOG", default_value = "info", value_name = "FILTER")]
    log: LogFilter,
}

const EXAMPLES: &str = "\
Try it:
  auditlog demo

Run it:
  export AUDITLOG_DATABASE_URL=sqlite://auditlog.db    # or postgres://…
  auditlog keys create --organization org_abc123 --scope read --scope write
  auditlog serve --listen 127.0.0.1:8080

Fill it and read it:
  export AUDITLOG_API_KEY=al_… AUDITLOG_ORGANIZATION=org_abc123
  auditlog import trail.ndjson.gz
  auditlog list --action deleted --limit 10
  auditlog history assistant asst_abc123
  auditlog tail
  auditlog export --format csv > trail.csv";

// The help of a command comes from here: clap prefers the doc comment of a variant to that of its struct.
#[derive(Subcommand)]
enum Command {
    /// Serve gRPC and REST on one port until SIGTERM or SIGINT.
    Serve(serve::ServeArgs),
    /// Serve REST, and forward each call to a gRPC service elsewhere.
    Gateway(gateway::GatewayArgs),
    /// Serve a new database with example entries, and print a link to the viewer and commands to try.
    ///
    /// The link opens the viewer, signed in. It shows the last two weeks of an invented company, in the organization
    /// org_demo. The commands are for the organization org_abc123, which has the examples of the public documentation
    /// and 400 entries of a real audit trail. Each run creates a new SQLite file, and overwrites none.
    Demo(demo::DemoArgs),
    /// List entries with their changes, newest first.
    List(Box<read::ListArgs>),
    /// List the entries of one resource with their changes, newest first.
    History(Box<read::HistoryArgs>),
    /// Show one entry with all its changes.
    Get(read::GetArgs),
    /// Print entries as they are written, until interrupted.
    ///
    /// The command prints the matching entries in ascending order of `sequence`, each within about a second. If the
    /// connection breaks or the service restarts, the command connects again and continues after the last entry. So no
    /// entry is missing, and none comes twice.
    Tail(Box<tail::TailArgs>),
    /// Count entries by time, action, type, outcome, user or resource.
    ///
    /// The numbers are exact and of one moment. A terminal shows a bar beside each. The first and the last unit of time
    /// are cut at the dates of the filters.
    Counts(Box<counts::CountsArgs>),
    /// Show the known fields of a resource at a time, and where each value comes from.
    State(Box<history::StateArgs>),
    /// Compare a resource at two times, field by field.
    Compare(Box<history::CompareArgs>),
    /// Check that each change continues the change before, and print the breaks.
    ///
    /// The command reads all entries of one resource, or of all resources of an organization. Each old value must be
    /// the value that was written before. If the connection breaks, the command connects again and continues.
    Continuity(Box<history::ContinuityArgs>),
    /// Plan how to undo entries: the steps, in order, and whether each can be applied.
    ///
    /// The command changes nothing. Select entries by their ids, by a resource and a time, by a user and a time window,
    /// or by a trace.
    RollbackPlan(Box<history::RollbackPlanArgs>),
    /// List what happened shortly before and after an entry, by trace, user and resource.
    Around(Box<history::AroundArgs>),
    /// Write all matching entries to a file as NDJSON or CSV, in ascending order of `sequence`.
    ///
    /// The export ends with the newest entry at the time of its start, and writes each entry once, whatever is written
    /// meanwhile. If the service is unavailable, the export retries for up to 20 seconds. It continues as soon as the
    /// service is back.
    Export(Box<export::ExportArgs>),
    /// Write the entries of an NDJSON file through a running service.
    ///
    /// The import keeps the order of the file. It is safe to repeat: it counts entries that already exist, and leaves
    /// them alone. A line without an id gets one that is made from its number and text. The import reports a bad line
    /// with its number, and skips it. If an entry already exists and the line is from an export of the same log, the
    /// import compares `sequence`, `recordedAt` and `leafHash` with the log, and reports a line that was altered. If the
    /// service is unavailable, it retries for up to 20 seconds. Exit codes: 0 every line is written or already existed,
    /// 1 the import stopped, 2 wrong usage, 3 there were bad or altered lines, and all others are written.
    Import(Box<import::ImportArgs>),
    /// Verify a log: every entry, the tree, its signature, and that it extends the log verified before.
    ///
    /// The command reads all entries of an organization from a running service and hashes them again. It compares the
    /// tree with the signed checkpoint and with the tree in the --state file, and names the first bad entry. The API
    /// key needs the scope verify.
    Verify(Box<verify::VerifyArgs>),
    /// Write a proof that an entry is in a log, for anyone who has the log's public key.
    ///
    /// The file is a C2SP tlog-proof. Its extra line holds the values of the entry. `auditlog verify-proof` checks the
    /// file without a service. The API key for this command needs the scope verify.
    Prove(Box<prove::ProveArgs>),
    /// Check a proof of an entry offline, and print the values that it proves.
    VerifyProof(prove::VerifyProofArgs),
    /// Erase personal values through a running service, and keep the log verifiable.
    ///
    /// The service removes the values and their salts, and keeps their hashes. A new entry of the same log records
    /// which values were erased, by which API key, and why. The command is safe to repeat: it leaves erased values
    /// alone. The API key needs the scope erase.
    Erase(Box<erase::EraseArgs>),
    /// Check that a running service serves requests.
    ///
    /// Exit codes: 0 it does, 1 it does not, 2 wrong usage.
    Health(health::HealthArgs),
    /// Migrate the database schema to this version. `serve` does so too.
    ///
    /// Processes that start together migrate one after the other. The command refuses a schema that is newer than this
    /// version, or damaged.
    Migrate(migrate::MigrateArgs),
    /// Create, list and revoke API keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Create and list organizations.
    #[command(subcommand)]
    Organizations(organizations::OrganizationsCommand),
    /// List resource types and actions, and add and remove resource types.
    #[command(subcommand)]
    Catalogue(catalogue::CatalogueCommand),
    /// Show, check and rebuild the running counts that make totals and deep pages fast.
    ///
    /// A running service keeps them up to date. Totals and pages are exact with and without them; without them, they
    /// take longer.
    #[command(subcommand)]
    RunningCounts(running_counts::RunningCountsCommand),
    /// Create, show and rotate the keys that sign checkpoints.
    ///
    /// One key file belongs to one service and all its processes. docs/signing.md explains how to keep it.
    #[command(subcommand)]
    SigningKey(signing_key::SigningKeyCommand),
    /// Print a shell script that completes commands and options.
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// A server must not wait for the reader of its log; a command may.
    fn log_delivery(&self) -> Delivery {
        match self {
            Self::Serve(_) | Self::Gateway(_) | Self::Demo(_) => Delivery::Lossy,
            _ => Delivery::Blocking,
        }
    }
}

/// The database of `serve` and of the administration commands.
#[derive(Args)]
struct DatabaseArgs {
    /// Database URL: sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE. Default: sqlite://auditlog.db.
    /// AUDITLOG_DATABASE_URL_FILE may name a file with the URL in its first line.
    #[arg(
        long,
        env = "AUDITLOG_DATABASE_URL",
        default_value = "sqlite://auditlog.db",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "URL"
    )]
    database_url: DatabaseUrl,
    /// Maximum database connections for reads, 2 to 1000. Writes and background jobs use a few more.
    #[arg(
        long,
        env = "AUDITLOG_DATABASE_CONNECTIONS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(2..=1000),
        value_name = "N"
    )]
    database_connections: u32,
}

impl DatabaseArgs {
    /// The URL without password and parameters.
    fn shown(&self) -> String {
        self.database_url.shown()
    }

    /// Connects, creates a missing SQLite file, and migrates the schema.
    async fn open(&self) -> anyhow::Result<Store> {
        let url = self.database_url.0.expose();
        let file = url.strip_prefix("sqlite://").and_then(|rest| rest.split('?').next()).map(Path::new);
        let new = file.filter(|file| !file.exists());
        let store = Store::open(&self.database_url.0, self.database_connections).await?;
        if let Some(file) = new {
            // Shows a user who started in the wrong directory that this database is a new one.
            info!(file = %std::path::absolute(file)?.display(), "made a new database");
        }
        Ok(store)
    }

    /// Connects to an existing database, and changes nothing. Errors: the database is missing, or its schema differs.
    async fn open_existing(&self) -> anyhow::Result<Store> {
        Store::open_existing(&self.database_url.0, self.database_connections).await
    }
}

/// The URL of a supported database, with its password.
#[derive(Clone)]
struct DatabaseUrl(Secret);

impl DatabaseUrl {
    /// The URL for the log: without the password, and without parameters, which may hold one.
    fn shown(&self) -> String {
        let text = self.0.expose();
        if text.starts_with("sqlite:") {
            // A file path is not always a valid URL.
            return text.split('?').next().unwrap_or_default().to_owned();
        }
        let without_password = |mut url: Url| {
            url.set_password(None).ok()?;
            url.set_query(None);
            url.set_fragment(None);
            Some(url.to_string())
        };
        Url::parse(text).ok().and_then(without_password).unwrap_or_else(|| "postgres://…".to_owned())
    }
}

impl FromStr for DatabaseUrl {
    type Err = Invalid;

    fn from_str(url: &str) -> Result<Self, Invalid> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        // Anything but letters before `://` may be part of a password.
        let scheme = scheme.filter(|scheme| scheme.bytes().all(|letter| letter.is_ascii_alphabetic()));
        let scheme = scheme.unwrap_or("no scheme");
        match scheme {
            "sqlite" | "postgres" | "postgresql" => Ok(Self(Secret::new(url.to_owned()))),
            // The error must not quote the URL, which may hold a password.
            scheme => Err(Invalid::new("must start with sqlite:// or postgres://", quoted(scheme))),
        }
    }
}

/// Parses a duration above zero.
fn positive(text: &str) -> Result<Duration, Invalid> {
    let allowed = "must be a duration above 0 such as 30s, 5m or 90d";
    let duration = humantime::parse_duration(text).map_err(|_| Invalid::new(allowed, quoted(text)))?;
    if duration.is_zero() { Err(Invalid::new(allowed, quoted(text))) } else { Ok(duration) }
}

/// Parses the arguments and runs the command. Exit codes: 0 success; 1 failure, or a negative verdict; 2 wrong usage; 3
/// `verify` or `verify-proof` could not check, or `import` reported lines.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    make_files_private();
    let command = match config::with_file(Cli::command(), &arguments) {
        Ok(command) => command,
        Err(error) => return fail(&error, 2),
    };
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let Cli { command, config: _, log } = match parsed {
        Ok(cli) => cli,
        Err(error) => secrets::without_secrets(error).exit(),
    };
    // Dropped last, so that the last log lines are still written.
    let _flush = match telemetry::init(log, command.log_delivery()) {
        Ok(flush) => flush,
        Err(error) => return fail(&error, 2),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into(), 1),
    };
    let outcome = runtime.block_on(dispatch(command));
    // A thread may still block on standard input.
    runtime.shutdown_background();
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    // The reader of our output, such as `head`, may have closed the pipe.
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    if error.is::<NotVerified>() {
        return ExitCode::from(1);
    }
    if error.is::<import::BadLines>() {
        return ExitCode::from(3);
    }
    let error = match error.downcast::<Unchecked>() {
        Ok(Unchecked(error)) => return fail(&error, 3),
        Err(error) => error,
    };
    match error.downcast::<clap::Error>() {
        // `exit` would lose the log lines that are not written yet.
        Ok(usage) => {
            let _ = usage.print();
            ExitCode::from(2)
        }
        Err(error) => fail(&error, 1),
    }
}

/// Makes new files private to their owner: databases, exports and keys hold confidential data.
fn make_files_private() {
    use rustix::fs::Mode;
    let others = Mode::RWXG | Mode::RWXO;
    let before = rustix::process::umask(others);
    rustix::process::umask(before | others);
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The verdict is negative, and already printed.
#[derive(Debug, thiserror::Error)]
#[error("not verified")]
struct NotVerified;

/// The check could not be completed, so there is no verdict.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Unchecked(anyhow::Error);

impl Unchecked {
    /// Wraps `error`, unless it is wrong usage, a verdict or a broken pipe.
    fn of(error: anyhow::Error) -> anyhow::Error {
        let is_for_others = error.is::<clap::Error>() || error.is::<NotVerified>() || is_broken_pipe(&error);
        if is_for_others { error } else { Self(error).into() }
    }
}

/// A usage error that shows only after all options are parsed.
fn usage(message: &str) -> anyhow::Error {
    Cli::command().error(ErrorKind::MissingRequiredArgument, message).into()
}

/// Returns a boxed future, so that the code of the commands is not compiled into `main`.
fn dispatch(command: Command) -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>> {
    match command {
        Command::Serve(serve) => Box::pin(serve.run()),
        Command::List(list) => Box::pin(list.run()),
        Command::History(history) => Box::pin(history.run()),
        Command::Get(get) => Box::pin(get.run()),
        Command::Tail(tail) => Box::pin(tail.run()),
        Command::Counts(counts) => Box::pin(counts.run()),
        Command::State(state) => Box::pin(state.run()),
        Command::Compare(compare) => Box::pin(compare.run()),
        Command::Continuity(continuity) => Box::pin(continuity.run()),
        Command::RollbackPlan(plan) => Box::pin(plan.run()),
        Command::Around(around) => Box::pin(around.run()),
        Command::Export(export) => Box::pin(export.run()),
        Command::Verify(verify) => Box::pin(verify.run()),
        Command::Prove(prove) => Box::pin(prove.run()),
        Command::VerifyProof(verify) => Box::pin(verify.run()),
        Command::Erase(erase) => Box::pin(erase.run()),
        Command::Health(health) => Box::pin(health.run()),
        Command::Completions(completions) => Box::pin(completions.run()),
        Command::Gateway(gateway) => Box::pin(gateway.run()),
        Command::Demo(demo) => Box::pin(demo.run()),
        Command::Migrate(migrate) => Box::pin(migrate.run()),
        Command::Keys(keys) => Box::pin(keys.run()),
        Command::Organizations(organizations) => Box::pin(organizations.run()),
        Command::Catalogue(catalogue) => Box::pin(catalogue.run()),
        Command::RunningCounts(counts) => Box::pin(counts.run()),
        Command::SigningKey(signing_key) => Box::pin(signing_key.run()),
        Command::Import(import) => Box::pin(import.run()),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // Some library errors repeat the text of their cause.
    let mut messages: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !messages.last().is_some_and(|last| last.contains(&cause)) {
            messages.push(cause);
        }
    }
    tell!("error: {}", messages.join(": "));
    ExitCode::from(code)
}
