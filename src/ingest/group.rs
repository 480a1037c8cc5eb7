//! The writer: takes waiting batches, commits them as one group, and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{error, warn};

use super::lead::Lead;
use super::log::Log;
use super::{CommitLatency, QueuedWrite, Written};
use crate::domain::{Clock, OrganizationId, Random};
use crate::error::{Error, Result};
use crate::metrics::Writes;
use crate::retry::Backoff;
use crate::store::{Append, CommitFailed, Store};

/// The maximum number of entries of a group; a single larger request is allowed.
pub(super) const ENTRIES: usize = 500;
/// The maximum number of bytes of a group; a single larger request is allowed.
pub(super) const BYTES: usize = 1024 * 1024;
/// The maximum number of attempts to commit a group while the database is unavailable, and the pauses between them.
const MAX_TRIES: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_millis(200);

/// The only task that takes writes from the queue.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) latency: CommitLatency,
    pub(super) lead: Lead,
    pub(super) metrics: Writes,
}

/// Why a group was not committed.
enum GroupFailure {
    /// Nothing of it is stored.
    RolledBack(Error),
    /// All of it may be stored, or nothing.
    Unknown(Error),
}

impl From<Error> for GroupFailure {
    fn from(error: Error) -> Self {
        Self::RolledBack(error)
    }
}

/// The outcome for the organizations that a transaction created.
enum Made {
    /// Each has entries.
    ForUse,
    /// One has no entries, because all its first entries were refused. The transaction must be rolled back.
    ForNothing,
}

type WriteResult = Result<Vec<Written>>;

