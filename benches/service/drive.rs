//! Drives many clients at once.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::figure::{Report, Times};

/// The calls of many clients.
#[derive(Default)]
pub struct Run {
    pub times: Times,
    elapsed: Duration,
}

impl Run {
    /// Adds the calls of another round.
    pub fn extend(&mut self, other: Self) {
        let Self { times, elapsed } = other;
        self.times.0.extend(times.0);
        self.elapsed += elapsed;
    }

    /// Calls per second.
    pub fn rate(&self) -> f64 {
        self.times.0.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Reports the rate in units, where a call has `each` units, and the latencies.
    pub fn report(&self, report: &mut Report, name: &str, each: usize, unit: &str) {
        report.add(name, "", self.rate() * each as f64, unit);
        report.add(name, "latency p50", self.times.p50(), "ms");
        report.add(name, "latency p99", self.times.p99(), "ms");
    }
}

/// Lets each caller make one call after the other for `duration`.
pub async fn drive<C, F>(duration: Duration, callers: Vec<C>) -> anyhow::Result<Run>
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for mut call in callers {
        tasks.spawn(async move {
            let mut times = Vec::new();
            while begun.elapsed() < duration {
                let asked = Instant::now();
                call().await?;
                times.push(asked.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Times::default();
    while let Some(ended) = tasks.join_next().await {
        times.0.extend(ended??);
    }
    Ok(Run { times, elapsed: begun.elapsed() })
}
