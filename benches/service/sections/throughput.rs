//! Lists per second with many clients, against a bare handler that runs the same statements.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use auditlog::grpc::pb::{AuditLogFilter, ListAuditLogsRequest};

use crate::data::{random, user_id};
use crate::database::Database;
use crate::drive::{Run, drive};
use crate::figure::{Report, Target};
use crate::postgres::Server;
use crate::proc;
use crate::requests::{SHAPES, largest, list};
use crate::service::Service;
use crate::statements::capture;

/// The duration of a round. What is compared alternates, so that other activity on the machine affects both.
const DURATION: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
const CLIENTS: usize = 16;
/// Each shape with and without a time range.
const MIXED: usize = 20;
/// The share of the ceiling that the service should reach.
const SHARE: Target = Target::AtLeast(0.7);

pub async fn run(database: &Database, service: &Service, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut random = random(3);
    let mixed: Vec<_> = (0..MIXED).map(|place| SHAPES[place / 2].request(place % 2 == 1, &mut random)).collect();
    let sets = [("no filter, largest organization", vec![largest()]), ("mixed shapes", mixed)];
    let ceiling = match &database.server {
        Some(server) => {
            let requests: Vec<_> = sets.iter().flat_map(|(_, requests)| requests.clone()).collect();
            Some(start_ceiling(database, server, service, &requests, scratch).await?)
        }
        None => None,
    };
    for (name, requests) in &sets {
        let (mut ours, mut theirs) = (Load::default(), Load::default());
        for _ in 0..ROUNDS {
            ours.add(service, requests).await?;
            if let Some(ceiling) = &ceiling {
                theirs.add(ceiling, requests).await?;
            }
        }
        ours.report(report, &format!("{name}, {CLIENTS} clients"));
        if ceiling.is_some() {
            theirs.report(report, &format!("{name}, ceiling"));
            let share = ours.run.rate() / theirs.run.rate();
            report.add_for(&format!("{name}, service / ceiling"), "ratio", share, "", SHARE);
        }
        let more = lists(service, requests, 64, DURATION).await?;
        more.report(report, &format!("{name}, 64 clients"), 1, "lists/s");
    }
    drop(ceiling);
    one_user(service, report).await?;
    let rest = rest(service).await?;
    rest.report(report, &format!("no filter, REST, {CLIENTS} clients"), 1, "lists/s");
    report.print();
    Ok(())
}

/// Starts the ceiling for `requests`, whose first is printed with its statements. Errors: an answer of the ceiling is
/// not that of the service.
async fn start_ceiling(
    database: &Database,
    server: &Server,
    service: &Service,
    requests: &[ListAuditLogsRequest],
    scratch: &Path,
) -> anyhow::Result<Service> {
    let captured = capture(database, server, requests).await?;
    if let Some(first) = captured.first() {
        println!("\nThe statements of a list without filter:");
        first.statements.iter().for_each(|statement| println!("  {statement}"));
    }
    let file = scratch.join("ceiling.json");
    fs::write(&file, serde_json::to_vec(&captured)?)?;
    let ceiling = Service::start_ceiling(database, &file)?;
    let (mut ours, mut theirs) = (service.client().await?, ceiling.client().await?);
    for request in requests {
        let (ours, theirs) = (ours.list(request.clone()).await?, theirs.list(request.clone()).await?);
        let first = ours.audit_logs.iter().zip(&theirs.audit_logs).find(|(ours, theirs)| ours != theirs);
        let [of_ours, of_theirs] = [&ours, &theirs].map(|answer| (answer.audit_logs.len(), &answer.pagination));
        ensure!(
            ours == theirs,
            "service and ceiling differ in {request:?}: {of_ours:?} and {of_theirs:?}, the first entry: {first:?}"
        );
    }
    Ok(ceiling)
}

/// The lists of many clients, and the CPU of the process that served them.
#[derive(Default)]
struct Load {
    run: Run,
    cpu: Duration,
}

impl Load {
    /// Adds a round.
    async fn add(&mut self, service: &Service, requests: &[ListAuditLogsRequest]) -> anyhow::Result<()> {
        let before = proc::process(service.id())?;
        self.run.extend(lists(service, requests, CLIENTS, DURATION).await?);
        self.cpu += proc::process(service.id())?.saturating_sub(before);
        Ok(())
    }

    fn report(&self, report: &mut Report, name: &str) {
        self.run.report(report, name, 1, "lists/s");
        let lists = self.run.times.0.len() as f64;
        report.add(name, "CPU per list", self.cpu.as_secs_f64() * 1e3 / lists, "ms");
    }
}

/// Compares pages of 100 entries without a filter with those of one user, whose entries lie far apart in the table.
async fn one_user(service: &Service, report: &mut Report) -> anyhow::Result<()> {
    let user = AuditLogFilter { user_ids: vec![user_id(0)], ..AuditLogFilter::default() };
    let [all, user] = [largest(), list(user)].map(|request| ListAuditLogsRequest { limit: Some(100), ..request });
    let mut loads = [("without filter", all), ("of the hottest user", user)]
        .map(|(name, request)| (name, vec![request], Load::default()));
    for _ in 0..ROUNDS {
        for (_, requests, load) in &mut loads {
            load.add(service, requests).await?;
        }
    }
    for (name, _, load) in &loads {
        load.report(report, &format!("lists of 100 {name}, {CLIENTS} clients"));
    }
    let [(.., all), (.., user)] = &loads;
    let ratio = all.run.rate() / user.run.rate();
    report.add("lists of 100, without filter / of the hottest user", "ratio", ratio, "");
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
