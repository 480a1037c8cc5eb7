//! The keys that a verifier trusts, and how it comes to trust others.

use crate::merkle::{Checkpoint, KeyEndorsement, KeyName, Unsigned, VerifierKey, open, signers};
use crate::types::Invalid;

/// The id of the log that signs as `name`: the part after the last slash.
pub fn log_id(name: &KeyName) -> Result<&str, Invalid> {
    let id = name.as_str().rsplit_once('/').map(|(_, id)| id);
    let is_hex = |id: &&str| id.len() == 32 && id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    id.filter(is_hex).ok_or_else(|| Invalid::new("must end with / and the 32 hex digits of a log", name))
}

/// The keys of one log that a verifier trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Keys that sign its checkpoints, oldest first. At least one.
    keys: Vec<VerifierKey>,
    /// Former keys. They no longer sign checkpoints, but have signed records of erasures.
    former: Vec<VerifierKey>,
}

/// Why a checkpoint is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The text is not a signed note, or a signature does not match its key.
    #[error("{0}")]
    Unsigned(Unsigned),
    /// No trusted key has signed the note.
    #[error(
        "it is signed by {}, and of this log only {} is trusted; where keys were replaced meanwhile, whoever runs the \
         service has to vouch for the new one", .0.join(" and "), .1.join(" and ")
    )]
    Stranger(Vec<String>, Vec<String>),
    /// The signed text is not a checkpoint.
    #[error("what was signed {0}")]
    Malformed(Invalid),
    /// The checkpoint is of another log.
    #[error("it must be of the log {0}, whose keys are trusted, and is of {1}")]
    Origin(KeyName, KeyName),
}

impl Trust {
    /// Trusts `keys`, at least one. Errors: they belong to several logs, or their name is not that of a log.
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Result<Self, Invalid> {
        let mut known: Vec<VerifierKey> = Vec::new();
        for key in keys {
            if let Some(first) = known.first().filter(|first| first.name() != key.name()) {
                return Err(Invalid::new(format_args!("all keys must be of the log {}", first.name()), key.name()));
            }
            if !known.contains(&key) {
                known.push(key);
            }
        }
        let first = known.first().ok_or_else(|| Invalid("must be at least one key".to_owned()))?;
        log_id(first.name())?;
        Ok(Self { keys: known, former: Vec::new() })
    }

    /// Also trusts `former`, for records of erasures only. Errors: a key belongs to another log.
    pub fn with_former(mut self, former: impl IntoIterator<Item = VerifierKey>) -> Result<Self, Invalid> {
        for key in former {
            if key.name() != self.origin() {
                return Err(Invalid::new(format_args!("all keys must be of the log {}", self.origin()), key.name()));
            }
            if !self.keys.contains(&key) && !self.former.contains(&key) {
                self.former.push(key);
            }
        }
        Ok(self)
    }

    /// The keys that sign checkpoints, oldest first.
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Former keys, which have signed checkpoints before.
    pub fn former(&self) -> &[VerifierKey] {
        &self.former
    }

    /// The id of the log.
    pub fn log_id(&self) -> &str {
        // Cannot fail: the constructor has checked the name.
        log_id(self.origin()).unwrap_or_default()
    }

    /// The origin of the log, which is the name of its keys.
    pub fn origin(&self) -> &KeyName {
        // There is at least one key by construction.
        self.keys[0].name()
    }

    /// The checkpoint in `note`, if one of the keys has signed it for its own log.
    pub fn open(&self, note: &str) -> Result<Checkpoint, Untrusted> {
        let text = open(note, &self.keys).map_err(|why| match why {
            Unsigned::Unknown => self.stranger(note),
            why => Untrusted::Unsigned(why),
        })?;
        let checkpoint = Checkpoint::parse(text).map_err(Untrusted::Malformed)?;
        match checkpoint.origin == *self.origin() {
            true => Ok(checkpoint),
            false => Err(Untrusted::Origin(self.origin().clone(), checkpoint.origin)),
        }
    }

    /// The error for a `note` of another log, or signed by other keys.
    fn stranger(&self, note: &str) -> Untrusted {
        let claimed = note.lines().next().and_then(|origin| KeyName::parse(origin).ok());
        match claimed.filter(|claimed| claimed != self.origin()) {
            Some(claimed) => Untrusted::Origin(self.origin().clone(), claimed),
            None => Untrusted::Stranger(signers(note), self.keys.iter().map(VerifierKey::short).collect()),
        }
    }

    /// The trusted keys after a log was verified up to `note`. A key in `introduced` becomes trusted if a trusted key
    /// has signed its introduction. A key that no longer signs `note`, although a later one does, becomes a former key.
    #[must_use]
    pub fn after(&self, note: &str, introduced: &[KeyEndorsement]) -> Self {
        let mut keys = self.keys.clone();
        for introduction in introduced {
            if introduction.is_signed_by(&keys) {
                // Moves a known key to its place in the order of introduction.
                keys.retain(|known| known != introduction.key());
                keys.push(introduction.key().clone());
            }
        }
        let signs = |key: &VerifierKey| open(note, std::slice::from_ref(key)).is_ok();
        let first = keys.iter().position(signs).unwrap_or(0);
        let last = keys.split_off(first);
        let former = self.former.iter().chain(&keys).filter(|key| !last.contains(key)).cloned();
        let mut former: Vec<_> = former.collect();
        former.dedup();
        Self { keys: last, former }
    }
}
