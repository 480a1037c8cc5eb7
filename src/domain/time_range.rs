//! Ranges of times.

use super::{Invalid, Timestamp};

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

    /// The first instant of the range; `None` for no lower bound.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// The first instant after the range; `None` for no upper bound.
    pub fn end(&self) -> Option<Timestamp> {
        self.end
    }
}
