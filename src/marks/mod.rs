//! Keeps the counts that make totals and deep pages cheap: folds new entries into them in the background, checks
//! them, and makes them again. Readers are exact without: what is not folded they count themselves.

mod check;
mod fold;
mod ladder;

use std::time::Duration;

use tracing::{debug, warn};

use crate::domain::{OrganizationId, Seq};
use crate::error::{Error, Result};
use crate::metrics::FoldLag;
use crate::store::{Lag, Store};

pub use check::{Checked, Fault};
pub use fold::Step;

/// An organization with fewer entries is counted faster than its marks are read.
const SMALLEST: Seq = 1_024;
/// So many unfolded entries are folded at once: a fold costs about as much with fewer.
const BATCH: Seq = 2_000;
/// Entries of a step beside a service, whose writes wait for it on SQLite.
const SHORT: Seq = 5_000;
/// The pause while another folder has an organization.
const TAKEN_BACKOFF: Duration = Duration::from_millis(250);
/// So many wait for the next tidying. Fewer are left to the readers, who count them in some 30 µs.
const REST: Seq = 256;
/// How often we tidy, in ticks.
const TIDY: u32 = 240;
/// An organization so far behind slows its readers down, and someone should know.
const LATE: Seq = 10_000;
/// How often we say so, in ticks.
const LOG_EVERY: u32 = 240;

/// Folds what comes, in steps, one folder at a time for an organization among all processes.
#[derive(Clone)]
pub struct Folder {
    store: Store,
}

impl Folder {
    /// Folds what `store` has.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Folds one step of each organization that waits for it, and reports to `lag` how far they are behind. `tick`
    /// counts the calls. Errors: that of the first organization that could not be folded; the others were.
    pub async fn step(&self, tick: u32, lag: &FoldLag) -> Result<()> {
        let least = if tick.is_multiple_of(TIDY) { REST } else { BATCH };
        let lags = self.store.lags(SMALLEST, least).await;
        let lags = lags.map_err(|error| error.again("organizations to fold cannot be looked for"))?;
        lag.found(lags.iter().map(|lag| lag.head - lag.folded));
        let mut failed = Ok(());
        for Lag { organization, head, folded } in lags {
            if tick.is_multiple_of(LOG_EVERY) && head - folded > LATE {
                warn!(%organization, lag = head - folded, "counts are behind; lists of it are slower until they are not");
            }
            match fold::step(&self.store, &organization, folded, head, SHORT).await {
                Ok(step) => debug!(%organization, ?step, "folded"),
                Err(error) => {
                    let doing = format!("folding failed for {organization}; totals stay exact, and become slower");
                    failed = failed.and(Err(error.again(&doing)));
                }
            }
            // What else runs here goes first.
            tokio::task::yield_now().await;
        }
        failed
    }

    /// Folds all that there is of `organization` now, and tells how far after each step. Another folder may help.
    pub async fn fold_all(&self, organization: &OrganizationId, mut told: impl FnMut(Seq)) -> Result<Seq> {
        let mut lag = self.lag(organization).await?;
        let (begun, end) = (lag.folded, lag.head);
        while lag.folded < end {
            match fold::step(&self.store, organization, lag.folded, lag.head, fold::STEP).await? {
                Step::Folded(to) => lag.folded = to,
                Step::Taken => {
                    tokio::time::sleep(TAKEN_BACKOFF).await;
                    lag = self.lag(organization).await?;
                }
            }
            told(lag.folded);
        }
        Ok(end - begun)
    }

    /// Takes the counts of `organization` away, so that they are made again.
    pub async fn forget(&self, organization: &OrganizationId) -> Result<()> {
        loop {
            let lag = self.lag(organization).await?;
            if let Some(fold) = self.store.fold(organization, lag.folded).await? {
                return fold.forget().await;
            }
            tokio::time::sleep(TAKEN_BACKOFF).await;
        }
    }

    /// How far the counts of `organization` reach.
    pub async fn lag(&self, organization: &OrganizationId) -> Result<Lag> {
        self.store.lag(organization).await?.ok_or(Error::OrganizationNotFound)
    }

    /// How far the counts of all organizations reach.
    pub async fn lags(&self) -> Result<Vec<Lag>> {
        self.store.lags(0, 0).await
    }
}
