//! The days of the story, and draws that are the same at each start.

use crate::domain::{Random, Timestamp, hex};

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The first day of the story; day 0 is today. Days begin at midnight in UTC.
pub(super) const FIRST_DAY: i64 = -14;
/// The day of the incident, which begins at noon.
pub(super) const INCIDENT_DAY: i64 = -2;
const SATURDAY: i64 = 6;
const SUNDAY: i64 = 0;

/// The days up to the present.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoryCalendar {
    /// Microseconds since 1970.
    now: i64,
    midnight: i64,
}

impl StoryCalendar {
    pub(super) fn new(now: Timestamp) -> Self {
        let now = now.micros();
        Self { now, midnight: now - now.rem_euclid(DAY) }
    }

    /// The days of the story up to today.
    pub(super) fn days(self) -> impl Iterator<Item = i64> {
        FIRST_DAY..=0
    }

    /// A time of a day in UTC, in microseconds since 1970.
    pub(super) fn at(self, day: i64, hour: i64, minute: i64) -> i64 {
        self.midnight + day * DAY + hour * HOUR + minute * MINUTE
    }

    /// The day of the week. Sunday is 0.
    pub(super) fn weekday(self, day: i64) -> i64 {
        // 1970-01-01 was a Thursday.
        ((self.midnight / DAY) + day + 4).rem_euclid(7)
    }

    pub(super) fn is_weekend(self, day: i64) -> bool {
        matches!(self.weekday(day), SATURDAY | SUNDAY)
    }

    /// The noon at which the incident begins.
    pub(super) fn incident(self) -> i64 {
        self.at(INCIDENT_DAY, 12, 0)
    }

    /// Whether the log has entries of this time: nothing is in the future.
    pub(super) fn has(self, at: i64) -> bool {
        self.at(FIRST_DAY, 0, 0) <= at && at <= self.now
    }
}

/// Draws from a generator with a fixed seed.
#[derive(Clone)]
pub(super) struct StoryDraws(Random);

impl StoryDraws {
    pub(super) fn new() -> Self {
        Self(Random::seeded(20))
    }

    /// A number from 0 to `end` - 1, or 0 if `end` is 0.
    pub(super) fn below(&self, end: usize) -> usize {
        (u32::from_le_bytes(self.0.bytes()) as usize).checked_rem(end).unwrap_or(0)
    }

    /// A number from `first` to `last`.
    pub(super) fn between(&self, first: i64, last: i64) -> i64 {
        first + i64::from(u32::from_le_bytes(self.0.bytes())).rem_euclid((last - first + 1).max(1))
    }

    /// One of `choices`, which must not be empty.
    pub(super) fn one_of<'c, T>(&self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// Whether something happens that has a chance of so many in a hundred.
    pub(super) fn chance(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A time around `hour`, at most 96 minutes from the half hour after it. Microseconds after midnight, to the millisecond.
    pub(super) fn around(&self, hour: i64) -> i64 {
        let spread: i64 = (0..3).map(|_| self.between(-32, 32)).sum();
        (hour * 60 + 30 + spread) * MINUTE + self.between(0, 59_999) * 1_000
    }

    /// `N` bytes as hex digits.
    pub(super) fn hex<const N: usize>(&self) -> String {
        hex(&self.0.bytes::<N>())
    }
}
