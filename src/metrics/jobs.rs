//! Metrics of background jobs: runs, failures, and the time of the last success.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use crate::domain::Timestamp;

/// The label is not `job`, because Prometheus gives each target a label of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobName {
    name: &'static str,
}

/// The metrics of all jobs, by job name. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct JobMetrics {
    runs: Family<JobName, Counter>,
    failures: Family<JobName, Counter>,
    last_success: Family<JobName, Gauge<f64, AtomicU64>>,
}

impl JobMetrics {
    /// Registers a job that starts at `now`. Until its first success, `now` counts as the last success.
    pub fn began(&self, name: &'static str, now: Timestamp) {
        // A rate needs an initial 0.
        drop(self.runs.get_or_create(&JobName { name }));
        drop(self.failures.get_or_create(&JobName { name }));
        self.succeeded_at(name, now);
    }

    /// Counts a run that succeeded at `now`.
    pub fn succeeded(&self, name: &'static str, now: Timestamp) {
        self.runs.get_or_create(&JobName { name }).inc();
        self.succeeded_at(name, now);
    }

    /// Counts a run that returned an error or panicked.
    pub fn failed(&self, name: &'static str) {
        self.runs.get_or_create(&JobName { name }).inc();
        self.failures.get_or_create(&JobName { name }).inc();
    }

    fn succeeded_at(&self, name: &'static str, now: Timestamp) {
        self.last_success.get_or_create(&JobName { name }).set(now.micros() as f64 / 1e6);
    }
}

impl Metrics {
    /// Registers the metrics of background jobs.
    pub fn jobs(&self) -> JobMetrics {
        let jobs = JobMetrics::default();
        let JobMetrics { runs, failures, last_success } = &jobs;
        let mut registry = self.registry();
        registry.register("auditlog_job_runs", "Finished runs of a background job", runs.clone());
        let help = "Failed runs of a background job: it returned an error or panicked";
        registry.register("auditlog_job_failures", help, failures.clone());
        let help = "When a background job last succeeded, or started, in seconds since 1970";
        registry.register("auditlog_job_last_success_timestamp_seconds", help, last_success.clone());
        drop(registry);
        jobs
    }
}
