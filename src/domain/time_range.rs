//! Ranges of times.

use super::{Invalid, Timestamp};

/// Microseconds per minute.
const MINUTE: i64 = 60_000_000;

/// Timestamps with `start <= timestamp < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeRange {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl TimeRange {
    /// Errors: `start` is after `end`.
    pub fn parse(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<Self, Invalid> {
        match (start, end) {
            (Some(start), Some(end)) if start > end => {
                Err(Invalid::new(format_args!("must not be after the end {end}"), start))
            }
            _ => Ok(Self { start, end }),
        }
    }

    /// The instants that are at most `minutes` before or after `time`.
    pub fn around(time: Timestamp, minutes: Minutes) -> Self {
        let distance = i64::from(minutes.0) * MINUTE;
        Self { start: Some(time.plus(-distance)), end: Some(time.plus(distance).plus(1)) }
    }

    /// The first instant of the range; `None` for no lower bound.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// The first instant after the range; `None` for no upper bound.
    pub fn end(&self) -> Option<Timestamp> {
        self.end
    }
}

/// How far an instant may be from another one, 1 to 1440 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minutes(i32);

impl Minutes {
    /// The least number.
    pub const MIN: i32 = 1;
    /// The greatest number: a day.
    pub const MAX: i32 = 1_440;
    /// The number if none is given.
    pub const DEFAULT: i32 = 10;

    /// `None` means 10. Errors: not 1 to 1440.
    pub fn parse(minutes: Option<i32>) -> Result<Self, Invalid> {
        match minutes.unwrap_or(Self::DEFAULT) {
            minutes @ Self::MIN..=Self::MAX => Ok(Self(minutes)),
            minutes => Err(Invalid::new(format_args!("must be {} to {}", Self::MIN, Self::MAX), minutes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(time: Timestamp, minutes: i32) -> [String; 2] {
        let range = TimeRange::around(time, Minutes::parse(Some(minutes)).expect("minutes"));
        [range.start(), range.end()].map(|end| end.expect("an end").to_string())
    }

    #[test]
    fn a_range_around_an_instant_has_both_ends() {
        let noon = Timestamp::parse("2025-01-20T12:00:00Z").expect("a time");
        assert_eq!(around(noon, 1), ["2025-01-20T11:59:00Z", "2025-01-20T12:01:00.000001Z"]);
        assert_eq!(around(noon, 1_440), ["2025-01-19T12:00:00Z", "2025-01-21T12:00:00.000001Z"]);
        assert_eq!(around(Timestamp::MIN, 1), ["0001-01-01T00:00:00Z", "0001-01-01T00:01:00.000001Z"]);
        assert_eq!(around(Timestamp::END.plus(-1), 1), ["9999-12-31T23:58:59.999999Z", "10000-01-01T00:00:00Z"]);
    }

    #[test]
    fn minutes_are_1_to_1440() {
        assert_eq!(Minutes::parse(None), Minutes::parse(Some(10)));
        for minutes in [i32::MIN, -5, 0, 1_441] {
            let refused = Minutes::parse(Some(minutes)).expect_err("too few or too many");
            assert_eq!(refused.0, format!("must be 1 to 1440, got {minutes}"));
        }
    }
}
