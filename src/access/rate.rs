//! The rate limit of each key, so that a runaway client does not starve the others.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::{Error, Result};
use crate::metrics::{Metrics, Refusal};

/// Every so many requests, the limiter drops the keys that made no request within the last second.
const SWEEP_EVERY: u32 = 16 * 1024;

/// Counts the requests of each key. Pass only authenticated keys: invented ones would fill it.
pub(super) struct KeyRateLimiter {
    limiter: DefaultKeyedRateLimiter<String>,
    requests: AtomicU32,
    metrics: Metrics,
}

impl KeyRateLimiter {
    /// Allows `max` requests per second, and bursts of as many.
    pub(super) fn new(max: NonZeroU32, metrics: Metrics) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_second(max)), requests: AtomicU32::new(0), metrics }
    }

    /// Counts a request. Errors: `RateLimited`.
    pub(super) fn check(&self, key_id: &String) -> Result<()> {
        if self.requests.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key_id).map_err(|_| {
            self.metrics.refused(Refusal::rate);
            Error::RateLimited
        })
    }
}
