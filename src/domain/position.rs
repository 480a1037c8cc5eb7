//! Positions in a list, and numbers of a log.

use super::{Entry, Invalid, Seq, TimeRange, Timestamp};

/// The position of an entry in a list. Lists are sorted by these two fields, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The entry's timestamp.
    pub timestamp: Timestamp,
    /// The entry's number, which orders entries with the same timestamp.
    pub seq: Seq,
}

impl Position {
    /// The position before all entries. Their numbers begin with 1.
    pub const START: Self = Self { timestamp: Timestamp::MIN, seq: 0 };
    /// The position after all entries.
    pub const END: Self = Self { timestamp: Timestamp::END, seq: Seq::MAX };

    /// The position of `entry`.
    pub fn of(entry: &Entry) -> Self {
        Self { timestamp: entry.timestamp, seq: entry.seq }
    }
}

/// The entries after one position, up to and including another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionRange {
    /// The start, exclusive.
    pub after: Position,
    /// The end, inclusive.
    pub to: Position,
}

impl PositionRange {
    /// The range of all entries.
    pub const ALL: Self = Self { after: Position::START, to: Position::END };
}

impl From<TimeRange> for PositionRange {
    fn from(range: TimeRange) -> Self {
        // The position before all entries of that instant.
        let before = |timestamp| Position { timestamp, seq: 0 };
        Self { after: range.start().map_or(Position::START, before), to: range.end().map_or(Position::END, before) }
    }
}

/// Checks that `seq` is 0 to `most`, which is `what`.
pub fn check_seq(seq: Seq, most: Seq, what: &str) -> Result<Seq, Invalid> {
    match (0..=most).contains(&seq) {
        true => Ok(seq),
        false => Err(Invalid::new(format_args!("must be 0 to {most}, {what}"), seq)),
    }
}

impl Default for Position {
    fn default() -> Self {
        Self::START
    }
}
