//! The groups of an entry's values that are erased together.

use super::{Invalid, quoted};

/// Values that are erased together. Each group is hashed with its own salt, so that proofs hold without the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The action, the resource, the user and the time. Never erased, because lists and counts depend on them.
    Facts,
    /// The name and e-mail address of the user, and the metadata.
    Actor,
    /// The name of the resource, and the changes.
    Content,
}

impl Group {
    /// All groups, in leaf order.
    pub const ALL: [Self; 3] = [Self::Facts, Self::Actor, Self::Content];

    /// The name in leaves and for readers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Actor => "actor",
            Self::Content => "content",
        }
    }

    /// Reads a [`Group::name`].
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|group| group.name() == name);
        found.ok_or_else(|| Invalid::new("must be one of facts, actor, content", quoted(name)))
    }

    /// The code in the database, which is the index in a leaf.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Reads a [`Group::code`].
    pub fn of_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.code() == code)
    }

    /// Reads the name of a group that may be erased.
    pub fn parse_erasable(name: &str) -> Result<Self, Invalid> {
        let why = match Self::parse(name) {
            Ok(Self::Facts) => "must be actor or content; facts are never erased, since lists and counts need them",
            Ok(group) => return Ok(group),
            Err(_) => "must be actor or content",
        };
        Err(Invalid::new(why, quoted(name)))
    }

    fn bit(self) -> i16 {
        1 << self.code()
    }
}

/// The erased groups of an entry: one bit each, as in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased(pub i16);

impl Erased {
    /// Whether `group` is erased.
    pub fn has(self, group: Group) -> bool {
        self.0 & group.bit() != 0
    }

    /// Adds `group`.
    #[must_use]
    pub fn with(self, group: Group) -> Self {
        Self(self.0 | group.bit())
    }

    /// Removes the groups of `others`.
    #[must_use]
    pub fn except(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether no group is erased.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The groups, in leaf order.
    pub fn groups(self) -> impl Iterator<Item = Group> {
        Group::ALL.into_iter().filter(move |group| self.has(*group))
    }
}

impl FromIterator<Group> for Erased {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        groups.into_iter().fold(Self::default(), Self::with)
    }
}
