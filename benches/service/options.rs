//! The command-line options.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures the service on generated data, in a separate process, and prints each figure beside its target.
#[derive(Parser)]
#[command(name = "cargo bench --bench service --")]
pub struct Cli {
    #[command(subcommand)]
    pub part: Option<Part>,
    #[command(flatten)]
    pub options: Options,
}

/// A mode in which the benchmark starts itself again.
#[derive(Subcommand)]
pub enum Part {
    /// Serves the naive design, for comparison.
    #[command(hide = true)]
    Naive {
        /// The URL of the database.
        url: String,
    },
    /// Serves the ceiling of lists, for comparison.
    #[command(hide = true)]
    Ceiling {
        /// The URL of the database.
        url: String,
        /// The file of the captured requests.
        requests: PathBuf,
    },
}

/// The options of a run.
#[derive(Args)]
pub struct Options {
    /// Entries to load: a number, or for example 100k, 1M or 10M.
    #[arg(long, default_value = "1M", value_name = "ROWS")]
    pub rows: Rows,
    /// The database [default: both, or only PostgreSQL from 10M rows on].
    #[arg(long, value_name = "NAME")]
    pub database: Option<Which>,
    /// Run only these sections [default: all but history and overload].
    #[arg(long, value_name = "SECTION", num_args = 1..)]
    pub only: Vec<Section>,
    /// The file for the figures [default: target/bench/ROWS.json].
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The figures of an earlier run of another size: print the ratio of this run's medians to them.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// The program of an earlier build: compare both builds in the sections earlier and overload.
    #[arg(long, value_name = "PROGRAM")]
    pub earlier: Option<PathBuf>,
    /// Set by `cargo bench`, but not by `cargo test --benches`.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// A number of entries, with its text as given.
#[derive(Clone)]
pub struct Rows {
    pub count: u64,
    pub text: String,
}

impl FromStr for Rows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1_000),
            None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
        };
        let count = digits.parse::<u64>().ok().and_then(|digits| digits.checked_mul(unit));
        match count {
            Some(count) if count >= 10_000 => Ok(Self { count, text: text.to_owned() }),
            _ => Err("must be at least 10k, such as 100k, 1M or 10M".to_owned()),
        }
    }
}

/// The value of `--database`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    Sqlite,
    Postgres,
    Both,
}

impl Which {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Both => "both",
        }
    }
}

/// A section that `--only` selects.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Compares answers with plain SQL, before and after the writes.
    Check,
    /// A page of 50 entries with its total, in ten shapes.
    Lists,
    /// The first page against a page from the middle of a list.
    Offsets,
    /// Lists per second, against a bare handler with the same statements.
    Throughput,
    /// Searches and filters by outcome, against plain lists; counts by group; idle followers.
    Search,
    /// States, comparisons, checks and plans of one resource, in databases of their own.
    History,
    /// Memory at rest and under 64 clients.
    Memory,
    /// Time from process start to the first answer.
    Start,
    /// Filters that are hard to count.
    Hard,
    /// Writes per second, against the naive design and bare INSERTs.
    Writes,
    /// The cost of counting entries in the background.
    Counting,
    /// `auditlog verify` of the largest organization.
    Verify,
    /// Latency of others while one organization is locked, or one API key takes all it can get.
    Isolation,
    /// Writes and lists, against the build that --earlier names.
    Earlier,
    /// Five times more requests than the service can serve, from clients that do not wait.
    Overload,
}

impl Options {
    /// History and overload run only on request, so that the default ends after about ten minutes.
    pub fn asks(&self, section: Section) -> bool {
        let is_default = !matches!(section, Section::History | Section::Overload);
        self.only.contains(&section) || self.only.is_empty() && is_default
    }

    pub fn which(&self) -> Which {
        let large = self.rows.count >= 10_000_000;
        self.database.unwrap_or(if large { Which::Postgres } else { Which::Both })
    }
}
