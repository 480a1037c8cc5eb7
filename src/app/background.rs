//! Background jobs: work that a process repeats beside its requests until it drains. One runner gives every job the
//! same pauses, back-off, panic handling, log lines, metrics and shutdown. The module `jobs` has the jobs themselves.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::domain::Clock;
use crate::metrics::{JobMetrics, Metrics};
use crate::retry::Backoff;

/// The longest pause after a failed run, unless the job's period is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(3);
/// A new cause of failures is logged at once, and again every so many runs that fail for it in a row.
const LOG_EVERY: u32 = 100;

/// Repeated work. It runs in one task, so its runs never overlap. It may be dropped at any `await`.
pub(super) trait Job: Send + 'static {
    /// The job's name in metrics and in the log.
    const NAME: &'static str;
    /// The pause is longer by this many times the duration of the last run, which leaves that time to requests.
    const REST: u32 = 0;
    /// Two errors with the same text count as the same cause.
    type Error: Display + Send;

    /// The pause between two runs. It is asked for once.
    fn period(&self) -> Duration;

    /// Does the work once.
    fn run(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Called after each failed run, with its error, or with `None` after a panic.
    fn failed(&mut self, _error: Option<&Self::Error>) {}

    /// Logs an error of a run.
    fn log(error: &Self::Error) {
        warn!(job = Self::NAME, %error, "a background job failed; it is tried again");
    }
}

/// All jobs of a process. Dropping it ends them.
pub(super) struct Jobs {
    tasks: JoinSet<()>,
    metrics: JobMetrics,
    clock: Clock,
}

impl Jobs {
    /// No jobs yet. `clock` gives the times of their last successes.
    pub(super) fn new(metrics: &Metrics, clock: Clock) -> Self {
        Self { tasks: JoinSet::new(), metrics: metrics.jobs(), clock }
    }

    /// Starts `job`.
    pub(super) fn spawn<J: Job>(&mut self, job: J) {
        let (metrics, clock) = (self.metrics.clone(), self.clock.clone());
        metrics.began(J::NAME, clock.now());
        self.tasks.spawn(repeat(job, metrics, clock));
    }

