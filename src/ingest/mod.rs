//! Writes: a bounded queue, and one writer that commits many requests in one transaction. A request is acknowledged
//! after its commit, never before. Erasures are writes too, but do not use the queue.

mod erase;
mod group;
mod lead;
mod log;
mod waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::deadline::Deadline;
use crate::domain::{Catalogue, Clock, EntryId, NewEntry, OrganizationId, Random, Seq, Timestamp};
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Refusal};
use crate::store::Store;
use auditlog_verify::merkle::Hash;
use group::Writer;
use lead::Lead;
use waiting::{Waiter, Waiting};

pub use erase::{Eraser, Erasure, ErasureReport, LoadRecordKeys, RecordKeys, Target};

/// The number of bytes that an entry takes in memory beside its content.
const ENTRY_OVERHEAD: usize = 512;
/// The number of bytes that a change takes in memory beside its content.
const CHANGE_OVERHEAD: usize = 80;
/// A latency measured longer ago than this says nothing about the next group.
const RECENT: Duration = Duration::from_secs(10);

/// The limits of the write queue.
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
    /// Closed if the caller is gone.
    reply: oneshot::Sender<Result<Vec<Written>>>,
    size: usize,
    /// The batch's room in the queue, released on drop.
    place: [OwnedSemaphorePermit; 2],
    /// Ends with the write.
    _waiter: Waiter,
}

/// The sending side of the write queue.
#[derive(Clone)]
pub struct Ingest {
    jobs: mpsc::UnboundedSender<QueuedWrite>,
    entries: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limits: QueueLimits,
    latency: CommitLatency,
    waiting: Waiting,
    metrics: Metrics,
}

/// The recent latency of group commits. Clones share it.
#[derive(Clone, Default)]
struct CommitLatency(Arc<Mutex<CommitTimes>>);

#[derive(Default)]
struct CommitTimes {
    /// When the group under way began.
    begun: Option<Instant>,
    /// The moving average of earlier latencies, and when the last group ended.
    before: Option<(Duration, Instant)>,
}

impl CommitLatency {
    /// No code under the lock can panic.
    fn times(&self) -> MutexGuard<'_, CommitTimes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.times().begun = Some(Instant::now());
    }

    fn end(&self) {
        let mut times = self.times();
        let Some(took) = times.begun.take().map(|begun| begun.elapsed()) else { return };
        let before = times.recent().map_or(took, |before| before.mul_f64(0.75) + took.mul_f64(0.25));
        times.before = Some((before, Instant::now()));
    }

    /// The expected latency of a group now.
    fn of_group(&self) -> Duration {
        let times = self.times();
        let under_way = times.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        times.recent().unwrap_or_default().max(under_way)
    }
}

impl CommitTimes {
    fn recent(&self) -> Option<Duration> {
        self.before.filter(|(_, ended)| ended.elapsed() < RECENT).map(|(took, _)| took)
    }
}

impl Ingest {
    /// Starts the writer. It ends once all clones of the `Ingest` are dropped and the queue is empty.
    pub fn start(
        store: Store,
        clock: Clock,
        random: Random,
        limits: QueueLimits,
        metrics: &Metrics,
    ) -> (Self, JoinHandle<()>) {
        let (jobs, queue) = mpsc::unbounded_channel();
        let latency = CommitLatency::default();
        let lead = Lead::register(clock.clone(), metrics);
        let writer = Writer { store, clock, random, latency: latency.clone(), lead, metrics: metrics.writes() };
        let writer = tokio::spawn(writer.run(queue));
        let [entries, bytes] = [limits.entries, limits.bytes].map(|places| Arc::new(Semaphore::new(places)));
        let help = "Entries that wait for their commit.";
        let read = |places: &Arc<Semaphore>, all| {
            let places = Arc::clone(places);
            move || Some(taken(&places, all) as f64)
        };
        metrics.reading("auditlog_queue_entries", help, read(&entries, limits.entries));
        let help = "Bytes of the entries that wait for their commit.";
        metrics.reading("auditlog_queue_bytes", help, read(&bytes, limits.bytes));
        let waiting = Waiting::default();
        let oldest = waiting.clone();
        let help = "How long the oldest write has waited for its commit; 0 if no write waits.";
        metrics.reading("auditlog_oldest_write_seconds", help, move || Some(oldest.oldest().as_secs_f64()));
        (Self { jobs, entries, bytes, limits, latency, waiting, metrics: metrics.clone() }, writer)
    }

    /// Checks that a write is likely to be durable by `deadline`, so that no work is done for a caller who will be
    /// gone. Half of the time is reserved for the unforeseen. Errors: `Overloaded`.
    pub fn in_time(&self, deadline: Deadline) -> Result<()> {
        let QueueLimits { entries, bytes } = self.limits;
        let ahead = [
            taken(&self.entries, entries) as f64 / group::ENTRIES as f64,
            taken(&self.bytes, bytes) as f64 / group::BYTES as f64,
        ];
        let groups = ahead[0].max(ahead[1]);
        // The group under way and all waiting groups.
        let wait = self.latency.of_group().mul_f64(if groups > 0.0 { 1.0 + groups } else { 0.0 });
        match 2 * wait > deadline.remaining() {
            true => Err(self.refuse(Refusal::late, "The writes that wait leave no time for this one")),
            false => Ok(()),
        }
    }

    /// Writes `batch` and returns once it is durable, with one result per entry. Errors: `Overloaded` at once if the
    /// queue is full, `IdConflict`, `TimestampAhead`, `StorageUnavailable`.
    pub async fn write(&self, batch: Batch) -> Result<Vec<Written>> {
        let size: usize = batch.entries.iter().map(size).sum();
        // A request larger than the queue takes all of it.
        let QueueLimits { entries, bytes } = self.limits;
        let place =
            [self.take(&self.entries, batch.entries.len().min(entries))?, self.take(&self.bytes, size.min(bytes))?];
        let (reply, answer) = oneshot::channel();
        let gone = || Error::Internal(anyhow::anyhow!("the writer has ended"));
        let _waiter = self.waiting.begin();
        self.jobs.send(QueuedWrite { batch, reply, size, place, _waiter }).map_err(|_| gone())?;
        let outcome = answer.await.map_err(|_| gone())?;
        if matches!(outcome, Err(Error::TimestampAhead { .. })) {
            self.metrics.refused(Refusal::ahead);
        }
        outcome
    }

    fn take(&self, places: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Arc::clone(places)
            .try_acquire_many_owned(count)
            .map_err(|_| self.refuse(Refusal::queue, "Too many writes are waiting"))
    }

    fn refuse(&self, reason: Refusal, message: &'static str) -> Error {
        self.metrics.refused(reason);
        Error::Overloaded(message)
    }
}

fn size(entry: &NewEntry) -> usize {
    let NewEntry { timestamp: _, content } = entry;
    content.size() + ENTRY_OVERHEAD + content.changes.len() * CHANGE_OVERHEAD
}

/// How many of `all` permits are taken.
fn taken(places: &Semaphore, all: usize) -> usize {
    all.saturating_sub(places.available_permits())
}
