//! The command line: one file a subcommand.

/// Says something to whoever watches. Nobody may, and a full disk or a reader that has gone is no reason to stop:
/// the standard macro would.
macro_rules! tell {
    ($($line:tt)*) => {
        crate::telemetry::tell(format_args!($($line)*))
    };
}

mod catalogue;
mod client;
mod completions;
mod demo;
mod erase;
mod export;
mod filters;
mod gateway;
mod health;
mod import;
mod keys;
mod marks;
mod migrate;
mod organizations;
mod prove;
mod read;
mod secrets;
mod serve;
mod signing_key;
mod table;
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

/// An audit log service: who did what to which resource, and what changed. Exact and durable.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// A TOML file with values for the options that have a variable, such as `listen = "0.0.0.0:8080"`.
    /// Flags and environment come before it.
    #[arg(long, global = true, env = "AUDITLOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log to standard error: off, error, warn, info, debug, trace, or pairs such as
    /// auditlog=debug. A level is for auditlog itself; libraries log warnings at most, unless a pair
    /// names them.
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
  auditlog export --format csv > trail.csv";

#[derive(Subcommand)]
enum Command {
    /// Serve gRPC and REST on one port, until SIGTERM or SIGINT.
    Serve(serve::Serve),
    /// Serve REST for a gRPC service elsewhere.
    Gateway(gateway::Gateway),
    /// Serve a fresh database with example entries, and print commands to try on it.
    ///
    /// The entries are those of the public documentation and 400 of a real audit trail. The database is
    /// a new SQLite file each time; none is overwritten.
    Demo(demo::Demo),
    /// List entries, newest first, with their changes.
    List(Box<read::List>),
    /// List the entries of one resource, newest first, with their changes.
    History(Box<read::History>),
    /// Show one entry with all of its changes.
    Get(read::Get),
    /// Write all entries that match to a file, oldest number first, as NDJSON or CSV.
    ///
    /// In the order of their numbers up to the last one now, whatever is written meanwhile. Each entry comes
    /// once. While the service is away, the export waits for it up to 20 seconds and goes on.
    Export(Box<export::Export>),
    /// Write the entries of an NDJSON file through a running service.
    ///
    /// In the order of the file, and safe to repeat: entries that are there already are counted and left
    /// alone. A line without an id gets one from its number and text. Bad lines are told by number and
    /// skipped. While the service is away, the import waits for it up to 20 seconds. Exit codes: 0 every line is
    /// written or was there already, 1 the import stopped, 2 wrong usage, 3 lines were skipped and the others are
    /// written.
    Import(Box<import::Import>),
    /// Check a log: every entry, the tree, its signature, and that it extends what was seen before.
    ///
    /// Reads all entries of an organization from a running service, hashes them again, and compares the tree with
    /// the signed checkpoint and with the one that --state remembers. Names the first bad entry. Exit codes: 0
    /// verified, 1 not verified, 2 wrong usage, 3 could not be checked.
    Verify(Box<verify::Verify>),
    /// Write a proof that an entry is in a log, for whoever has the log's public key.
    ///
    /// The file is a C2SP tlog-proof with the entry's values in its extra line. `auditlog verify-proof` checks it
    /// without a service.
    Prove(Box<prove::Prove>),
    /// Check a proof of an entry, offline, and print what it proves.
    ///
    /// Exit codes: 0 it proves the entry, 1 it does not, 2 wrong usage, 3 it could not be read.
    VerifyProof(prove::VerifyProof),
    /// Erase personal values through a running service, and keep the log provable.
    ///
    /// Values and their salts are removed, their hashes stay, and an entry of the same log records what was erased, by
    /// which key and why. What is erased already is left alone, so that the same command may be repeated.
    Erase(Box<erase::Erase>),
    /// Ask a running service whether it serves.
    Health(health::Health),
    /// Bring the database's schema up to date. `serve` does so too.
    ///
    /// Processes that start together take turns. A schema that is newer or damaged is refused.
    Migrate(migrate::Migrate),
    /// Create, list and revoke API keys.
    Keys(keys::Keys),
    /// Create and list organizations.
    Organizations(organizations::Organizations),
    /// List the resource types and actions, and add and remove resource types.
    Catalogue(catalogue::Catalogue),
    /// Show, check and make the counts that keep totals and deep pages fast.
    Marks(marks::Marks),
    /// Make, show and exchange the keys that sign checkpoints.
    SigningKey(signing_key::SigningKey),
    /// Print a script that completes commands and options in a shell.
    Completions(completions::Completions),
}

impl Command {
    /// A server must not wait for whoever reads its log.
    fn log_delivery(&self) -> Delivery {
        match self {
            Self::Serve(_) | Self::Gateway(_) | Self::Demo(_) => Delivery::Lossy,
            _ => Delivery::Blocking,
        }
    }
}

/// The database of `serve`, and of the commands that administer it.
#[derive(Args)]
struct Database {
    /// sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE; without it, sqlite://auditlog.db. The
    /// file AUDITLOG_DATABASE_URL_FILE may hold it.
    #[arg(
        long,
        env = "AUDITLOG_DATABASE_URL",
        default_value = "sqlite://auditlog.db",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "URL"
    )]
    database_url: DatabaseUrl,
    /// The most connections to read with; a few more write.
    #[arg(
        long,
        env = "AUDITLOG_DATABASE_CONNECTIONS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(2..=1000),
        value_name = "N"
    )]
    database_connections: u32,
}

