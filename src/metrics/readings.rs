//! Gauges that are read at each scrape from the part that owns the value, so no second count can drift from it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Metrics;

/// Names and values of labels.
type Labels = Vec<(&'static str, &'static str)>;

struct Reading<F> {
    name: &'static str,
    help: &'static str,
    read: F,
}

impl<F> fmt::Debug for Reading<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn() -> Vec<(Labels, f64)> + Send + Sync + 'static> Collector for Reading<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let values = (self.read)();
        if values.is_empty() {
            return Ok(());
        }
        let mut encoder = encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        values.iter().try_for_each(|(labels, value)| ConstGauge::new(*value).encode(encoder.encode_family(labels)?))
    }
}

/// A counter that another part of the process keeps.
#[derive(Debug)]
struct Count {
    name: &'static str,
    help: &'static str,
    read: fn() -> u64,
}

impl Collector for Count {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
        ConstCounter::new((self.read)()).encode(encoder)
    }
}

/// The state of a pool of database connections.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// The pool's purpose: the value of the label `pool`.
    pub name: &'static str,
    /// The number of connections in use.
    pub used: u32,
    /// The number of idle connections.
    pub idle: u32,
    /// The maximum number of connections.
    pub most: u32,
}

impl Metrics {
    /// Registers a gauge that calls `read` at each scrape. `None` leaves the gauge out.
    pub fn reading(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.labelled_reading(name, help, move || read().map(|value| (Labels::new(), value)).into_iter().collect());
    }

    /// Registers a counter of dropped log lines, which calls `read` at each scrape.
    pub fn dropped_log_lines(&self, read: fn() -> u64) {
        let help = "Log lines that were dropped because standard error was too slow.";
        let count = Count { name: "auditlog_log_lines_dropped", help, read };
        self.registry().register_collector(Box::new(count));
    }

    fn labelled_reading(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<(Labels, f64)> + Send + Sync + 'static,
    ) {
        self.registry().register_collector(Box::new(Reading { name, help, read }));
    }

    /// Registers gauges for the pools that `read` returns at each scrape.
    pub fn pools(&self, read: impl Fn() -> Vec<Pool> + Clone + Send + Sync + 'static) {
        let states = {
            let read = read.clone();
            move || {
                let states = |Pool { name, used, idle, .. }| {
                    let labels = |state| vec![("pool", name), ("state", state)];
                    [(labels("used"), f64::from(used)), (labels("idle"), f64::from(idle))]
                };
                read().into_iter().flat_map(states).collect()
            }
        };
        self.labelled_reading("auditlog_pool_connections", "Database connections, by pool and state.", states);
        let most = move || read().into_iter().map(|Pool { name, most, .. }| (vec![("pool", name)], f64::from(most)));
        self.labelled_reading("auditlog_pool_connections_max", "Maximum number of connections of a pool.", move || {
            most().collect()
        });
    }
}
