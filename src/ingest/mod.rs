//! Writes: a bounded queue, and one writer that commits many requests in one transaction. A request
//! is acknowledged after its commit and never before. Erasing is a write, too, beside the queue.

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

/// Bytes that an entry and a change take in memory beside their content.
const ENTRY_OVERHEAD: usize = 512;
const CHANGE_OVERHEAD: usize = 80;
/// What groups took before that says nothing of the next.
const RECENT: Duration = Duration::from_secs(10);

/// The limits of the write queue.
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
    /// The organization that they are written to.
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
    /// Ends with the job, whatever becomes of it.
    _waiter: Waiter,
}

/// The queue's open end.
#[derive(Clone)]
pub struct Ingest {
    jobs: mpsc::UnboundedSender<Job>,
    entries: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limits: QueueLimits,
    pace: CommitLatency,
    waiting: Waiting,
    metrics: Metrics,
}

/// How long the writer takes for a group, as of late. Clones share it.
#[derive(Clone, Default)]
struct CommitLatency(Arc<Mutex<Paced>>);

#[derive(Default)]
struct Paced {
    /// When the group under way began.
    begun: Option<Instant>,
    /// How long those before took, the last ones most, and when the last ended.
    before: Option<(Duration, Instant)>,
}

impl CommitLatency {
    /// Nothing that can panic runs under the lock.
    fn paced(&self) -> MutexGuard<'_, Paced> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.paced().begun = Some(Instant::now());
    }

    fn end(&self) {
        let mut paced = self.paced();
        let Some(took) = paced.begun.take().map(|begun| begun.elapsed()) else { return };
        let before = paced.recent().map_or(took, |before| before.mul_f64(0.75) + took.mul_f64(0.25));
        paced.before = Some((before, Instant::now()));
    }

    /// The latency to expect of a group now.
    fn of_group(&self) -> Duration {
        let paced = self.paced();
        let under_way = paced.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        paced.recent().unwrap_or_default().max(under_way)
    }
}

impl Paced {
    fn recent(&self) -> Option<Duration> {
        self.before.filter(|(_, ended)| ended.elapsed() < RECENT).map(|(took, _)| took)
    }
}

impl Ingest {
    /// Starts the writer. It ends when every clone of the queue's end is gone and all is written.
    pub fn start(
        store: Store,
        clock: Clock,
        random: Random,
        limits: QueueLimits,
        metrics: &Metrics,
    ) -> (Self, JoinHandle<()>) {
        let (jobs, queue) = mpsc::unbounded_channel();
        let pace = CommitLatency::default();
        let lead = Lead::register(clock.clone(), metrics);
        let writer = Writer { store, clock, random, pace: pace.clone(), lead, metrics: metrics.writes() };
        let writer = tokio::spawn(writer.run(queue));
        let [entries, bytes] = [limits.entries, limits.bytes].map(|places| Arc::new(Semaphore::new(places)));
        let help = "Entries that wait for their commit.";
        let read = |places: &Arc<Semaphore>, all| {
            let places = Arc::clone(places);
            move || Some(taken(&places, all) as f64)
        };
        metrics.reading("auditlog_queue_entries", help, read(&entries, limits.entries));
        metrics.reading("auditlog_queue_bytes", "Bytes of these entries.", read(&bytes, limits.bytes));
        let waiting = Waiting::default();
        let oldest = waiting.clone();
        let help = "How long the oldest write has been waiting for its commit, 0 where none waits.";
        metrics.reading("auditlog_oldest_write_seconds", help, move || Some(oldest.oldest().as_secs_f64()));
        (Self { jobs, entries, bytes, limits, pace, waiting, metrics: metrics.clone() }, writer)
    }

    /// Whether what is written now is likely to be durable by `deadline`, so that no work is done for a caller who will have
    /// gone. Half of the time is left for what cannot be foreseen. Errors: `Overloaded`.
    pub fn in_time(&self, deadline: Deadline) -> Result<()> {
        let QueueLimits { entries, bytes } = self.limits;
        let ahead = [
            taken(&self.entries, entries) as f64 / group::ENTRIES as f64,
            taken(&self.bytes, bytes) as f64 / group::BYTES as f64,
        ];
        let groups = ahead[0].max(ahead[1]);
        // The one under way, and all that wait.
        let wait = self.pace.of_group().mul_f64(if groups > 0.0 { 1.0 + groups } else { 0.0 });
        match 2 * wait > deadline.remaining() {
            true => Err(self.refuse(Refusal::late, "The writes that wait leave no time for this one")),
            false => Ok(()),
        }
    }

    /// Writes `batch` and answers once it is durable, one answer an entry. Errors: `Overloaded` at
    /// once when the queue is full, `IdConflict`, `TimestampAhead`, `StorageUnavailable`.
    pub async fn write(&self, batch: Batch) -> Result<Vec<Written>> {
        let size: usize = batch.entries.iter().map(size).sum();
        // A request that is larger than the queue has it for itself.
        let QueueLimits { entries, bytes } = self.limits;
        let place =
            [self.take(&self.entries, batch.entries.len().min(entries))?, self.take(&self.bytes, size.min(bytes))?];
        let (reply, answer) = oneshot::channel();
        let gone = || Error::Internal(anyhow::anyhow!("the writer has ended"));
        let _waiter = self.waiting.begin();
        self.jobs.send(Job { batch, reply, size, place, _waiter }).map_err(|_| gone())?;
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

    fn refuse(&self, reason: Refusal, what: &'static str) -> Error {
        self.metrics.refused(reason);
        Error::Overloaded(what)
    }
}

fn size(entry: &NewEntry) -> usize {
    let NewEntry { timestamp: _, content } = entry;
    content.size() + ENTRY_OVERHEAD + content.changes.len() * CHANGE_OVERHEAD
}

/// How many of `all` places are taken.
fn taken(places: &Semaphore, all: usize) -> usize {
    all.saturating_sub(places.available_permits())
}
