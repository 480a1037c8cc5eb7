//! The known resource types and actions.

use super::{Invalid, quoted};

/// The code of a resource type. Codes are kept in the database and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceType(pub i16);

/// The code of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action(pub i16);

/// A code and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<C> {
    /// What the database stores.
    pub code: C,
    /// What everybody else sees.
    pub name: String,
    /// The first segment of its history's path, for resource types that have one.
    pub path_segment: Option<String>,
}

/// All resource types and actions, as the database has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// In order of their codes.
    pub resource_types: Vec<Named<ResourceType>>,
    /// In order of their codes.
    pub actions: Vec<Named<Action>>,
}

impl Catalogue {
    /// The resource type called `name`. Errors list those that there are.
    pub fn resource_type(&self, name: &str) -> Result<ResourceType, Invalid> {
        code(&self.resource_types, name)
    }

    /// The action called `name`. Errors list those that there are.
    pub fn action(&self, name: &str) -> Result<Action, Invalid> {
        code(&self.actions, name)
    }

    /// What `code` is called; `None` if this catalogue is older than the database.
    pub fn resource_type_name(&self, code: ResourceType) -> Option<&str> {
        name(&self.resource_types, code)
    }

    /// What `code` is called; `None` if this catalogue is older than the database.
    pub fn action_name(&self, code: Action) -> Option<&str> {
        name(&self.actions, code)
    }
}

fn code<C: Copy>(known: &[Named<C>], name: &str) -> Result<C, Invalid> {
    known.iter().find(|one| one.name == name).map(|one| one.code).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|one| one.name.as_str()).collect();
        Invalid::new(format_args!("must be one of {}", names.join(", ")), quoted(name))
    })
}

fn name<C: PartialEq>(known: &[Named<C>], code: C) -> Option<&str> {
    known.iter().find(|one| one.code == code).map(|one| one.name.as_str())
}
