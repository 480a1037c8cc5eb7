//! Exponential back-off between attempts that may succeed later. Writes, the gateway, background jobs and all commands
//! use it; each decides which failures it retries.

use std::time::Duration;

use crate::deadline::Deadline;

/// The pauses between attempts of one call: each is twice the one before, up to `longest`. The iterator ends at
/// `max_pauses` or `max_time`; without limits, it never ends.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    max_pauses: u32,
    max_time: Duration,
    taken: u32,
    /// Set at the first pause.
    deadline: Option<Deadline>,
}

impl Backoff {
    /// Pauses from `first` to `longest`, without an end.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, max_pauses: u32::MAX, max_time: Duration::MAX, taken: 0, deadline: None }
    }

    /// Ends the pauses after `count` of them.
    #[must_use]
    pub const fn at_most(self, count: u32) -> Self {
        Self { max_pauses: count, ..self }
    }

    /// Ends the pauses once `time` has passed since the first failure.
    #[must_use]
    pub const fn within(self, time: Duration) -> Self {
        Self { max_time: time, ..self }
    }

    /// The number of pauses taken.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Starts again from the first pause, after a success.
    pub fn reset(&mut self) {
        (self.taken, self.deadline) = (0, None);
    }
}

/// Call `next` right after each failure. `None` means: give up.
impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let deadline = *self.deadline.get_or_insert_with(|| Deadline::after(self.max_time));
        if self.taken >= self.max_pauses || deadline.is_over() {
            return None;
        }
        let doubled = self.first.saturating_mul(2u32.saturating_pow(self.taken));
        self.taken = self.taken.saturating_add(1);
        Some(doubled.min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_limit_and_stop_after_the_maximum_count() {
        let mut backoff = Backoff::new(50 * MS, 150 * MS).at_most(4);
        assert_eq!(backoff.by_ref().collect::<Vec<_>>(), [50 * MS, 100 * MS, 150 * MS, 150 * MS]);
        assert_eq!((backoff.next(), backoff.taken()), (None, 4));
        backoff.reset();
        assert_eq!((backoff.next(), backoff.taken()), (Some(50 * MS), 1), "a success begins anew");
        let mut endless = Backoff { taken: u32::MAX, ..Backoff::new(MS, 150 * MS).at_most(u32::MAX) };
        assert_eq!(endless.next(), None, "the count is a limit, not an overflow");
        endless.taken = 1_000;
        assert_eq!(endless.next(), Some(150 * MS));
    }

    #[test]
    fn the_retry_time_limit_starts_at_the_first_failure() {
        let mut backoff = Backoff::new(MS, MS).within(40 * MS);
        std::thread::sleep(60 * MS);
        assert_eq!(backoff.next(), Some(MS), "what a first try took does not count");
        std::thread::sleep(60 * MS);
        assert_eq!(backoff.next(), None);
        backoff.reset();
        assert_eq!(backoff.next(), Some(MS));
        assert_eq!(Backoff::new(MS, MS).within(Duration::ZERO).next(), None);
    }
}
