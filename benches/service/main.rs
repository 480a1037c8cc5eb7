//! The benchmark: makes its own data, starts its own PostgreSQL, runs the service as its own process, and prints
//! what it measured beside what is aimed at. docs/BENCHMARKS.md tells how to run it and what the figures mean.

#[path = "../../tests/it/support/as_postgres.rs"]
mod as_postgres;
mod data;
mod database;
mod figure;
mod load;
mod options;
mod postgres;
mod proc;
mod requests;
mod sections;
mod service;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use sea_orm::DbBackend;
use tokio::signal::unix::{SignalKind, signal};

use database::Database;
use figure::Report;
use options::{Cli, Options, Part, Section, Which};
use sections::{check, lists};
use service::{Folder, Service};

/// Tells whoever waits.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn main() -> anyhow::Result<()> {
    let Cli { part, options } = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match part {
        Some(Part::Naive { url }) => anyhow::bail!("{url}"),
        None => runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                done = run(options) => done,
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
                _ = terminate.recv() => anyhow::bail!("terminated"),
            }
        }),
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    let scratch = postgres::scratch()?;
    let mut report = Report::default();
    let which = options.which();
    let outcome = measure(&options, which, scratch.path(), &mut report).await;
    report.conclude();
    let file = options.json.unwrap_or_else(|| PathBuf::from(format!("target/bench/{}.json", options.rows.text)));
    report.write(&file)?;
    say(&format!("{:.0?} in all; the figures are in {}", begun.elapsed(), file.display()));
    outcome
}

async fn measure(options: &Options, which: Which, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    for (backend, asked) in [(DbBackend::Postgres, Which::Postgres), (DbBackend::Sqlite, Which::Sqlite)] {
        if which == Which::Both || which == asked {
            let database = Database::create(backend, scratch, options.rows.count).await?;
            sections(options, &database, report).await?;
        }
    }
    Ok(())
}

/// All sections on one database: those that only read, then those that write.
async fn sections(options: &Options, database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let name = database.name();
    report.begin(&format!("load, {name}"));
    load::load(database, report).await?;
    report.print();
    let service = Service::start(database, Folder::On)?;
    if options.asks(Section::Check) {
        report.begin(&format!("check, {name}"));
        check::run(database, &service, report, 0).await?;
    }
    if options.asks(Section::Lists) {
        report.begin(&format!("lists, {name}"));
        lists::run(database, &service, report).await?;
    }
    Ok(())
}
