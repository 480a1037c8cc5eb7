//! When something is due: the answer to a request, a statement of the database, the last try of a call.

use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;

/// A moment after which nobody waits any longer.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// `None` for never.
    at: Option<Instant>,
}

impl Deadline {
    /// The moment in `time` from now; never, where the clock does not reach so far.
    pub fn after(time: Duration) -> Self {
        Self { at: Instant::now().checked_add(time) }
    }

    /// The time that is left; zero once it is over.
    pub fn remaining(self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether it has come.
    pub fn is_over(self) -> bool {
        self.remaining().is_zero()
    }

    /// What `work` gives. Errors: it was not done in time, and is dropped.
    pub async fn timeout<T>(self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        match self.at {
            Some(at) => tokio::time::timeout_at(at.into(), work).await,
            None => Ok(work.await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_at_the_deadline() {
        let soon = Deadline::after(Duration::from_millis(20));
        assert!(!soon.is_over() && soon.remaining() <= Duration::from_millis(20));
        assert!(soon.timeout(std::future::pending::<()>()).await.is_err());
        assert!(soon.is_over() && soon.remaining().is_zero());
        let never = Deadline::after(Duration::MAX);
        assert_eq!((never.is_over(), never.timeout(async { 1 }).await.ok()), (false, Some(1)));
    }
}
