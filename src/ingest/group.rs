//! The writer: takes what waits, commits it as one group, and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{error, warn};

use super::lead::Lead;
use super::log::Log;
use super::{CommitLatency, Job, Written};
use crate::domain::{Clock, OrganizationId, Random};
use crate::error::{Error, Result};
use crate::metrics::Writes;
use crate::retry::Backoff;
use crate::store::{Append, CommitFailed, Store};

/// A group is closed when it has so many entries or bytes; one request may go beyond.
pub(super) const ENTRIES: usize = 500;
pub(super) const BYTES: usize = 1024 * 1024;
/// The most tries of a group while the database is away, and the pauses between them.
const MAX_TRIES: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_millis(200);

/// The one task that appends to the database.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) pace: CommitLatency,
    pub(super) lead: Lead,
    pub(super) metrics: Writes,
}

/// Why a group was not committed.
enum Failure {
    /// Nothing of it is there.
    RolledBack(Error),
    /// All of it may be there, or nothing.
    Unknown(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::RolledBack(error)
    }
}

/// The outcome for the organizations that a transaction created.
enum Made {
    /// Each has entries.
    ForUse,
    /// One has none, since all that would have been its first were refused; so the transaction is to be rolled back.
    ForNothing,
}

type Outcome = Result<Vec<Written>>;

impl Writer {
    /// Commits what comes, until the queue is closed and empty.
    pub(super) async fn run(self, mut waiting: mpsc::UnboundedReceiver<Job>) {
        let mut next = None;
        while let Some(first) = match next.take() {
            Some(job) => Some(job),
            None => waiting.recv().await,
        } {
            let (mut entries, mut bytes) = (0, 0);
            let mut group = Vec::new();
            let mut candidate = Some(first);
            while let Some(job) = candidate {
                entries += job.batch.entries.len();
                bytes += job.size;
                if !group.is_empty() && (entries > ENTRIES || bytes > BYTES) {
                    next = Some(job);
                    break;
                }
                group.push(job);
                candidate = waiting.try_recv().ok();
            }
            // Work whose caller has gone is not begun.
            group.retain(|job| !job.reply.is_closed());
            if !group.is_empty() {
                self.pace.begin();
                self.answer(group).await;
                self.pace.end();
            }
        }
    }

    /// Commits `group` and answers each of its callers.
    async fn answer(&self, group: Vec<Job>) {
        let outcomes = match self.commit_patiently(&group).await {
            Ok(outcomes) => outcomes,
            Err(Error::StorageUnavailable(cause)) => {
                error!(error = format!("{cause:#}"), requests = group.len(), "storage is unavailable; writes fail");
                group.iter().map(|_| Err(Error::StorageUnavailable(anyhow::anyhow!("{cause:#}")))).collect()
            }
            // The fault is one request's own, so that the others must not suffer from it.
            Err(error) if group.len() > 1 => {
                warn!(
                    error = error.with_causes(),
                    requests = group.len(),
                    "a group failed; each of its requests is tried alone"
                );
                let mut outcomes = Vec::new();
                for job in &group {
                    let alone = self.commit_patiently(std::slice::from_ref(job)).await;
                    outcomes.push(alone.and_then(|mut outcomes| outcomes.remove(0)));
                }
                outcomes
            }
            Err(error) => vec![Err(error)],
        };
        for (Job { reply, place, .. }, outcome) in group.into_iter().zip(outcomes) {
            // Before the answer, so that whoever writes again at once finds room.
            drop(place);
            // A caller that has gone misses its answer; with an id it can ask again.
            let _ = reply.send(outcome);
        }
    }

