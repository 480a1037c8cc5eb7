//! Metrics of the work beside requests: commits, erasures, counts, checks of continuity, and checkpoints.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, seconds};

/// Metrics of commits.
#[derive(Debug, Clone)]
pub struct Writes {
    group: Histogram,
    commit: Histogram,
    failed: Counter,
    written: Counter,
    replayed: Counter,
}

impl Writes {
    /// Counts a committed group of `entries`, whose transaction began at `begun`.
    pub fn committed(&self, entries: usize, begun: Instant) {
        self.group.observe(entries as f64);
        self.commit.observe(begun.elapsed().as_secs_f64());
    }

    /// Counts a failed transaction that began at `begun`.
    pub fn failed(&self, begun: Instant) {
        self.failed.inc();
        self.commit.observe(begun.elapsed().as_secs_f64());
    }

    /// Counts acknowledged entries: new ones, and ones that were already stored.
    pub fn acknowledged(&self, written: usize, replayed: usize) {
        self.written.inc_by(written as u64);
        self.replayed.inc_by(replayed as u64);
    }
}

/// The number of entries that the running counts do not include yet.
#[derive(Debug)]
pub struct CountingLag {
    all: Gauge,
    largest: Gauge,
}

impl CountingLag {
    /// Sets both gauges from the uncounted entries of each organization.
    pub fn found(&self, lags: impl Iterator<Item = i64>) {
        let (all, largest) = lags.fold((0i64, 0), |(all, largest), lag| (all.saturating_add(lag), lag.max(largest)));
        self.all.set(all);
        self.largest.set(largest);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BreakLabel {
    class: &'static str,
}

/// Counters of the breaks of continuity that the background job found, by class.
#[derive(Debug)]
pub struct BreakCounters(Family<BreakLabel, Counter>);

impl BreakCounters {
    /// Counts breaks that late entries explain, and others.
    pub fn found(&self, order: u64, unexplained: u64) {
        for (class, count) in [("order", order), ("unexplained", unexplained)] {
            self.0.get_or_create(&BreakLabel { class }).inc_by(count);
        }
    }
}

/// The state of the signer.
#[derive(Debug)]
pub struct Checkpoints {
    signed: Arc<Mutex<Instant>>,
    stopped: Gauge,
}

impl Checkpoints {
    /// Records that all logs were signed up to their heads at `at`.
    pub fn signed(&self, at: Instant) {
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = at;
        self.stopped.set(0);
    }

    /// Records that signing has stopped until an operator acts.
    pub fn stopped(&self) {
        self.stopped.set(1);
    }
}

impl Metrics {
    /// Registers the metrics of commits.
    pub fn writes(&self) -> Writes {
        let sizes = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];
        let (group, commit) = (Histogram::new(sizes), seconds());
        let (failed, written, replayed) = (Counter::default(), Counter::default(), Counter::default());
        let mut registry = self.registry();
        registry.register("auditlog_write_group_entries", "Entries committed in one transaction", group.clone());
        let help = "Time from the begin of a transaction of a group to the end of its commit, or to its failure";
        registry.register("auditlog_commit_seconds", help, commit.clone());
        registry.register("auditlog_commit_failures", "Transactions of groups that failed", failed.clone());
        registry.register("auditlog_entries_written", "Entries that were acknowledged as new", written.clone());
        let help = "Entries that were acknowledged as already stored";
        registry.register("auditlog_entries_replayed", help, replayed.clone());
        Writes { group, commit, failed, written, replayed }
    }

    /// Registers the counter of erased groups of values.
    pub fn erased_groups(&self) -> Counter {
        let erased = Counter::default();
        let help = "Groups of values that were erased";
        self.registry().register("auditlog_erased_groups", help, erased.clone());
        erased
    }

    /// Registers the lag of the running counts.
    pub fn counting_lag(&self) -> CountingLag {
        let lag = CountingLag { all: Gauge::default(), largest: Gauge::default() };
        let mut registry = self.registry();
        let help = "Entries of organizations with many entries that the running counts do not include yet";
        registry.register("auditlog_running_counts_lag_entries", help, lag.all.clone());
        let help = "Such entries in the organization with the most";
        registry.register("auditlog_running_counts_lag_largest_entries", help, lag.largest.clone());
        lag
    }

    /// Registers the counters of breaks of continuity.
    pub fn continuity_breaks(&self) -> BreakCounters {
        let breaks = BreakCounters(Family::default());
        // A rate needs an initial 0.
        breaks.found(0, 0);
        let help = "New changes whose old value is not the value that was written before, by class";
        self.registry().register("auditlog_continuity_breaks", help, breaks.0.clone());
        breaks
    }

    /// Registers two gauges: whether a signing key is configured, and whether one is missing although logs were signed
    /// before.
    pub fn signing(&self, is_configured: bool, is_missing: bool) {
        let read = |is_so: bool| move || Some(f64::from(u8::from(is_so)));
        let help = "1 if a signing key is configured, else 0.";
        self.reading("auditlog_signing_configured", help, read(is_configured));
        let help = "1 if logs were signed before and no signing key is configured, else 0.";
        self.reading("auditlog_signing_missing", help, read(is_missing));
    }

    /// Registers the metrics of the signer. Until the first signature, the age of checkpoints counts from this call.
    pub fn checkpoints(&self) -> Checkpoints {
        let checkpoints = Checkpoints { signed: Arc::new(Mutex::new(Instant::now())), stopped: Gauge::default() };
        let help = "1 if signing has stopped until an operator acts, else 0";
        self.registry().register("auditlog_signer_stopped", help, checkpoints.stopped.clone());
        let signed = Arc::clone(&checkpoints.signed);
        let age = move || Some(signed.lock().unwrap_or_else(PoisonError::into_inner).elapsed().as_secs_f64());
        let help = "Time since all logs were last known to be signed up to their heads, or since the start.";
        self.reading("auditlog_checkpoint_age_seconds", help, age);
        checkpoints
    }
}
