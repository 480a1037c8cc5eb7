//! Places in a list.

use super::{Seq, TimeRange, Timestamp};

/// The place of an entry: lists are sorted by these two, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Its time.
    pub timestamp: Timestamp,
    /// Its number, which orders entries of the same time.
    pub seq: Seq,
}

impl Position {
    /// Before all entries, whose numbers begin with 1.
    pub const START: Self = Self { timestamp: Timestamp::MIN, seq: 0 };
    /// After all entries.
    pub const END: Self = Self { timestamp: Timestamp::END, seq: Seq::MAX };
}

/// The entries after one position and up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionRange {
    /// Not part of it.
    pub after: Position,
    /// Part of it.
    pub to: Position,
}

impl PositionRange {
    /// All entries.
    pub const ALL: Self = Self { after: Position::START, to: Position::END };
}

impl From<TimeRange> for PositionRange {
    fn from(range: TimeRange) -> Self {
        // The instant itself, before all entries of that instant.
        let before = |timestamp| Position { timestamp, seq: 0 };
        Self { after: range.start().map_or(Position::START, before), to: range.end().map_or(Position::END, before) }
    }
}

impl Default for Position {
    fn default() -> Self {
        Self::START
    }
}
