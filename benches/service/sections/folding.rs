//! What counting in advance costs beside the writes: the CPU of the service and of PostgreSQL while entries are
//! written uncounted, and of both while they are counted.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::data::ORGANIZATIONS;
use crate::database::{Database, auditlog};
use crate::figure::{Report, Target};
use crate::proc;
use crate::service::{Folder, Service};
use crate::writer::ingest;

pub async fn run(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    // Its work would fall into one figure or the other by chance.
    autovacuum(database, "off").await?;
    let entries = (database.rows / 10).clamp(10_000, 100_000) as usize;
    auditlog(&database.url, &["marks", "fold", "--lag", "256"])?;
    for (name, late, target) in [("in order", 0.0, 3.0), ("1 % late by up to a year", 0.01, 10.0)] {
        let (written, elapsed) = written(database, entries, late).await?;
        settle(database).await?;
        let before = server(database)? + proc::ended_children()?;
        let begun = Instant::now();
        auditlog(&database.url, &["marks", "fold", "--lag", "256"])?;
        let folding = begun.elapsed();
        settled().await;
        let folded = server(database)? + proc::ended_children()? - before;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / entries as f64;
        report.add(name, "entries", entries as f64, "");
        report.add(name, "write", entries as f64 / elapsed.as_secs_f64(), "entries/s");
        report.add(name, "write CPU", each(written), "µs/entry");
        report.add(name, "fold", entries as f64 / folding.as_secs_f64(), "entries/s");
        report.add(name, "fold CPU", each(folded), "µs/entry");
        report.add_for(name, "fold / write CPU", 100.0 * each(folded) / each(written), "%", Target::AtMost(target));
        settle(database).await?;
    }
    autovacuum(database, "on").await?;
    report.print();
    Ok(())
}

/// The CPU that writing takes, and how long it takes.
async fn written(database: &Database, entries: usize, late: f64) -> anyhow::Result<(Duration, Duration)> {
    let service = Service::start(database, Folder::Off)?;
    let used = || anyhow::Ok(server(database)? + proc::process(service.id())?);
    let (before, begun) = (used()?, Instant::now());
    ingest(&service, entries, late, |random| if random.random_bool(0.5) { 0 } else { ORGANIZATIONS.draw(random) })
        .await?;
    let elapsed = begun.elapsed();
    Ok((used()? - before, elapsed))
}

/// The CPU of all of PostgreSQL; nothing on SQLite.
fn server(database: &Database) -> anyhow::Result<Duration> {
    match &database.server {
        Some(server) => proc::tree(server.postmaster()?),
        None => Ok(Duration::ZERO),
    }
}

/// Lets a process that has ended be waited for by its parent.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Writes now what PostgreSQL would write at a time of its own.
async fn settle(database: &Database) -> anyhow::Result<()> {
    settled().await;
    if database.server.is_some() {
        database.execute("VACUUM ANALYZE").await?;
        database.execute("CHECKPOINT").await?;
    }
    Ok(())
}

async fn autovacuum(database: &Database, value: &str) -> anyhow::Result<()> {
    if database.server.is_some() {
        database.execute(&format!("ALTER SYSTEM SET autovacuum = {value}")).await?;
        database.execute("SELECT pg_reload_conf()").await?;
    }
    Ok(())
}
