//! A page of 50 entries with its total in ten shapes, one request at a time: CPU of the database and the service, and
//! latency. Each request is sent twice. The first time, the database may have to read its pages from the system or the
//! disk, which says more about memory than about the cost of a list.

use std::time::{Duration, Instant};

use auditlog::grpc::pb::ListAuditLogsRequest;
use sea_orm::DbBackend;

use crate::data::random;
use crate::database::Database;
use crate::figure::{Report, Target, Times};
use crate::proc;
use crate::requests::{SHAPES, Shape};
use crate::service::{Client, Service};

/// Requests of each shape without a time range, and the same number with one.
const REQUESTS: usize = 100;
const WARM_UP: usize = 20;
/// The database and the service still use CPU after an answer.
const PAUSE: Duration = Duration::from_micros(300);

/// The costs of single requests.
#[derive(Default, Clone)]
pub struct Costs {
    pub database: Times,
    pub service: Times,
    pub latency: Times,
}

impl Costs {
    pub fn extend(&mut self, other: Self) {
        let Self { database, service, latency } = other;
        self.database.0.extend(database.0);
        self.service.0.extend(service.0);
        self.latency.0.extend(latency.0);
    }

    /// The CPU of the database and the service together.
    pub fn cpu(&self) -> Times {
        let both = self.database.0.iter().zip(&self.service.0);
        Times(both.map(|(database, service)| *database + *service).collect())
    }

    /// Adds the figures of `name`. On SQLite the service includes the database, and has no targets.
    fn report(&self, report: &mut Report, name: &str, backend: DbBackend, is_aimed: bool) {
        let Self { database, service, latency } = self;
        let is_postgres = backend == DbBackend::Postgres;
        let mut aim = |measure: &str, value: f64, most: f64| match is_aimed && is_postgres {
            true => report.add_for(name, measure, value, "ms", Target::AtMost(most)),
            false => report.add(name, measure, value, "ms"),
        };
        if is_postgres {
            aim("database CPU p50", database.p50(), 0.5);
            aim("database CPU p99", database.p99(), 2.5);
        }
        aim("service CPU p50", service.p50(), 0.3);
        report.add(name, "service CPU p99", service.p99(), "ms");
        report.add(name, "latency p50", latency.p50(), "ms");
        report.add(name, "latency p99", latency.p99(), "ms");
    }
}

/// Sends the requests one by one.
pub async fn measure(
    database: &Database,
    service: &Service,
    client: &mut Client,
    requests: Vec<ListAuditLogsRequest>,
) -> anyhow::Result<Costs> {
    let send = async |request: ListAuditLogsRequest| client.list(request).await.map(drop);
    measure_each(database, service, requests, send).await
}

/// Sends requests of any kind one by one, each with `send`.
pub async fn measure_each<R>(
    database: &Database,
    service: &Service,
    requests: Vec<R>,
    mut send: impl AsyncFnMut(R) -> anyhow::Result<()>,
) -> anyhow::Result<Costs> {
    let backends = database.backends().await?;
    let used = || {
        std::thread::sleep(PAUSE);
        (backends.iter().map(|id| proc::single(*id)).sum::<Duration>(), proc::threads(service.id()))
    };
    let mut costs = Costs::default();
    let mut before = used();
    for request in requests {
        let begun = Instant::now();
        send(request).await?;
        costs.latency.0.push(begun.elapsed());
        let after = used();
        costs.database.0.push(after.0.saturating_sub(before.0));
        costs.service.0.push(after.1.saturating_sub(before.1));
        before = after;
    }
    Ok(costs)
}

/// Measures all shapes.
pub async fn run(database: &Database, service: &Service, report: &mut Report) -> anyhow::Result<()> {
    let (mut client, mut random) = (service.client().await?, random(1));
    let mut requests = |shape: &Shape, with_range, count| -> Vec<_> {
        (0..count).map(|_| shape.request(with_range, &mut random)).collect()
    };
    for shape in &SHAPES {
        measure(database, service, &mut client, requests(shape, false, WARM_UP)).await?;
    }
    let (mut first, mut again) = (Costs::default(), Costs::default());
    for shape in &SHAPES {
        for (with_range, suffix) in [(false, ""), (true, ", in a range")] {
            let requests = requests(shape, with_range, REQUESTS);
            first.extend(measure(database, service, &mut client, requests.clone()).await?);
            let costs = measure(database, service, &mut client, requests).await?;
            costs.report(report, &format!("{}{suffix}", shape.name), database.backend(), false);
            again.extend(costs);
        }
    }
    again.report(report, OVERALL, database.backend(), true);
    first.report(report, "all of them, asked for the first time", database.backend(), false);
    report.print();
    Ok(())
}

/// The name of the row that combines all shapes.
pub const OVERALL: &str = "all of them";
