//! Metrics of the process on Linux, under the standard Prometheus names. On other systems, only the start time is
//! available.

use std::fs;

use super::Metrics;
use crate::domain::Clock;

impl Metrics {
    /// Registers metrics that read /proc at each scrape.
    pub(super) fn process(&self) {
        // This runs within milliseconds of the start of the process.
        let started = Clock::system().now().micros() as f64 / 1e6;
        let help = "When the process started, in seconds since 1970.";
        self.reading("process_start_time_seconds", help, move || Some(started));
        self.reading("process_resident_memory_bytes", "Resident memory of the process.", resident);
        self.reading("process_open_fds", "Open files and sockets of the process.", open_files);
    }
}

fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kibibytes: f64| kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    // Minus the descriptor that reads the directory.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}