impl Database {
    /// The URL without what may be secret.
    fn shown(&self) -> String {
        self.database_url.shown()
    }

    /// Connects, with the schema up to date.
    async fn open(&self) -> anyhow::Result<Store> {
        let url = self.database_url.0.expose();
        let file = url.strip_prefix("sqlite://").and_then(|rest| rest.split('?').next()).map(Path::new);
        let new = file.filter(|file| !file.exists());
        let store = Store::open(&self.database_url.0, self.database_connections).await?;
        if let Some(file) = new {
            // Who meant one that is there, from another directory, should see it.
            info!(file = %std::path::absolute(file)?.display(), "made a new database");
        }
        Ok(store)
    }

    /// Connects to a database that is there, and changes nothing of it.
    async fn open_existing(&self) -> anyhow::Result<Store> {
        Store::open_existing(&self.database_url.0, self.database_connections).await
    }
}

/// A URL of a database that we know, with its password.
#[derive(Clone)]
struct DatabaseUrl(Secret);

impl DatabaseUrl {
    /// For the log: without password, and without parameters, among which may be one.
    fn shown(&self) -> String {
        let text = self.0.expose();
        if text.starts_with("sqlite:") {
            // A file's path need not be a URL.
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
        // What stands before may be a password as well.
        let scheme = scheme.filter(|scheme| scheme.bytes().all(|letter| letter.is_ascii_alphabetic()));
        let scheme = scheme.unwrap_or("no scheme");
        match scheme {
            "sqlite" | "postgres" | "postgresql" => Ok(Self(Secret::new(url.to_owned()))),
            // Not the URL, which may hold a password.
            scheme => Err(Invalid::new("must start with sqlite:// or postgres://", quoted(scheme))),
        }
    }
}

/// A duration above zero.
fn positive(text: &str) -> Result<Duration, Invalid> {
    let allowed = "must be a duration above 0 such as 30s, 5m or 90d";
    let duration = humantime::parse_duration(text).map_err(|_| Invalid::new(allowed, quoted(text)))?;
    if duration.is_zero() { Err(Invalid::new(allowed, quoted(text))) } else { Ok(duration) }
}

/// Parses the arguments and runs the command. Exit codes: 0 success, 2 wrong usage, 3 where `verify` could not check and
/// `import` skipped lines, 1 otherwise.
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
    // Lives to the end, for the lines of the end.
    let _flush = match telemetry::init(log, command.log_delivery()) {
        Ok(flush) => flush,
        Err(error) => return fail(&error, 2),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into(), 1),
    };
    let outcome = runtime.block_on(dispatch(command));
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    // Whoever reads our output, such as `head`, may have enough.
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    if error.is::<NotVerified>() {
        return ExitCode::from(1);
    }
    if error.is::<import::Skipped>() {
        return ExitCode::from(3);
    }
    let error = match error.downcast::<Unchecked>() {
        Ok(Unchecked(error)) => return fail(&error, 3),
        Err(error) => error,
    };
    match error.downcast::<clap::Error>() {
        // Not `exit`, which would lose what the log has not written yet.
        Ok(usage) => {
            let _ = usage.print();
            ExitCode::from(2)
        }
        Err(error) => fail(&error, 1),
    }
}

/// Lets nobody else read the files that this process makes: databases, exports and keys hold what people wrote.
fn make_files_private() {
    use rustix::fs::Mode;
    let others = Mode::RWXG | Mode::RWXO;
    let before = rustix::process::umask(others);
    rustix::process::umask(before | others);
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What was to be verified is not true. It has been told.
#[derive(Debug, thiserror::Error)]
#[error("not verified")]
struct NotVerified;

/// What was to be verified could not be checked, which says nothing of it.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Unchecked(anyhow::Error);

impl Unchecked {
    /// `error` as that, unless it is wrong usage or a verdict.
    fn of(error: anyhow::Error) -> anyhow::Error {
        let is_for_others = error.is::<clap::Error>() || error.is::<NotVerified>() || is_broken_pipe(&error);
        if is_for_others { error } else { Self(error).into() }
    }
}

/// Wrong usage that only shows once all options are known.
fn usage(message: &str) -> anyhow::Error {
    Cli::command().error(ErrorKind::MissingRequiredArgument, message).into()
}

/// Boxed, so that `main` is compiled without all that is inside.
fn dispatch(command: Command) -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>> {
    match command {
        Command::Serve(serve) => Box::pin(serve.run()),
        Command::List(list) => Box::pin(list.run()),
        Command::History(history) => Box::pin(history.run()),
        Command::Get(get) => Box::pin(get.run()),
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
        Command::Marks(marks) => Box::pin(marks.run()),
        Command::SigningKey(signing_key) => Box::pin(signing_key.run()),
        Command::Import(import) => Box::pin(import.run()),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // Some errors of libraries say their cause, and have it too.
    let mut told: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !told.last().is_some_and(|last| last.contains(&cause)) {
            told.push(cause);
        }
    }
    tell!("error: {}", told.join(": "));
    ExitCode::from(code)
}
