//! Detects logs whose last entry was recorded ahead of this server's clock: by another server with a fast clock, or by
//! this one before its clock was set back.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::domain::{Clock, Timestamp};
use crate::metrics::Metrics;

/// Synchronized server clocks differ by less than this. Microseconds.
const TOLERATED: i64 = 10 * 1_000_000;
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The newest `recorded_at` in the logs that this process has written to.
pub(super) struct Lead {
    newest: Arc<AtomicI64>,
    warned: Mutex<Option<Instant>>,
}

impl Lead {
    /// Registers the gauge of the lead, which is 0 while no log is ahead.
    pub(super) fn register(clock: Clock, metrics: &Metrics) -> Self {
        let newest = Arc::new(AtomicI64::new(Timestamp::MIN.micros()));
        let seen = Arc::clone(&newest);
        let help = "How far the clock of this process is behind the newest recording time that it has seen.";
        metrics.reading("auditlog_clock_behind_seconds", help, move || {
            Some((seen.load(Ordering::Relaxed) - clock.now().micros()).max(0) as f64 / 1e6)
        });
        Self { newest, warned: Mutex::default() }
    }

    /// Records the last `recorded_at` of some logs. Warns about a log ahead of the clock, at most once a minute.
    pub(super) fn seen(&self, recorded: impl Iterator<Item = Timestamp>, now: Timestamp) {
        let newest = recorded.map(Timestamp::micros).max().unwrap_or(i64::MIN);
        self.newest.fetch_max(newest, Ordering::Relaxed);
        let ahead = newest.saturating_sub(now.micros());
        if ahead <= TOLERATED {
            return;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            let seconds = ahead / 1_000_000;
            warn!(seconds, "a log is ahead of this server's clock; new entries get the log's time as recordedAt");
        }
    }
}
