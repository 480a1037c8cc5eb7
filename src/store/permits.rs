//! Read permits. As many reads run as there are connections, less one, and a limited number waits, with a quota per
//! key. Further reads are refused at once, instead of waiting until their callers have given up. The scheduler decides
//! which of the waiting reads runs next.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Store;
use super::read_scheduler::{ReadScheduler, Reader, ScheduledRead};
use crate::domain::OrganizationId;
use crate::error::{BYTES_SPENT, Error, Result};
use crate::limits::{Budget, KeyBudgets, KeyQuota, Reservation};
use crate::metrics::{Metrics, Refusal};

#[derive(Clone)]
pub(super) struct ReadPermits {
    /// Permits of reads that run or wait.
    all: Arc<Semaphore>,
    keys: KeyQuota,
    scheduler: ReadScheduler,
    budgets: KeyBudgets,
    metrics: Metrics,
}

/// The permit of a read, held until it is dropped.
pub struct ReadPermit {
    _waiting: Option<[OwnedSemaphorePermit; 2]>,
    _running: ScheduledRead,
}

impl ReadPermits {
    /// Lets `connections` reads run at once, and any number wait.
    pub(super) fn new(connections: u32) -> Self {
        let all = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let keys = KeyQuota::of(Semaphore::MAX_PERMITS);
        let scheduler = ReadScheduler::new(connections as usize);
        Self { all, keys, scheduler, budgets: KeyBudgets::of(Budget::new(usize::MAX)), metrics: Metrics::default() }
    }

    async fn run(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        waiting: Option<[OwnedSemaphorePermit; 2]>,
        own: usize,
    ) -> Result<ReadPermit> {
        let reader = Reader { key_id: key_id.to_owned(), organization: organization.clone() };
        let running = self.scheduler.acquire(reader).await.map_err(|dropped| Error::Internal(dropped.into()))?;
        // Checked only now: a read that waited did not know how many bytes would be held by then.
        match self.budgets.part(key_id).is_spent_beside(own) {
            true => Err(self.refuse(Refusal::bytes, BYTES_SPENT)),
            false => Ok(ReadPermit { _waiting: waiting, _running: running }),
        }
    }

    fn refuse(&self, reason: Refusal, message: &'static str) -> Error {
        self.metrics.refused(reason);
        Error::Overloaded(message)
    }
}

impl Store {
    /// Limits reads. At most `reads` run or wait, four fifths of them for one key, and none starts while the budget of
    /// its key is spent. A read refused here was already decoded and checked. So admission should allow a key no more
    /// requests than this: under load, admission should refuse.
    pub fn with_read_limits(mut self, reads: usize, budgets: KeyBudgets, metrics: Metrics) -> Self {
        let all = Arc::new(Semaphore::new(reads));
        let free = Arc::clone(&all);
        metrics.reading("auditlog_reads", "Reads that run or wait for a database connection.", move || {
            Some(reads.saturating_sub(free.available_permits()) as f64)
        });
        self.permits = ReadPermits { all, keys: KeyQuota::of(reads), budgets, metrics, ..self.permits };
        self
    }

    /// Waits for a read permit for the key with this id, to read in `organization`. Never hold one and wait for
    /// another: that can deadlock. Errors: `Overloaded`, at once.
    pub async fn read_permit(&self, key_id: &str, organization: &OrganizationId) -> Result<ReadPermit> {
        let permits = &self.permits;
        let all = Arc::clone(&permits.all).try_acquire_owned();
        let all = all.map_err(|_| permits.refuse(Refusal::reads, "Too many reads are waiting"))?;
        let key = permits.keys.try_acquire(key_id);
        let key = key.ok_or_else(|| permits.refuse(Refusal::reads, "Too many reads with this API key are waiting"))?;
        permits.run(key_id, organization, Some([all, key]), 0).await
    }

    /// Counts `bytes` that were read for the key with this id, even beyond its share.
    pub fn hold(&self, key_id: &str, bytes: usize) -> Reservation {
        self.permits.budgets.part(key_id).hold(bytes)
    }

    /// Waits for a read permit for the next piece of a stream, even if the queue is full: if the stream failed, its
    /// reader would come again. Requests are limited, and so are these waits. The stream holds `own` bytes meanwhile.
    /// Errors: `Overloaded` while others have spent the bytes of the key.
    pub async fn read_permit_of_stream(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        own: usize,
    ) -> Result<ReadPermit> {
        self.permits.run(key_id, organization, None, own).await
    }
}
