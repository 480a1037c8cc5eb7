//! What operators watch: counters, gauges and histograms in Prometheus' formats. Made once, where the service is put
//! together, and passed to whatever counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// All that is measured. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
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

impl Metrics {
    /// Counts a refusal.
    pub fn refused(&self, reason: Refusal) {
        self.refusals.get_or_create(&Refused { reason }).inc();
    }
}
