//! Lists per second with many clients, against pgbench with the same statements and as many connections.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use auditlog::grpc::pb::ListAuditLogsRequest;

use crate::data::random;
use crate::database::Database;
use crate::drive::{Run, drive};
use crate::figure::{Report, Target};
use crate::pgbench::{self, Plans};
use crate::requests::{SHAPES, largest};
use crate::service::Service;

/// The duration of a round. The service and pgbench alternate, so that other activity on the machine affects both.
const DURATION: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
const PGBENCH: [(Plans, &str); 2] = [(Plans::Kept, "plans kept"), (Plans::Anew, "plans anew")];
const CLIENTS: usize = 16;
/// Each shape with and without a time range. pgbench prepares the statements of each request again in each connection,
/// so more requests would mainly measure that.
const MIXED: usize = 20;

pub async fn run(database: &Database, service: &Service, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut random = random(3);
    let mixed = (0..MIXED).map(|place| SHAPES[place / 2].request(place % 2 == 1, &mut random));
    for (name, requests) in [("no filter, largest organization", vec![largest()]), ("mixed shapes", mixed.collect())] {
        let captured = match &database.server {
            Some(server) => pgbench::capture(database, server, &requests).await?,
            None => Vec::new(),
        };
        let (mut ours, mut theirs) = (Run::default(), [0.0; 2]);
        for _ in 0..ROUNDS {
            ours.extend(lists(service, &requests, CLIENTS, DURATION).await?);
            if let Some(server) = &database.server {
                for (rate, (plans, _)) in theirs.iter_mut().zip(PGBENCH) {
                    *rate += pgbench::run(server, &captured, plans, (CLIENTS, DURATION), scratch)? / ROUNDS as f64;
                }
            }
        }
        ours.report(report, &format!("{name}, {CLIENTS} clients"), 1, "lists/s");
        if database.server.is_some() {
            for (rate, (_, plans)) in theirs.into_iter().zip(PGBENCH) {
                report.add(&format!("{name}, pgbench, {plans}"), "", rate, "lists/s");
                let name = format!("{name}, service / pgbench, {plans}");
                report.add_for(&name, "ratio", ours.rate() / rate, "", Target::AtLeast(0.6));
            }
        }
        let more = lists(service, &requests, 64, DURATION).await?;
        more.report(report, &format!("{name}, 64 clients"), 1, "lists/s");
        if let ([_], Some(statements)) = (requests.as_slice(), captured.first()) {
            println!("\nThe statements of a list without filter:");
            statements.iter().for_each(|statement| println!("  {statement}"));
        }
    }
    let rest = rest(service).await?;
    rest.report(report, &format!("no filter, REST, {CLIENTS} clients"), 1, "lists/s");
    report.print();
    Ok(())
}

/// Measures `clients` clients that send `requests` in turn. Each client starts at a different request.
pub async fn lists(
    service: &Service,
    requests: &[ListAuditLogsRequest],
    clients: usize,
    duration: Duration,
) -> anyhow::Result<Run> {
    let caller = |(place, client): (usize, crate::service::Client)| {
        let (requests, mut turn) = (requests.to_vec(), place);
        let lister = client.lister();
        move || {
            let (mut lister, request) = (lister.clone(), requests[turn % requests.len()].clone());
            turn += 1;
            async move {
                lister.list(&request).await?;
                Ok(())
            }
        }
    };
    drive(duration, service.clients(clients).await?.into_iter().enumerate().map(caller).collect()).await
}

async fn rest(service: &Service) -> anyhow::Result<Run> {
    let client = reqwest::Client::new();
    let url = format!("http://{}/v1/{}/audit-logs", service.address, largest().organization_id);
    let caller = |_| {
        let (client, url, key) = (client.clone(), url.clone(), service.key().to_owned());
        move || {
            let request = client.get(&url).bearer_auth(&key);
            async move {
                let answer = request.send().await?;
                ensure!(answer.status() == reqwest::StatusCode::OK, "REST answered {}", answer.status());
                answer.bytes().await?;
                Ok(())
            }
        }
    };
    drive(DURATION, (0..CLIENTS).map(caller).collect()).await
}
