//! The text of a cursor: what a walk must remember between pages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::domain::{Filter, Invalid, OrganizationId, Position, Seq, Timestamp, quoted};

const VERSION: u8 = 1;
const DIGEST: usize = 16;
const LENGTH: usize = 1 + 5 * 8 + DIGEST;

/// What a walk remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The head when the walk began: it sees nothing newer.
    pub(super) head: Seq,
    /// The entries that matched then.
    pub(super) total: i64,
    /// Entries before the next page.
    pub(super) walked: i64,
    /// The last entry of the page before.
    pub(super) last: Position,
}

impl Cursor {
    pub(super) fn text(&self, organization: &OrganizationId, filter: &Filter) -> String {
        let Self { head, total, walked, last: Position { timestamp, seq } } = self;
        let mut bytes = vec![VERSION];
        for number in [*head, *total, *walked, timestamp.micros(), *seq] {
            bytes.extend(number.to_be_bytes());
        }
        let digest = digest(&bytes, organization, filter);
        bytes.extend(digest);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Errors: not a cursor of this version, this organization and this filter, or one of a log that
    /// reached further than `head` does now.
    pub(super) fn parse(
        text: &str,
        organization: &OrganizationId,
        filter: &Filter,
        head: Seq,
    ) -> Result<Self, Invalid> {
        let foreign = || {
            let allowed = "must be nextCursor of an earlier page with the same organization and filter";
            Invalid::new(allowed, quoted(text))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        if bytes.len() != LENGTH || bytes[0] != VERSION {
            return Err(foreign());
        }
        let (payload, sent) = bytes.split_at(LENGTH - DIGEST);
        if digest(payload, organization, filter) != sent {
            return Err(foreign());
        }
        let mut numbers = payload[1..]
            .chunks_exact(8)
            .map(|bytes| bytes.iter().fold(0i64, |number, byte| (number << 8) | i64::from(*byte)));
        let mut number = || numbers.next().ok_or_else(foreign);
        let cursor = Self {
            head: number()?,
            total: number()?,
            walked: number()?,
            last: Position { timestamp: Timestamp::saturating(number()?), seq: number()? },
        };
        if cursor.head > head {
            return Err(Invalid::new(format_args!("must be of this log, which ends at {head}"), cursor.head));
        }
        let Self { head: then, total, walked, last } = &cursor;
        // Whoever made it up is told; its sums would overflow.
        match (0..=*then).contains(total) && (0..=*total).contains(walked) && (1..=*then).contains(&last.seq) {
            true => Ok(cursor),
            false => Err(foreign()),
        }
    }
}

/// Ties the payload to its list, and shows damage. No secret: a reader who makes one up reads nothing
/// that the filter would not show.
fn digest(payload: &[u8], organization: &OrganizationId, filter: &Filter) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    hash.update(payload);
    filter.digest(organization, &mut hash);
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&hash.finalize()[..DIGEST]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_somebody_made_up_is_refused() {
        let organization = OrganizationId::parse("org").expect("an id");
        let filter = Filter::default();
        let last = |seq| Position { timestamp: Timestamp::MIN, seq };
        let read = |cursor: &Cursor| Cursor::parse(&cursor.text(&organization, &filter), &organization, &filter, 10);
        let true_one = Cursor { head: 10, total: 7, walked: 3, last: last(5) };
        assert_eq!(read(&true_one).as_ref(), Ok(&true_one));
        for made_up in [
            Cursor { head: 11, ..true_one.clone() },
            Cursor { total: 11, ..true_one.clone() },
            Cursor { total: -1, ..true_one.clone() },
            Cursor { walked: 8, ..true_one.clone() },
            Cursor { walked: i64::MIN, ..true_one.clone() },
            Cursor { last: last(0), ..true_one.clone() },
            Cursor { last: last(11), ..true_one.clone() },
            Cursor { head: -1, total: -1, walked: -1, last: last(-1) },
        ] {
            assert!(read(&made_up).is_err(), "{made_up:?}");
        }
    }
}
