//! The text of an API key: `al_<id>_<secret><checksum>`.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::{BASE62, Random, hex};

const PREFIX: &str = "al_";
/// 12 base62 characters, 71 bits: enough for ids to be unique.
const ID: usize = 12;
/// 43 base62 characters, 256 bits.
const SECRET: usize = 43;
/// A CRC-32 in base62. It saves a database lookup for mistyped keys, and lets secret scanners recognize keys.
const CHECKSUM: usize = 6;
/// The only version of the hash so far. A fast hash is enough: the secret has as many bits as the hash.
const VERSION: &str = "sha256:";

/// An API key with its secret. It has no `Debug`, so that no log can show it.
pub(super) struct PresentedKey {
    id: String,
    secret: String,
}

impl PresentedKey {
    pub(super) fn generate(random: &Random) -> Self {
        Self { id: random.base62(ID), secret: random.base62(SECRET) }
    }

    /// `None` if `text` does not have the form of a key.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let (secret, checksum) = rest.split_at_checked(SECRET)?;
        let base62 = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let formed = id.len() == ID && base62(id) && base62(secret);
        (formed && checksum == checksum_of(id, secret)).then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn text(&self) -> String {
        let Self { id, secret } = self;
        format!("{PREFIX}{id}_{secret}{}", checksum_of(id, secret))
    }

    /// The form in which the database keeps the secret.
    pub(super) fn hash(&self) -> String {
        format!("{VERSION}{}", hex(&Sha256::digest(self.secret.as_bytes())))
    }

    /// Whether `stored` is the hash of this secret. Takes equally long when nothing is stored.
    pub(super) fn matches(&self, stored: Option<&str>) -> bool {
        let own = self.hash();
        let compared = stored.unwrap_or(HASH_OF_NOTHING);
        bool::from(own.as_bytes().ct_eq(compared.as_bytes())) && stored.is_some()
    }
}

/// The hash to compare an unknown key with; no secret has this hash.
const HASH_OF_NOTHING: &str = "sha256:----------------------------------------------------------------";

fn checksum_of(id: &str, secret: &str) -> String {
    let crc = crc32fast::hash(format!("{id}_{secret}").as_bytes());
    let digit = |place: u32| char::from(BASE62[(crc / 62u32.pow(place) % 62) as usize]);
    (0..CHECKSUM as u32).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_round_trips_through_its_text() {
        let key = PresentedKey::generate(&Random::seeded(7));
        let text = key.text();
        assert_eq!(text.len(), "al_".len() + ID + 1 + SECRET + CHECKSUM);
        let read = PresentedKey::parse(&text).expect("a key");
        assert_eq!((read.id(), read.hash()), (key.id(), key.hash()));
        assert!(read.matches(Some(&key.hash())));
        assert!(!read.matches(None));
        assert!(!PresentedKey::generate(&Random::seeded(8)).matches(Some(&key.hash())));
        assert_eq!(HASH_OF_NOTHING.len(), key.hash().len());
    }

    #[test]
    fn a_mistyped_key_is_no_key() {
        let text = PresentedKey::generate(&Random::seeded(7)).text();
        for place in 0..text.len() {
            let mut mistyped = text.clone().into_bytes();
            mistyped[place] = if mistyped[place] == b'x' { b'y' } else { b'x' };
            assert!(PresentedKey::parse(&String::from_utf8(mistyped).expect("ASCII")).is_none(), "at {place}");
        }
        for text in ["", "al_", "al__", &text[..text.len() - 1], &format!("{text}x"), &text.replace('_', "é")] {
            assert!(PresentedKey::parse(text).is_none(), "{text}");
        }
    }
}