    /// Commits `group`, again while the database is away. A group whose outcome is unknown is safe to
    /// run again: its ids are fixed, and what is there already answers as replayed.
    async fn commit_patiently(&self, group: &[Job]) -> Result<Vec<Outcome>> {
        let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF).at_most(MAX_TRIES - 1);
        loop {
            let error = match self.commit(group).await {
                Ok(outcomes) => return Ok(outcomes),
                // An operator may cancel a statement.
                Err(Failure::RolledBack(error @ (Error::StorageUnavailable(_) | Error::Timeout))) => error,
                Err(Failure::Unknown(error)) => error,
                Err(Failure::RolledBack(error)) => return Err(error),
            };
            let Some(pause) = backoff.next() else { return Err(error) };
            warn!(error = error.with_causes(), tries = backoff.taken(), "a commit failed; trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn commit(&self, group: &[Job]) -> std::result::Result<Vec<Outcome>, Failure> {
        let begun = Instant::now();
        let committed = self.try_to_commit(group, begun).await;
        if committed.is_err() {
            self.metrics.failed(begun);
        }
        committed
    }

    async fn try_to_commit(&self, group: &[Job], begun: Instant) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut append = self.store.append().await?;
        match self.fill(&mut append, group).await {
            // A refused request leaves no organization behind.
            Ok((outcomes, Made::ForNothing)) => {
                append.roll_back().await?;
                match group.len() {
                    1 => Ok(outcomes),
                    _ => Err(Failure::RolledBack(Error::Internal(anyhow::anyhow!("a refused request made a log")))),
                }
            }
            Ok((outcomes, Made::ForUse)) => {
                #[cfg(feature = "positive-controls")]
                if std::env::var("AUDITLOG_POSITIVE_CONTROL").is_ok_and(|asked| asked == "acknowledge-before-commit") {
                    // What the torture harness must find out.
                    tokio::spawn(async move {
                        tokio::time::sleep(FIRST_BACKOFF).await;
                        append.commit().await.map_err(|CommitFailed(error)| error)
                    });
                    return Ok(outcomes);
                }
                append.commit().await.map_err(|CommitFailed(error)| Failure::Unknown(error))?;
                self.metrics.committed(group.iter().map(|job| job.batch.entries.len()).sum(), begun);
                let acknowledged = outcomes.iter().flatten().flatten();
                let replayed = acknowledged.clone().filter(|written| written.replayed).count();
                self.metrics.acknowledged(acknowledged.count() - replayed, replayed);
                Ok(outcomes)
            }
            Err(error) => {
                // Where it fails, the database has rolled back by itself, or will with the connection.
                if let Err(second) = append.roll_back().await {
                    warn!(error = second.with_causes(), "a rollback failed");
                }
                Err(Failure::RolledBack(error))
            }
        }
    }

    /// Everything of a group's transaction between its begin and its commit.
    async fn fill(&self, append: &mut Append, group: &[Job]) -> Result<(Vec<Outcome>, Made)> {
        // Sorted, as the locks must be.
        let wanted: BTreeSet<&OrganizationId> = group.iter().map(|job| &job.batch.organization).collect();
        let wanted: Vec<_> = wanted.into_iter().map(|organization| (organization, self.random.hex::<16>())).collect();
        let heads = append.lock_heads(&wanted, self.clock.now()).await?;
        let now = self.clock.now();
        self.lead.seen(heads.iter().map(|head| head.last_recorded_at), now);
        let mut logs: BTreeMap<&OrganizationId, Log> = wanted
            .iter()
            .zip(heads)
            .map(|((organization, _), head)| (*organization, Log::new(head, now, self.random.clone())))
            .collect();
        let ids = group
            .iter()
            .flat_map(|Job { batch, .. }| batch.entries.iter().map(|entry| (&batch.organization, &entry.content.id)));
        for (organization, stored) in append.find(&ids.collect::<Vec<_>>()).await? {
            let organization = OrganizationId::parse(organization).map_err(|error| Error::Internal(error.into()))?;
            if let Some(log) = logs.get_mut(&organization) {
                log.know(stored);
            }
        }
        let mut outcomes = Vec::new();
        for Job { batch, .. } in group {
            let log = logs.get_mut(&batch.organization);
            let log = log.ok_or_else(|| Error::Internal(anyhow::anyhow!("a group's organization has no head")))?;
            outcomes.push(log.admit(batch));
        }
        let is_void = |log: &Log| log.head.is_new && log.fresh.is_empty();
        if logs.values().any(is_void) {
            return Ok((outcomes, Made::ForNothing));
        }
        write(append, logs).await?;
        Ok((outcomes, Made::ForUse))
    }
}

/// Writes what was admitted to `logs`.
pub(super) async fn write(append: &mut Append, mut logs: BTreeMap<&OrganizationId, Log>) -> Result<()> {
    let (mut entries, mut completed) = (Vec::new(), Vec::new());
    for (organization, log) in &mut logs {
        completed.push((*organization, log.grow()));
        entries.extend(log.fresh.drain(..).map(|sealed| (*organization, sealed)));
    }
    append.insert(&entries).await?;
    for (organization, completed) in completed {
        append.complete(organization, &completed).await?;
    }
    let written = logs.iter().filter(|(_, log)| log.head.edge.size() > log.head.seq.unsigned_abs());
    let moved: Vec<_> = written.map(|(organization, log)| (*organization, log.recorded_at, &log.head.edge)).collect();
    if !moved.is_empty() {
        append.move_heads(&moved).await?;
    }
    Ok(())
}
