//! Metrics for operators: counters, gauges and histograms in Prometheus' formats. Made once, where the service is put
//! together, and passed to whatever counts. Labels have few values, and never what people wrote.

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

pub use background::{Checkpoints, FoldLag, Writes};
pub use jobs::JobMetrics;
/// The content type of [`Metrics::text`].
pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
pub use prometheus_client::metrics::counter::Counter;
pub use readings::Pool;
pub use requests::{Code, Request};

/// All that is measured. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Measured>);

#[derive(Debug)]
struct Measured {
    /// All metrics by name. What a process does not do is not in it.
    registry: Mutex<Registry>,
    requests: Requests,
    refusals: Family<Refused, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: Refusal,
}

/// Why work was refused or shed before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the values of a label")]
pub enum Refusal {
    /// More connections than may be open.
    connections,
    /// More requests than may be under way.
    requests,
    /// More reads than may wait for the database.
    reads,
    /// More bytes of requests and responses than may be held.
    bytes,
    /// The queue of writes is full.
    queue,
    /// The writes that wait leave too little time.
    late,
    /// The key asked more often than it may.
    rate,
    /// A peer that neither sends nor takes.
    stalled,
    /// An entry's timestamp is too far ahead of the server.
    ahead,
}

impl Refusal {
    const ALL: [Self; 9] = [
        Self::connections,
        Self::requests,
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
    /// The metrics of every process.
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.register(
            "auditlog_build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let refusals = Family::<Refused, Counter>::default();
        for reason in Refusal::ALL {
            // A rate needs a 0 to begin from.
            drop(refusals.get_or_create(&Refused { reason }));
        }
        registry.register("auditlog_refusals", "Work refused before it was done, by reason", refusals.clone());
        let requests = Requests::register(&mut registry);
        let metrics = Self(Arc::new(Measured { registry: Mutex::new(registry), requests, refusals }));
        metrics.process();
        metrics
    }
}

impl Metrics {
    /// Counts a refusal.
    pub fn refused(&self, reason: Refusal) {
        self.0.refusals.get_or_create(&Refused { reason }).inc();
    }

    /// All metrics as they stand, in Prometheus' text format 0.0.4.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Whatever panicked meanwhile has left a registry that can be read.
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what takes from half a millisecond to half a minute.
fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}
