//! What the command line asks for.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures the service on data of its own, as a process of its own, and prints each figure beside its target.
#[derive(Parser)]
#[command(name = "cargo bench --bench service --")]
pub struct Cli {
    #[command(subcommand)]
    pub part: Option<Part>,
    #[command(flatten)]
    pub options: Options,
}

/// What this program is when it starts itself again.
#[derive(Subcommand)]
pub enum Part {
    /// The naive design, to compare with.
    #[command(hide = true)]
    Naive {
        /// The database that it serves.
        url: String,
    },
}

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Entries to load: a number, or one such as 100k, 1M or 10M.
    #[arg(long, default_value = "1M", value_name = "ROWS")]
    pub rows: Rows,
    /// The database; both without it, and PostgreSQL alone from 10M rows on.
    #[arg(long, value_name = "NAME")]
    pub database: Option<Which>,
    /// Only this section; repeat it for more [default: all but overload].
    #[arg(long, value_name = "SECTION", num_args = 1..)]
    pub only: Vec<Section>,
    /// Where to write the figures [default: target/bench/ROWS.json].
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The figures of an earlier run of another size: print how its medians relate to these.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// The program of an earlier build: compare how fast both take batches, and how they do under overload.
    #[arg(long, value_name = "PROGRAM")]
    pub earlier: Option<PathBuf>,
    /// What `cargo bench` adds, and `cargo test --benches` does not.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// A number of entries, kept as it was written.
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

/// Which databases to measure.
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

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Answers against plain SQL, before and after the writes.
    Check,
    /// A page of 50 with its total, in ten shapes.
    Lists,
    /// Offset 0 against the middle of a list.
    Offsets,
    /// Lists a second, against pgbench with the same statements.
    Throughput,
    /// Memory at rest and under 64 clients.
    Memory,
    /// From the start of the process to its first answer.
    Start,
    /// The filters that are hard to count.
    Hard,
    /// Writes a second, against the naive design and bare INSERTs.
    Writes,
    /// What counting in advance costs beside the writes.
    Folding,
    /// `auditlog verify` of the largest organization.
    Verify,
    /// Batches of 100 against those of an earlier build, which --earlier names.
    Earlier,
    /// Five times more than can be served, from clients that do not wait.
    Overload,
}

impl Options {
    /// Overload is measured where it is asked for: the default ends within ten minutes.
    pub fn asks(&self, section: Section) -> bool {
        self.only.contains(&section) || self.only.is_empty() && section != Section::Overload
    }

    pub fn which(&self) -> Which {
        let large = self.rows.count >= 10_000_000;
        self.database.unwrap_or(if large { Which::Postgres } else { Which::Both })
    }
}
