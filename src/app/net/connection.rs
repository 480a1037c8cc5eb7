//! An open connection, and the limits of all.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use crate::limits::Budget;

/// The maximum number of concurrent calls of one connection that need no key, or whose key is not authenticated yet.
pub(in crate::app) const MAX_ANONYMOUS: usize = 32;

/// The limits of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The maximum number of open connections.
    pub most: usize,
    /// Time from the accept to the first request.
    pub first_request: Duration,
    /// HTTP/1: time to receive a request's head, and time to wait for the next request.
    pub head: Duration,
    /// Time without a request under way.
    pub idle: Duration,
    /// Time in which a peer acknowledges nothing, or takes nothing of a response.
    pub stalled: Duration,
    /// Age at which a client is asked to reconnect, so that load spreads over new replicas.
    pub age: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            most: 1_024,
            first_request: Duration::from_secs(30),
            // Longer than the minute for which proxies keep idle connections. Otherwise a proxy could send a request
            // while the connection closes.
            head: Duration::from_secs(75),
            // gRPC clients reconnect by themselves, and proxies keep idle connections for about a minute.
            idle: Duration::from_secs(5 * 60),
            stalled: Duration::from_secs(30),
            age: Duration::from_secs(30 * 60),
        }
    }
}

/// An open connection. The fields of type `Arc<()>` count their clones.
pub(in crate::app) struct Connection {
    id: u64,
    pub(super) peer: SocketAddr,
    /// Notified to close the connection at once.
    pub(super) close: Notify,
    /// Whether the socket reads on for a while when it closes.
    pub(super) lingers: AtomicBool,
    pub(super) is_http2: AtomicBool,
    /// The number of requests received.
    pub(super) requests: AtomicUsize,
    pub(super) under_way: Arc<()>,
    /// Cloned by each authenticated request under way. While there is one, the connection is not evicted.
    authenticated: Arc<()>,
    /// Connections that never authenticated are evicted first.
    has_authenticated: AtomicBool,
    pub(in crate::app) anonymous: Arc<Semaphore>,
    /// The budget for its unauthenticated requests, created with the first of them.
    pub(in crate::app) anonymous_bytes: OnceLock<Budget>,
    /// Held during the lookup of an unknown key, so that each connection has one such lookup at a time.
    pub(in crate::app) lookups: Semaphore,
}

impl Connection {
    pub(super) fn new(id: u64, peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            close: Notify::new(),
            lingers: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            under_way: Arc::default(),
            authenticated: Arc::default(),
            has_authenticated: AtomicBool::new(false),
            anonymous: Arc::new(Semaphore::new(MAX_ANONYMOUS)),
            anonymous_bytes: OnceLock::new(),
            lookups: Semaphore::new(1),
        })
    }

    /// Protects the connection from eviction until the returned value is dropped.
    pub(in crate::app) fn authenticate(&self) -> Arc<()> {
        self.has_authenticated.store(true, Ordering::Relaxed);
        Arc::clone(&self.authenticated)
    }

    /// The rank of the connection for eviction, lowest first; `None` while an authenticated request is under way.
    pub(super) fn gives_way(&self) -> Option<(bool, u64)> {
        let is_free = Arc::strong_count(&self.authenticated) == 1;
        is_free.then(|| (self.has_authenticated.load(Ordering::Relaxed), self.id))
    }
}
