//! The resource types and actions that exist.

use std::fmt;

use super::text::text_type;
use super::{Invalid, did_you_mean, quoted};

/// The use of a name of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogueKind {
    /// The type of a resource.
    ResourceType,
    /// An action.
    Action,
}

impl CatalogueKind {
    /// The stored form of the kind.
    pub fn text(self) -> &'static str {
        match self {
            Self::ResourceType => "resource_type",
            Self::Action => "action",
        }
    }
}

impl fmt::Display for CatalogueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResourceType => "resource type",
            Self::Action => "action",
        })
    }
}

/// The code of a resource type. The database stores codes; a code never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceType(pub i16);

/// The code of an action. The database stores codes; a code never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action(pub i16);

const MAX_NAME: usize = 64;

/// Checks for 1 to 64 characters of `a-z`, `0-9` and `joints`, with a letter first.
fn word(text: &str, joints: &[char]) -> Result<(), Invalid> {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || joints.contains(&letter);
    let is_word = text.starts_with(|first: char| first.is_ascii_lowercase()) && text.chars().all(allowed);
    match is_word && text.len() <= MAX_NAME {
        true => Ok(()),
        false => {
            let joints = joints.iter().map(char::to_string).collect::<Vec<_>>().join(" ");
            let rule = format!("must be a letter and then at most {} of a-z 0-9 {joints}", MAX_NAME - 1);
            Err(Invalid::new(rule, quoted(text)))
        }
    }
}

text_type! {
    /// The name of a resource type or an action, such as `vector_store` or `user.login`: 1 to 64 bytes of
    /// `[a-z0-9_.:-]`, with a letter first.
    CatalogueName, |text| word(text, &['_', '.', ':', '-'])
}

text_type! {
    /// The name of a resource type in the path of its histories: 1 to 64 bytes of `[a-z0-9-]`, with a letter first.
    PathSegment, |text| word(text, &['-'])
}

/// A resource type or an action with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<C> {
    /// The code that the database stores.
    pub code: C,
    /// The public name.
    pub name: CatalogueName,
    /// The first path segment of its histories, for resource types that have one.
    pub path_segment: Option<PathSegment>,
    /// Whether it was removed. Its code keeps its meaning, but new entries cannot use it. Readers can still filter by
    /// it: a service with a cached catalogue may have written entries of it just after the removal.
    pub is_removed: bool,
}

/// All resource types and actions in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Ordered by code.
    pub resource_types: Vec<Named<ResourceType>>,
    /// Ordered by code.
    pub actions: Vec<Named<Action>>,
}

impl Catalogue {
    /// The resource type with this name, also a removed one, for readers. Errors list the types that exist.
    pub fn resource_type(&self, name: &str) -> Result<ResourceType, Invalid> {
        known_code(&self.resource_types, name)
    }

    /// The resource type with this name, for new entries: not a removed one. Errors list the types that exist.
    pub fn new_resource_type(&self, name: &str) -> Result<ResourceType, Invalid> {
        code(&self.resource_types, name)
    }

    /// The action with this name, also a removed one, for readers. Errors list the actions that exist.
    pub fn action(&self, name: &str) -> Result<Action, Invalid> {
        known_code(&self.actions, name)
    }

    /// The action with this name, for new entries: not a removed one. Errors list the actions that exist.
    pub fn new_action(&self, name: &str) -> Result<Action, Invalid> {
        code(&self.actions, name)
    }

    /// The name of the resource type whose histories have `segment` in their path. Errors list the segments that exist.
    pub fn with_path_segment(&self, segment: &str) -> Result<&str, Invalid> {
        let known = || {
            self.resource_types.iter().filter_map(|one| Some((one.path_segment.as_ref()?.as_str(), one.name.as_str())))
        };
        let found = known().find(|(known, _)| *known == segment).map(|(_, name)| name);
        found.ok_or_else(|| unknown(segment, known().map(|(segment, _)| segment)))
    }

    /// The name of `code`; `None` if this catalogue is older than the database.
    pub fn resource_type_name(&self, code: ResourceType) -> Option<&str> {
        name(&self.resource_types, code)
    }

    /// The name of `code`; `None` if this catalogue is older than the database.
    pub fn action_name(&self, code: Action) -> Option<&str> {
        name(&self.actions, code)
    }
}

/// Like [`code`], also for a removed name.
fn known_code<C: Copy>(known: &[Named<C>], name: &str) -> Result<C, Invalid> {
    let removed = known.iter().find(|one| one.is_removed && one.name.as_str() == name);
    removed.map_or_else(|| code(known, name), |one| Ok(one.code))
}

fn code<C: Copy>(known: &[Named<C>], name: &str) -> Result<C, Invalid> {
    let known = || known.iter().filter(|one| !one.is_removed);
    let found = known().find(|one| one.name.as_str() == name).map(|one| one.code);
    found.ok_or_else(|| unknown(name, known().map(|one| one.name.as_str())))
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Invalid {
    /// The maximum number of names that an error lists: errors travel in headers, whose size is limited.
    const LISTED: usize = 20;
    let known: Vec<_> = known.collect();
    let hint = did_you_mean(name, known.iter().copied());
    let mut listed = known[..known.len().min(LISTED)].join(", ");
    if known.len() > LISTED {
        listed.push_str(&format!(" and {} more", known.len() - LISTED));
    }
    Invalid::new(format_args!("must be one of {listed}"), format_args!("{}{hint}", quoted(name)))
}

fn name<C: PartialEq>(known: &[Named<C>], code: C) -> Option<&str> {
    known.iter().find(|one| one.code == code).map(|one| one.name.as_str())
}
