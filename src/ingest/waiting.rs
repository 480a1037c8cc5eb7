//! How long writes have waited for their commit.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All waiting writes. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<All>);

#[derive(Default)]
struct All {
    /// When each wait began, with a number that makes it unique.
    begun: Mutex<BTreeSet<(Instant, u64)>>,
    next: AtomicU64,
}

/// A write that waits until this is dropped.
pub(super) struct Waiter {
    all: Waiting,
    own: (Instant, u64),
}

impl Waiting {
    pub(super) fn begin(&self) -> Waiter {
        let own = (Instant::now(), self.0.next.fetch_add(1, Ordering::Relaxed));
        self.begun().insert(own);
        Waiter { all: self.clone(), own }
    }

    /// How long the oldest write has waited; zero if none waits.
    pub(super) fn oldest(&self) -> Duration {
        self.begun().first().map_or(Duration::ZERO, |(begun, _)| begun.elapsed())
    }

    /// No code under the lock can panic.
    fn begun(&self) -> MutexGuard<'_, BTreeSet<(Instant, u64)>> {
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.all.begun().remove(&self.own);
    }
}
