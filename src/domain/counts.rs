//! Counts of entries by kind, and the keys that have counts.

use super::{Action, Identifier, KindFilter, ResourceType};

/// The number of actions that a count has room for: those of the catalogue, which are fixed.
pub const ACTIONS: usize = 6;
/// The number of a key's entries between two of its running counts. A key with fewer entries has no running count.
pub const COUNT_DISTANCE: i64 = 1_024;

/// The kind of an entry: the smallest group that a filter on types and actions can tell apart.
pub type EntryKind = (ResourceType, Action);

/// A key of running counts: the organization, a user, or a resource. Its entries are read by one index scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountKey {
    /// All entries of the organization.
    Organization,
    /// The entries of a user.
    User(Identifier),
    /// The entries about a resource.
    Resource(ResourceType, Identifier),
}

impl CountKey {
    /// The stored form of the key.
    pub fn text(&self) -> String {
        match self {
            Self::Organization => "o".to_owned(),
            Self::User(id) => format!("u{id}"),
            Self::Resource(code, id) => format!("r{}:{id}", code.0),
        }
    }

    /// Reads a stored [`CountKey::text`].
    pub(crate) fn stored(text: &str) -> Option<Self> {
        match text.split_at_checked(1)? {
            ("o", "") => Some(Self::Organization),
            ("u", id) => Some(Self::User(Identifier::stored(id.to_owned()))),
            ("r", resource) => {
                let (code, id) = resource.split_once(':')?;
                Some(Self::Resource(ResourceType(code.parse().ok()?), Identifier::stored(id.to_owned())))
            }
            _ => None,
        }
    }
}

/// The number of entries of each kind. Stored as u32, little-endian, at (type code × 6 + action code); a missing tail
/// is zeros.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts(Vec<u32>);

/// A count that does not fit, falls below zero, or was not stored by this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored count is damaged or at its limit")]
pub struct Damaged;

impl Counts {
    /// Reads a stored [`Counts::bytes`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Damaged> {
        let (counts, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(Damaged);
        }
        Ok(Self(counts.iter().map(|count| u32::from_le_bytes(*count)).collect()))
    }

    /// The stored form of the counts.
    pub fn bytes(&self) -> Vec<u8> {
        let used = self.0.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        self.0[..used].iter().flat_map(|count| count.to_le_bytes()).collect()
    }

    /// Counts one more entry of `kind`.
    pub fn add(&mut self, kind: EntryKind) -> Result<(), Damaged> {
        let count = self.at_mut(kind)?;
        *count = count.checked_add(1).ok_or(Damaged)?;
        Ok(())
    }

    /// The sum of both counts.
    pub fn plus(&self, other: &Self) -> Result<Self, Damaged> {
        self.combined(other, u32::checked_add)
    }

    /// The difference of both counts. Errors: `other` has more entries of a kind.
    pub fn minus(&self, other: &Self) -> Result<Self, Damaged> {
        self.combined(other, u32::checked_sub)
    }

    /// The number of entries of all kinds.
    pub fn total(&self) -> i64 {
        self.0.iter().map(|count| i64::from(*count)).sum()
    }

    /// The number of entries of the kinds that `filter` selects.
    pub fn matching(&self, filter: KindFilter<'_>) -> i64 {
        let KindFilter { resource_types, actions } = filter;
        let is_one = |place: usize| {
            let (code, action) = (place / ACTIONS, place % ACTIONS);
            (resource_types.is_empty() || resource_types.iter().any(|one| usize::try_from(one.0) == Ok(code)))
                && (actions.is_empty() || actions.iter().any(|one| usize::try_from(one.0) == Ok(action)))
        };
        let counted = self.0.iter().enumerate().filter(|(place, _)| is_one(*place));
        counted.map(|(_, count)| i64::from(*count)).sum()
    }

    fn at_mut(&mut self, (code, action): EntryKind) -> Result<&mut u32, Damaged> {
        let action = usize::try_from(action.0).ok().filter(|action| *action < ACTIONS).ok_or(Damaged)?;
        let place = usize::try_from(code.0).map_err(|_| Damaged)? * ACTIONS + action;
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        self.0.get_mut(place).ok_or(Damaged)
    }

    fn combined(&self, other: &Self, combine: fn(u32, u32) -> Option<u32>) -> Result<Self, Damaged> {
        let length = self.0.len().max(other.0.len());
        let at = |counts: &Self, place: usize| counts.0.get(place).copied().unwrap_or(0);
        let combined = (0..length).map(|place| combine(at(self, place), at(other, place)));
        Ok(Self(combined.collect::<Option<_>>().ok_or(Damaged)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i16, action: i16) -> EntryKind {
        (ResourceType(code), Action(action))
    }

    #[test]
    fn counts_are_stored_by_type_and_action_without_trailing_zeros() {
        let mut counts = Counts::default();
        counts.add(kind(1, 2)).expect("room");
        assert_eq!(counts.bytes(), [vec![0; 8 * 4], vec![1, 0, 0, 0]].concat());
        assert_eq!(Counts::parse(&counts.bytes()), Ok(counts.clone()));
        let none = counts.minus(&counts).expect("the same");
        assert_eq!(none.bytes(), Vec::<u8>::new());
        assert_eq!(Counts::parse(&[1, 2, 3]), Err(Damaged));
    }

    #[test]
    fn a_count_beyond_its_limits_is_an_error() {
        let mut full = Counts(vec![u32::MAX]);
        assert_eq!(full.add(kind(0, 0)), Err(Damaged));
        assert_eq!(full.plus(&Counts(vec![1])), Err(Damaged));
        assert_eq!(Counts(vec![0, 1]).minus(&Counts(vec![1])), Err(Damaged));
        assert_eq!(Counts::default().add(kind(0, 6)), Err(Damaged));
        assert_eq!(Counts::default().add(kind(-1, 0)), Err(Damaged));
    }

    #[test]
    fn types_and_actions_choose_what_is_counted() {
        let mut counts = Counts::default();
        for (code, action, times) in [(0, 0, 1), (0, 5, 2), (3, 0, 4), (3, 2, 8)] {
            (0..times).for_each(|_| counts.add(kind(code, action)).expect("room"));
        }
        let matching = |types: &[i16], actions: &[i16]| {
            let types: Vec<_> = types.iter().copied().map(ResourceType).collect();
            let actions: Vec<_> = actions.iter().copied().map(Action).collect();
            counts.matching(KindFilter { resource_types: &types, actions: &actions })
        };
        assert_eq!((counts.total(), matching(&[], &[])), (15, 15));
        assert_eq!((matching(&[3], &[]), matching(&[], &[0]), matching(&[0, 3], &[0, 2])), (12, 5, 13));
        assert_eq!(matching(&[9], &[]), 0);
    }

    #[test]
    fn count_keys_round_trip_through_their_text() {
        let id = |text: &str| Identifier::parse(text).expect("an id");
        let resource = CountKey::Resource(ResourceType(12), id("a:b"));
        for key in [CountKey::Organization, CountKey::User(id("o")), CountKey::User(id("r1:x")), resource] {
            assert_eq!(CountKey::stored(&key.text()), Some(key));
        }
        assert_eq!(CountKey::stored("x"), None);
    }
}
