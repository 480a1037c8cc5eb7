//! The rate limit of each key, so that a runaway client does not starve the others.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::{Error, Result};
use crate::metrics::{Metrics, Refusal};

/// Every so many requests, the limiter drops the keys that made no request within the last second.
const SWEEP: u32 = 16 * 1024;

/// Counts the requests of each key. Only authenticated keys are counted, so that nobody can fill it. Clones share it.
#[derive(Clone)]
pub(super) struct Rate {
    limiter: Arc<DefaultKeyedRateLimiter<String>>,
    asked: Arc<AtomicU32>,
    metrics: Metrics,
}

impl Rate {
    /// Allows `most` requests per second, and bursts of as many.
    pub(super) fn new(most: NonZeroU32, metrics: Metrics) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(most));
        Self { limiter: Arc::new(limiter), asked: Arc::default(), metrics }
    }

    /// Errors: `RateLimited`.
    pub(super) fn ask(&self, key_id: &String) -> Result<()> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key_id).map_err(|_| {
            self.metrics.refused(Refusal::rate);
            Error::RateLimited
        })
    }
}
