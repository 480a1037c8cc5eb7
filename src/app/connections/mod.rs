//! Connections: how many may be open, which of them give way, and which are ended because their peers neither send nor
//! take. tonic's server bounds neither number nor time of connections, and ends old ones without a word; so we accept
//! by ourselves, with the same HTTP underneath.

mod accept;
mod socket;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::debug;

use crate::metrics::{Metrics, Refusal};
pub(super) use accept::accepting;

/// How often connections are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Of those that may give way, one in so many does so at once: to look for them costs as much as to accept some.
const AT_ONCE: usize = 64;
/// How long nothing is read from a connection on which a request was refused. What comes meanwhile is then refused
/// together, at a fraction of the cost, and waits in the buffers of the peer if it is more than that.
const PACE: Duration = Duration::from_millis(20);

/// What connections may do.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// How many may be open.
    pub most: usize,
    /// How long a new one may take to its first request.
    pub first_request: Duration,
    /// How long the head of a request may take over HTTP/1, and how long the next one may be waited for.
    pub head: Duration,
    /// How long one may be open without a request under way.
    pub idle: Duration,
    /// In what time a peer has to take something of what is sent to it.
    pub stalled: Duration,
    /// After which age one is asked to come again, so that load spreads over new replicas.
    pub age: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            most: 1_024,
            first_request: Duration::from_secs(30),
            // Longer than the minute that proxies keep theirs, or they would send into one that is just closing.
            head: Duration::from_secs(75),
            // gRPC clients connect again by themselves, and proxies keep theirs for about a minute.
            idle: Duration::from_secs(5 * 60),
            stalled: Duration::from_secs(30),
            age: Duration::from_secs(30 * 60),
        }
    }
}

/// All open connections.
pub(super) struct Connections {
    limits: ConnectionLimits,
    metrics: Metrics,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
}

/// How a connection is to end. The later ones are stronger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It goes on.
    Not,
    /// What is under way ends first.
    Gracefully,
    AtOnce,
}

/// One connection, as its requests, its socket and whoever watches it share it.
pub(super) struct Connection {
    number: u64,
    opened: Instant,
    /// An `End`.
    end: AtomicU8,
    told: Notify,
    /// Whether any request came.
    has_asked: AtomicBool,
    /// Whether one was answered whose caller is known: strangers give way first.
    is_known: AtomicBool,
    /// Whether one was refused since the socket was last read.
    is_refused: AtomicBool,
    /// Requests that are worked for.
    under_way: AtomicUsize,
    /// Streams that may be silent for long, such as those of health checks. They keep a connection open, and do not
    /// keep it from giving way.
    watching: AtomicUsize,
    /// Bytes of responses that have not gone to the socket.
    unsent: AtomicUsize,
    /// When a request began or ended, or a part of a response went out. Milliseconds since it was opened, as the next.
    active_at: AtomicU64,
    /// When a part of a response went out, or began to wait.
    moved_at: AtomicU64,
    /// Since when the socket takes nothing; 0 while it does.
    blocked_at: AtomicU64,
    /// Bytes that the socket took.
    taken: AtomicU64,
}

impl Connection {
    fn new(number: u64) -> Self {
        Self {
            number,
            opened: Instant::now(),
            end: AtomicU8::new(End::Not as u8),
            told: Notify::new(),
            has_asked: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
            active_at: AtomicU64::new(0),
            moved_at: AtomicU64::new(0),
            blocked_at: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Milliseconds since it was opened, and never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn since(&self, moment: &AtomicU64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(moment.load(Ordering::Relaxed)))
    }

    /// A request came.
    fn asked(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
        self.active_at.store(self.now(), Ordering::Relaxed);
    }

    /// One of its callers has shown a key.
    pub(super) fn known(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// A request was refused because there is no room, and the next ones may be, too.
    pub(super) fn refused(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }

    /// Counts work as under way until the value is dropped.
    pub(super) fn works(self: &Arc<Self>, is_silent: bool) -> Work {
        let connection = Arc::clone(self);
        let count = if is_silent { &connection.watching } else { &connection.under_way };
        count.fetch_add(1, Ordering::Relaxed);
        Work { connection, is_silent }
    }

    /// Counts bytes of a response until they have gone to the socket, when the value is dropped.
    pub(super) fn sends(self: &Arc<Self>, bytes: usize) -> Sending {
        if self.unsent.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.moved_at.store(self.now(), Ordering::Relaxed);
        }
        Sending { connection: Arc::clone(self), bytes }
    }

    fn end(&self, how: End) {
        if self.end.fetch_max(how as u8, Ordering::Relaxed) < how as u8 {
            self.told.notify_one();
        }
    }

    fn is_ending(&self, how: End) -> bool {
        self.end.load(Ordering::Relaxed) >= how as u8
    }

    fn is_at_work(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// Who gives way first: strangers, and among them who did nothing for the longest.
    fn rank(&self) -> (bool, std::cmp::Reverse<Duration>) {
        (self.is_known.load(Ordering::Relaxed), std::cmp::Reverse(self.since(&self.active_at)))
    }
}

/// A request under way.
pub(super) struct Work {
    connection: Arc<Connection>,
    is_silent: bool,
}

impl Drop for Work {
    fn drop(&mut self) {
        let Self { connection, is_silent } = self;
        let count = if *is_silent { &connection.watching } else { &connection.under_way };
        count.fetch_sub(1, Ordering::Relaxed);
        connection.active_at.store(connection.now(), Ordering::Relaxed);
    }
}

/// A part of a response on its way to the socket.
pub(super) struct Sending {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Self { connection, bytes } = self;
        connection.unsent.fetch_sub(*bytes, Ordering::Relaxed);
        let now = connection.now();
        connection.moved_at.store(now, Ordering::Relaxed);
        connection.active_at.store(now, Ordering::Relaxed);
    }
}

/// What was seen of a connection whose socket takes nothing.
struct Blocked {
    at: u64,
    taken: u64,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits, metrics: Metrics) -> Arc<Self> {
        let connections = Arc::new(Self { limits, metrics: metrics.clone(), open: Mutex::default() });
        let counted = Arc::downgrade(&connections);
        metrics.reading("auditlog_connections", "Connections that are open.", move || {
            counted.upgrade().map(|connections| connections.open().len() as f64)
        });
        connections
    }

