//! The ways in which a log can be wrong.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::types::Seq;

/// The kind of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An entry is another one than was signed for, or its stored hash is.
    Changed,
    /// An entry is not there.
    Missing,
    /// An entry is there that was not signed for.
    Added,
    /// Entries have exchanged or left their places.
    Reordered,
    /// The log ends before its checkpoint does.
    Truncated,
    /// The checkpoint is older than one that was seen.
    RolledBack,
    /// The checkpoint and one that was seen are of two logs.
    Forked,
    /// Values are gone, and no entry records that.
    Removed,
    /// The entries are right, and a tile or a proof is not.
    Tiles,
    /// The checkpoint is not signed as it must be.
    Unsigned,
}

impl Kind {
    /// As verdicts have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Added => "added",
            Self::Reordered => "reordered",
            Self::Truncated => "truncated",
            Self::RolledBack => "rolled back",
            Self::Forked => "forked",
            Self::Removed => "removed without record",
            Self::Tiles => "damaged tiles",
            Self::Unsigned => "not signed",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The first thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The kind.
    pub kind: Kind,
    /// To which entry; the first and the last of those of which it is one, where no more is known. `None` where it is
    /// about the whole.
    pub entries: Option<(Seq, Seq)>,
    /// In words.
    pub why: String,
}

impl Violation {
    pub(super) fn of_entry(kind: Kind, seq: Seq, why: impl Into<String>) -> Self {
        Self { kind, entries: Some((seq, seq)), why: why.into() }
    }

    /// About the whole log.
    pub fn of_log(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, entries: None, why: why.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, entries, why } = self;
        match entries {
            None => write!(f, "{kind}: {why}"),
            Some((first, last)) if first == last => write!(f, "{kind}: entry {first}: {why}"),
            Some((first, last)) => write!(f, "{kind}: one of the entries {first} to {last}: {why}"),
        }
    }
}
