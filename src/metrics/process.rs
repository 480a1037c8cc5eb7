//! The process as Linux sees it, under the names that all Prometheus clients have for it. Elsewhere only its start is
//! known.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::domain::Clock;

/// Reads /proc when it is asked.
#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

impl Default for Process {
    fn default() -> Self {
        // The process begins with it, but for some milliseconds.
        Self { started: Clock::system().now().micros() as f64 / 1e6 }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut gauge = |name, help, value| match value {
            Some(value) => {
                ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
            }
            None => Ok(()),
        };
        gauge("process_start_time_seconds", "When the process began, in seconds since 1970", Some(self.started))?;
        gauge("process_resident_memory_bytes", "Memory that the process holds", resident())?;
        gauge("process_open_fds", "Files and sockets that the process has open", open_files())
    }
}

fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kibibytes: f64| kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    // Without the one that reads the directory.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}
