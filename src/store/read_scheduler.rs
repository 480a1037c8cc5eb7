//! Fair scheduling of the connections for reads. A free connection goes to the waiting reader that used the least
//! connection time recently, so the reads of one reader, however many or slow, do not starve another. Time is measured,
//! never predicted.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::f64::consts::LN_2;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use crate::domain::OrganizationId;

/// Connection time counts half as much after this many seconds. A reader that held several connections for a while
/// comes after the others for some seconds, and is equal to them after about a minute.
const HALF_LIFE: f64 = 5.0;

/// A reader without reads is forgotten once its connection time counts no more than this, in seconds.
const FORGOTTEN_BELOW: f64 = 0.001;

/// The reads that share one account of connection time: those with one key, in one organization.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Reader {
    pub(super) key_id: String,
    pub(super) organization: OrganizationId,
}

/// Gives connections to reads. Clones share them.
#[derive(Clone)]
pub(super) struct ReadScheduler(Arc<Mutex<Schedule>>);

/// A read that has a connection or waits for one. When it is dropped, it gives the connection back or leaves the queue.
pub(super) struct ScheduledRead {
    scheduler: ReadScheduler,
    reader: Arc<Reader>,
    number: u64,
}

impl ReadScheduler {
    /// Lets `connections` reads run at once.
    pub(super) fn new(connections: usize) -> Self {
        Self(Arc::new(Mutex::new(Schedule::new(connections))))
    }

