//! Batches of 100 entries in two builds, in alternating rounds, each on its own empty database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use sea_orm::DbBackend;

use crate::database::{Database, program};
use crate::drive::Run;
use crate::figure::{Report, Target};
use crate::postgres;
use crate::service::{Counting, Service};
use crate::writer::write;

const ROUNDS: usize = 5;
const DURATION: Duration = Duration::from_secs(3);
/// The size that the database server is configured for.
const ROWS: u64 = 1_000_000;

pub async fn run(earlier: &Path, backend: DbBackend, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut builds = Vec::new();
    for (name, program) in [("this build", program()), ("earlier build", PathBuf::from(earlier))] {
        let directory = postgres::directory(scratch)?;
        let database = Database::create_by(program, backend, &directory, ROWS).await?;
        let service = Service::start(&database, Counting::On)?;
        builds.push((name, database, service));
    }
    for (clients, target) in [(1, None), (4, Some(Target::AtLeast(0.85)))] {
        let by = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
        let mut runs = [Run::default(), Run::default()];
        for _ in 0..ROUNDS {
            for (run, (_, _, service)) in runs.iter_mut().zip(&builds) {
                run.extend(write(service, clients, 100, DURATION, |_: &mut StdRng| 0).await?);
            }
        }
        for (run, (name, ..)) in runs.iter().zip(&builds) {
            run.report(report, &format!("batches of 100, {by}, {name}"), 100, "entries/s");
        }
        let name = format!("batches of 100, {by}, this build / earlier build");
        let ratio = runs[0].rate() / runs[1].rate();
        match target {
            Some(target) => report.add_for(&name, "ratio", ratio, "", target),
            None => report.add(&name, "ratio", ratio, ""),
        }
    }
    report.print();
    Ok(())
}
