//! The latency of others while one organization is locked, and while one API key takes all it can get.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use auditlog::grpc::pb::{ListAuditLogsRequest, WriteAuditLogsRequest};
use prost::Message;
use rand::RngExt;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tonic::Status;

use crate::data::{Delays, ORGANIZATIONS, organization_id};
use crate::database::{Database, connect};
use crate::drive::{Run, drive};
use crate::figure::{Report, Target};
use crate::generator::{Generator, Tally};
use crate::requests::{hottest_pair, list};
use crate::say;
use crate::service::{Client, Counting, Service};
use crate::writer::Fresh;

/// How long others are measured alone, and beside a greedy key.
const ALONE: Duration = Duration::from_secs(4);
const BESIDE: Duration = Duration::from_secs(6);
/// How long one organization is locked.
const LOCKED: Duration = Duration::from_secs(20);
const WARM_UP: Duration = Duration::from_secs(1);
/// The time from the start of the greedy key's clients to the measurement.
const HEAD_START: Duration = Duration::from_millis(500);
/// The pause of a client after an error.
const PAUSE: Duration = Duration::from_millis(10);

/// The clients that write to the locked organization, and those of the greedy key that list and write.
const LOCKED_OUT: usize = 8;
const LISTING: usize = 40;
const WRITING: usize = 24;
/// The entries of a greedy write, the most that a request may have.
const BATCH: usize = 1_000;

/// The latency in milliseconds that is good enough, however fast others are alone.
const ENOUGH: f64 = 30.0;
/// The organization that is locked, and that greedy keys read and write.
const GREEDY: u32 = 0;

/// The work of others, in other organizations, with the number of clients.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Writes(usize),
    Lists(usize),
}

/// The calls of others, and their errors.
pub(super) struct Outcome {
    run: Run,
    errors: usize,
}

/// A service and the two API keys that use it.
pub(super) struct Scene<'a> {
    pub(super) database: &'a Database,
    pub(super) service: Service,
    greedy: String,
    other: String,
}

pub async fn run(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let scene = Scene::start(database)?;
    if database.server.is_some() {
        scene.lock(report).await?;
    }
    let [writes, lists] = [Work::Writes(4), Work::Lists(4)];
    let writes = (writes, scene.alone(writes, report).await?);
    let lists = (lists, scene.alone(lists, report).await?);
    let name = format!("{LISTING} clients of one key with expensive lists");
    let greedy = scene.greedy("ListAuditLogs", &list(hottest_pair()))?;
    scene.crowd(&name, (&greedy, LISTING), &[lists], report).await?;
    let name = format!("{WRITING} clients of one key with batches of {BATCH}");
    let greedy = scene.greedy("WriteAuditLogs", &write_of(BATCH))?;
    scene.crowd(&name, (&greedy, WRITING), &[writes, lists], report).await?;
    report.print();
    Ok(())
}

/// A write of the greedy key, which can be sent many times: the service generates an id for each entry without one.
fn write_of(entries: usize) -> WriteAuditLogsRequest {
    let mut audit_logs = Fresh::new(Delays::JITTER).inputs(entries);
    audit_logs.iter_mut().for_each(|entry| entry.id = String::new());
    WriteAuditLogsRequest { organization_id: organization_id(GREEDY), audit_logs }
}

impl<'a> Scene<'a> {
    pub(super) fn start(database: &'a Database) -> anyhow::Result<Self> {
        let service = Service::start(database, Counting::On)?;
        Ok(Self { database, service, greedy: database.create_key()?, other: database.create_key()? })
    }

    /// Clients of the greedy key that send one message over and over.
    fn greedy(&self, method: &str, message: &impl Message) -> anyhow::Result<Generator> {
        Generator::new(&self.service, &self.greedy, method, message)
    }

    /// Measures single writes to other organizations while another session of the database locks one organization, and
    /// clients go on writing to it.
    async fn lock(&self, report: &mut Report) -> anyhow::Result<()> {
        let work = Work::Writes(16);
        let alone = self.alone(work, report).await?;
        let greedy = self.greedy("WriteAuditLogs", &write_of(1))?;
        let session = connect(&self.database.url).await?;
        let lock = session.begin().await?;
        let row = format!("SELECT id FROM organizations WHERE id = '{}' FOR UPDATE", organization_id(GREEDY));
        lock.execute_unprepared(&row).await?;
        let unlock = async {
            tokio::time::sleep(LOCKED).await;
            lock.rollback().await
        };
        let writes = greedy.closed(LOCKED_OUT, LOCKED, PAUSE);
        let (tally, others, unlocked) = tokio::join!(writes, self.measure(work, LOCKED), unlock);
        unlocked?;
        report_greedy(report, &format!("{LOCKED_OUT} clients that write to a locked organization"), &tally);
        work.report(report, "while one organization is locked", &others?, Some(limit(2.0, alone)));
        Ok(())
    }

