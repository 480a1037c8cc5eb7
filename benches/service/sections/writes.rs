//! Durable writes per second, one by one and in batches, against the naive design and bare INSERTs.

use std::time::Duration;

use anyhow::Context;
use rand::RngExt;
use rand::rngs::StdRng;
use sea_orm::DbBackend;

use super::lists::measure;
use crate::data::{Delays, ORGANIZATIONS, Seal, log_id, organization_id};
use crate::database::{Database, connect};
use crate::drive::{Run, drive};
use crate::figure::{Report, Target};
use crate::load::insert_rows;
use crate::requests::largest;
use crate::service::{Counting, Service};
use crate::writer::{Fresh, write};

const DURATION: Duration = Duration::from_secs(4);
const CLIENTS: usize = 64;
const HOT: &str = "one hot organization";
const MANY: &str = "many organizations";

/// The first organizations beyond the loaded data: for the bare rows of each client, and for the naive design, which
/// builds no tree.
const BARE: u32 = ORGANIZATIONS.ranks;
const NAIVE: u32 = 2 * ORGANIZATIONS.ranks;

fn hot<const FIRST: u32>(_: &mut StdRng) -> u32 {
    FIRST
}

fn many<const FIRST: u32>(random: &mut StdRng) -> u32 {
    FIRST + random.random_range(0..ORGANIZATIONS.ranks)
}

pub async fn run(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let naive_service = Service::start_naive(database)?;
    let naive_list = list(database, &naive_service).await?;
    prepare_naive(database).await?;
    let naive = singles::<NAIVE>(&naive_service, "naive", report).await?;
    drop(naive_service);
    let service = Service::start(database, Counting::On)?;
    let list = list(database, &service).await?;
    let ours = singles::<0>(&service, "service", report).await?;
    let Targets { hot: of_hot, many: of_many, batches: of_batches } = Targets::of(database);
    for (name, ours, naive, least) in [(HOT, &ours[0], &naive[0], of_hot), (MANY, &ours[1], &naive[1], of_many)] {
        let name = format!("service / naive, {name}");
        ratio(report, &name, ours.rate() / naive.rate(), Some(Target::AtLeast(least)));
    }
    let name = format!("service, {HOT} / {MANY}");
    ratio(report, &name, ours[0].rate() / ours[1].rate(), Some(Target::AtLeast(0.7)));
    for size in [10, 1_000] {
        let run = write(&service, 4, size, DURATION, hot::<0>).await?;
        run.report(report, &format!("batches of {size}, 4 clients"), size, "entries/s");
    }
    for (clients, target) in [(1, Some(Target::AtLeast(of_batches))), (4, None)] {
        let batches = write(&service, clients, 100, DURATION, hot::<0>).await?;
        let inserts = inserts(database, clients).await?;
        let by = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
        batches.report(report, &format!("batches of 100, {by}"), 100, "entries/s");
        inserts.report(report, &format!("bare INSERTs of 100 rows, {by}"), 100, "entries/s");
        ratio(report, &format!("batches of 100 / bare INSERTs, {by}"), batches.rate() / inserts.rate(), target);
    }
    report.add("list, largest organization, naive", "latency p50", naive_list, "ms");
    report.add("list, largest organization, service", "latency p50", list, "ms");
    report.print();
    Ok(())
}

/// The least ratios that the service should reach: of single writes to the naive design, for one hot organization and
/// for many, and of batches to bare INSERTs.
struct Targets {
    hot: f64,
    many: f64,
    batches: f64,
}

impl Targets {
    fn of(database: &Database) -> Self {
        match database.backend() {
            DbBackend::Postgres => {
                // Index pages of many organizations are then not in memory, and the naive design waits for 64 at once.
                let is_cold = database.rows >= 10_000_000;
                Self { hot: 5.3, many: if is_cold { 1.5 } else { 2.5 }, batches: 0.65 }
            }
            _ => Self { hot: 3.0, many: 3.0, batches: 0.6 },
        }
    }
}

fn ratio(report: &mut Report, name: &str, value: f64, target: Option<Target>) {
    match target {
        Some(target) => report.add_for(name, "ratio", value, "", target),
        None => report.add(name, "ratio", value, ""),
    }
}

/// Creates the organizations of the naive design, which cannot create them itself.
async fn prepare_naive(database: &Database) -> anyhow::Result<()> {
    let ranks = NAIVE..NAIVE + ORGANIZATIONS.ranks;
    let row = |rank| format!("('{}', '{}', 0, 0, '', '', 0)", organization_id(rank), log_id(rank));
    let rows = ranks.map(row).collect::<Vec<_>>().join(", ");
    let columns = "id, log_id, head_seq, last_recorded_at, edge, root, created_at";
    database.execute(&format!("INSERT INTO organizations ({columns}) VALUES {rows}")).await
}

/// Writes entries one by one, to one organization and to many.
async fn singles<const FIRST: u32>(service: &Service, design: &str, report: &mut Report) -> anyhow::Result<[Run; 2]> {
    let hot = write(service, CLIENTS, 1, DURATION, hot::<FIRST>).await?;
    let many = write(service, CLIENTS, 1, DURATION, many::<FIRST>).await?;
    for (name, run) in [(HOT, &hot), (MANY, &many)] {
        run.report(report, &format!("{design}, one by one, {CLIENTS} clients, {name}"), 1, "entries/s");
    }
    Ok([hot, many])
}

/// INSERTs of 100 rows, a transaction each. Each client has its own connection and organization.
async fn inserts(database: &Database, clients: usize) -> anyhow::Result<Run> {
    let mut callers = Vec::with_capacity(clients);
    for client in 0..clients {
        let connection = connect(&database.url).await?;
        let organization = BARE + u32::try_from(client + 10 * clients)?;
        let (mut fresh, mut seq) = (Fresh::new(Delays::JITTER), 0);
        callers.push(move || {
            let row = |place: i64| fresh.entry(organization, seq + place).row(&Seal::none());
            let rows: Vec<_> = (1..=100).map(row).collect();
            seq += 100;
            let connection = connection.clone();
            async move { insert_rows(&connection, rows).await }
        });
    }
    drive(DURATION, callers).await.context("bare INSERTs")
}

/// The median latency of the first page of the largest organization, in milliseconds.
async fn list(database: &Database, service: &Service) -> anyhow::Result<f64> {
    let mut client = service.client().await?;
    Ok(measure(database, service, &mut client, vec![largest(); 20]).await?.latency.p50())
}
