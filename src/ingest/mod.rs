//! Writes: a bounded queue, and committers, each of which commits many requests in one transaction. A request is
//! acknowledged after its commit, never before. Erasures are writes too, but do not use the queue.

mod committer;
mod erase;
mod lead;
mod log;
mod queue;
mod waiting;

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::deadline::Deadline;
use crate::domain::{Catalogue, Clock, EntryId, NewEntry, OrganizationId, Random, Seq, Timestamp};
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Refusal};
use crate::store::Store;
use auditlog_verify::merkle::Hash;
use committer::Committer;
use lead::Lead;
use log::Prepared;
use queue::{QueueFull, WriteQueue, WriteSize};
use waiting::{Waiter, Waiting};

pub use erase::{Eraser, Erasure, ErasureReport, LoadRecordKeys, RecordKeys, Target};

/// The number of bytes that an entry takes in memory beside its content.
const ENTRY_OVERHEAD: usize = 512;
/// The number of bytes that a change takes in memory beside its content.
const CHANGE_OVERHEAD: usize = 80;

/// The limits of the write queue. One organization may fill half of it.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// The maximum number of waiting entries. A larger request is allowed if it is alone.
    pub entries: usize,
    /// The maximum number of bytes of waiting entries. A larger request is allowed if it is alone.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { entries: 20_000, bytes: 64 * 1024 * 1024 }
    }
}

/// An entry that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The id of the entry.
    pub id: EntryId,
    /// The number of the entry.
    pub seq: Seq,
    /// When the service accepted the entry.
    pub recorded_at: Timestamp,
    /// The leaf hash of the entry in the log's tree.
    pub leaf: Hash,
    /// Whether an earlier request had stored it.
    pub replayed: bool,
}

/// The entries of one request: all are written, or none.
#[derive(Debug)]
pub struct Batch {
    /// The organization to write to.
    pub organization: OrganizationId,
    /// The API key that writes.
    pub key_id: String,
    /// Names the types and actions of the entries.
    pub catalogue: Arc<Catalogue>,
    /// In order of their numbers.
    pub entries: Vec<NewEntry>,
}

/// A batch that waits for its commit.
struct QueuedWrite {
    batch: Batch,
    /// Beside each entry of the batch.
    prepared: Vec<Prepared>,
    /// Closed if the caller is gone.
    reply: oneshot::Sender<Result<Vec<Written>>>,
    size: WriteSize,
    /// Ends with the write.
    _waiter: Waiter,
}

/// The sending side of the write queue.
#[derive(Clone)]
pub struct Ingest {
    queue: Arc<OpenQueue>,
    random: Random,
    waiting: Waiting,
    metrics: Metrics,
}

/// The queue while it takes writes. Closed on drop.
struct OpenQueue(WriteQueue);

impl Drop for OpenQueue {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Ingest {
    /// Starts the committers. The returned task ends once all clones of the `Ingest` are dropped and the queue is empty,
    /// or panics when a committer does.
    pub fn start(
        store: Store,
        clock: Clock,
        random: Random,
        limits: QueueLimits,
        metrics: &Metrics,
    ) -> (Self, JoinHandle<()>) {
        let count = store.committer_count();
        let (store, queue) = (store.for_committers(), WriteQueue::new(limits, count));
        let (lead, writes) = (Arc::new(Lead::register(clock.clone(), metrics)), Arc::new(metrics.writes()));
        let committer = Committer { queue: queue.clone(), store, clock, random: random.clone(), lead, metrics: writes };
        let committers = tokio::spawn(run(vec![committer; count]));
        let size = |read: fn(WriteSize) -> usize| {
            let queue = queue.clone();
            move || Some(read(queue.size()) as f64)
        };
        metrics.reading("auditlog_queue_entries", "Entries that wait for their commit.", size(|size| size.entries));
        let help = "Bytes of the entries that wait for their commit.";
        metrics.reading("auditlog_queue_bytes", help, size(|size| size.bytes));
        let waiting = Waiting::default();
        let oldest = waiting.clone();
        let help = "How long the oldest write has waited for its commit; 0 if no write waits.";
        metrics.reading("auditlog_oldest_write_seconds", help, move || Some(oldest.oldest().as_secs_f64()));
        (Self { queue: Arc::new(OpenQueue(queue)), random, waiting, metrics: metrics.clone() }, committers)
    }

    /// Checks that the queue has room for a write, and that this is likely to be durable by `deadline`, so that no work
    /// is done for a caller who will be refused or gone. Half of the time is reserved for the unforeseen.
    /// `organization` is `None` as long as it is not known. Errors: `Overloaded`.
    pub fn in_time(&self, deadline: Deadline, organization: Option<&OrganizationId>) -> Result<()> {
        self.check_room(organization, WriteSize { entries: 1, bytes: 1 })?;
        match 2 * self.queue.0.expected_wait(organization) > deadline.remaining() {
            true => Err(self.refuse(Refusal::late, "The writes that wait leave no time for this one")),
            false => Ok(()),
        }
    }

    /// Writes `batch` and returns once it is durable, with one result per entry. Errors: `Overloaded` at once if the
    /// queue, or the organization's part of it, is full; `IdConflict`, `TimestampAhead`, `StorageUnavailable`.
    pub async fn write(&self, batch: Batch) -> Result<Vec<Written>> {
        let bytes = batch.entries.iter().map(size).sum();
        let size = WriteSize { entries: batch.entries.len(), bytes };
        self.check_room(Some(&batch.organization), size)?;
        let prepared = log::prepare(&batch, &self.random)?;
        let (reply, answer) = oneshot::channel();
        let write = QueuedWrite { batch, prepared, reply, size, _waiter: self.waiting.begin() };
        self.queue.0.push(write).map_err(|full| self.refuse_full(full))?;
        let outcome = answer.await.map_err(|_| Error::Internal(anyhow::anyhow!("the committers have ended")))?;
        if matches!(outcome, Err(Error::TimestampAhead { .. })) {
            self.metrics.refused(Refusal::ahead);
        }
        outcome
    }

    fn check_room(&self, organization: Option<&OrganizationId>, size: WriteSize) -> Result<()> {
        self.queue.0.room_for(organization, size).map_err(|full| self.refuse_full(full))
    }

    fn refuse_full(&self, full: QueueFull) -> Error {
        let message = match full {
            QueueFull::Whole => "Too many writes are waiting",
            QueueFull::Organization => "Too many writes to this organization are waiting",
        };
        self.refuse(Refusal::queue, message)
    }

    fn refuse(&self, reason: Refusal, message: &'static str) -> Error {
        self.metrics.refused(reason);
        Error::Overloaded(message)
    }
}

/// Runs each of `committers` in a task until all have ended. Panics when one of them does.
async fn run(committers: Vec<Committer>) {
    let mut tasks: JoinSet<()> = committers.into_iter().map(Committer::run).collect();
    while let Some(ended) = tasks.join_next().await {
        if let Err(failed) = ended
            && let Ok(panic) = failed.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn size(entry: &NewEntry) -> usize {
    let NewEntry { timestamp: _, content } = entry;
    content.size() + ENTRY_OVERHEAD + content.changes.len() * CHANGE_OVERHEAD
}
