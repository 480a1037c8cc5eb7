//! The command-line options.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::faults::Fault;

/// Applies faults to a running service while clients write and read. Checks after each fault that no entry is lost,
/// duplicated or changed.
///
/// Each fault has a fresh database, the service as a separate process, and twelve writers. A writer records each
/// request before it sends it, and each acknowledgement after it arrives. The exit code is 1 if a check fails; the
/// harness then keeps the journal, the database and the logs, and prints their directory. docs/torture.md lists the
/// checks.
#[derive(Parser)]
#[command(
    name = "cargo test --test torture --",
    after_help = "\
Examples:
  cargo test --test torture
  cargo test --test torture -- --database sqlite --only kill
  cargo test --test torture -- --minutes 60
  cargo test --test torture -- --only kill --seed 4711
  cargo test --test torture --features positive-controls -- --controls"
)]
pub struct Options {
    /// The database to test.
    #[arg(long, value_name = "NAME", default_value = "both")]
    pub database: Which,
    /// Run only these faults.
    #[arg(long, value_name = "FAULT", num_args = 1..)]
    pub only: Vec<Fault>,
    /// Repeat all faults with new seeds for this many minutes. Without it, each fault runs once, which takes less than
    /// five minutes.
    #[arg(long, value_name = "N")]
    pub minutes: Option<u64>,
    /// Seed for the content of the entries and the times of the faults; the scheduler still varies. Printed at the
    /// start.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Run the positive controls instead: services that lose acknowledged entries, withhold entries from followers, or
    /// break rules of the write queue. The harness must detect each one.
    #[arg(long)]
    pub controls: bool,
    /// Keep the files of a run even if it passes.
    #[arg(long)]
    pub keep: bool,
}

/// The value of `--database`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    Sqlite,
    Postgres,
    Both,
}

/// A database that a fault runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl Options {
    pub fn backends(&self) -> Vec<Backend> {
        let asked = |backend: &Backend| match self.database {
            Which::Both => true,
            Which::Sqlite => *backend == Backend::Sqlite,
            Which::Postgres => *backend == Backend::Postgres,
        };
        [Backend::Sqlite, Backend::Postgres].into_iter().filter(asked).collect()
    }

    /// Whether to run `fault` on `backend`. Without `--only`, slow faults run only with `--minutes`. Hostile clients
    /// take a minute and do not depend on the database, so they count as slow on PostgreSQL.
    pub fn asks(&self, fault: Fault, backend: Backend) -> bool {
        let is_hostile = [Fault::Hostile, Fault::Exhaustion].contains(&fault);
        let is_long = fault.is_long() || (is_hostile && backend == Backend::Postgres);
        match self.only.is_empty() {
            true => fault.is_possible() && (self.minutes.is_some() || !is_long),
            false => self.only.contains(&fault),
        }
    }

    pub fn limit(&self) -> Option<Duration> {
        self.minutes.map(|minutes| Duration::from_secs(60 * minutes))
    }
}