    /// Measures each work beside `clients` clients of the greedy key. Each work comes with its p99 alone.
    async fn crowd(
        &self,
        name: &str,
        (greedy, clients): (&Generator, usize),
        works: &[(Work, f64)],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for (work, alone) in works {
            let others = async {
                tokio::time::sleep(HEAD_START).await;
                self.measure(*work, BESIDE).await
            };
            let (tally, others) = tokio::join!(greedy.closed(clients, HEAD_START + BESIDE, PAUSE), others);
            report_greedy(report, &format!("{name}, beside {}", work.name()), &tally);
            work.report(report, &format!("beside {name}"), &others?, Some(limit(3.0, *alone)));
        }
        Ok(())
    }

    /// Measures others alone, after a warm-up, and returns their p99.
    pub(super) async fn alone(&self, work: Work, report: &mut Report) -> anyhow::Result<f64> {
        self.measure(work, WARM_UP).await?;
        let others = self.measure(work, ALONE).await?;
        work.report(report, "alone", &others, None);
        Ok(others.run.times.p99())
    }

    /// Lets the other key work for `duration`.
    pub(super) async fn measure(&self, work: Work, duration: Duration) -> anyhow::Result<Outcome> {
        let errors = Errors::default();
        let (Work::Writes(clients) | Work::Lists(clients)) = work;
        let clients = self.service.clients(clients).await?.into_iter().map(|client| client.authorized(&self.other));
        let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
        let run = match work {
            Work::Writes(_) => {
                let caller = |client| writes(client, errors.clone());
                drive(duration, clients.into_iter().map(caller).collect()).await?
            }
            Work::Lists(_) => {
                let caller = |(place, client): (usize, Client)| lists(client, place as u32, errors.clone());
                drive(duration, clients.into_iter().enumerate().map(caller).collect()).await?
            }
        };
        Ok(Outcome { run, errors: errors.tell() })
    }
}

/// Single writes, each to any of the other organizations.
fn writes(client: Client, errors: Errors) -> impl FnMut() -> Call + Send + 'static {
    let mut fresh = Fresh::new(Delays::JITTER);
    move || -> Call {
        let (mut client, errors) = (client.clone(), errors.clone());
        let organization = organization_id(fresh.random.random_range(GREEDY + 1..ORGANIZATIONS.ranks));
        let entries = fresh.inputs(1);
        Box::pin(async move {
            let answer = client.write(organization, entries).await;
            errors.forgive(answer.map(drop)).await
        })
    }
}

/// Lists of one other organization after the other.
fn lists(client: Client, place: u32, errors: Errors) -> impl FnMut() -> Call + Send + 'static {
    /// The number of organizations to list: the largest of the others.
    const OTHERS: u32 = 20;
    let (lister, mut turn) = (client.lister(), place);
    move || -> Call {
        let (mut lister, errors) = (lister.clone(), errors.clone());
        let organization_id = organization_id(GREEDY + 1 + turn % OTHERS);
        turn += 1;
        Box::pin(async move {
            let request = ListAuditLogsRequest { organization_id, ..ListAuditLogsRequest::default() };
            let answer = lister.list(&request).await;
            errors.forgive(answer.map(drop)).await
        })
    }
}

/// A call of one of the others.
type Call = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// The errors of calls, by their text.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<BTreeMap<String, usize>>>);

impl Errors {
    /// Counts an error instead of returning it. The client then goes on after a pause, which counts as latency.
    async fn forgive(&self, answer: anyhow::Result<()>) -> anyhow::Result<()> {
        if let Err(error) = answer {
            let text = match error.downcast_ref::<Status>() {
                Some(status) => format!("{:?}: {}", status.code(), status.message()),
                None => format!("{error:#}"),
            };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(text).or_default() += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Prints the errors for the user, and returns their number.
    fn tell(&self) -> usize {
        let errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (text, count) in errors.iter() {
            say(&format!("{count} calls of others failed: {text}"));
        }
        errors.values().sum()
    }
}

impl Work {
    pub(super) fn name(self) -> String {
        match self {
            Self::Writes(clients) => format!("single writes of others, {clients} clients"),
            Self::Lists(clients) => format!("lists of others, {clients} clients"),
        }
    }

    /// Reports what others noticed: their latency, and their errors.
    pub(super) fn report(self, report: &mut Report, when: &str, outcome: &Outcome, target: Option<Target>) {
        let Outcome { run, errors } = outcome;
        let name = format!("{}, {when}", self.name());
        report.add(&name, "", run.rate(), "/s");
        report.add(&name, "latency p50", run.times.p50(), "ms");
        match target {
            Some(target) => report.add_for(&name, "latency p99", run.times.p99(), "ms", target),
            None => report.add(&name, "latency p99", run.times.p99(), "ms"),
        }
        report.add_for(&name, "errors", *errors as f64, "", Target::AtMost(0.0));
    }
}

/// The target for a p99 that is `alone` without disturbance, in milliseconds: `times` as long, or good enough.
pub(super) fn limit(times: f64, alone: f64) -> Target {
    Target::AtMost((10.0 * (times * alone).max(ENOUGH)).round() / 10.0)
}

/// Reports the outcome of calls that nobody promises to serve.
fn report_greedy(report: &mut Report, name: &str, tally: &Tally) {
    tally.tell(name);
    report.add(name, "", tally.goodput(), "/s");
    report.add(name, "refused", tally.refused.0.len() as f64, "");
    report.add(name, "failed", tally.failures() as f64, "");
}
