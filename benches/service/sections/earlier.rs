//! Writes and lists in two builds, in alternating rounds. Each build has a service and a database of its own, which is
//! empty at first. In the loaded database, which serves one build at a time, each round starts a service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;

use crate::database::{Database, program};
use crate::drive::Run;
use crate::figure::{Report, Target};
use crate::postgres;
use crate::requests::largest;
use crate::sections::throughput::lists;
use crate::service::{Counting, Service};
use crate::writer::write;

const ROUNDS: usize = 5;
const DURATION: Duration = Duration::from_secs(3);
/// The work to compare in empty databases, with the number of clients.
const WORK: [(Work, usize); 3] = [(Work::Writes(100), 1), (Work::Writes(1), 64), (Work::Lists, 16)];
/// A build should not lose more than this to noise.
const LEAST: Target = Target::AtLeast(0.97);
/// The work to compare in the loaded database.
const LOADED: (Work, usize) = (Work::Writes(100), 4);
const LEAST_LOADED: Target = Target::AtLeast(1.5);
/// The size that the database server is configured for.
const ROWS: u64 = 1_000_000;
const BUILDS: [&str; 2] = ["this build", "earlier build"];

#[derive(Clone, Copy)]
enum Work {
    /// Lists of 50, without a filter: builds from before `AuditLogFilter` understand them too.
    Lists,
    /// Requests of this many entries.
    Writes(usize),
}

/// Compares this build with `earlier`. `database` is loaded, with the schema of this build.
pub async fn run(earlier: &Path, database: &Database, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    empty(earlier, database, scratch, report).await?;
    loaded(earlier, database, report).await?;
    report.print();
    Ok(())
}

async fn empty(earlier: &Path, database: &Database, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut builds = Vec::new();
    for program in [program(), PathBuf::from(earlier)] {
        let directory = postgres::directory(scratch)?;
        let database = Database::create_by(program, database.backend(), &directory, ROWS).await?;
        let service = Service::start(&database, Counting::On)?;
        builds.push((database, service));
    }
    for (work, clients) in WORK {
        let mut runs = [Run::default(), Run::default()];
        for _ in 0..ROUNDS {
            for (run, (_, service)) in runs.iter_mut().zip(&builds) {
                run.extend(work.round(service, clients).await?);
            }
        }
        work.report(report, clients, "", &runs, LEAST);
    }
    Ok(())
}

async fn loaded(earlier: &Path, database: &Database, report: &mut Report) -> anyhow::Result<()> {
    if let Err(error) = Service::start_build(earlier, database) {
        println!("the earlier build does not serve the loaded database, whose schema is newer: {error:#}");
        return Ok(());
    }
    let (work, clients) = LOADED;
    let mut runs = [Run::default(), Run::default()];
    for _ in 0..ROUNDS {
        for (run, program) in runs.iter_mut().zip([database.program.as_path(), earlier]) {
            // Neither service should count the entries that the other wrote.
            database.auditlog(&["running-counts", "update"])?;
            let service = Service::start_build(program, database)?;
            run.extend(work.round(&service, clients).await?);
        }
    }
    work.report(report, clients, ", loaded database", &runs, LEAST_LOADED);
    Ok(())
}

impl Work {
    /// A round of this work, in the largest organization.
    async fn round(self, service: &Service, clients: usize) -> anyhow::Result<Run> {
        match self {
            Self::Lists => lists(service, &[largest()], clients, DURATION).await,
            Self::Writes(size) => write(service, clients, size, DURATION, |_: &mut StdRng| 0).await,
        }
    }

    /// Reports the runs of both builds, in the order of [`BUILDS`], and their ratio. `database` ends the name of the
    /// work.
    fn report(self, report: &mut Report, clients: usize, database: &str, runs: &[Run; 2], least: Target) {
        let (name, each, unit) = match self {
            Self::Lists => ("lists of 50".to_owned(), 1, "lists/s"),
            Self::Writes(1) => ("single writes".to_owned(), 1, "entries/s"),
            Self::Writes(size) => (format!("batches of {size}"), size, "entries/s"),
        };
        let by = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
        let name = format!("{name}, {by}{database}");
        for (run, build) in runs.iter().zip(BUILDS) {
            run.report(report, &format!("{name}, {build}"), each, unit);
        }
        let [ours, theirs] = runs;
        let name = format!("{name}, {} / {}", BUILDS[0], BUILDS[1]);
        report.add_for(&name, "ratio", ours.rate() / theirs.rate(), "", least);
    }
}
