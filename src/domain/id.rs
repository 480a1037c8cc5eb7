//! Entry ids.

use auditlog_verify::types::check_entry_id;
use uuid::Uuid;

use super::text::{RESERVED, text_type};
use super::{Invalid, Random, Timestamp, quoted};

text_type! {
    /// The id of an entry, which is also the idempotency key of its write: 1 to 128 bytes of `[A-Za-z0-9_.:-]`.
    EntryId, check_entry_id
}

impl EntryId {
    /// Parses an id that a writer chose. Errors: also an id with the prefix of the service's own entries.
    pub fn from_writer(text: String) -> Result<Self, Invalid> {
        if text.starts_with(RESERVED) {
            let allowed = format!("must not start with {RESERVED}, which the service keeps for its own entries");
            return Err(Invalid::new(allowed, quoted(&text)));
        }
        Self::parse(text)
    }

    /// Whether the service itself wrote the entry with this id.
    pub fn is_service(&self) -> bool {
        self.0.starts_with(RESERVED)
    }

    /// A new id: `log_` and a UUIDv7 in base32, so that ids sort by creation time.
    pub fn generate(now: Timestamp, random: &Random) -> Self {
        let millis = u64::try_from(now.micros() / 1_000).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random.bytes()).into_uuid();
        Self(format!("log_{}", base32(uuid)))
    }
}

/// The suffix of a TypeID: 26 characters of Crockford's alphabet. The first character holds 3 bits. Our own ten lines:
/// the crates for it bring their own id types.
/// Source: <https://github.com/jetify-com/typeid/blob/main/spec/README.md>
fn base32(uuid: Uuid) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bits = uuid.as_u128();
    let character = |place: u32| char::from(ALPHABET[(bits >> (place * 5) & 31) as usize]);
    (0..26).rev().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_typeid_specification() {
        // From `valid.yml` of the specification.
        for (uuid, text) in [
            ("00000000-0000-0000-0000-000000000000", "00000000000000000000000000"),
            ("0110c853-1d09-52d8-d73e-1194e95b5f19", "0123456789abcdefghjkmnpqrs"),
            ("01890a5d-ac96-774b-bcce-b302099a8057", "01h455vb4pex5vsknk084sn02q"),
        ] {
            assert_eq!(base32(uuid.parse().expect("a UUID")), text);
        }
    }

    #[test]
    fn generated_ids_are_valid_and_sort_by_time() {
        let random = Random::seeded(1);
        let id = |second: i64| EntryId::generate(Timestamp::saturating(second * 1_000_000), &random);
        assert!(id(1_700_000_000) < id(1_700_000_001));
        assert!(EntryId::from_writer(id(0).into()).is_ok());
    }

    #[test]
    fn writers_cannot_use_ids_reserved_for_the_service() {
        let refused = EntryId::from_writer("auditlog:erasure:1".to_owned());
        assert!(refused.is_err_and(|why| why.0.contains("auditlog:")));
    }
}
