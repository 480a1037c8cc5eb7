//! A committer: takes a group from the queue, commits it in one transaction, and answers its callers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::lead::Lead;
use super::log::{self, Log};
use super::queue::{EndedPart, Group, GroupPart, WriteQueue, WriteSize};
use super::{QueuedWrite, Written};
use crate::domain::{Clock, OrganizationId, Random};
use crate::error::{Error, Result};
use crate::metrics::Writes;
use crate::retry::Backoff;
use crate::store::{Append, CommitFailed, Head, Store};

/// The maximum number of attempts to commit a group while the database is unavailable, and the pauses between them.
const MAX_TRIES: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_millis(200);

/// Commits groups.
#[derive(Clone)]
pub(super) struct Committer {
    pub(super) queue: WriteQueue,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) lead: Arc<Lead>,
    pub(super) metrics: Arc<Writes>,
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

/// The writes of one organization in a transaction.
struct Part<'g> {
    organization: &'g OrganizationId,
    writes: &'g [QueuedWrite],
}

/// The results of a part's writes; `None` if the organization's log was locked, and nothing was written.
type PartResult = Option<Vec<WriteResult>>;

impl Committer {
    /// Commits groups until the queue is closed and empty.
    pub(super) async fn run(self) {
        while let Some(group) = self.queue.next().await {
            let results = self.results(&group).await;
            self.answer(group, results);
        }
    }

    /// Ends `group`, and answers the callers whose writes have results. The other writes go back to the queue.
    fn answer(&self, group: Group, results: Vec<Vec<WriteResult>>) {
        let (number, mut ended, mut answers) = (group.number, Vec::new(), Vec::new());
        for (GroupPart { organization, writes }, results) in group.parts.into_iter().zip(results) {
            let mut writes = writes.into_iter();
            let mut answered = WriteSize::default();
            for (result, QueuedWrite { reply, size, .. }) in results.into_iter().zip(writes.by_ref()) {
                answered += size;
                answers.push((reply, result));
            }
            ended.push(EndedPart { organization, answered, rest: writes.collect() });
        }
        // Ended before the answers, so that a caller who writes again at once finds room.
        self.queue.end(number, ended);
        for (reply, result) in answers {
            // A caller that is gone misses its answer; a retry with the same ids gets it.
            let _ = reply.send(result);
        }
    }

    /// For each part of `group`, the results of its first writes. Writes without a result were locked out.
    async fn results(&self, group: &Group) -> Vec<Vec<WriteResult>> {
        let parts = group.parts.iter().map(|GroupPart { organization, writes }| {
            // One control has two queues for an organization, with different keys.
            #[cfg(feature = "positive-controls")]
            let organization = writes.first().map_or(organization, |write| &write.batch.organization);
            Part { organization, writes: &writes[..] }
        });
        let parts: Vec<_> = parts.collect();
        let writes: usize = parts.iter().map(|part| part.writes.len()).sum();
        match self.commit_patiently(&parts, group.lock_timeout).await {
            Ok(results) => results.into_iter().map(Option::unwrap_or_default).collect(),
            Err(Error::StorageUnavailable(cause)) => {
                error!(error = format!("{cause:#}"), requests = writes, "storage is unavailable; writes fail");
                let failed = |_| Err(Error::StorageUnavailable(anyhow::anyhow!("{cause:#}")));
                parts.iter().map(|part| part.writes.iter().map(failed).collect()).collect()
            }
            // The fault may be one request's own, and must not fail the others.
            Err(error) if writes > 1 => {
                warn!(
                    error = error.with_causes(),
                    requests = writes,
                    "a group of writes failed; each request is retried alone"
                );
                let mut results = Vec::with_capacity(parts.len());
                for part in &parts {
                    results.push(self.one_by_one(part, group.lock_timeout).await);
                }
                results
            }
            Err(error) => vec![vec![Err(error)]],
        }
    }

    /// Commits the writes of `part` one by one, until one is locked out.
    async fn one_by_one(&self, part: &Part<'_>, lock_timeout: Option<Duration>) -> Vec<WriteResult> {
        let mut results = Vec::with_capacity(part.writes.len());
        for write in part.writes {
            let one = Part { organization: part.organization, writes: std::slice::from_ref(write) };
            match self.commit_patiently(&[one], lock_timeout).await.map(|mut results| results.pop().flatten()) {
                Ok(Some(result)) => results.extend(result),
                Ok(None) => break,
                Err(error) => results.push(Err(error)),
            }
        }
        results
    }

