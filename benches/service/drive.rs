//! Many clients at once.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::figure::{Report, Times};

/// What many clients did.
#[derive(Default)]
pub struct Run {
    pub times: Times,
    elapsed: Duration,
}

impl Run {
    /// Goes on with another round.
    pub fn extend(&mut self, other: Self) {
        let Self { times, elapsed } = other;
        self.times.0.extend(times.0);
        self.elapsed += elapsed;
    }

    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.times.0.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Adds the rate of calls with `each` units, and their times.
    pub fn report(&self, report: &mut Report, name: &str, each: usize, unit: &str) {
        report.add(name, "", self.rate() * each as f64, unit);
        report.add(name, "latency p50", self.times.p50(), "ms");
        report.add(name, "latency p99", self.times.p99(), "ms");
    }
}

/// Lets each caller call again and again, one call after the other, for so long.
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
