//! An entry as a service discloses it to a verifier: values with their salts, or group hashes.

use std::collections::BTreeMap;

use crate::merkle::{GroupHash, Hash, Leaf, Salt, Values};
use crate::types::{Change, Group, Seq, Timestamp};

/// A disclosed entry with its stored leaf hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisclosedEntry {
    /// The number of the entry.
    pub seq: Seq,
    /// The id of the entry.
    pub id: String,
    /// When the service accepted the entry.
    pub recorded_at: Timestamp,
    /// The API key that wrote it, or `-` for the service itself.
    pub writer: String,
    /// The stored leaf hash. It is compared with the hash of the values, and with the tree.
    pub leaf: Hash,
    /// The group `facts`.
    pub facts: Part<Facts>,
    /// The group `actor`.
    pub actor: Part<Actor>,
    /// The group `content`.
    pub content: Part<Content>,
}

/// The disclosed part of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<T> {
    /// The values and the salt.
    Values {
        /// The salt of the group.
        salt: Salt,
        /// The values.
        values: T,
    },
    /// Only the group's hash.
    Hash(GroupHash),
    /// Neither values nor hash.
    Nothing,
}

/// The values of the group `facts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// When the action happened.
    pub timestamp: Timestamp,
    /// The public name of the resource type.
    pub resource_type: String,
    /// The id of the resource.
    pub resource_id: String,
    /// The public name of the action.
    pub action: String,
    /// The user who did it.
    pub user_id: String,
    /// The trace that the action was part of.
    pub trace_id: Option<String>,
}

/// The values of the group `actor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name of the user at that time.
    pub user_name: Option<String>,
    /// The user's e-mail address.
    pub user_email: Option<String>,
    /// The origin of the action.
    pub metadata: BTreeMap<String, String>,
}

/// The values of the group `content`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The name of the resource at that time.
    pub resource_name: Option<String>,
    /// The changed fields, in the writer's order.
    pub changes: Vec<Change>,
}

impl<T> Part<T> {
    fn hash(&self, values: impl FnOnce(&T) -> Values<'_>) -> Option<GroupHash> {
        match self {
            Self::Values { salt, values: own } => Some(values(own).hash(salt)),
            Self::Hash(hash) => Some(*hash),
            Self::Nothing => None,
        }
    }

    fn values<'a>(&'a self, values: impl FnOnce(&'a T) -> Values<'a>) -> Option<(&'a Salt, Values<'a>)> {
        match self {
            Self::Values { salt, values: own } => Some((salt, values(own))),
            Self::Hash(_) | Self::Nothing => None,
        }
    }
}

fn facts(facts: &Facts) -> Values<'_> {
    let Facts { timestamp, resource_type, resource_id, action, user_id, trace_id } = facts;
    let (timestamp, trace_id) = (*timestamp, trace_id.as_deref());
    Values::Facts { timestamp, resource_type, resource_id, action, user_id, trace_id }
}

fn actor(actor: &Actor) -> Values<'_> {
    let Actor { user_name, user_email, metadata } = actor;
    Values::Actor { user_name: user_name.as_deref(), user_email: user_email.as_deref(), metadata }
}

fn content(content: &Content) -> Values<'_> {
    let Content { resource_name, changes } = content;
    Values::Content { resource_name: resource_name.as_deref(), changes }
}

impl DisclosedEntry {
    /// The group hashes, in leaf order; `None` for a group without values and hash.
    pub fn hashes(&self) -> [Option<GroupHash>; 3] {
        [self.facts.hash(facts), self.actor.hash(actor), self.content.hash(content)]
    }

    /// The salt and the values of `group`, if disclosed.
    pub fn values(&self, group: Group) -> Option<(&Salt, Values<'_>)> {
        match group {
            Group::Facts => self.facts.values(facts),
            Group::Actor => self.actor.values(actor),
            Group::Content => self.content.values(content),
        }
    }

    /// The data of its leaf in the log `log_id`; `None` if a group has neither values nor hash, or if no valid leaf has
    /// this data.
    pub fn leaf_data(&self, log_id: &str) -> Option<Vec<u8>> {
        self.leaf_data_as(log_id, self.seq)
    }

    /// The hash of its leaf if its number were `seq`.
    pub fn leaf_as(&self, log_id: &str, seq: Seq) -> Option<Hash> {
        self.leaf_data_as(log_id, seq).map(|data| Hash::of_leaf(&data))
    }

    fn leaf_data_as(&self, log_id: &str, seq: Seq) -> Option<Vec<u8>> {
        let [facts, actor, content] = self.hashes();
        let groups = [facts?, actor?, content?];
        let leaf = Leaf { log_id, seq, id: &self.id, recorded_at: self.recorded_at, writer: &self.writer, groups };
        let data = leaf.data();
        Leaf::parse(&data).is_ok().then_some(data)
    }
}
