//! The cost of running counts beside the writes: the CPU of a service and of PostgreSQL while entries are written but
//! not counted, and of both while entries are counted. For the second figure this process is the service. It writes
//! some entries, then counts those of organizations that are far enough behind, as the service does four times a
//! second.

use std::time::{Duration, Instant};

use auditlog::counts::EntryCounter;
use auditlog::domain::Secret;
use auditlog::store::Store;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::data::{Delays, ORGANIZATIONS};
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::proc;
use crate::service::{Counting, Service};
use crate::writer::ingest;

/// Uncounted entries from which on the service counts an organization at each tick, and once a minute.
const MIN_UNCOUNTED: i64 = 2_000;
const TIDY_UNCOUNTED: i64 = 256;
/// Entries between two ticks.
const ROUND: usize = 5_000;

pub async fn run(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    // Its work would fall into one figure or the other by chance.
    autovacuum(database, "off").await?;
    let entries = (database.rows / 10).clamp(10_000, 100_000) as usize;
    let orders = [
        ("in order", Delays::IN_ORDER, Some(4.0)),
        ("with 5 s of jitter", Delays::JITTER, None),
        ("the same, 1 % late by up to a year", Delays::MIXED, Some(8.0)),
    ];
    for (name, delays, target) in orders {
        let (written, elapsed) = written(database, entries / 2, delays).await?;
        database.auditlog(&["running-counts", "update", "--lag", "256"])?;
        settle(database).await?;
        let counted = counted(database, entries, delays).await?;
        settle(database).await?;
        let [written, counted] =
            [(written, entries / 2), (counted, entries)].map(|(cpu, count)| cpu.as_secs_f64() * 1e6 / count as f64);
        report.add(name, "entries", entries as f64, "");
        report.add(name, "write", (entries / 2) as f64 / elapsed.as_secs_f64(), "entries/s");
        report.add(name, "write CPU", written, "µs/entry");
        report.add(name, "count CPU", counted, "µs/entry");
        let share = 100.0 * counted / written;
        match target {
            Some(most) => report.add_for(name, "count / write CPU", share, "%", Target::AtMost(most)),
            None => report.add(name, "count / write CPU", share, "%"),
        }
    }
    autovacuum(database, "on").await?;
    report.print();
    Ok(())
}

/// Half of the entries to the largest organization.
fn choose(random: &mut StdRng) -> u32 {
    if random.random_bool(0.5) { 0 } else { ORGANIZATIONS.draw(random) }
}

/// The CPU that writing takes, and how long it takes.
async fn written(database: &Database, entries: usize, delays: Delays) -> anyhow::Result<(Duration, Duration)> {
    let service = Service::start(database, Counting::Off)?;
    let used = || anyhow::Ok(server(database)? + proc::process(service.id())?);
    let (before, begun) = (used()?, Instant::now());
    ingest(&service, entries, delays, choose).await?;
    let elapsed = begun.elapsed();
    Ok((used()? - before, elapsed))
}

/// The CPU that counting takes.
async fn counted(database: &Database, entries: usize, delays: Delays) -> anyhow::Result<Duration> {
    let store = Store::open_existing(&Secret::new(database.url.clone()), 4).await?;
    let counter = EntryCounter::new(store.clone());
    let (service, running) = Service::start_within(database, store).await?;
    let used = || anyhow::Ok(server(database)? + proc::threads(service.id()));
    let mut counted = Duration::ZERO;
    for round in 1..=entries / ROUND {
        ingest(&service, ROUND, delays, choose).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = used()?;
        let least = if round == entries / ROUND { TIDY_UNCOUNTED } else { MIN_UNCOUNTED };
        for lag in counter.lags().await?.iter().filter(|lag| lag.head - lag.counted >= least) {
            counter.count_all(&lag.organization, |_| ()).await?;
        }
        counted += used()? - before;
    }
    running.stop().await?;
    Ok(counted)
}

/// The CPU of all of PostgreSQL; nothing on SQLite.
fn server(database: &Database) -> anyhow::Result<Duration> {
    match &database.server {
        Some(server) => proc::tree(server.postmaster()?),
        None => Ok(Duration::ZERO),
    }
}

/// Writes now what PostgreSQL would write at a time of its own.
async fn settle(database: &Database) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_millis(300)).await;
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
