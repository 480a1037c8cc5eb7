//! Writes: a bounded queue, and one writer that commits many requests in one transaction. A request
//! is acknowledged after its commit and never before. Erasing is a write, too, beside the queue.

mod erase;
mod group;
mod log;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::domain::{Catalogue, Clock, EntryId, NewEntry, OrganizationId, Random, Seq, Timestamp};
use crate::error::{Error, Result};
use crate::merkle::Hash;
use crate::metrics::{Metrics, Refusal};
use crate::store::Store;
use group::Writer;

pub use erase::{Eraser, Erasure, Forgotten, Target};

/// Bytes that an entry and a change take in memory beside their content.
const ENTRY_OVERHEAD: usize = 512;
const CHANGE_OVERHEAD: usize = 80;

/// What may wait at once.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Entries, at least those of one request.
    pub entries: usize,
    /// Bytes, at least those of one request.
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
    /// Its id.
    pub id: EntryId,
    /// Its number.
    pub seq: Seq,
    /// When it was committed to.
    pub recorded_at: Timestamp,
    /// The hash of its leaf in the log's tree.
    pub leaf: Hash,
    /// Whether it was stored before.
    pub replayed: bool,
}

/// The entries of one request: all are written, or none.
#[derive(Debug)]
pub struct Batch {
    /// Whose log they go to.
    pub organization: OrganizationId,
    /// The key that wrote them.
    pub key_id: String,
    /// Names the types and actions of the entries.
    pub catalogue: Arc<Catalogue>,
    /// In the order of their numbers.
    pub entries: Vec<NewEntry>,
}

/// A batch that waits for its commit.
struct Job {
    batch: Batch,
    /// Dropped by a caller that has gone.
    reply: oneshot::Sender<Result<Vec<Written>>>,
    size: usize,
    /// The batch's place in the queue, given back by being dropped.
    place: [OwnedSemaphorePermit; 2],
}

/// The queue's open end.
#[derive(Clone)]
pub struct Ingest {
    jobs: mpsc::UnboundedSender<Job>,
    entries: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limits: QueueLimits,
    metrics: Metrics,
}

impl Ingest {
    /// Starts the writer. It ends when every clone of the queue's end is gone and all is written.
    pub fn start(store: Store, clock: Clock, random: Random, limits: QueueLimits) -> (Self, JoinHandle<()>) {
        let (jobs, waiting) = mpsc::unbounded_channel();
        let writer = tokio::spawn(Writer::new(store, clock, random).run(waiting));
        let [entries, bytes] = [limits.entries, limits.bytes].map(|places| Arc::new(Semaphore::new(places)));
        (Self { jobs, entries, bytes, limits, metrics: Metrics::default() }, writer)
    }

    /// The same, counting what it refuses.
    pub fn counting(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Writes `batch` and answers once it is durable, one answer an entry. Errors: `Overloaded` at
    /// once when the queue is full, `IdConflict`, `StorageUnavailable`.
    pub async fn write(&self, batch: Batch) -> Result<Vec<Written>> {
        let size: usize = batch.entries.iter().map(size).sum();
        // A request that is larger than the queue has it for itself.
        let QueueLimits { entries, bytes } = self.limits;
        let place =
            [self.take(&self.entries, batch.entries.len().min(entries))?, self.take(&self.bytes, size.min(bytes))?];
        let (reply, answer) = oneshot::channel();
        let gone = || Error::Internal(anyhow::anyhow!("the writer has ended"));
        self.jobs.send(Job { batch, reply, size, place }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn take(&self, places: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Arc::clone(places).try_acquire_many_owned(count).map_err(|_| {
            self.metrics.refused(Refusal::queue);
            Error::Overloaded("Too many writes are waiting")
        })
    }
}

fn size(entry: &NewEntry) -> usize {
    entry.content.size() + ENTRY_OVERHEAD + entry.content.changes.len() * CHANGE_OVERHEAD
}
