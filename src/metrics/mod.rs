//! Metrics for operators: counters, gauges and histograms in the Prometheus text format. Created once at startup, and
//! passed to every part that counts. Labels have few values, and never text from users.

mod background;
mod jobs;
mod process;
mod readings;
mod requests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, prometheus_text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use requests::Requests;

pub use background::{BreakCounters, Checkpoints, CountingLag, Writes};
pub use jobs::JobMetrics;
/// The content type of [`Metrics::text`].
pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
pub use prometheus_client::metrics::counter::Counter;
pub use readings::Pool;
pub use requests::{Code, Request};

/// All metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Measured>);

#[derive(Debug)]
struct Measured {
    /// All metrics by name. A process does not register metrics of features that it does not use.
    registry: Mutex<Registry>,
    requests: Requests,
    refusals: Family<RefusalLabel, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabel {
    reason: Refusal,
}

/// Why work was refused or dropped before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the values of a label")]
pub enum Refusal {
    /// The limit of open connections is reached.
    connections,
    /// The limit of requests under way is reached.
    requests,
    /// The limit of followers is reached.
    followers,
    /// The limit of reads that run or wait is reached.
    reads,
    /// The budget of bytes held by requests and responses is spent.
    bytes,
    /// The write queue is full.
    queue,
    /// The queued writes leave too little time before the deadline.
    late,
    /// The key is over its rate limit.
    rate,
    /// A peer neither sends nor receives.
    stalled,
    /// An entry's timestamp is too far ahead of the server's clock.
    ahead,
}

impl Refusal {
    const ALL: [Self; 10] = [
        Self::connections,
        Self::requests,
        Self::followers,
        Self::reads,
        Self::bytes,
        Self::queue,
        Self::late,
        Self::rate,
        Self::stalled,
        Self::ahead,
    ];
}

impl Default for Metrics {
    /// The metrics that every process has.
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.register("auditlog_build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let refusals = Family::<RefusalLabel, Counter>::default();
        for reason in Refusal::ALL {
            // A rate needs an initial 0.
            drop(refusals.get_or_create(&RefusalLabel { reason }));
        }
        registry.register("auditlog_refusals", "Work that was refused before it was done, by reason", refusals.clone());
        let requests = Requests::register(&mut registry);
        let metrics = Self(Arc::new(Measured { registry: Mutex::new(registry), requests, refusals }));
        metrics.process();
        metrics
    }
}

impl Metrics {
    /// Counts a refusal.
    pub fn refused(&self, reason: Refusal) {
        self.0.refusals.get_or_create(&RefusalLabel { reason }).inc();
    }

    /// The current values of all metrics, in the Prometheus text format 0.0.4.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic elsewhere leaves the registry readable.
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buckets from half a millisecond to 30 seconds.
fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}
