//! Cursors: the state of a walk through the pages of a list, authenticated with a key from the database. A reader who
//! could forge a cursor could make a page scan the whole index, or show a false total.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::domain::{Filter, Invalid, OrganizationId, Position, Seq, Timestamp, quoted};
use crate::store::{CURSOR_KEY_BYTES, CURSOR_KEY_ID};

/// The format: this version, the id of the key, five numbers, and a tag over these and the list.
const VERSION: u8 = 2;
const TAG: usize = 32;
const PAYLOAD: usize = 2 + 5 * 8;

/// The key that authenticates cursors. Its `Debug` shows no bytes.
#[derive(Debug)]
pub(super) struct CursorKey(hmac::Key);

impl CursorKey {
    pub(super) fn new(bytes: [u8; CURSOR_KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

/// The state of a walk between two pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The log's last number when the walk began. The walk shows nothing newer.
    pub(super) head: Seq,
    /// The number of matching entries at that time.
    pub(super) total: i64,
    /// The number of entries before the next page.
    pub(super) walked: i64,
    /// The position of the last entry of the page before.
    pub(super) last: Position,
}

/// The organization whose entries are listed, and the filter.
pub(super) type ListScope<'a> = (&'a OrganizationId, &'a Filter);

impl Cursor {
    pub(super) fn text(&self, CursorKey(key): &CursorKey, list: ListScope<'_>) -> String {
        let Self { head, total, walked, last: Position { timestamp, seq } } = self;
        let mut bytes = vec![VERSION, CURSOR_KEY_ID];
        for number in [*head, *total, *walked, timestamp.micros(), *seq] {
            bytes.extend(number.to_be_bytes());
        }
        let tag = hmac::sign(key, &authenticated(&bytes, list));
        bytes.extend(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Errors: `text` is not a cursor that this database's services made for this list, or its `head` is beyond the
    /// present `head`, because the log was restored to an earlier time.
    pub(super) fn parse(
        text: &str,
        CursorKey(key): &CursorKey,
        list: ListScope<'_>,
        head: Seq,
    ) -> Result<Self, Invalid> {
        let foreign = || {
            let allowed = "must be nextCursor of an earlier page with the same organization and filter";
            Invalid::new(allowed, quoted(text))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        if bytes.len() != PAYLOAD + TAG || !bytes.starts_with(&[VERSION, CURSOR_KEY_ID]) {
            return Err(foreign());
        }
        let (payload, tag) = bytes.split_at(PAYLOAD);
        // Compares in constant time.
        hmac::verify(key, &authenticated(payload, list), tag).map_err(|_| foreign())?;
        let mut numbers = payload[2..]
            .chunks_exact(8)
            .map(|bytes| bytes.iter().fold(0i64, |number, byte| (number << 8) | i64::from(*byte)));
        let mut number = || numbers.next().ok_or_else(foreign);
        let cursor = Self {
            head: number()?,
            total: number()?,
            walked: number()?,
            last: Position { timestamp: Timestamp::saturating(number()?), seq: number()? },
        };
        match cursor.head > head {
            true => Err(Invalid::new(format_args!("must be of this log, which ends at {head}"), cursor.head)),
            false => Ok(cursor),
        }
    }
}

/// The bytes that the tag covers: the payload, which has a fixed length, and a digest of the list.
fn authenticated(payload: &[u8], (organization, filter): ListScope<'_>) -> Vec<u8> {
    let mut list = Sha256::new();
    filter.digest(organization, &mut list);
    [payload, &list.finalize()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Identifier;

    fn cursor() -> Cursor {
        Cursor { head: 10, total: 7, walked: 3, last: Position { timestamp: Timestamp::MIN, seq: 5 } }
    }

    fn key(byte: u8) -> CursorKey {
        CursorKey::new([byte; CURSOR_KEY_BYTES])
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_list_and_key() {
        let organizations = ["org", "other"].map(|id| OrganizationId::parse(id).expect("an id"));
        let filters =
            [Filter::default(), Filter { user_ids: vec![Identifier::parse("u").expect("an id")], ..Filter::default() }];
        let list = (&organizations[0], &filters[0]);
        let text = cursor().text(&key(1), list);
        assert_eq!(Cursor::parse(&text, &key(1), list, 10), Ok(cursor()));
        assert!(Cursor::parse(&text, &key(2), list, 10).is_err(), "another key");
        assert!(Cursor::parse(&text, &key(1), (&organizations[1], &filters[0]), 10).is_err(), "another organization");
        assert!(Cursor::parse(&text, &key(1), (&organizations[0], &filters[1]), 10).is_err(), "another filter");
        let refused = Cursor::parse(&text, &key(1), list, 9).expect_err("the log was taken back");
        assert_eq!(refused.0, "must be of this log, which ends at 9, got 10");
    }

    #[test]
    fn no_bit_of_a_cursor_can_be_changed() {
        let (organization, filter) = (OrganizationId::parse("org").expect("an id"), Filter::default());
        let text = cursor().text(&key(1), (&organization, &filter));
        let bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = URL_SAFE_NO_PAD.encode(forged);
            assert!(Cursor::parse(&forged, &key(1), (&organization, &filter), i64::MAX).is_err(), "bit {bit}");
        }
        for length in 0..text.len() {
            assert!(Cursor::parse(&text[..length], &key(1), (&organization, &filter), i64::MAX).is_err());
        }
    }
}
