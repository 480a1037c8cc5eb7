//! An entry as a service discloses it to a verifier: the fields of its groups with their salts, or group hashes.

use crate::merkle::{GroupHash, Hash, Leaf, SaltedFields};
use crate::types::{Group, Seq, Timestamp};

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
    /// The groups, in leaf order.
    pub groups: [DisclosedGroup; 3],
}

/// The disclosed part of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisclosedGroup {
    /// The fields and the salt.
    Fields(SaltedFields),
    /// Only the group's hash.
    Hash(GroupHash),
    /// Neither fields nor hash.
    Nothing,
}

impl DisclosedEntry {
    /// The disclosed part of `group`.
    pub fn group(&self, group: Group) -> &DisclosedGroup {
        &self.groups[group as usize]
    }

    /// The fields of `group`, if disclosed.
    pub fn fields(&self, group: Group) -> Option<&SaltedFields> {
        match self.group(group) {
            DisclosedGroup::Fields(fields) => Some(fields),
            DisclosedGroup::Hash(_) | DisclosedGroup::Nothing => None,
        }
    }

    /// The hash of `group`; `None` if neither fields nor hash are disclosed.
    pub fn hash(&self, group: Group) -> Option<GroupHash> {
        match self.group(group) {
            DisclosedGroup::Fields(fields) => Some(fields.hash(group)),
            DisclosedGroup::Hash(hash) => Some(*hash),
            DisclosedGroup::Nothing => None,
        }
    }

    /// The data of its leaf in the log `log_id`; `None` if a group has neither fields nor hash, or if no valid leaf has
    /// this data.
    pub fn leaf_data(&self, log_id: &str) -> Option<Vec<u8>> {
        self.leaf_data_as(log_id, self.seq)
    }

    /// The hash of its leaf if its number were `seq`.
    pub fn leaf_as(&self, log_id: &str, seq: Seq) -> Option<Hash> {
        self.leaf_data_as(log_id, seq).map(|data| Hash::of_leaf(&data))
    }

    fn leaf_data_as(&self, log_id: &str, seq: Seq) -> Option<Vec<u8>> {
        let groups = [self.hash(Group::Facts)?, self.hash(Group::Actor)?, self.hash(Group::Content)?];
        let leaf = Leaf { log_id, seq, id: &self.id, recorded_at: self.recorded_at, writer: &self.writer, groups };
        let data = leaf.data();
        Leaf::parse(&data).is_ok().then_some(data)
    }
}
