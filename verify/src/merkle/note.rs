//! Signed notes (C2SP signed-note), by Ed25519.
//!
//! Our own implementation: the only crate for it brings a second Ed25519 with sixteen crates below it, and spells keys
//! differently. `ring`, which TLS needs anyway, does the cryptography. tests/clients/go verifies the notes with another
//! implementation.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use crate::types::{Invalid, quoted};

/// The algorithm number of Ed25519 in keys.
const ALGORITHM: u8 = 1;
/// The maximum number of signatures of a note, as in Go, so that a note costs little to verify.
const MAX_SIGNATURES: usize = 100;
const MARK: &str = "— ";

/// The name of a key, which is the origin of its log: a DNS name and a path, without scheme, white space and `+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// Errors: `text` is empty, or has white space, control characters or `+`.
    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        let forbidden = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
        if text.is_empty() || text.contains(forbidden) {
            return Err(Invalid::new("must be a name without white space and +", quoted(&text)));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of this service in the origins of its logs: a DNS name without scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogName(String);

impl LogName {
    /// The origin of the log `log_id`, which is also the name of its keys.
    pub fn origin(&self, log_id: &str) -> Result<KeyName, Invalid> {
        KeyName::parse(format!("{self}/{log_id}"))
    }
}

impl FromStr for LogName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        let allowed = "must be a DNS name in lower case, without scheme, such as audit.example.com";
        is_name.then(|| Self(text.to_owned())).ok_or_else(|| Invalid::new(allowed, quoted(text)))
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type KeyId = [u8; 4];

/// The bytes of a public key.
pub type PublicKey = [u8; 32];

/// A key that signs. It has no `Debug`, so that no log can show it.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Makes a key from its 32 secret bytes.
    pub fn from_seed(seed: &[u8]) -> Result<Self, Invalid> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(Self).map_err(|_| Invalid::new("a signing key must be 32 bytes", seed.len()))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref());
        public
    }

    /// The verifier key for its signatures under `name`.
    pub fn verifier(&self, name: KeyName) -> VerifierKey {
        VerifierKey { name, public: self.public() }
    }
}

/// A public key with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    public: PublicKey,
}

impl VerifierKey {
    /// Makes a key from a name and a stored public key. Errors: not 32 bytes.
    pub fn new(name: KeyName, public: &[u8]) -> Result<Self, Invalid> {
        let public = public.try_into().map_err(|_| Invalid::new("a public key must be 32 bytes", public.len()))?;
        Ok(Self { name, public })
    }

    /// The name of the key.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The published form: `name+id+base64`.
    pub fn text(&self) -> String {
        format!("{}+{}", self.short(), STANDARD.encode(self.encoded()))
    }

    /// The short form: `name+id`.
    pub fn short(&self) -> String {
        format!("{}+{:08x}", self.name, u32::from_be_bytes(self.id()))
    }

    /// Reads a [`VerifierKey::text`]. Errors: any other spelling, a wrong id, another algorithm.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let malformed = || Invalid::new("must be a verifier key such as name+1a2b3c4d+AQ…, of Ed25519", quoted(text));
        let [name, _, key] = text.splitn(3, '+').collect::<Vec<_>>().try_into().map_err(|_| malformed())?;
        let key: [u8; 33] = STANDARD.decode(key).ok().and_then(|key| key.try_into().ok()).ok_or_else(malformed)?;
        let [_, public @ ..] = key;
        let key = Self { name: KeyName::parse(name)?, public };
        (key.text() == text).then_some(key).ok_or_else(malformed)
    }

    /// The algorithm number and the key.
    fn encoded(&self) -> [u8; 33] {
        let mut encoded = [ALGORITHM; 33];
        encoded[1..].copy_from_slice(&self.public);
        encoded
    }

    fn id(&self) -> KeyId {
        let name = Sha256::new_with_prefix(self.name.as_str());
        let [a, b, c, d, ..] = <[u8; 32]>::from(name.chain_update("\n").chain_update(self.encoded()).finalize());
        [a, b, c, d]
    }
}

