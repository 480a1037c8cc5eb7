//! The resources that entries are about.

use super::{Content, Identifier, ResourceType};

/// A resource: its type and its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// The type.
    pub resource_type: ResourceType,
    /// The id, which is unique among the resources of the type.
    pub id: Identifier,
}

impl ResourceKey {
    /// The resource that an entry with this content is about.
    pub fn of(content: &Content) -> Self {
        Self { resource_type: content.resource_type, id: content.resource_id.clone() }
    }

    /// Whether an entry with this content is about the resource.
    pub fn is_of(&self, content: &Content) -> bool {
        self.resource_type == content.resource_type && self.id == content.resource_id
    }
}