    /// Nothing that can panic runs under the lock.
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new connection in. `None` where all are at work.
    fn admit(&self, number: u64) -> Option<Arc<Connection>> {
        let mut open = self.open();
        if open.len() >= self.limits.most {
            let idle = open.values().filter(|connection| !connection.is_at_work());
            // The ranks change meanwhile, so that each is looked at once.
            let mut idle: Vec<_> = idle.map(|connection| (connection.rank(), connection.number)).collect();
            let giving_way = (self.limits.most / AT_ONCE).clamp(1, AT_ONCE).min(idle.len());
            if giving_way > 0 {
                idle.select_nth_unstable(giving_way - 1);
            }
            for connection in idle[..giving_way].iter().filter_map(|(_, number)| open.remove(number)) {
                self.metrics.refused(Refusal::connections);
                connection.end(End::AtOnce);
            }
            if giving_way == 0 {
                self.metrics.refused(Refusal::connections);
                return None;
            }
        }
        let connection = Arc::new(Connection::new(number));
        open.insert(number, Arc::clone(&connection));
        Some(connection)
    }

    fn closed(&self, connection: &Connection) {
        self.open().remove(&connection.number);
    }

    /// Looks at all connections now and then, for ever.
    async fn watch(&self) {
        let mut blocked: HashMap<u64, Blocked> = HashMap::new();
        loop {
            tokio::time::sleep(TICK.min(self.limits.stalled / 4)).await;
            let open: Vec<_> = self.open().values().cloned().collect();
            let mut still: HashMap<u64, Blocked> = HashMap::with_capacity(blocked.len());
            for connection in &open {
                let before = blocked.remove(&connection.number);
                if let Some(seen) = self.look(connection, before) {
                    still.insert(connection.number, seen);
                }
            }
            blocked = still;
        }
    }

    /// Ends a connection whose time is over. Gives what is to be remembered of one that is blocked.
    fn look(&self, connection: &Connection, before: Option<Blocked>) -> Option<Blocked> {
        let ConnectionLimits { first_request, idle, stalled, age, most: _, head: _ } = self.limits;
        let shed = |what: &'static str| {
            if !connection.is_ending(End::AtOnce) {
                debug!(what, "a connection is ended");
                self.metrics.refused(Refusal::stalled);
                connection.end(End::AtOnce);
            }
        };
        let opened = connection.opened.elapsed();
        if !connection.has_asked.load(Ordering::Relaxed) && opened >= first_request {
            shed("no request came");
            return None;
        }
        // Twice as long, since some of it may be under way between us and the socket.
        if connection.unsent.load(Ordering::Relaxed) > 0 && connection.since(&connection.moved_at) >= 2 * stalled {
            shed("nothing of a response was taken");
            return None;
        }
        let is_idle = !connection.is_at_work() && connection.watching.load(Ordering::Relaxed) == 0;
        if is_idle && connection.since(&connection.active_at) >= idle || opened >= age {
            connection.end(End::Gracefully);
        }
        // Who does not say goodbye, too.
        if !connection.is_at_work()
            && (is_idle && connection.since(&connection.active_at) >= 2 * idle || opened >= age + idle)
        {
            connection.end(End::AtOnce);
        }
        let taken = connection.taken.load(Ordering::Relaxed);
        let at = match connection.blocked_at.load(Ordering::Relaxed) {
            0 => return None,
            at => at,
        };
        let Some(before) = before else { return Some(Blocked { at, taken }) };
        let since = connection.now().saturating_sub(before.at);
        if since < u64::try_from(stalled.as_millis()).unwrap_or(u64::MAX) {
            return Some(before);
        }
        // A byte a millisecond is a KiB a second.
        if taken - before.taken < since {
            shed("the peer takes too little");
            return None;
        }
        Some(Blocked { at: connection.now(), taken })
    }
}
