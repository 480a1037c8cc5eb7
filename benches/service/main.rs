//! The benchmark. It generates its data, starts its own PostgreSQL, runs the service as a separate process, and prints
//! the figures beside their targets. docs/BENCHMARKS.md says how to run it and what the figures mean.

#[path = "../../tests/it/support/as_postgres.rs"]
mod as_postgres;
mod bare;
mod ceiling;
mod data;
mod database;
mod drive;
mod figure;
mod generator;
mod growth;
mod load;
mod logs;
mod machine;
mod naive;
mod options;
mod postgres;
mod proc;
mod raw;
mod requests;
mod scratch;
mod sections;
mod service;
mod statements;
mod writer;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use sea_orm::DbBackend;
use tokio::signal::unix::{SignalKind, signal};

use database::Database;
use figure::Report;
use options::{Cli, Options, Part, Section, Which};
use sections::{
    check, counting, earlier, hard, history, isolation, lists, offsets, overload, process, search, throughput, verify,
    writes,
};
use service::{Counting, Service};

/// That of the service, so that the designs it is compared with have the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Entries that are still to be counted when the last check of the answers begins.
const UNCOUNTED: usize = 5_000;

/// Prints a line for the user to standard error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn main() -> anyhow::Result<()> {
    let Cli { part, options } = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match part {
        None if !options.bench => {
            say("the benchmark only runs under `cargo bench`, which passes --bench");
            Ok(())
        }
        Some(Part::Naive { url }) => runtime.block_on(naive::serve(&url)),
        Some(Part::Ceiling { url, requests }) => runtime.block_on(ceiling::serve(&url, &requests)),
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
    let earlier = options.compare.as_deref().map(Report::read).transpose()?;
    let scratch = scratch::scratch("bench-")?;
    let mut report = Report::default();
    machine::note(scratch.path(), &mut report)?;
    let outcome = measure(&options, scratch.path(), &mut report).await;
    if let Some(earlier) = earlier {
        for section in ["lists, postgres", "lists, sqlite"] {
            let figures: Vec<_> = earlier.figures.iter().filter(|figure| figure.section == section).cloned().collect();
            growth::compare(&mut report, section, &figures, &format!("growth since the earlier run, {section}"));
        }
    }
    report.conclude();
    let file = options.json.unwrap_or_else(|| PathBuf::from(format!("target/bench/{}.json", options.rows.text)));
    report.write(&file)?;
    say(&format!("{:.0?} in all; the figures are in {}", begun.elapsed(), file.display()));
    outcome
}

async fn measure(options: &Options, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let which = options.which();
    for (backend, asked) in [(DbBackend::Postgres, Which::Postgres), (DbBackend::Sqlite, Which::Sqlite)] {
        if which == Which::Both || which == asked {
            let mut run = Run { options, scratch, report, name: asked.name() };
            let database = run.load(backend, options.rows.count, "").await?;
            run.reading(&database).await?;
            if asked == Which::Sqlite && options.asks(Section::Lists) {
                run.growth(options.rows.count / 10).await?;
            }
            run.writing(&database).await?;
            if let Some(program) = &options.earlier
                && run.begins(Section::Earlier, "earlier")
            {
                earlier::run(program, &database, scratch, run.report).await?;
            }
        }
    }
    Ok(())
}

/// A run of the sections on one database.
struct Run<'a> {
    options: &'a Options,
    scratch: &'a Path,
    report: &'a mut Report,
    name: &'static str,
}

impl Run<'_> {
    /// Whether to run a section. If so, begins it in the report.
    fn begins(&mut self, section: Section, title: &str) -> bool {
        let asked = self.options.asks(section);
        if asked {
            say(&format!("{}: {title}", self.name));
            self.report.begin(&format!("{title}, {}", self.name));
        }
        asked
    }

    async fn load(&mut self, backend: DbBackend, rows: u64, suffix: &str) -> anyhow::Result<Database> {
        let database = Database::create(backend, self.scratch, rows).await?;
        machine::note_database(&database, self.report).await?;
        self.report.begin(&format!("load{suffix}, {}", self.name));
        load::load(&database, self.report).await?;
        self.report.print();
        Ok(database)
    }

    /// Runs the sections that do not change the database.
    async fn reading(&mut self, database: &Database) -> anyhow::Result<()> {
        let service = Service::start(database, Counting::On)?;
        if self.begins(Section::Check, "check") {
            check::run(database, &service, self.report, 0).await?;
        }
        if self.begins(Section::Lists, "lists") {
            lists::run(database, &service, self.report).await?;
        }
        if self.begins(Section::Offsets, "offsets") {
            offsets::run(database, &service, self.report).await?;
        }
        if self.begins(Section::Throughput, "throughput") {
            throughput::run(database, &service, self.scratch, self.report).await?;
        }
        drop(service);
        if self.begins(Section::Search, "search") {
            search::run(database, self.report).await?;
        }
        if self.begins(Section::History, "history") {
            history::run(database.backend(), self.scratch, self.report).await?;
        }
        if self.begins(Section::Memory, "memory") {
            process::memory(database, self.scratch, self.report).await?;
        }
        if self.begins(Section::Start, "start") {
            process::start(database, self.report).await?;
        }
        if self.begins(Section::Verify, "verify") {
            verify::run(database, self.scratch, self.report).await?;
        }
        Ok(())
    }

    /// Runs the sections that write, and then checks the answers again.
    async fn writing(&mut self, database: &Database) -> anyhow::Result<()> {
        if self.begins(Section::Hard, "hard") {
            hard::run(database, self.report).await?;
        }
        if self.begins(Section::Writes, "writes") {
            writes::run(database, self.report).await?;
        }
        if self.begins(Section::Counting, "counting") {
            counting::run(database, self.report).await?;
        }
        if self.begins(Section::Isolation, "isolation") {
            isolation::run(database, self.report).await?;
        }
        if self.begins(Section::Overload, "overload") {
            overload::run(database, self.options.earlier.as_deref(), self.report).await?;
        }
        if self.begins(Section::Check, "check after writes") {
            let uncounted = Service::start(database, Counting::Off)?;
            writer::ingest(&uncounted, UNCOUNTED, data::Delays::MIXED, |random| data::ORGANIZATIONS.draw(random))
                .await?;
            drop(uncounted);
            let service = Service::start(database, Counting::On)?;
            check::run(database, &service, self.report, 1).await?;
        }
        Ok(())
    }

    /// Runs the lists on a SQLite database of a tenth of the size, to compare their cost.
    async fn growth(&mut self, rows: u64) -> anyhow::Result<()> {
        let small = self.load(DbBackend::Sqlite, rows, " of a tenth").await?;
        let service = Service::start(&small, Counting::On)?;
        self.report.begin("lists of a tenth, sqlite");
        lists::run(&small, &service, self.report).await?;
        let is_small = |figure: &&figure::Figure| figure.section == "lists of a tenth, sqlite";
        let figures: Vec<_> = self.report.figures.iter().filter(is_small).cloned().collect();
        growth::compare(self.report, "lists, sqlite", &figures, "growth since a tenth of the rows, sqlite");
        Ok(())
    }
}
