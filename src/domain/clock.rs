//! The only code that reads the system clock.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Timestamp;

/// The current time. Passed in, so that a test can set it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all others use")]
    pub fn system() -> Self {
        Self::from_fn(|| {
            let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
            };
            Timestamp::saturating(micros)
        })
    }

    /// A clock that returns the values of `now`.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}
