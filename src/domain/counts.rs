//! Counts of entries by kind, and the keys that have counts.

use super::{Action, Identifier, KindFilter, Outcome, ResourceType};

/// The number of a key's entries between two of its running counts. A key with fewer entries has no running count.
pub const COUNT_DISTANCE: i64 = 1_024;

/// The kind of an entry: the smallest group that filters on types, actions and outcomes can tell apart. Running counts
/// have one number for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKind {
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// The action.
    pub action: Action,
    /// The outcome of the action.
    pub outcome: Option<Outcome>,
}

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

/// The number of entries of each kind that occurs, in the order of kinds. A count is at least 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts(Vec<(EntryKind, u32)>);

/// A count that does not fit, falls below zero, or was not stored by this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored count is damaged or at its limit")]
pub struct Damaged;

/// The bytes of a stored count: the codes of the type (2), the action (2) and the outcome (1), and the count (4), each
/// little-endian.
const COUNT_BYTES: usize = 9;

impl Counts {
    /// Reads a stored [`Counts::bytes`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Damaged> {
        let (stored, rest) = bytes.as_chunks::<COUNT_BYTES>();
        if !rest.is_empty() {
            return Err(Damaged);
        }
        let count = |[t0, t1, a0, a1, outcome, c0, c1, c2, c3]: &[u8; COUNT_BYTES]| {
            let kind = EntryKind {
                resource_type: ResourceType(i16::from_le_bytes([*t0, *t1])),
                action: Action(i16::from_le_bytes([*a0, *a1])),
                outcome: Outcome::stored(i16::from(*outcome)).map_err(|_| Damaged)?,
            };
            Ok((kind, u32::from_le_bytes([*c0, *c1, *c2, *c3])))
        };
        let counts = Self(stored.iter().map(count).collect::<Result<_, _>>()?);
        let is_ordered = counts.0.is_sorted_by(|(before, _), (after, _)| before < after);
        let is_positive = counts.0.iter().all(|(_, count)| *count > 0);
        if is_ordered && is_positive { Ok(counts) } else { Err(Damaged) }
    }

    /// The stored form of the counts.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * COUNT_BYTES);
        for (EntryKind { resource_type: ResourceType(resource_type), action: Action(action), outcome }, count) in
            &self.0
        {
            bytes.extend(resource_type.to_le_bytes());
            bytes.extend(action.to_le_bytes());
            // The codes of outcomes are small.
            bytes.push(Outcome::code(*outcome).to_le_bytes()[0]);
            bytes.extend(count.to_le_bytes());
        }
        bytes
    }

    /// Counts one more entry of `kind`.
    pub fn add(&mut self, kind: EntryKind) -> Result<(), Damaged> {
        match self.0.binary_search_by_key(&kind, |(kind, _)| *kind) {
            Ok(place) => {
                let (_, count) = &mut self.0[place];
                *count = count.checked_add(1).ok_or(Damaged)?;
            }
            Err(place) => self.0.insert(place, (kind, 1)),
        }
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
        self.0.iter().map(|(_, count)| i64::from(*count)).sum()
    }

    /// The number of entries of the kinds that `filter` selects.
    pub fn matching(&self, filter: KindFilter<'_>) -> i64 {
        self.0.iter().filter(|(kind, _)| filter.has(*kind)).map(|(_, count)| i64::from(*count)).sum()
    }

    /// The kinds that occur, in order.
    pub fn kinds(&self) -> impl Iterator<Item = EntryKind> {
        self.0.iter().map(|(kind, _)| *kind)
    }

    /// The number of entries of each kind that occurs, in the order of kinds.
    pub fn by_kind(&self) -> impl Iterator<Item = (EntryKind, i64)> {
        self.0.iter().map(|(kind, count)| (*kind, i64::from(*count)))
    }

    /// The counts of each kind that is in `self` or `other`, combined. Counts of 0 are left out.
    fn combined(&self, other: &Self, operation: fn(u32, u32) -> Option<u32>) -> Result<Self, Damaged> {
        let (mut own, mut others) = (self.0.iter().copied().peekable(), other.0.iter().copied().peekable());
        let mut combined = Vec::with_capacity(self.0.len().max(other.0.len()));
        loop {
            let kind = match (own.peek(), others.peek()) {
                (Some((own, _)), Some((other, _))) => *own.min(other),
                (Some((kind, _)), None) | (None, Some((kind, _))) => *kind,
                (None, None) => return Ok(Self(combined)),
            };
            let count = |one: Option<(EntryKind, u32)>| one.map_or(0, |(_, count)| count);
            let own = count(own.next_if(|(own, _)| *own == kind));
            let other = count(others.next_if(|(other, _)| *other == kind));
            match operation(own, other).ok_or(Damaged)? {
                0 => {}
                count => combined.push((kind, count)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(resource_type: i16, action: i16) -> EntryKind {
        EntryKind { resource_type: ResourceType(resource_type), action: Action(action), outcome: None }
    }

    #[test]
    fn counts_are_stored_for_the_kinds_that_occur() {
        let mut counts = Counts::default();
        let denied = EntryKind { outcome: Some(Outcome::Denied), ..kind(1, 2) };
        for kind in [denied, kind(1, 2), kind(0, 999), denied] {
            counts.add(kind).expect("room");
        }
        let stored = [[0, 0, 231, 3, 0, 1, 0, 0, 0], [1, 0, 2, 0, 0, 1, 0, 0, 0], [1, 0, 2, 0, 3, 2, 0, 0, 0]].concat();
        assert_eq!(counts.bytes(), stored);
        assert_eq!(counts.kinds().collect::<Vec<_>>(), [kind(0, 999), kind(1, 2), denied]);
        assert_eq!(Counts::parse(&stored), Ok(counts.clone()));
        let none = counts.minus(&counts).expect("the same");
        assert_eq!((none.bytes(), none), (Vec::new(), Counts::default()));
        let damaged = [
            stored[1..].to_vec(),
            [&stored[9..18], &stored[..9]].concat(),
            [&stored[..9], &stored[..9]].concat(),
            [0; COUNT_BYTES].to_vec(),
            [0, 0, 0, 0, 4, 1, 0, 0, 0].to_vec(),
        ];
        for bytes in damaged {
            assert_eq!(Counts::parse(&bytes), Err(Damaged), "{bytes:?}");
        }
    }

    #[test]
    fn a_count_beyond_its_limits_is_an_error() {
        let mut full = Counts(vec![(kind(0, 0), u32::MAX)]);
        assert_eq!(full.add(kind(0, 0)), Err(Damaged));
        assert_eq!(full.plus(&Counts(vec![(kind(0, 0), 1)])), Err(Damaged));
        let one = Counts(vec![(kind(0, 1), 1)]);
        assert_eq!(one.minus(&Counts(vec![(kind(0, 0), 1)])), Err(Damaged));
        assert_eq!(one.minus(&Counts(vec![(kind(0, 1), 2)])), Err(Damaged));
    }

    #[test]
    fn sums_and_differences_have_each_kind_of_both() {
        let [a, b, c] = [kind(0, 1), kind(0, 2), kind(3, 0)];
        let (one, other) = (Counts(vec![(a, 5), (c, 1)]), Counts(vec![(b, 2), (c, 7)]));
        let sum = Counts(vec![(a, 5), (b, 2), (c, 8)]);
        assert_eq!(one.plus(&other), Ok(sum.clone()));
        assert_eq!((sum.minus(&one), sum.minus(&other)), (Ok(other), Ok(one)));
    }

    #[test]
    fn types_actions_and_outcomes_choose_what_is_counted() {
        let mut counts = Counts::default();
        let failed = EntryKind { outcome: Some(Outcome::Failure), ..kind(3, 2) };
        for (kind, times) in [(kind(0, 0), 1), (kind(0, 5), 2), (kind(3, 0), 4), (kind(3, 2), 8), (failed, 16)] {
            (0..times).for_each(|_| counts.add(kind).expect("room"));
        }
        let matching = |types: &[i16], actions: &[i16], outcomes: &[Outcome]| {
            let resource_types: Vec<_> = types.iter().copied().map(ResourceType).collect();
            let actions: Vec<_> = actions.iter().copied().map(Action).collect();
            counts.matching(KindFilter { resource_types: &resource_types, actions: &actions, outcomes })
        };
        assert_eq!((counts.total(), matching(&[], &[], &[])), (31, 31));
        assert_eq!((matching(&[3], &[], &[]), matching(&[], &[0], &[]), matching(&[0, 3], &[0, 2], &[])), (28, 5, 29));
        assert_eq!((matching(&[], &[], &[Outcome::Failure]), matching(&[0], &[], &[Outcome::Failure])), (16, 0));
        assert_eq!(matching(&[9], &[], &[]), 0);
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
