//! The groups of an entry's values. Each group is hashed with a salt of its own. An erasure removes values and salt,
//! and the remaining hash reveals nothing about them. docs/LEAF_FORMAT.md is the specification.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Hash;
use super::fields::{Fields, Values};
use crate::types::{Erased, Group, Invalid};

impl Values<'_> {
    /// The hash of the group.
    pub fn hash(&self, salt: &Salt) -> GroupHash {
        let mut hash = prefixed(self.group(), salt);
        self.each_field(|name, value| add(&mut hash, name, value));
        GroupHash(Hash(hash.finalize().into()))
    }
}

/// A group as a verifier gets it: all fields, and the salt.
#[derive(Clone, PartialEq, Eq)]
pub struct SaltedFields {
    /// The salt of the group.
    pub salt: Salt,
    /// The fields.
    pub fields: Fields,
}

impl SaltedFields {
    /// The fields that `values` have.
    pub fn new(values: &Values<'_>, salt: Salt) -> Self {
        let mut fields = Fields::new();
        values.each_field(|name, value| fields.push((name.to_owned(), value.to_owned())));
        Self { salt, fields }
    }

    /// The hash of `group` with these fields, whatever they are.
    pub fn hash(&self, group: Group) -> GroupHash {
        let mut hash = prefixed(group, &self.salt);
        for (name, value) in &self.fields {
            add(&mut hash, name, value);
        }
        GroupHash(Hash(hash.finalize().into()))
    }
}

impl fmt::Debug for SaltedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|(name, _)| name)).finish()
    }
}

fn prefixed(group: Group, salt: &Salt) -> Sha256 {
    Sha256::new_with_prefix("auditlog/group/v1\0").chain_update(group.name()).chain_update([0]).chain_update(salt)
}

fn add(hash: &mut Sha256, name: &str, value: &str) {
    for part in [name, value] {
        // The length fits: no message has 4 GiB.
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
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
