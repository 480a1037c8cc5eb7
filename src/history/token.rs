//! The token that continues a check of an organization. It needs no authentication: it holds only numbers of the check
//! and a position in the reader's own organization, so a reader who forges it deceives nobody else. It has a digest of
//! the organization's id, so that a token of another organization is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use sha2::{Digest, Sha256};

use super::totals::CheckTotals;
use crate::domain::{Identifier, Invalid, OrganizationId, ResourceKey, ResourceType, Seq, quoted};

/// The format: this version, the digest, nine numbers, the code of the resource type, and the id of the resource.
const VERSION: u8 = 2;
const DIGEST: usize = 8;
const NUMBERS: usize = 9;
const HEAD: usize = 1 + DIGEST + NUMBERS * 8 + 2;
/// The maximum count in a token. No check counts so far, and adding to such a count cannot overflow.
const MAX_COUNT: u64 = 1 << 60;

/// The state of a check between two resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResumeToken {
    /// The last number that counts.
    pub(super) as_of: Seq,
    /// Only breaks with an entry after this number are reported.
    pub(super) after: Seq,
    /// The numbers of all resources that were checked so far.
    pub(super) totals: CheckTotals,
    /// The last checked resource.
    pub(super) last: ResourceKey,
}

impl ResumeToken {
    pub(super) fn text(&self, organization: &OrganizationId) -> String {
        let Self { as_of, after, totals, last: ResourceKey { resource_type, id } } = self;
        let CheckTotals { resources, entries, compared, not_comparable, breaks, order_breaks, unchecked } = totals;
        let numbers = [
            as_of.unsigned_abs(),
            after.unsigned_abs(),
            *resources,
            *entries,
            *compared,
            *not_comparable,
            *breaks,
            *order_breaks,
            *unchecked,
        ];
        let mut bytes = beginning(organization);
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        bytes.extend(resource_type.0.to_be_bytes());
        bytes.extend(id.as_str().as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Errors: `text` is not a token of this organization.
    pub(super) fn parse(text: &str, organization: &OrganizationId) -> Result<Self, Invalid> {
        let foreign = || Invalid::new("must be the resume token of an earlier answer of the same check", quoted(text));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        let begins = |(head, _): &(&[u8], &[u8])| head.starts_with(&beginning(organization));
        let (head, id) = bytes.split_at_checked(HEAD).filter(begins).ok_or_else(foreign)?;
        let (numbers, code) = head[1 + DIGEST..].split_at(NUMBERS * 8);
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
        let numbers: Vec<_> = numbers.chunks_exact(8).map(number).collect();
        let [as_of, after, resources, entries, compared, not_comparable, breaks, order_breaks, unchecked] = numbers[..]
        else {
            return Err(foreign());
        };
        let seq = |number: u64| Seq::try_from(number).map_err(|_| foreign());
        let (as_of, after) = (seq(as_of)?, seq(after)?);
        let totals = CheckTotals { resources, entries, compared, not_comparable, breaks, order_breaks, unchecked };
        let counted = [resources, entries, compared, not_comparable, breaks, order_breaks, unchecked];
        if counted.iter().any(|number| *number > MAX_COUNT) {
            return Err(foreign());
        }
        let resource_type = ResourceType(i16::from_be_bytes([code[0], code[1]]));
        let id = std::str::from_utf8(id).map_err(|_| foreign())?;
        let id = Identifier::parse(id).map_err(|_| foreign())?;
        Ok(Self { as_of, after, totals, last: ResourceKey { resource_type, id } })
    }
}

/// The first bytes of the tokens of an organization.
fn beginning(organization: &OrganizationId) -> Vec<u8> {
    let digest = Sha256::digest(organization.as_str());
    [&[VERSION][..], &digest[..DIGEST]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_be_read_back_and_nothing_else_is_one() {
        let totals = CheckTotals { resources: 3, entries: 1 << 40, breaks: 7, ..CheckTotals::default() };
        let last = ResourceKey { resource_type: ResourceType(4), id: Identifier::parse("é:1").expect("an id") };
        let token = ResumeToken { as_of: 12, after: 5, totals, last };
        let [own, other] = ["org_a", "org_b"].map(|id| OrganizationId::parse(id).expect("an id"));
        let text = token.text(&own);
        assert_eq!(ResumeToken::parse(&text, &own), Ok(token));
        assert!(ResumeToken::parse(&text, &other).is_err(), "a token of another organization");
        for length in 0..text.len() - 4 {
            assert!(ResumeToken::parse(&text[..length], &own).is_err(), "{length}");
        }
        for text in ["", "AQ", "nonsense!", "AAAA"] {
            let refused = ResumeToken::parse(text, &own).expect_err(text).0;
            assert!(refused.starts_with("must be the resume token of an earlier answer"), "{refused}");
        }
    }
}
