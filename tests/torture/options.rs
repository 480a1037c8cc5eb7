//! What the command line asks for.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::faults::Fault;

/// Does to a running service what breaks services, while clients write and read, and checks after each fault that
/// nothing is lost, doubled or changed.
///
/// Each fault has a fresh database, a service as a process of its own, and twelve clients that write down what they mean
/// to write before they send it, and what was acknowledged after. The exit code is 1 if anything is not as it should be;
/// the journal, the database and the logs are kept then, and it says where. docs/torture.md tells what is checked.
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
    /// The database.
    #[arg(long, value_name = "NAME", default_value = "both")]
    pub database: Which,
    /// Only these faults.
    #[arg(long, value_name = "FAULT", num_args = 1..)]
    pub only: Vec<Fault>,
    /// Goes through all faults again and again, with other seeds, until so many minutes are over. Without it, each comes
    /// once, which takes less than five.
    #[arg(long, value_name = "N")]
    pub minutes: Option<u64>,
    /// Decides what is written and when faults come, as far as the scheduler lets it. Told in the beginning.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Runs the positive controls instead: services that lose what they acknowledged, each of which must be found out.
    #[arg(long)]
    pub controls: bool,
    /// Keeps the files of a run that found nothing, too.
    #[arg(long)]
    pub keep: bool,
}

/// Which databases.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    Sqlite,
    Postgres,
    Both,
}

/// One of them.
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

    /// Whether a fault is to happen: those that take long, if they are asked for or there is time. What hostile clients
    /// do takes a minute, and does not depend on the database.
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
