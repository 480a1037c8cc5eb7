//! The background jobs of the service: name, period, and reaction to failures of each.

use std::time::{Duration, Instant};

use tracing::{debug, error, info};

use super::background::Job;
use super::health::{AUDIT_LOGS, ERASURES, HISTORIES, HealthStatuses, PROOFS};
use crate::counts::EntryCounter;
use crate::history::ContinuityMonitor;
use crate::metrics::{Checkpoints, CountingLag, Metrics};
use crate::signer::{Signer, SignerStopped};
use crate::store::Store;

/// After transient errors for this long, the health of proofs becomes NOT_SERVING.
const MAX_SIGNING_OUTAGE: Duration = Duration::from_secs(60);

/// Adds new entries to the running counts.
pub(super) struct CountJob {
    pub(super) counter: EntryCounter,
    pub(super) lag: CountingLag,
    pub(super) ticks: u32,
}

impl Job for CountJob {
    const NAME: &'static str = "counts";
    const REST: u32 = 8;
    type Error = String;

    fn period(&self) -> Duration {
        Duration::from_millis(250)
    }

    async fn run(&mut self) -> Result<(), String> {
        self.ticks = self.ticks.wrapping_add(1);
        self.counter.step(self.ticks, &self.lag).await.map_err(|error| error.with_causes())
    }
}

/// Looks for new breaks of continuity.
pub(super) struct ContinuityJob {
    monitor: ContinuityMonitor,
    period: Duration,
}

impl ContinuityJob {
    /// A job for the organizations of `store`. Registers the counter of the breaks.
    pub(super) fn new(store: Store, period: Duration, metrics: &Metrics) -> Self {
        Self { monitor: ContinuityMonitor::new(store, metrics.continuity_breaks()), period }
    }
}

impl Job for ContinuityJob {
    const NAME: &'static str = "continuity";
    const REST: u32 = 4;
    type Error = String;

    fn period(&self) -> Duration {
        self.period
    }

    async fn run(&mut self) -> Result<(), String> {
        self.monitor.step().await.map_err(|error| error.with_causes())
    }
}

/// Signs checkpoints, and sets the health of the service for proofs accordingly.
pub(super) struct SigningJob {
    signer: Signer,
    health: HealthStatuses,
    checkpoints: Checkpoints,
    succeeded_at: Instant,
}

impl SigningJob {
    /// A new job. `health` says NOT_SERVING until its first success.
    pub(super) fn new(signer: Signer, health: HealthStatuses, checkpoints: Checkpoints) -> Self {
        health.set(PROOFS, false);
        Self { signer, health, checkpoints, succeeded_at: Instant::now() }
    }
}

impl Job for SigningJob {
    const NAME: &'static str = "signing";
    const REST: u32 = 2;
    type Error = SignerStopped;

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn run(&mut self) -> Result<(), SignerStopped> {
        let begun = Instant::now();
        let signed = self.signer.step().await?;
        debug!(signed, "looked for logs to sign");
        self.checkpoints.signed(begun);
        self.health.set(PROOFS, true);
        self.succeeded_at = Instant::now();
        Ok(())
    }

    fn failed(&mut self, error: Option<&SignerStopped>) {
        let may_pass = error.is_some_and(SignerStopped::may_pass);
        if !may_pass {
            self.checkpoints.stopped();
        }
        if !may_pass || self.succeeded_at.elapsed() > MAX_SIGNING_OUTAGE {
            self.health.set(PROOFS, false);
        }
    }

    fn log(error: &SignerStopped) {
        error.log();
    }
}

/// Pings the database and sets the health of the services that need it. The health of the whole server stays SERVING,
/// because restarting the process does not bring the database back.
pub(super) struct DatabaseHealthJob {
    store: Store,
    health: HealthStatuses,
    did_answer: bool,
}

impl DatabaseHealthJob {
    /// A job for a database that was just opened.
    pub(super) fn new(store: Store, health: HealthStatuses) -> Self {
        Self { store, health, did_answer: true }
    }
}

impl Job for DatabaseHealthJob {
    const NAME: &'static str = "database_health";
    /// A database that does not answer is a result of the job, not a failure.
    type Error = std::convert::Infallible;

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn run(&mut self) -> Result<(), Self::Error> {
        let answer = self.store.ping().await;
        match (self.did_answer, &answer) {
            (true, Err(error)) => {
                error!(error = error.with_causes(), "the database does not answer; health checks say NOT_SERVING");
            }
            (false, Ok(())) => info!("the database answers again; health checks say SERVING"),
            _ => {}
        }
        self.did_answer = answer.is_ok();
        for service in [AUDIT_LOGS, ERASURES, HISTORIES] {
            self.health.set(service, self.did_answer);
        }
        Ok(())
    }
}

/// Finds the commits of other processes to the logs that this one follows.
pub(super) struct FollowJob {
    store: Store,
}

impl FollowJob {
    /// A job for the followers of `store`. Registers the gauge of their number.
    pub(super) fn new(store: Store, metrics: &Metrics) -> Self {
        let (followed, help) = (store.clone(), "Streams and feeds that follow a log.");
        metrics.reading("auditlog_followers", help, move || Some(followed.followers() as f64));
        Self { store }
    }
}

impl Job for FollowJob {
    const NAME: &'static str = "followed_heads";
    type Error = String;

    fn period(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn run(&mut self) -> Result<(), String> {
        self.store.poll_followed_heads().await.map_err(|error| error.with_causes())
    }
}