    /// Waits for a connection. A caller may stop waiting at any time, also while it is granted one. Errors: none are
    /// expected, because a read leaves its queue only when it is granted a connection or dropped.
    pub(super) async fn acquire(&self, reader: Reader) -> Result<ScheduledRead, RecvError> {
        let reader = Arc::new(reader);
        // The time is taken under the lock, so that the schedule never sees it go back.
        let (number, granted) = self.lock().arrive(&reader, Instant::now());
        let read = ScheduledRead { scheduler: self.clone(), reader, number };
        if let Some(granted) = granted {
            granted.await?;
        }
        Ok(read)
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ScheduledRead {
    fn drop(&mut self) {
        self.scheduler.lock().leave(&self.reader, self.number, Instant::now());
    }
}

/// The connections in use, and the queues of reads that wait for one. After each call, no read waits that may start.
/// If a reader is forgotten between two calls, the next call grants what another may have now. That is soon: a reader
/// that waits beside a free connection has running reads, and each of them makes a call when it ends.
struct Schedule {
    connections: usize,
    /// The number of connections in use.
    running: usize,
    /// All known readers: those with reads, and those with recent connection time.
    readers: HashMap<Arc<Reader>, ReaderUsage>,
    /// Readers without reads, by the time at which they are forgotten.
    idle: BTreeSet<(Instant, Arc<Reader>)>,
    /// The waiting reads of each reader, in order of their numbers. No queue is empty.
    queues: HashMap<Arc<Reader>, VecDeque<WaitingRead>>,
    /// The number of the next read.
    next_number: u64,
}

/// The connections that a reader uses and used.
struct ReaderUsage {
    /// Seconds of connection time up to `at`. A second counts half as much every [`HALF_LIFE`].
    used: f64,
    at: Instant,
    /// Reads that have a connection, from `at` on.
    running: usize,
    /// When the reader is forgotten; `None` while it has reads.
    forgotten_at: Option<Instant>,
}

struct WaitingRead {
    number: u64,
    /// Carries no connection, so a message that nobody receives loses none.
    granted: oneshot::Sender<()>,
}

impl ReaderUsage {
    /// The seconds of connection time used recently. Reads that still run count too.
    fn used(&self, now: Instant) -> f64 {
        let left = (-now.duration_since(self.at).as_secs_f64() / HALF_LIFE).exp2();
        // The integral of 2^(-age / HALF_LIFE) over the ages since `at`, once for each running read.
        self.used * left + self.running as f64 * (1.0 - left) * HALF_LIFE / LN_2
    }

    fn advance(&mut self, now: Instant) {
        (self.used, self.at) = (self.used(now), now);
    }

    /// When the reader will be forgotten if no read comes; `None` if it can be forgotten at `at`.
    fn known_until(&self) -> Option<Instant> {
        let seconds = HALF_LIFE * (self.used / FORGOTTEN_BELOW).log2();
        (seconds > 0.0).then(|| self.at + Duration::from_secs_f64(seconds))
    }
}

impl Schedule {
    fn new(connections: usize) -> Self {
        let (readers, queues) = (HashMap::new(), HashMap::new());
        Self { connections, running: 0, readers, idle: BTreeSet::new(), queues, next_number: 0 }
    }

    /// Adds a read. Returns its number and, if it has to wait, a receiver of the grant; `None` if it has a connection.
    fn arrive(&mut self, reader: &Arc<Reader>, now: Instant) -> (u64, Option<oneshot::Receiver<()>>) {
        self.forget(now);
        let number = self.next_number;
        self.next_number += 1;
        let new = ReaderUsage { used: 0.0, at: now, running: 0, forgotten_at: None };
        let usage = self.readers.entry(Arc::clone(reader)).or_insert(new);
        if let Some(at) = usage.forgotten_at.take() {
            self.idle.remove(&(at, Arc::clone(reader)));
        }
        let running = usage.running;
        // If a connection is free, all waiting readers have their half. They may not have more: this reader is known.
        if !self.queues.contains_key(reader) && self.may_start(running) {
            self.start(reader, now);
            return (number, None);
        }
        let (granted, receiver) = oneshot::channel();
        self.queues.entry(Arc::clone(reader)).or_default().push_back(WaitingRead { number, granted });
        self.grant(now);
        (number, Some(receiver))
    }

    /// Removes the read with this number, which runs or waits.
    fn leave(&mut self, reader: &Arc<Reader>, number: u64, now: Instant) {
        self.forget(now);
        let is_running = !self.leave_queue(reader, number);
        let is_waiting = self.queues.contains_key(reader);
        if let Some(usage) = self.readers.get_mut(reader) {
            usage.advance(now);
            if is_running {
                usage.running -= 1;
                self.running -= 1;
            }
            if usage.running == 0 && !is_waiting {
                let until = usage.known_until();
                usage.forgotten_at = until;
                if let Some(at) = until {
                    self.idle.insert((at, Arc::clone(reader)));
                } else {
                    self.readers.remove(reader);
                }
            }
        }
        self.grant(now);
    }

    /// Removes a waiting read. Returns whether there was one: a read that does not wait has a connection.
    fn leave_queue(&mut self, reader: &Arc<Reader>, number: u64) -> bool {
        let Some(queue) = self.queues.get_mut(reader) else { return false };
        let Ok(place) = queue.binary_search_by_key(&number, |read| read.number) else { return false };
        queue.remove(place);
        if queue.is_empty() {
            self.queues.remove(reader);
        }
        true
    }

    /// Gives the free connections to waiting reads.
    fn grant(&mut self, now: Instant) {
        while let Some(reader) = self.next_reader(now)
            && let Some(queue) = self.queues.get_mut(&reader)
            && let Some(read) = queue.pop_front()
        {
            if queue.is_empty() {
                self.queues.remove(&reader);
            }
            self.start(&reader, now);
            // If the caller has gone, its `ScheduledRead` is being dropped and gives the connection back.
            let _ = read.granted.send(());
        }
    }

    /// The waiting reader that used the least, of those that may start a read. If several are equal, the one whose read
    /// came first. Looks at all waiting readers, which the limit of waiting reads bounds.
    fn next_reader(&self, now: Instant) -> Option<Arc<Reader>> {
        if self.running >= self.connections {
            return None;
        }
        let eligible = self.queues.iter().filter_map(|(reader, queue)| {
            let (usage, first) = (self.readers.get(reader)?, queue.front()?);
            self.may_start(usage.running).then(|| (usage.used(now), first.number, reader))
        });
        let least = eligible.min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        least.map(|(_, _, reader)| Arc::clone(reader))
    }

    /// Whether a known reader with `running` reads may start another. A reader gets all connections only while no other
    /// is known, and otherwise at most half of them, rounded up: so one is free when the next read of another comes.
    fn may_start(&self, running: usize) -> bool {
        let is_alone = self.readers.len() == 1;
        let max = if is_alone { self.connections } else { self.connections.div_ceil(2) };
        self.running < self.connections && running < max
    }

    fn start(&mut self, reader: &Arc<Reader>, now: Instant) {
        if let Some(usage) = self.readers.get_mut(reader) {
            usage.advance(now);
            usage.running += 1;
            self.running += 1;
        }
    }

    /// Forgets readers that had no read for long enough.
    fn forget(&mut self, now: Instant) {
        while self.idle.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, reader)) = self.idle.pop_first() {
                self.readers.remove(&reader);
            }
        }
    }
}

#[cfg(test)]
mod tests;
