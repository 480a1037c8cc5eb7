//! A new key of a log, endorsed by earlier keys: a verifier that trusts one of them can trust the new key.

use super::note::{SigningKey, VerifierKey, check_signatures, signatures};

/// The first line of the signed text, which tells it from a checkpoint.
const HEAD: &str = "auditlog/rotation/v1";

/// A key, and other keys' signatures for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEndorsement {
    key: VerifierKey,
    signatures: String,
}

impl KeyEndorsement {
    /// Signs `key` with each of `keys`. The signatures carry the key name of `key`.
    pub fn sign(key: VerifierKey, keys: &[&SigningKey]) -> Self {
        let signatures = signatures(&text(&key), key.name(), keys);
        Self { key, signatures }
    }

    /// An endorsement read from an entry. The signatures are not checked yet.
    pub fn new(key: VerifierKey, signatures: String) -> Self {
        Self { key, signatures }
    }

    /// The new key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The signature lines, as in a note; empty if there are none.
    pub fn signatures(&self) -> &str {
        &self.signatures
    }

    /// Whether one of `keys` has signed it.
    pub fn is_signed_by(&self, keys: &[VerifierKey]) -> bool {
        check_signatures(&text(&self.key), &self.signatures, keys).is_ok()
    }
}

fn text(key: &VerifierKey) -> String {
    format!("{HEAD}\n{}\n", key.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{KeyName, sign};

    #[test]
    fn a_key_is_endorsed_only_by_the_keys_that_signed_it() {
        let name = KeyName::parse("audit.example.com/log").expect("a name");
        let [old, older, new, other] = [1, 2, 3, 4].map(|seed| SigningKey::from_seed(&[seed; 32]).expect("32 bytes"));
        let verifier = |key: &SigningKey| key.verifier(name.clone());
        let introduced = KeyEndorsement::sign(verifier(&new), &[&old, &older]);
        assert_eq!(introduced.signatures().lines().count(), 2);
        for known in [&old, &older] {
            assert!(introduced.is_signed_by(&[verifier(known), verifier(&other)]));
        }
        assert!(!introduced.is_signed_by(&[verifier(&other)]));
        assert!(!introduced.is_signed_by(&[verifier(&new)]), "a key that vouches for itself");
        // The same signatures for another key, signatures under another name, and no signatures.
        let with = |key, signatures: &str| KeyEndorsement::new(key, signatures.to_owned());
        assert!(!with(verifier(&other), introduced.signatures()).is_signed_by(&[verifier(&old)]));
        let elsewhere = KeyName::parse("audit.example.com/other").expect("a name");
        let moved = with(new.verifier(elsewhere.clone()), introduced.signatures());
        assert!(!moved.is_signed_by(&[old.verifier(elsewhere)]) && !moved.is_signed_by(&[verifier(&old)]));
        let alone = KeyEndorsement::sign(verifier(&new), &[]);
        assert_eq!((alone.signatures(), alone.is_signed_by(&[verifier(&old)])), ("", false));
        // A checkpoint's signature introduces no key.
        let note = sign("audit.example.com/log\n1\nAAAA\n", &name, &[&old]);
        let line = format!("{}\n", note.lines().last().expect("a signature"));
        assert!(!with(verifier(&new), &line).is_signed_by(&[verifier(&old)]));
    }
}
