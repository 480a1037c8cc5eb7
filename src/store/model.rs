//! The types that several files of the store share.

use std::collections::BTreeMap;

use auditlog_verify::merkle::{Hash, Salts};

use crate::domain::{Counts, Entry, EntryKind, Filter, Identifier, Name, OrganizationId, Position, Seq, Timestamp};

/// An entry with its leaf in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedEntry {
    /// The entry.
    pub entry: Entry,
    /// Random bytes in the hashes, so that the values cannot be guessed from them.
    pub salts: Salts,
    /// The hash of the leaf.
    pub leaf: Hash,
}

/// The last number of an organization, and its last counted number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The organization.
    pub organization: OrganizationId,
    /// The last number.
    pub head: Seq,
    /// Entries up to this number are counted.
    pub counted: Seq,
}

/// The fields of an entry that running counts and the index of names depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncountedEntry {
    /// The position in lists.
    pub position: Position,
    /// When the entry was recorded. Only compared, to recognize another entry with the same number.
    pub recorded_at: Timestamp,
    /// The type, the action and the outcome.
    pub kind: EntryKind,
    /// The user who acted.
    pub user: Identifier,
    /// The resource.
    pub resource: Identifier,
    /// The names in the entry. They may have been erased since.
    pub names: EntryNames,
}

/// The names in an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryNames {
    /// The name of the user.
    pub user_name: Option<Name>,
    /// The e-mail address of the user.
    pub user_email: Option<Name>,
    /// The name of the resource.
    pub resource_name: Option<Name>,
}

impl From<&Entry> for UncountedEntry {
    fn from(entry: &Entry) -> Self {
        let Entry { seq, timestamp, recorded_at, writer_key_id: _, erased: _, content } = entry;
        Self {
            position: Position { timestamp: *timestamp, seq: *seq },
            recorded_at: *recorded_at,
            kind: content.kind(),
            user: content.user_id.clone(),
            resource: content.resource_id.clone(),
            names: EntryNames {
                user_name: content.user_name.clone(),
                user_email: content.user_email.clone(),
                resource_name: content.resource_name.clone(),
            },
        }
    }
}

/// The count of all entries of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyTotal {
    /// The counts of all counted entries of the key.
    pub counts: Counts,
    /// The position of the newest counted entry.
    pub newest: Position,
    /// The number of counted entries after the last running count.
    pub tail: i64,
}

/// The level of a stored running count, and its position. A count of level 0 has all entries of its key up to its
/// position; a count of level 1 only those since the level-0 count before it.
pub type LevelPosition = (i16, Position);

/// All counts of a key at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCounts {
    /// Entries up to this number are counted.
    pub counted: Seq,
    /// The count of all entries.
    pub total: KeyTotal,
    /// The running counts as they are stored.
    pub running_counts: BTreeMap<LevelPosition, Counts>,
}

/// The count of a key's entries up to and including a position. At level 1, it has only the entries since the level-0
/// count before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningCount {
    /// The position of the last entry that is in it.
    pub position: Position,
    /// The number of entries of each kind.
    pub counts: Counts,
}

impl Default for RunningCount {
    /// A count of no entries, before all of them.
    fn default() -> Self {
        Self { position: Position::START, counts: Counts::default() }
    }
}

/// Selects the facts about uncounted entries that a [`CountState`] has.
#[derive(Debug, Clone, Copy)]
pub enum CountUncounted<'f> {
    /// Nothing.
    No,
    /// Whether they are few enough to count one by one: then their number is 0.
    Few,
    /// The number of those that match the filter.
    Number(&'f Filter),
    /// Their number and their kinds.
    ByKind(&'f Filter),
}

/// The counts of an organization and of some of its keys at one moment.
#[derive(Debug, Clone)]
pub struct CountState {
    /// The organization's last number.
    pub head: Seq,
    /// Entries up to this number are counted.
    pub counted: Seq,
    /// The number of uncounted entries that match a filter; `None` if they are too many to count one by one.
    pub uncounted: Option<i64>,
    /// The kinds of these uncounted entries, if they were asked for.
    pub uncounted_kinds: Vec<EntryKind>,
    /// The keys, in the order asked for.
    pub keys: Vec<KeyState>,
}

/// The counts of a key at the two ends of a range.
#[derive(Debug, Clone, Default)]
pub struct KeyState {
    /// The counts of all counted entries of the key; `None` if it has no running counts.
    pub total: Option<Counts>,
    /// The last running count at or before the beginning of the range.
    pub after: RunningCount,
    /// The last running count at or before the end of the range.
    pub to: RunningCount,
}
