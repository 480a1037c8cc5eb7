//! Writes queue up behind a lock of another session while the load pauses. The writes of each organization must keep
//! their order, and organizations must take turns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::{ConnectionTrait, DbBackend};
use tokio::task::JoinHandle;

use super::Fault;
use crate::client::{Client, Protocol};
use crate::entry::Entry;
use crate::gauges;
use crate::journal::{Record, Written};
use crate::load::{ORGANIZATIONS, Shared};
use crate::scene::Scene;

/// An organization that the load does not write to.
const QUIET: &str = "org_quiet";
const ROUNDS: u32 = 2;
/// The maximum number of entries in a group.
const GROUP: usize = 500;
/// The number of single entries that each busy organization writes in a round.
const SINGLE: usize = 5;
/// The time limit for a write to arrive in the queue.
const ARRIVES: Duration = Duration::from_secs(10);
/// The time in which committers take the writes that arrived first.
const TAKES: Duration = Duration::from_millis(200);

/// A write that has no answer yet.
pub type PendingWrite = JoinHandle<anyhow::Result<Vec<Written>>>;

/// Sends writes in a known order, and keeps them in the journal. The load must pause meanwhile.
pub struct Backlog {
    shared: Arc<Shared>,
    client: Client,
    /// The address of the metrics of the service.
    metrics: String,
    random: StdRng,
    /// The number of writes so far.
    sent: usize,
    /// The number of entries without an answer.
    pending: usize,
}

impl Backlog {
    pub fn new(scene: &mut Scene) -> Self {
        let random = StdRng::seed_from_u64(scene.seed());
        let (shared, service) = (Arc::clone(&scene.load.shared), &scene.services[0]);
        let (client, metrics) = (service.client(), service.metrics.clone());
        Self { shared, client, metrics, random, sent: 0, pending: 0 }
    }

    /// Creates `organization` by its first entry: a new organization takes another way through the queue.
    pub async fn create(&mut self, organization: &'static str) -> anyhow::Result<()> {
        self.spawn(organization, 1).await.context("a write panicked")??;
        Ok(())
    }

    /// Sends a write of `count` entries and waits until it is in the queue. Errors: it is answered.
    pub async fn send(&mut self, organization: &'static str, count: usize) -> anyhow::Result<PendingWrite> {
        let write = self.spawn(organization, count);
        self.pending += count;
        let begun = Instant::now();
        while self.queued() != Some(self.pending) {
            if write.is_finished() {
                let answer = write.await;
                bail!("a write to {organization} was answered behind a lock: {answer:?}");
            }
            ensure!(begun.elapsed() < ARRIVES, "a write to {organization} does not arrive");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(write)
    }

    /// Waits for the answer of `write`.
    pub async fn answer(&mut self, write: PendingWrite) -> anyhow::Result<Vec<Written>> {
        let written = write.await.context("a write panicked")??;
        self.pending -= written.len();
        Ok(written)
    }

    fn spawn(&mut self, organization: &'static str, count: usize) -> PendingWrite {
        self.sent += 1;
        let ids = (0..count).map(|place| format!("q{}:{place}", self.sent));
        let entries = ids.map(|id| Entry::random(id, &mut self.random)).collect();
        tokio::spawn(write(Arc::clone(&self.shared), self.client.clone(), organization, entries))
    }

    /// The number of entries in the queue of the service.
    fn queued(&self) -> Option<usize> {
        gauges::now(&self.metrics)?.get("auditlog_queue_entries").map(|entries| *entries as usize)
    }
}

async fn write(
    shared: Arc<Shared>,
    client: Client,
    organization: &'static str,
    entries: Vec<Entry>,
) -> anyhow::Result<Vec<Written>> {
    shared.journal.write(&Record::Intent { organization: organization.to_owned(), entries: entries.clone() }).await?;
    let answer = client.write(Protocol::Grpc, organization, &entries).await;
    let written = answer.map_err(|trouble| anyhow!("a write to {organization} failed: {trouble}"))?;
    let acknowledged = Record::Acknowledged { organization: organization.to_owned(), written: written.clone() };
    shared.journal.write(&acknowledged).await?;
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.acknowledged.fetch_add(written.len() as u64, Ordering::Relaxed);
    Ok(written)
}

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    let mut backlog = Backlog::new(scene);
    backlog.create(QUIET).await?;
    for _ in 0..ROUNDS {
        scene.load_runs().await?;
        let paused = scene.load.shared.paused().await;
        queue_up(scene, &mut backlog).await?;
        drop(paused);
        scene.happened();
        scene.check(Fault::Queue.excuses()).await?;
    }
    Ok(())
}

/// Fills a group of each busy organization, and more. Another organization writes one entry, which must not wait for
/// all of them.
async fn queue_up(scene: &Scene, backlog: &mut Backlog) -> anyhow::Result<()> {
    let session = scene.database.connect().await?;
    // As many organizations as committers, so that every committer has a group that waits for the lock.
    let (lock, busy) = match session.get_database_backend() {
        DbBackend::Postgres => ("BEGIN; LOCK TABLE audit_logs IN SHARE MODE", ORGANIZATIONS.len()),
        _ => ("BEGIN IMMEDIATE", 1),
    };
    session.execute_unprepared(lock).await?;
    let mut sent = Vec::new();
    for organization in ORGANIZATIONS.into_iter().take(busy) {
        sent.push((organization, vec![backlog.send(organization, 1).await?]));
    }
    tokio::time::sleep(TAKES).await;
    for (organization, writes) in &mut sent {
        writes.push(backlog.send(organization, GROUP).await?);
    }
    let quiet = backlog.send(QUIET, 1).await?;
    for (organization, writes) in &mut sent {
        for _ in 0..SINGLE {
            writes.push(backlog.send(organization, 1).await?);
        }
    }
    session.execute_unprepared("ROLLBACK").await?;
    session.close().await?;
    let quiet = backlog.answer(quiet).await?[0].recorded_at;
    for (organization, writes) in sent {
        let mut answers = Vec::new();
        for write in writes {
            answers.push(backlog.answer(write).await?.swap_remove(0));
        }
        compare(organization, &answers, quiet, &scene.load.shared);
    }
    Ok(())
}

/// Compares the numbers of the writes of a busy organization with their order, and the time of its last write with that
/// of the quiet organization's.
fn compare(organization: &str, answers: &[Written], quiet: i64, shared: &Shared) {
    let seqs: Vec<_> = answers.iter().map(|written| written.seq).collect();
    if !seqs.is_sorted() {
        shared.strange(format!("{organization}: in the order of their arrival, the writes have the numbers {seqs:?}"));
    }
    // The last write comes after a full group, which comes after the turn of the quiet organization.
    if answers.last().is_some_and(|last| last.recorded_at <= quiet) {
        shared.strange(format!("{QUIET} had no turn until all writes of {organization} were recorded"));
    }
}