/// The note of `text`, which must end with a line break, signed under `name` by each of `keys`.
pub fn sign(text: &str, name: &KeyName, keys: &[&SigningKey]) -> String {
    format!("{text}\n{}", signatures(text, name, keys))
}

/// The signature lines of that note, each with its line break.
pub(super) fn signatures(text: &str, name: &KeyName, keys: &[&SigningKey]) -> String {
    let line = |key: &&SigningKey| {
        let id = key.verifier(name.clone()).id();
        let signature = STANDARD.encode([&id, key.0.sign(text.as_bytes()).as_ref()].concat());
        format!("{MARK}{name} {signature}\n")
    };
    keys.iter().map(line).collect()
}

/// Checks that one of `keys` has signed `text`, by the signature `lines`.
pub(super) fn check_signatures(text: &str, lines: &str, keys: &[VerifierKey]) -> Result<(), Unsigned> {
    // Lines with an empty one among them would make a longer text with other signatures.
    match open(&format!("{text}\n{lines}"), keys)? == text {
        true => Ok(()),
        false => Err(Unsigned::Malformed),
    }
}

/// Why a note is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// The text is not a signed note.
    #[error("this is no signed note")]
    Malformed,
    /// No known key has signed the note.
    #[error("no key that is trusted has signed it")]
    Unknown,
    /// The note names a known key that has not made the signature.
    #[error("the signature of the note is not that of its key")]
    Forged,
}

/// The text of `note`, if any of `keys` has signed it. Signatures of unknown keys are ignored. A wrong signature of a
/// known key makes the whole note invalid.
pub fn open<'a>(note: &'a str, keys: &[VerifierKey]) -> Result<&'a str, Unsigned> {
    if note.chars().any(|letter| letter < ' ' && letter != '\n') {
        return Err(Unsigned::Malformed);
    }
    let (text, signatures) =
        note.rfind("\n\n").map(|end| (&note[..=end], &note[end + 2..])).ok_or(Unsigned::Malformed)?;
    let lines: Vec<_> = signatures.strip_suffix('\n').ok_or(Unsigned::Malformed)?.split('\n').collect();
    if lines.len() > MAX_SIGNATURES {
        return Err(Unsigned::Malformed);
    }
    let signatures: Option<Vec<_>> = lines.into_iter().map(signature).collect();
    let signatures = signatures.ok_or(Unsigned::Malformed)?;
    let mut verified = Err(Unsigned::Unknown);
    for key in keys {
        // The first signature of a key counts.
        let found = signatures.iter().find(|(name, id, _)| *name == key.name.as_str() && *id == key.id());
        if let Some((_, _, signature)) = found {
            let public = UnparsedPublicKey::new(&ED25519, key.public);
            public.verify(text.as_bytes(), signature).map_err(|_| Unsigned::Forged)?;
            verified = Ok(text);
        }
    }
    verified
}

/// The keys that claim to have signed `note`, as `name+id`.
pub fn signers(note: &str) -> Vec<String> {
    let signed = note.lines().filter_map(signature);
    signed.map(|(name, id, _)| format!("{name}+{:08x}", u32::from_be_bytes(id))).collect()
}