    /// Commits `group`, and retries while the database is unavailable. A retry is safe even if the outcome is unknown:
    /// ids are fixed, and entries stored already are answered as replayed.
    async fn commit_patiently(&self, group: &[Part<'_>], lock_timeout: Option<Duration>) -> Result<Vec<PartResult>> {
        let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF).at_most(MAX_TRIES - 1);
        loop {
            let error = match self.commit(group, lock_timeout).await {
                Ok(results) => return Ok(results),
                Err(GroupFailure::RolledBack(error @ Error::StorageUnavailable(_))) => error,
                // A statement was cancelled, for example by an operator. An earlier try may have committed.
                Err(GroupFailure::RolledBack(Error::Timeout)) => Error::WriteTimeout,
                Err(GroupFailure::Unknown(error)) => error,
                Err(GroupFailure::RolledBack(error)) => return Err(error),
            };
            let Some(pause) = backoff.next() else { return Err(error) };
            warn!(error = error.with_causes(), tries = backoff.taken(), "a commit failed; trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn commit(
        &self,
        group: &[Part<'_>],
        lock_timeout: Option<Duration>,
    ) -> std::result::Result<Vec<PartResult>, GroupFailure> {
        let begun = Instant::now();
        let committed = self.try_to_commit(group, lock_timeout, begun).await;
        if committed.is_err() {
            self.metrics.failed(begun);
        }
        committed
    }

    async fn try_to_commit(
        &self,
        group: &[Part<'_>],
        lock_timeout: Option<Duration>,
        begun: Instant,
    ) -> std::result::Result<Vec<PartResult>, GroupFailure> {
        let mut append = self.store.append().await?;
        let (results, made) = match self.fill(&mut append, group, lock_timeout).await {
            Ok(filled) => filled,
            Err(error) => {
                // If this fails, the database has rolled back by itself, or will when the connection closes.
                if let Err(second) = append.roll_back().await {
                    warn!(error = second.with_causes(), "a rollback failed");
                }
                return Err(GroupFailure::RolledBack(error));
            }
        };
        if results.iter().all(Option::is_none) {
            append.roll_back().await?;
            return Ok(results);
        }
        // A refused request must not leave a new organization behind.
        if matches!(made, Made::ForNothing) {
            append.roll_back().await?;
            return match group {
                [part] if part.writes.len() == 1 => Ok(results),
                _ => Err(GroupFailure::RolledBack(Error::Internal(anyhow::anyhow!("a refused request made a log")))),
            };
        }
        #[cfg(feature = "positive-controls")]
        if crate::positive_control::is("acknowledge-before-commit") {
            // The torture harness must detect this.
            tokio::spawn(async move {
                tokio::time::sleep(FIRST_BACKOFF).await;
                append.commit().await.map_err(|CommitFailed(error)| error)
            });
            return Ok(results);
        }
        append.commit().await.map_err(|CommitFailed(error)| GroupFailure::Unknown(error))?;
        let written = group.iter().zip(&results).filter(|(_, result)| result.is_some());
        let entries = written.flat_map(|(part, _)| part.writes).map(|write| write.batch.entries.len());
        self.metrics.committed(entries.sum(), begun);
        let acknowledged = results.iter().flatten().flatten().flatten().flatten();
        let replayed = acknowledged.clone().filter(|written| written.replayed).count();
        self.metrics.acknowledged(acknowledged.count() - replayed, replayed);
        Ok(results)
    }

    /// Locks the heads of `group`. `None` for those that others have locked, and for missing ones unless there is a
    /// timeout.
    async fn heads(
        &self,
        append: &Append,
        group: &[Part<'_>],
        lock_timeout: Option<Duration>,
    ) -> Result<Vec<Option<Head>>> {
        match (group, lock_timeout) {
            ([part], Some(timeout)) => {
                let log_id = self.random.hex::<16>();
                Ok(vec![append.lock_head(part.organization, &log_id, self.clock.now(), timeout).await?])
            }
            _ => append.lock_free_heads(&group.iter().map(|part| part.organization).collect::<Vec<_>>()).await,
        }
    }

    /// Does the work of a group's transaction, between its begin and its commit.
    async fn fill(
        &self,
        append: &mut Append,
        group: &[Part<'_>],
        lock_timeout: Option<Duration>,
    ) -> Result<(Vec<PartResult>, Made)> {
        let heads = self.heads(append, group, lock_timeout).await?;
        let now = self.clock.now();
        self.lead.seen(heads.iter().flatten().map(|head| head.last_recorded_at), now);
        let mut logs: BTreeMap<&OrganizationId, Log> = BTreeMap::new();
        for (part, head) in group.iter().zip(heads) {
            if let Some(head) = head {
                logs.insert(part.organization, Log::new(head, now));
            }
        }
        let open = group.iter().filter(|part| logs.contains_key(part.organization));
        let ids = open.flat_map(|part| {
            let entries = part.writes.iter().flat_map(|write| &write.batch.entries);
            entries.map(|entry| (part.organization, &entry.content.id))
        });
        let ids: Vec<_> = ids.collect();
        if ids.is_empty() {
            return Ok((group.iter().map(|_| None).collect(), Made::ForUse));
        }
        for (organization, stored) in append.find(&ids).await? {
            let organization = OrganizationId::parse(organization).map_err(|error| Error::Internal(error.into()))?;
            if let Some(log) = logs.get_mut(&organization) {
                log.know(stored);
            }
        }
        let admit = |part: &Part<'_>| {
            let log = logs.get_mut(part.organization)?;
            let admit = |write: &QueuedWrite| match write.reply.is_closed() {
                // Its caller went while the group waited for the lock. Nobody hears this.
                true => Err(Error::WriteTimeout),
                false => log.admit(&write.batch, &write.prepared),
            };
            Some(part.writes.iter().map(admit).collect())
        };
        let results = group.iter().map(admit).collect();
        let is_void = |log: &Log| log.head.is_new && log.fresh.is_empty();
        if logs.values().any(is_void) {
            return Ok((results, Made::ForNothing));
        }
        log::write(append, logs).await?;
        Ok((results, Made::ForUse))
    }
}
