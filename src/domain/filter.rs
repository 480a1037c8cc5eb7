//! Which entries a reader asks for.

use sha2::{Digest, Sha256};

use super::{Action, Identifier, Invalid, OrganizationId, ResourceType, Timestamp};

/// The most values of one filter.
pub const MAX_VALUES: usize = 100;
/// The most pairs of a user and a resource. No count knows both together, so that such a list is counted entry by entry.
const MAX_PAIRS: usize = 1_000;

/// Entries must match every part; a part with several values is matched by any of them, one with none
/// by all entries. Values are sorted and distinct, so equal filters are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Kinds of resource.
    pub resource_types: Vec<ResourceType>,
    /// Resources, of any of those kinds.
    pub resource_ids: Vec<Identifier>,
    /// What was done.
    pub actions: Vec<Action>,
    /// Who did it.
    pub user_ids: Vec<Identifier>,
    /// When.
    pub time: TimeRange,
}

impl Filter {
    /// Sorts the values of each part and folds duplicates.
    pub fn normalized(mut self) -> Self {
        fn fold<T: Ord>(values: &mut Vec<T>) {
            values.sort_unstable();
            values.dedup();
        }
        fold(&mut self.resource_types);
        fold(&mut self.resource_ids);
        fold(&mut self.actions);
        fold(&mut self.user_ids);
        self
    }

    /// Refuses users and resources that make more than 1,000 pairs. Values must be distinct.
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

    /// Whether it asks for types or actions.
    pub fn is_of_leaves(&self) -> bool {
        !(self.resource_types.is_empty() && self.actions.is_empty())
    }

    /// Feeds the filter of `organization` to `hash`, each part with its length before it.
    pub fn digest(&self, organization: &OrganizationId, hash: &mut Sha256) {
        let Self { resource_types, resource_ids, actions, user_ids, time } = self;
        let mut part = |values: Vec<&[u8]>| {
            hash.update((values.len() as u64).to_be_bytes());
            for value in values {
                hash.update((value.len() as u64).to_be_bytes());
                hash.update(value);
            }
        };
        let types: Vec<_> = resource_types.iter().map(|code| code.0.to_be_bytes()).collect();
        let codes: Vec<_> = actions.iter().map(|code| code.0.to_be_bytes()).collect();
        let times = [time.start, time.end].map(|end| end.map(|end| end.micros().to_be_bytes()));
        part(vec![organization.as_str().as_bytes()]);
        part(types.iter().map(|code| code.as_slice()).collect());
        part(resource_ids.iter().map(|id| id.as_str().as_bytes()).collect());
        part(codes.iter().map(|code| code.as_slice()).collect());
        part(user_ids.iter().map(|id| id.as_str().as_bytes()).collect());
        for time in &times {
            part(time.iter().map(|time| time.as_slice()).collect());
        }
    }
}

/// `start <= timestamp < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeRange {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl TimeRange {
    /// Errors: the start lies after the end.
    pub fn parse(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<Self, Invalid> {
        match (start, end) {
            (Some(start), Some(end)) if start > end => {
                Err(Invalid::new(format_args!("must not be after the end {end}"), start))
            }
            _ => Ok(Self { start, end }),
        }
    }

    /// The first instant, `None` for all the past.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// The first instant after the range, `None` for all the future.
    pub fn end(&self) -> Option<Timestamp> {
        self.end
    }
}

/// Entries a page, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u8);

impl Limit {
    const MAX: u8 = 100;
    const DEFAULT: u8 = 50;

    /// `None` is 50. Errors: not 1 to 100.
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

/// Entries to skip, 0 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offset(i64);

impl Offset {
    /// `None` is 0. Errors: negative.
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
