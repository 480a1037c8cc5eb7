//! Running counts, which make totals and deep pages cheap. This module adds new entries to them in the background,
//! checks them, and rebuilds them. Readers are exact without it: they count the entries that are not counted yet by
//! themselves.

mod check;
mod index;
mod names;
mod step;

use std::time::Duration;

use tracing::{debug, warn};

use crate::domain::{COUNT_DISTANCE, OrganizationId, Seq};
use crate::error::{Error, Result};
use crate::metrics::CountingLag;
use crate::store::{Lag, Store};

pub use check::{CountCheck, WrongCount};
pub use step::CountStep;

/// The service does not count organizations with fewer entries: they would have no running count, and counting their
/// entries one by one takes little time.
const MIN_ENTRIES: Seq = COUNT_DISTANCE;
/// A step starts from this number of uncounted entries on. It costs about as much with fewer.
const MIN_UNCOUNTED: Seq = 2_000;
/// The number of entries of a step beside a service. On SQLite, writes wait until the step has ended.
const SERVICE_STEP: Seq = 5_000;
/// The pause while another process counts the entries of an organization.
const TAKEN_BACKOFF: Duration = Duration::from_millis(250);
/// Once a minute, a step starts from this number of uncounted entries on. Readers count fewer in some 30 µs.
const TIDY_UNCOUNTED: Seq = 256;
/// The number of ticks between two steps for few entries.
const TIDY_EVERY: u32 = 240;
/// From this number of uncounted entries on, an organization's readers are slower, and a warning names it.
const WARN_UNCOUNTED: Seq = 10_000;
/// The number of ticks between two warnings.
const LOG_EVERY: u32 = 240;

/// Adds entries to the running counts, in steps. Among all processes, one at a time does so for an organization.
#[derive(Clone)]
pub struct EntryCounter {
    store: Store,
}

impl EntryCounter {
    /// Counts the entries of `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Takes one step for each organization with enough uncounted entries, and reports these to `lag`. `tick` is the
    /// number of the call. Errors: the first of all organizations; the others are counted nevertheless.
    pub async fn step(&self, tick: u32, lag: &CountingLag) -> Result<()> {
        let least = if tick.is_multiple_of(TIDY_EVERY) { TIDY_UNCOUNTED } else { MIN_UNCOUNTED };
        let lags = self.store.lags(MIN_ENTRIES, least).await;
        let lags =
            lags.map_err(|error| error.clone_with_context("the organizations with uncounted entries cannot be read"))?;
        lag.found(lags.iter().map(|lag| lag.head - lag.counted));
        let mut failed = Ok(());
        for Lag { organization, head, counted } in lags {
            if tick.is_multiple_of(LOG_EVERY) && head - counted > WARN_UNCOUNTED {
                warn!(%organization, lag = head - counted, "running counts are behind; lists of this organization are slower until they catch up");
            }
            match step::step(&self.store, &organization, counted, head, SERVICE_STEP).await {
                Ok(step) => debug!(%organization, ?step, "counted"),
                Err(error) => {
                    let doing = format!("counting failed for {organization}; totals stay exact, and become slower");
                    failed = failed.and(Err(error.clone_with_context(&doing)));
                }
            }
            // Gives way to requests.
            tokio::task::yield_now().await;
        }
        failed
    }

    /// Counts all entries that `organization` has now, and returns their number. Calls `progress` after each step with
    /// the last counted number. Another process may count meanwhile.
    pub async fn count_all(&self, organization: &OrganizationId, mut progress: impl FnMut(Seq)) -> Result<Seq> {
        let mut lag = self.lag(organization).await?;
        let (begun, end) = (lag.counted, lag.head);
        while lag.counted < end {
            match step::step(&self.store, organization, lag.counted, lag.head, step::STEP).await? {
                CountStep::Counted(to) => lag.counted = to,
                CountStep::Taken => {
                    tokio::time::sleep(TAKEN_BACKOFF).await;
                    lag = self.lag(organization).await?;
                }
            }
            progress(lag.counted);
        }
        Ok(end - begun)
    }

    /// Deletes the running counts of `organization`; they are then rebuilt from its entries.
    pub async fn discard(&self, organization: &OrganizationId) -> Result<()> {
        loop {
            let lag = self.lag(organization).await?;
            if let Some(transaction) = self.store.begin_counting(organization, lag.counted).await? {
                return transaction.discard().await;
            }
            tokio::time::sleep(TAKEN_BACKOFF).await;
        }
    }

    /// The last counted number of `organization`. Errors: there is no such organization.
    pub async fn lag(&self, organization: &OrganizationId) -> Result<Lag> {
        self.store.lag(organization).await?.ok_or(Error::OrganizationNotFound)
    }

    /// The lag of each organization.
    pub async fn lags(&self) -> Result<Vec<Lag>> {
        self.store.lags(0, 0).await
    }
}
