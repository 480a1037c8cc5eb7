//! Writes and lists in two builds, in alternating rounds. Each build has its own database, which is empty at first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use sea_orm::DbBackend;

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
/// The work to compare, with the number of clients. A build should not lose more than this to noise.
const WORK: [(Work, usize); 4] =
    [(Work::Writes(100), 1), (Work::Writes(100), 4), (Work::Writes(1), 64), (Work::Lists, 16)];
const LEAST: Target = Target::AtLeast(0.97);
/// The size that the database server is configured for.
const ROWS: u64 = 1_000_000;

#[derive(Clone, Copy)]
enum Work {
    /// Lists of 50, without a filter: builds from before `AuditLogFilter` understand them too.
    Lists,
    /// Requests of this many entries.
    Writes(usize),
}

pub async fn run(earlier: &Path, backend: DbBackend, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut builds = Vec::new();
    for (name, program) in [("this build", program()), ("earlier build", PathBuf::from(earlier))] {
        let directory = postgres::directory(scratch)?;
        let database = Database::create_by(program, backend, &directory, ROWS).await?;
        let service = Service::start(&database, Counting::On)?;
        builds.push((name, database, service));
    }
    for (work, clients) in WORK {
        let (name, each, unit) = match work {
            Work::Lists => (format!("lists of 50, {clients} clients"), 1, "lists/s"),
            Work::Writes(1) => (format!("single writes, {clients} clients"), 1, "entries/s"),
            Work::Writes(size) => (format!("batches of {size}, {clients} clients"), size, "entries/s"),
        };
        let mut runs = [Run::default(), Run::default()];
        for _ in 0..ROUNDS {
            for (run, (_, _, service)) in runs.iter_mut().zip(&builds) {
                run.extend(match work {
                    Work::Lists => lists(service, &[largest()], clients, DURATION).await?,
                    Work::Writes(size) => write(service, clients, size, DURATION, |_: &mut StdRng| 0).await?,
                });
            }
        }
        for (run, (build, ..)) in runs.iter().zip(&builds) {
            run.report(report, &format!("{name}, {build}"), each, unit);
        }
        let name = format!("{name}, this build / earlier build");
        report.add_for(&name, "ratio", runs[0].rate() / runs[1].rate(), "", LEAST);
    }
    report.print();
    Ok(())
}
