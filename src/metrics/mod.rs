//! What operators watch: counters, gauges and histograms in Prometheus' formats. Made once, where the service is put
//! together, and passed to whatever counts. Labels have few values, and never what people wrote.

mod process;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use process::Process;

/// The content type of [`Metrics::text`].
pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// All that is measured. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Measured>);

#[derive(Debug)]
struct Measured {
    /// All metrics by name. What a process does not do is not in it.
    registry: Mutex<Registry>,
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
    /// The key asked more often than it may.
    rate,
    /// A peer that neither sends nor takes.
    stalled,
}

impl Refusal {
    const ALL: [Self; 7] =
        [Self::connections, Self::requests, Self::reads, Self::bytes, Self::queue, Self::rate, Self::stalled];
}

impl Default for Metrics {
    /// What every process has.
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::default()));
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
        Self(Arc::new(Measured { registry: Mutex::new(registry), refusals }))
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
