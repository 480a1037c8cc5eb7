//! The groups of an entry's values. Each group is hashed with a salt of its own. An erasure removes values and salt,
//! and the remaining hash reveals nothing about them. docs/LEAF_FORMAT.md is the specification.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::Hash;
use crate::types::{Change, Erased, Group, Invalid, Timestamp};

/// The values of one group. They define what is hashed and in which order, for the writer and for verifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values<'a> {
    /// The group [`Group::Facts`].
    Facts {
        /// When the action happened.
        timestamp: Timestamp,
        /// The public name of the resource type.
        resource_type: &'a str,
        /// The id of the resource.
        resource_id: &'a str,
        /// The public name of the action.
        action: &'a str,
        /// The user who did it.
        user_id: &'a str,
        /// The trace that the action was part of.
        trace_id: Option<&'a str>,
    },
    /// The group [`Group::Actor`].
    Actor {
        /// The name of the user at that time.
        user_name: Option<&'a str>,
        /// The user's e-mail address.
        user_email: Option<&'a str>,
        /// The origin of the action, by REST name. The map is in byte order, which is the hashed order.
        metadata: &'a BTreeMap<String, String>,
    },
    /// The group [`Group::Content`].
    Content {
        /// The name of the resource at that time.
        resource_name: Option<&'a str>,
        /// The changed fields, in the writer's order.
        changes: &'a [Change],
    },
}

impl Values<'_> {
    /// The group of these values.
    pub fn group(&self) -> Group {
        match self {
            Self::Facts { .. } => Group::Facts,
            Self::Actor { .. } => Group::Actor,
            Self::Content { .. } => Group::Content,
        }
    }

    /// Calls `field` with name and value of each present field, in order.
    pub fn each_field(&self, mut field: impl FnMut(&str, &[u8])) {
        let mut present = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                field(name, value.as_bytes());
            }
        };
        // A buffer for composed names.
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

/// The hash of a group with these fields, whatever they are. For callers that have the fields as text.
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
        // The length fits: no message has 4 GiB.
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
}

fn write_name(name: &mut String, parts: fmt::Arguments<'_>) {
    name.clear();
    // Writing to a string cannot fail.
    let _ = name.write_fmt(parts);
}

/// The hash of a group's values and salt. After an erasure, only this is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupHash(pub Hash);

/// Random bytes that keep a group's values from being guessed from its hash.
pub type Salt = [u8; 16];

/// The salts of an entry's groups. Never log them: a salt kept anywhere undoes an erasure.
#[derive(Clone, PartialEq, Eq)]
pub struct Salts([Salt; 3]);

impl Salts {
    const LENGTH: usize = size_of::<Self>();

    /// Reads the bytes of [`Salts::bytes`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let bytes: &[u8; Self::LENGTH] = bytes
            .try_into()
            .map_err(|_| Invalid::new(format_args!("salts must be {} bytes", Self::LENGTH), bytes.len()))?;
        Ok(Self::from_bytes(*bytes))
    }

    /// Splits 48 random bytes into the salts of the groups, in leaf order.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let mut salts = [Salt::default(); 3];
        salts.as_flattened_mut().copy_from_slice(&bytes);
        Self(salts)
    }

    /// The concatenated salts, in leaf order.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// The salts, with zeros in place of those of the erased groups.
    #[must_use]
    pub fn without(&self, erased: Erased) -> Self {
        let mut left = self.clone();
        for group in erased.groups() {
            left.0[group as usize] = Salt::default();
        }
        left
    }

    /// The salt of one group.
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