impl Writer {
    /// Commits waiting batches until the queue is closed and empty.
    pub(super) async fn run(self, mut waiting: mpsc::UnboundedReceiver<QueuedWrite>) {
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
            // Work whose caller is gone is not started.
            group.retain(|job| !job.reply.is_closed());
            if !group.is_empty() {
                self.latency.begin();
                self.answer(group).await;
                self.latency.end();
            }
        }
    }

    /// Commits `group` and answers each of its callers.
    async fn answer(&self, group: Vec<QueuedWrite>) {
        let outcomes = match self.commit_patiently(&group).await {
            Ok(outcomes) => outcomes,
            Err(Error::StorageUnavailable(cause)) => {
                error!(error = format!("{cause:#}"), requests = group.len(), "storage is unavailable; writes fail");
                group.iter().map(|_| Err(Error::StorageUnavailable(anyhow::anyhow!("{cause:#}")))).collect()
            }
            // The fault may be one request's own, and must not fail the others.
            Err(error) if group.len() > 1 => {
                warn!(
                    error = error.with_causes(),
                    requests = group.len(),
                    "a group of writes failed; each request is retried alone"
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
        for (QueuedWrite { reply, place, .. }, outcome) in group.into_iter().zip(outcomes) {
            // Released before the answer, so that a caller who writes again at once finds room.
            drop(place);
            // A caller that is gone misses its answer; a retry with the same ids gets it.
            let _ = reply.send(outcome);
        }
    }

    /// Commits `group`, and retries while the database is unavailable. A retry is safe even if the outcome is unknown:
    /// ids are fixed, and entries stored already are answered as replayed.
    async fn commit_patiently(&self, group: &[QueuedWrite]) -> Result<Vec<WriteResult>> {
        let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF).at_most(MAX_TRIES - 1);
        loop {
            let error = match self.commit(group).await {
                Ok(outcomes) => return Ok(outcomes),
                // `Timeout` means here that a statement was cancelled, for example by an operator.
                Err(GroupFailure::RolledBack(error @ (Error::StorageUnavailable(_) | Error::Timeout))) => error,
                Err(GroupFailure::Unknown(error)) => error,
                Err(GroupFailure::RolledBack(error)) => return Err(error),
            };
            let Some(pause) = backoff.next() else { return Err(error) };
            warn!(error = error.with_causes(), tries = backoff.taken(), "a commit failed; trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn commit(&self, group: &[QueuedWrite]) -> std::result::Result<Vec<WriteResult>, GroupFailure> {
        let begun = Instant::now();
        let committed = self.try_to_commit(group, begun).await;
        if committed.is_err() {
            self.metrics.failed(begun);
        }
        committed
    }

    async fn try_to_commit(
        &self,
        group: &[QueuedWrite],
        begun: Instant,
    ) -> std::result::Result<Vec<WriteResult>, GroupFailure> {
        let mut append = self.store.append().await?;
        match self.fill(&mut append, group).await {
            // A refused request must not leave a new organization behind.
            Ok((outcomes, Made::ForNothing)) => {
                append.roll_back().await?;
                match group.len() {
                    1 => Ok(outcomes),
                    _ => {
                        Err(GroupFailure::RolledBack(Error::Internal(anyhow::anyhow!("a refused request made a log"))))
                    }
                }
            }
            Ok((outcomes, Made::ForUse)) => {
                #[cfg(feature = "positive-controls")]
                if std::env::var("AUDITLOG_POSITIVE_CONTROL").is_ok_and(|value| value == "acknowledge-before-commit") {
                    // The torture harness must detect this.
                    tokio::spawn(async move {
                        tokio::time::sleep(FIRST_BACKOFF).await;
                        append.commit().await.map_err(|CommitFailed(error)| error)
                    });
                    return Ok(outcomes);
                }
                append.commit().await.map_err(|CommitFailed(error)| GroupFailure::Unknown(error))?;
                self.metrics.committed(group.iter().map(|job| job.batch.entries.len()).sum(), begun);
                let acknowledged = outcomes.iter().flatten().flatten();
                let replayed = acknowledged.clone().filter(|written| written.replayed).count();
                self.metrics.acknowledged(acknowledged.count() - replayed, replayed);
                Ok(outcomes)
            }
            Err(error) => {
                // If this fails, the database has rolled back by itself, or will when the connection closes.
                if let Err(second) = append.roll_back().await {
                    warn!(error = second.with_causes(), "a rollback failed");
                }
                Err(GroupFailure::RolledBack(error))
            }
        }
    }

    /// Does the work of a group's transaction, between its begin and its commit.
    async fn fill(&self, append: &mut Append, group: &[QueuedWrite]) -> Result<(Vec<WriteResult>, Made)> {
        // Sorted, because locks must be taken in this order.
        let organizations: BTreeSet<_> = group.iter().map(|job| &job.batch.organization).collect();
        let organizations: Vec<_> = organizations.into_iter().map(|one| (one, self.random.hex::<16>())).collect();
        let heads = append.lock_heads(&organizations, self.clock.now()).await?;
        let now = self.clock.now();
        self.lead.seen(heads.iter().map(|head| head.last_recorded_at), now);
        let mut logs: BTreeMap<&OrganizationId, Log> = organizations
            .iter()
            .zip(heads)
            .map(|((organization, _), head)| (*organization, Log::new(head, now, self.random.clone())))
            .collect();
        let ids = group.iter().flat_map(|QueuedWrite { batch, .. }| {
            batch.entries.iter().map(|entry| (&batch.organization, &entry.content.id))
        });
        for (organization, stored) in append.find(&ids.collect::<Vec<_>>()).await? {
            let organization = OrganizationId::parse(organization).map_err(|error| Error::Internal(error.into()))?;
            if let Some(log) = logs.get_mut(&organization) {
                log.know(stored);
            }
        }
        let mut outcomes = Vec::new();
        for QueuedWrite { batch, .. } in group {
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

/// Writes the admitted entries of `logs`.
pub(super) async fn write(append: &mut Append, mut logs: BTreeMap<&OrganizationId, Log>) -> Result<()> {
    let (mut entries, mut completed) = (Vec::new(), Vec::new());
    for (organization, log) in &mut logs {
        completed.push((*organization, log.grow()));
        entries.extend(log.fresh.drain(..).map(|hashed| (*organization, hashed)));
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
