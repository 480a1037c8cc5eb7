//! The record of an erasure, signed by the keys of the log. Write access to the database is not enough to make one.

use super::GroupHash;
use super::note::{KeyName, SigningKey, Unsigned, VerifierKey, check_signatures, signatures};
use crate::types::{Group, Seq};

/// The first line of the signed text, which tells it from a checkpoint and from a key endorsement.
const HEAD: &str = "auditlog/erasure/v1";

/// The groups that one entry records as erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureRecord {
    /// The id of the recording entry.
    pub id: String,
    /// The `userId` of the recording entry: the requester of the erasure.
    pub user_id: String,
    /// The reason, as the JSON text that is hashed.
    pub reason: String,
    /// The groups, each with the number of its entry and its hash, in order of the recording entry.
    pub groups: Vec<(Seq, Group, GroupHash)>,
}

impl ErasureRecord {
    /// The text to sign. docs/LEAF_FORMAT.md specifies it byte for byte.
    pub fn text(&self, origin: &KeyName) -> String {
        let Self { id, user_id, reason, groups } = self;
        let groups = groups.iter().map(|(seq, group, GroupHash(hash))| format!("{} {hash}\n", field(*seq, *group)));
        format!("{HEAD}\n{origin}\n{id}\n{user_id}\n{reason}\n{}", groups.collect::<String>())
    }

    /// The signature lines of `keys` for this record in the log `origin`.
    pub fn sign(&self, origin: &KeyName, keys: &[&SigningKey]) -> String {
        signatures(&self.text(origin), origin, keys)
    }

    /// Checks that one of `keys` has made one of the signature `lines` for this record in the log `origin`.
    pub fn check(&self, origin: &KeyName, lines: &str, keys: &[VerifierKey]) -> Result<(), Unsigned> {
        check_signatures(&self.text(origin), lines, keys)
    }
}

/// The field name of the change that records a group of the entry `seq` as erased.
pub fn field(seq: Seq, group: Group) -> String {
    format!("erased.{seq}.{}", group.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;

    fn record() -> ErasureRecord {
        ErasureRecord {
            id: "auditlog:erasure:0194858f-5b6a-7cc3-8f5e-1d2c3b4a5968".to_owned(),
            user_id: "key:0Ab1Cd2Ef3Gh".to_owned(),
            reason: "\"request 17\"".to_owned(),
            groups: [(4, Group::Actor, 1), (4, Group::Content, 2), (7, Group::Actor, 3)]
                .map(|(seq, group, byte)| (seq, group, GroupHash(Hash([byte; 32]))))
                .to_vec(),
        }
    }

    #[test]
    fn a_signature_holds_for_its_record_in_its_log_alone() {
        let [origin, other] =
            ["audit.example.com/one", "audit.example.com/two"].map(|name| KeyName::parse(name).expect("a name"));
        let [key, stranger] = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]).expect("32 bytes"));
        let verifier = |key: &SigningKey| [key.verifier(origin.clone())];
        let signed = record();
        let lines = signed.sign(&origin, &[&key]);
        assert_eq!(signed.check(&origin, &lines, &verifier(&key)), Ok(()));
        assert_eq!(signed.check(&origin, &lines, &verifier(&stranger)), Err(Unsigned::Unknown));
        let text = "auditlog/erasure/v1\naudit.example.com/one\nauditlog:erasure:0194858f-5b6a-7cc3-8f5e-1d2c3b4a5968\n\
                    key:0Ab1Cd2Ef3Gh\n\"request 17\"\nerased.4.actor AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";
        assert!(signed.text(&origin).starts_with(text), "{}", signed.text(&origin));
        let edited = |edit: fn(&mut ErasureRecord)| {
            let mut record = record();
            edit(&mut record);
            record
        };
        for other in [
            edited(|record| record.id = record.id.replace('8', "9")),
            edited(|record| record.user_id = "system".to_owned()),
            edited(|record| record.reason = "\"request 18\"".to_owned()),
            edited(|record| record.groups.swap(0, 1)),
            edited(|record| record.groups.truncate(2)),
            edited(|record| record.groups[0].0 = 5),
            edited(|record| (record.groups[0].2, record.groups[1].2) = (record.groups[1].2, record.groups[0].2)),
        ] {
            assert_eq!(other.check(&origin, &lines, &verifier(&key)), Err(Unsigned::Forged), "{other:?}");
        }
        // In another log: with the key's name there, and with an exchanged origin.
        assert_eq!(signed.check(&other, &lines, &[key.verifier(other.clone())]), Err(Unsigned::Unknown));
        assert!(signed.check(&other, &lines, &verifier(&key)).is_err());
        // A signature of another text with the same key, and lines that make the text longer.
        let checkpoint = signatures("audit.example.com/one\n1\nAAAA\n", &origin, &[&key]);
        assert_eq!(signed.check(&origin, &checkpoint, &verifier(&key)), Err(Unsigned::Forged));
        let longer = format!("{}\nmore\n", signed.text(&origin));
        let further = format!("more\n\n{}", signatures(&longer, &origin, &[&key]));
        assert_eq!(signed.check(&origin, &further, &verifier(&key)), Err(Unsigned::Malformed));
        for none in ["", "\n", "— ", "signed"] {
            assert_eq!(signed.check(&origin, none, &verifier(&key)), Err(Unsigned::Malformed), "{none:?}");
        }
    }
}
