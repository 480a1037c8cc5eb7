//! Filters whose totals are hard to count.

use auditlog::grpc::pb::{AuditLogFilter, ListAuditLogsRequest};
use sea_orm::DbBackend;

use super::lists::measure;
use crate::data::{ACTIONS, Delays, RARE_LEAF, RARE_OF_HOTTEST, resource_id, user_id};
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::requests::{hottest_pair, largest, list, type_name};
use crate::service::{Counting, Service};
use crate::writer::ingest;

const REQUESTS: usize = 100;
const UNCOUNTED: usize = 10_000;
const TARGET: Target = Target::AtMost(20.0);

pub async fn run(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let service = Service::start(database, Counting::Off)?;
    let action = |code: usize| vec![ACTIONS[code].0.to_owned()];
    let every = AuditLogFilter::default;
    let hottest = || AuditLogFilter { user_ids: vec![user_id(0)], ..every() };
    let cases = [
        ("hottest user + nearly absent action", AuditLogFilter { actions: action(RARE_OF_HOTTEST), ..hottest() }),
        (
            "nearly absent type + action",
            AuditLogFilter { resource_types: vec![type_name(RARE_LEAF.0)], actions: action(RARE_LEAF.1), ..every() },
        ),
        ("hottest user + hottest resource", hottest_pair()),
        ("resource id without type", AuditLogFilter { resource_ids: vec![resource_id(1, 0)], ..every() }),
        ("20 users at once", AuditLogFilter { user_ids: (0..20).map(user_id).collect(), ..every() }),
    ];
    for (name, filter) in cases {
        cost(database, &service, report, name, list(filter)).await?;
    }
    ingest(&service, UNCOUNTED, Delays::MIXED, |_| 0).await?;
    cost(database, &service, report, "10,000 entries not yet counted", largest()).await?;
    cost(database, &service, report, "10,000 entries not yet counted, hottest user", list(hottest())).await?;
    report.print();
    Ok(())
}

async fn cost(
    database: &Database,
    service: &Service,
    report: &mut Report,
    name: &str,
    request: ListAuditLogsRequest,
) -> anyhow::Result<()> {
    let mut client = service.client().await?;
    measure(database, service, &mut client, vec![request.clone(); 10]).await?;
    let costs = measure(database, service, &mut client, vec![request; REQUESTS]).await?;
    if database.backend() == DbBackend::Postgres {
        report.add(name, "database CPU p50", costs.database.p50(), "ms");
        report.add_for(name, "database CPU p99", costs.database.p99(), "ms", TARGET);
        report.add(name, "latency p99", costs.latency.p99(), "ms");
    } else {
        report.add(name, "latency p50", costs.latency.p50(), "ms");
        report.add_for(name, "latency p99", costs.latency.p99(), "ms", TARGET);
    }
    Ok(())
}
