//! Filters of lists: the entries that a reader wants.

use sha2::{Digest, Sha256};

use super::search::distinct;
use super::{Action, EntryKind, Identifier, Invalid, OrganizationId, Outcome, ResourceType, Search, TimeRange};

/// The maximum number of values that one part of a filter may have.
pub const MAX_VALUES: usize = 100;
/// The maximum number of pairs of a user and a resource. No running count covers both together, so such a list is counted
/// entry by entry.
const MAX_PAIRS: usize = 1_000;

/// An entry must match every part. A part with several values matches entries with any of them; a part without values
/// matches all entries. Values are sorted and distinct, so equal filters compare equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Types of resources.
    pub resource_types: Vec<ResourceType>,
    /// Ids of resources.
    pub resource_ids: Vec<Identifier>,
    /// Actions.
    pub actions: Vec<Action>,
    /// Outcomes.
    pub outcomes: Vec<Outcome>,
    /// Users.
    pub user_ids: Vec<Identifier>,
    /// The range of timestamps.
    pub time: TimeRange,
    /// The conditions that no index answers.
    pub search: Search,
}

impl Filter {
    /// Sorts the values of each part and removes duplicates.
    pub fn normalized(self) -> Self {
        let Self { resource_types, resource_ids, actions, outcomes, user_ids, time, search } = self;
        Self {
            resource_types: distinct(resource_types),
            resource_ids: distinct(resource_ids),
            actions: distinct(actions),
            outcomes: distinct(outcomes),
            user_ids: distinct(user_ids),
            time,
            search: search.normalized(),
        }
    }

    /// Errors: users and resources make more than 1,000 pairs. Values must be distinct.
    pub fn check_pairs(&self) -> Result<(), Invalid> {
        let (users, resources) = (self.user_ids.len(), self.resource_ids.len());
        match users.saturating_mul(resources) {
            pairs if pairs > MAX_PAIRS => Err(Invalid::new(
                format_args!("must make at most {MAX_PAIRS} pairs with the resource ids"),
                format_args!("{pairs}, of {users} users and {resources} resources"),
            )),
            _ => Ok(()),
        }
    }

    /// Decides for each part of the filter how running counts answer it. If they cannot answer a part that has values,
    /// [`CountedBy::is_answered`] is false. They count the candidates of a search.
    pub fn counted_by(&self) -> CountedBy<'_> {
        let Self { resource_types, resource_ids, actions, outcomes, user_ids, time, search: _ } = self;
        CountedBy {
            keys: KeyFilter { user_ids, resource_types, resource_ids },
            kinds: KindFilter { resource_types, actions, outcomes },
            time: *time,
            // No running count covers a user and a resource together.
            is_answered: user_ids.is_empty() || resource_ids.is_empty(),
        }
    }

    /// Hashes the filter of `organization`. Each value is preceded by its length, and each part by its number of
    /// values.
    pub fn digest(&self, organization: &OrganizationId, hash: &mut Sha256) {
        let Self { resource_types, resource_ids, actions, outcomes, user_ids, time, search } = self;
        let mut part = |values: Vec<&[u8]>| {
            hash.update((values.len() as u64).to_be_bytes());
            for value in values {
                hash.update((value.len() as u64).to_be_bytes());
                hash.update(value);
            }
        };
        let types: Vec<_> = resource_types.iter().map(|code| code.0.to_be_bytes()).collect();
        let codes: Vec<_> = actions.iter().map(|code| code.0.to_be_bytes()).collect();
        let outcomes: Vec<_> = outcomes.iter().map(|outcome| Outcome::code(Some(*outcome)).to_be_bytes()).collect();
        let times = [time.start(), time.end()].map(|end| end.map(|end| end.micros().to_be_bytes()));
        part(vec![organization.as_str().as_bytes()]);
        part(types.iter().map(|code| code.as_slice()).collect());
        part(resource_ids.iter().map(|id| id.as_str().as_bytes()).collect());
        part(codes.iter().map(|code| code.as_slice()).collect());
        part(outcomes.iter().map(|code| code.as_slice()).collect());
        part(user_ids.iter().map(|id| id.as_str().as_bytes()).collect());
        for time in &times {
            part(time.iter().map(|time| time.as_slice()).collect());
        }
        for values in &search.digest_parts() {
            part(values.iter().map(Vec::as_slice).collect());
        }
    }
}

/// A filter as running counts answer it, made by [`Filter::counted_by`].
#[derive(Debug, Clone, Copy)]
pub struct CountedBy<'a> {
    /// The keys: each has running counts of its own.
    pub keys: KeyFilter<'a>,
    /// The kinds of entry whose counts are added.
    pub kinds: KindFilter<'a>,
    /// The range. Its count is the running count at its end minus the one at its start.
    pub time: TimeRange,
    /// Whether running counts answer the whole filter. If not, matching entries are counted one by one.
    pub is_answered: bool,
}

/// The users or resources whose entries match. An empty filter selects the whole organization.
#[derive(Debug, Clone, Copy)]
pub struct KeyFilter<'a> {
    /// Each user is a key.
    pub user_ids: &'a [Identifier],
    /// Each of these types combined with each of `resource_ids` is a key.
    pub resource_types: &'a [ResourceType],
    /// The ids of resources.
    pub resource_ids: &'a [Identifier],
}

/// The kinds of entry that match; a part without values matches all.
#[derive(Debug, Clone, Copy)]
pub struct KindFilter<'a> {
    /// The types that match.
    pub resource_types: &'a [ResourceType],
    /// The actions that match.
    pub actions: &'a [Action],
    /// The outcomes that match.
    pub outcomes: &'a [Outcome],
}

impl KindFilter<'_> {
    /// Whether all kinds match.
    pub fn is_empty(self) -> bool {
        let Self { resource_types, actions, outcomes } = self;
        resource_types.is_empty() && actions.is_empty() && outcomes.is_empty()
    }

    /// Whether `kind` matches.
    pub fn has(self, kind: EntryKind) -> bool {
        let Self { resource_types, actions, outcomes } = self;
        let EntryKind { resource_type, action, outcome } = kind;
        (resource_types.is_empty() || resource_types.contains(&resource_type))
            && (actions.is_empty() || actions.contains(&action))
            && (outcomes.is_empty() || outcome.is_some_and(|outcome| outcomes.contains(&outcome)))
    }
}

/// The number of entries per page, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u8);

impl Limit {
    const MAX: u8 = 100;
    const DEFAULT: u8 = 50;

    /// `None` means 50. Errors: not 1 to 100.
    pub fn parse(limit: Option<i32>) -> Result<Self, Invalid> {
        let Some(limit) = limit else {
            return Ok(Self(Self::DEFAULT));
        };
        match u8::try_from(limit) {
            Ok(limit @ 1..=Self::MAX) => Ok(Self(limit)),
            _ => Err(Invalid::new(format_args!("must be 1 to {}", Self::MAX), limit)),
        }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// The number of entries to skip, 0 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offset(i64);

impl Offset {
    /// `None` means 0. Errors: negative.
    pub fn parse(offset: Option<i64>) -> Result<Self, Invalid> {
        match offset.unwrap_or(0) {
            offset if offset < 0 => Err(Invalid::new("must be 0 or more", offset)),
            offset => Ok(Self(offset)),
        }
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}
