//! Turns to read: only as many reads run as there are connections, and only so many wait for one. What is beyond is
//! refused at once, instead of waiting until its caller has given up.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::Store;
use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Refusal};

/// Who may read.
#[derive(Clone)]
pub(super) struct Turns {
    /// Reads that run or wait.
    all: Arc<Semaphore>,
    /// Those that run.
    running: Arc<Semaphore>,
    budget: Budget,
    metrics: Metrics,
}

/// A read's turn, until it is dropped.
pub struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _connection: OwnedSemaphorePermit,
}

impl Turns {
    /// As many at once as there are `connections`, however many wait.
    pub(super) fn new(connections: u32) -> Self {
        let [all, running] = [Semaphore::MAX_PERMITS, connections as usize].map(|most| Arc::new(Semaphore::new(most)));
        Self { all, running, budget: Budget::new(usize::MAX), metrics: Metrics::default() }
    }

    async fn run(&self, place: Option<OwnedSemaphorePermit>) -> Result<Turn> {
        let connection = Arc::clone(&self.running).acquire_owned().await;
        let connection = connection.map_err(|closed: AcquireError| Error::Internal(closed.into()))?;
        // Only now, since whoever waited knew nothing of what others would hold by then.
        if self.budget.is_spent() {
            self.metrics.refused(Refusal::bytes);
            return Err(Error::Overloaded("Requests and responses hold too many bytes"));
        }
        Ok(Turn { _place: place, _connection: connection })
    }
}

impl Store {
    /// The same with at most `reads` that run or wait for their turn, and none that runs while `budget` is spent.
    pub fn with_turns(mut self, reads: usize, budget: Budget, metrics: Metrics) -> Self {
        let all = Arc::new(Semaphore::new(reads));
        let free = Arc::clone(&all);
        metrics.reading("auditlog_reads", "Reads that run or wait for a connection to the database.", move || {
            Some(reads.saturating_sub(free.available_permits()) as f64)
        });
        self.turns = Turns { all, budget, metrics, ..self.turns };
        self
    }

    /// Waits for a turn to read. Whoever has one takes no other, or all could wait for each other. Errors:
    /// `Overloaded`, at once.
    pub async fn turn(&self) -> Result<Turn> {
        let place = Arc::clone(&self.turns.all).try_acquire_owned().map_err(|_| {
            self.turns.metrics.refused(Refusal::reads);
            Error::Overloaded("Too many reads are waiting")
        })?;
        self.turns.run(Some(place)).await
    }

    /// The same for the next piece of what was begun, which waits however many do: to break it off would have its
    /// reader come again. Requests are bounded, and so are those that wait.
    pub async fn turn_of_stream(&self) -> Result<Turn> {
        self.turns.run(None).await
    }
}
