//! The groups that an entry's values are hashed in. Each has a salt of its own, so that its values can be erased, salt
//! included, and its hash tells nothing of what they were. docs/LEAF_FORMAT.md is the specification.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::Hash;
use crate::types::{Change, Erased, Group, Invalid, Timestamp};

/// The values of one group. This is what is hashed and in which order, on each side: the writer has it from an entry,
/// a verifier from what it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values<'a> {
    /// Of [`Group::Facts`].
    Facts {
        /// When the thing happened.
        timestamp: Timestamp,
        /// The public name of the kind of resource.
        resource_type: &'a str,
        /// Which resource.
        resource_id: &'a str,
        /// The public name of what was done.
        action: &'a str,
        /// The user who did it.
        user_id: &'a str,
        /// The trace that it was part of.
        trace_id: Option<&'a str>,
    },
    /// Of [`Group::Actor`].
    Actor {
        /// The name of the user at that time.
        user_name: Option<&'a str>,
        /// The user's e-mail address.
        user_email: Option<&'a str>,
        /// Where the action came from, by REST name. A map of strings has the order that is hashed: that of bytes.
        metadata: &'a BTreeMap<String, String>,
    },
    /// Of [`Group::Content`].
    Content {
        /// The name of the resource at that time.
        resource_name: Option<&'a str>,
        /// Which fields changed, in the writer's order.
        changes: &'a [Change],
    },
}

impl Values<'_> {
    /// Which group.
    pub fn group(&self) -> Group {
        match self {
            Self::Facts { .. } => Group::Facts,
            Self::Actor { .. } => Group::Actor,
            Self::Content { .. } => Group::Content,
        }
    }

    /// Calls `field` with the name and the value of each field that is present, in order.
    pub fn each_field(&self, mut field: impl FnMut(&str, &[u8])) {
        let mut present = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                field(name, value.as_bytes());
            }
        };
        // For the names that are put together.
        let mut name = String::new();
        match self {
            Self::Facts { timestamp, resource_type, resource_id, action, user_id, trace_id } => {
                present("timestamp", Some(&timestamp.exact()));
                present("resourceType", Some(resource_type));
                present("resourceId", Some(resource_id));
                present("action", Some(action));
                present("userId", Some(user_id));
                present("traceId", *trace_id);
            }
            Self::Actor { user_name, user_email, metadata } => {
                present("userName", *user_name);
                present("userEmail", *user_email);
                for (key, value) in *metadata {
                    write_name(&mut name, format_args!("metadata.{key}"));
                    present(&name, Some(value));
                }
            }
            Self::Content { resource_name, changes } => {
                present("resourceName", *resource_name);
                for (place, Change { field, old_value, new_value }) in changes.iter().enumerate() {
                    let values =
                        [("field", field.as_str()), ("oldValue", old_value.as_str()), ("newValue", new_value.as_str())];
                    for (part, value) in values {
                        write_name(&mut name, format_args!("changes.{place}.{part}"));
                        present(&name, Some(value));
                    }
                }
            }
        }
    }

    /// The hash of the group.
    pub fn hash(&self, salt: &Salt) -> GroupHash {
        let mut hash = prefixed(self.group(), salt);
        self.each_field(|name, value| add(&mut hash, name.as_bytes(), value));
        GroupHash(Hash(hash.finalize().into()))
    }
}

/// The hash of a group of these fields, whatever they are: for who has them as text.
pub fn hash_of_fields(group: Group, salt: &Salt, fields: &[(String, String)]) -> GroupHash {
    let mut hash = prefixed(group, salt);
    for (name, value) in fields {
        add(&mut hash, name.as_bytes(), value.as_bytes());
    }
    GroupHash(Hash(hash.finalize().into()))
}

fn prefixed(group: Group, salt: &Salt) -> Sha256 {
    Sha256::new_with_prefix("auditlog/group/v1\0").chain_update(group.name()).chain_update([0]).chain_update(salt)
}

fn add(hash: &mut Sha256, name: &[u8], value: &[u8]) {
    for part in [name, value] {
        // No message has 4 GiB, so that its length fits.
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
}

fn write_name(name: &mut String, parts: fmt::Arguments<'_>) {
    name.clear();
    // Writing to a string does not fail.
    let _ = name.write_fmt(parts);
}

/// The hash of a group's values and salt: all that remains of it once it is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupHash(pub Hash);

/// Random bytes that keep the values of a group from being guessed from its hash.
pub type Salt = [u8; 16];

/// The salts of the groups of one entry. Never logged: a salt that is kept anywhere undoes an erasure.
#[derive(Clone, PartialEq, Eq)]
pub struct Salts([Salt; 3]);

impl Salts {
    const LENGTH: usize = size_of::<Self>();

    /// Reads what [`Salts::bytes`] gave.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let bytes: &[u8; Self::LENGTH] = bytes
            .try_into()
            .map_err(|_| Invalid::new(format_args!("salts must be {} bytes", Self::LENGTH), bytes.len()))?;
        Ok(Self::from_bytes(*bytes))
    }

    /// Splits 48 random bytes into the salts of the groups, in the order of a leaf.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let mut salts = [Salt::default(); 3];
        salts.as_flattened_mut().copy_from_slice(&bytes);
        Self(salts)
    }

    /// One after the other, in the order of a leaf.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// The salts with zeros for these groups, which are erased.
    #[must_use]
    pub fn without(&self, erased: Erased) -> Self {
        let mut left = self.clone();
        for group in erased.groups() {
            left.0[group as usize] = Salt::default();
        }
        left
    }

    /// That of one group.
    pub fn of(&self, group: Group) -> &Salt {
        let [facts, actor, content] = &self.0;
        match group {
            Group::Facts => facts,
            Group::Actor => actor,
            Group::Content => content,
        }
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(…)")
    }
}
