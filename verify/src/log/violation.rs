//! The kinds of violations of a log.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::types::Seq;

/// The kind of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An entry, or its stored hash, is not the signed one.
    Changed,
    /// An entry is missing.
    Missing,
    /// There is an entry that was not signed.
    Added,
    /// Entries have moved or been exchanged.
    Reordered,
    /// The log ends before its checkpoint.
    Truncated,
    /// The checkpoint is older than one seen before.
    RolledBack,
    /// The checkpoint and one seen before are from different histories.
    Forked,
    /// Values are gone without a trusted record.
    Removed,
    /// The entries are right, but a tile or a proof is not.
    Tiles,
    /// The checkpoint has no valid signature.
    Unsigned,
}

impl Kind {
    /// The name in verdicts.
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

/// The first violation of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The kind.
    pub kind: Kind,
    /// The first and the last entry of the range that has the bad entry; equal if the entry is known. `None` if the
    /// violation is about the whole log.
    pub entries: Option<(Seq, Seq)>,
    /// The reason, in words.
    pub why: String,
}

impl Violation {
    pub(super) fn of_entry(kind: Kind, seq: Seq, why: impl Into<String>) -> Self {
        Self { kind, entries: Some((seq, seq)), why: why.into() }
    }

    /// A violation about the whole log.
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
