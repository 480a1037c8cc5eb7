//! Deadlines: of a request, a database statement, or a series of retries.

use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;

/// The moment at which work must be done.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// `None`: no deadline.
    at: Option<Instant>,
}

impl Deadline {
    /// The deadline `time` from now; none if the clock cannot represent it.
    pub fn after(time: Duration) -> Self {
        Self { at: Instant::now().checked_add(time) }
    }

    /// The time left; zero once the deadline has passed.
    pub fn remaining(self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether the deadline has passed.
    pub fn is_over(self) -> bool {
        self.remaining().is_zero()
    }

    /// The result of `work`. Errors: the deadline passed first; `work` is dropped.
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