    /// Stops all jobs at their current `await`, and waits until they have released their resources. The next process
    /// repeats work that was not committed.
    pub(super) async fn end(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn repeat<J: Job>(mut job: J, metrics: JobMetrics, clock: Clock) {
    let period = job.period();
    let mut failures = Failures::of(period);
    loop {
        let begun = Instant::now();
        let pause = match AssertUnwindSafe(job.run()).catch_unwind().await {
            Ok(Ok(())) => {
                metrics.succeeded(J::NAME, clock.now());
                if failures.end() {
                    info!(job = J::NAME, "a background job succeeds again");
                }
                period + J::REST * begun.elapsed()
            }
            Ok(Err(error)) => {
                metrics.failed(J::NAME);
                if failures.add(error.to_string()) {
                    J::log(&error);
                }
                job.failed(Some(&error));
                failures.pause()
            }
            Err(_) => {
                metrics.failed(J::NAME);
                // The panic hook of telemetry logs the place of the panic.
                if failures.add("panic".to_owned()) {
                    error!(job = J::NAME, "a background job panicked; it is tried again");
                }
                job.failed(None);
                failures.pause()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The failures since the last success.
#[derive(Debug)]
struct Failures {
    backoff: Backoff,
    /// The cause of the last failure; `None` if there is none.
    cause: Option<String>,
    /// How often this cause was repeated in a row.
    repeated: u32,
}

impl Failures {
    /// No failures yet; `period` is the first pause.
    fn of(period: Duration) -> Self {
        Self { backoff: Backoff::new(period, MAX_BACKOFF.max(period)), cause: None, repeated: 0 }
    }

    /// Counts a failure. Returns whether it should be logged.
    fn add(&mut self, cause: String) -> bool {
        let is_known = self.cause.as_ref() == Some(&cause);
        self.repeated = if is_known { self.repeated.wrapping_add(1) } else { 0 };
        self.cause = Some(cause);
        self.repeated.is_multiple_of(LOG_EVERY)
    }

    /// The pause before the next run.
    fn pause(&mut self) -> Duration {
        self.backoff.next().unwrap_or(MAX_BACKOFF)
    }

    /// Records a success. Returns whether there were failures before it.
    fn end(&mut self) -> bool {
        self.backoff.reset();
        self.cause.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tokio::sync::mpsc;

    use super::*;
    use crate::domain::Timestamp;

    /// A job that fails, panics, and succeeds from its third run on. It reports each run and each failure.
    struct Flaky {
        runs: u32,
        reports: mpsc::UnboundedSender<&'static str>,
    }

    impl Job for Flaky {
        const NAME: &'static str = "flaky";
        type Error = &'static str;

        fn period(&self) -> Duration {
            Duration::from_millis(1)
        }

        async fn run(&mut self) -> Result<(), &'static str> {
            self.runs += 1;
            match self.runs {
                1 => Err("not yet"),
                2 => panic!("on purpose"),
                _ => self.reports.send("succeeded").map_err(|_| "nobody listens"),
            }
        }

        fn failed(&mut self, error: Option<&&'static str>) {
            self.reports.send(error.copied().unwrap_or("panicked")).expect("the test listens");
        }
    }

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_failing_or_panicking_job_is_logged_counted_and_retried() {
        let (metrics, log, (reports, mut heard)) = (Metrics::default(), Log::default(), mpsc::unbounded_channel());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let mut jobs = Jobs::new(&metrics, Clock::from_fn(|| Timestamp::saturating(5_000_000)));
        jobs.spawn(Flaky { runs: 0, reports });
        for expected in ["not yet", "panicked", "succeeded", "succeeded"] {
            assert_eq!(heard.recv().await, Some(expected));
        }
        jobs.end().await;
        while let Some(report) = heard.recv().await {
            assert_eq!(report, "succeeded");
        }
        let logged = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("UTF-8");
        let lines = [
            r#"WARN auditlog::app::background: a background job failed; it is tried again job="flaky" error=not yet"#,
            r#"ERROR auditlog::app::background: a background job panicked; it is tried again job="flaky""#,
            r#"INFO auditlog::app::background: a background job succeeds again job="flaky""#,
        ];
        assert_eq!(logged.lines().count(), lines.len(), "{logged}");
        assert!(logged.lines().zip(lines).all(|(logged, line)| logged.ends_with(line)), "{logged}");
        let text = metrics.text().expect("text");
        let value = |series: &str| {
            let series = format!("auditlog_job_{series}{{name=\"flaky\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{series}"));
            value.parse::<f64>().expect("a number")
        };
        assert_eq!(value("failures_total"), 2.0);
        assert!(value("runs_total") >= 4.0, "{}", value("runs_total"));
        assert_eq!(value("last_success_timestamp_seconds"), 5.0);
    }

    #[test]
    fn backoff_grows_from_the_period_to_the_limit_and_resets_after_a_success() {
        let pauses = |failures: &mut Failures| [(); 4].map(|()| failures.pause().as_millis());
        let mut failures = Failures::of(Duration::from_millis(700));
        assert_eq!(pauses(&mut failures), [700, 1_400, 2_800, 3_000]);
        assert!(!failures.end(), "no failure was counted");
        assert_eq!(failures.pause().as_millis(), 700);
        assert_eq!(pauses(&mut Failures::of(Duration::from_secs(60))), [60_000; 4], "a longer period is its own limit");
    }

    #[test]
    fn a_cause_is_logged_when_it_is_new_and_again_after_many_runs() {
        let mut failures = Failures::of(Duration::ZERO);
        let mut logged = |cause: &str, runs: u32| (0..runs).filter(|_| failures.add(cause.to_owned())).count();
        assert_eq!([logged("a", 1), logged("a", 99), logged("a", 1)], [1, 0, 1]);
        assert_eq!([logged("b", 1), logged("a", 1)], [1, 1]);
        assert!(failures.end());
        assert!(failures.add("a".to_owned()), "after a success each cause is new");
    }
}