/// The key name, the key id and the signature of a line.
fn signature(line: &str) -> Option<(&str, KeyId, Vec<u8>)> {
    let (name, signature) = line.strip_prefix(MARK)?.split_once(' ')?;
    KeyName::parse(name).ok()?;
    let signature = STANDARD.decode(signature).ok()?;
    let (id, signature) = signature.split_first_chunk()?;
    (!signature.is_empty()).then(|| (name, *id, signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";

    fn name() -> KeyName {
        KeyName::parse("PeterNeumann").expect("a name")
    }

    /// The example key in Go's documentation of notes.
    fn example() -> SigningKey {
        let seed = STANDARD.decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").expect("base64");
        SigningKey::from_seed(&seed[1..]).expect("32 bytes")
    }

    #[test]
    fn the_example_of_go_is_signed_and_verified() {
        let key = example();
        let verifier = key.verifier(name());
        assert_eq!(verifier.text(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let note = sign(TEXT, &name(), &[&key]);
        let signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        assert_eq!(note, format!("{TEXT}\n— PeterNeumann {signature}\n"));
        assert_eq!(open(&note, &[verifier]), Ok(TEXT));
    }

    #[test]
    fn one_known_key_is_enough_and_a_wrong_signature_of_any_is_refused() {
        let (old, new) = (example(), SigningKey::from_seed(&[7; 32]).expect("32 bytes"));
        let [old_verifier, new_verifier] = [&old, &new].map(|key| key.verifier(name()));
        let both = [old_verifier.clone(), new_verifier.clone()];
        let note = sign(TEXT, &name(), &[&old, &new]);
        for keys in [&both[..], &both[..1], &both[1..]] {
            assert_eq!(open(&note, keys), Ok(TEXT));
        }
        assert_eq!(open(&sign(TEXT, &name(), &[&old]), &[new_verifier]), Err(Unsigned::Unknown));
        assert_eq!(open(&note, &[old.verifier(KeyName::parse("Peter").expect("a name"))]), Err(Unsigned::Unknown));
        assert_eq!(open(&note.replace("answer", "reply"), &both), Err(Unsigned::Forged));
        // The new key's signature of another text, beside a valid one of the old key.
        let stolen = sign("other\n", &name(), &[&new]).lines().last().expect("a signature").to_owned();
        let forged = format!("{}{stolen}\n", sign(TEXT, &name(), &[&old]));
        assert_eq!((open(&forged, &both[..1]), open(&forged, &both)), (Ok(TEXT), Err(Unsigned::Forged)));
    }

    #[test]
    fn a_malformed_note_is_refused() {
        let key = example();
        let verifier = [key.verifier(name())];
        let note = sign(TEXT, &name(), &[&key]);
        let line = note.lines().last().expect("a signature");
        for malformed in [
            String::new(),
            TEXT.to_owned(),
            format!("{TEXT}\n"),
            note.trim_end().to_owned(),
            format!("{note}\n"),
            note.replace('—', "-"),
            note.replace("— PeterNeumann ", "— PeterNeumann  "),
            note.replace("— PeterNeumann", "— Peter+Neumann"),
            note.replace('=', ""),
            note.replace("then", "then\t"),
            note.replace('\n', "\r\n"),
            format!("{note}{}", format!("{line}\n").repeat(100)),
            format!("{TEXT}\n— PeterNeumann x08gow==\n"),
        ] {
            assert_eq!(open(&malformed, &verifier), Err(Unsigned::Malformed), "{malformed}");
        }
    }

    #[test]
    fn a_log_name_is_a_dns_name_and_nothing_more() {
        for name in ["audit.example.com", "localhost", "a-1.b2"] {
            assert_eq!(name.parse::<LogName>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
        let long = "a".repeat(64);
        for other in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "https://a",
            "a/b",
            "a:80",
            "a b",
            "A.example",
            "-a",
            "a-",
            "ä.de",
            "a+b",
            &long,
        ] {
            assert!(other.parse::<LogName>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_verifier_key_has_one_spelling() {
        let text = example().verifier(name()).text();
        assert_eq!(VerifierKey::parse(&text).map(|key| key.text()), Ok(text.clone()));
        for other in [
            text.replace("c74f20a3", "C74F20A3"),
            text.replace("c74f20a3", "c74f20a4"),
            text.replace("+c74f20a3", ""),
            text.replace("PeterNeumann", "Peter Neumann"),
            text.replace("PeterNeumann", ""),
            text.replace("+AR", "+Ah"),
            format!("{text}="),
            text[..text.len() - 4].to_owned(),
        ] {
            assert!(VerifierKey::parse(&other).is_err(), "{other}");
        }
        assert!(SigningKey::from_seed(&[0; 31]).is_err());
    }
}
