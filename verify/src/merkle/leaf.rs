//! The leaf of a log, which stands for an entry for ever. docs/LEAF_FORMAT.md is the specification.

use super::fields::Values;
use super::group_hash::{GroupHash, Salts};
use super::hash::Hash;
use crate::types::{Group, Invalid, Seq, Timestamp, check_entry_id, quoted};

/// The writer of service entries. No API key has this id.
pub const SERVICE: &str = "-";

const VERSION: &str = "auditlog/entry/v1";
const LOG_ID: usize = 32;
const MAX_WRITER: usize = 64;

/// The content of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// The id of the log: 32 lower-case hex digits.
    pub log_id: &'a str,
    /// The entry's number; the leaf's index is one less.
    pub seq: Seq,
    /// The entry's id.
    pub id: &'a str,
    /// When the service accepted the entry.
    pub recorded_at: Timestamp,
    /// The id of the API key that wrote it, or [`SERVICE`].
    pub writer: &'a str,
    /// The group hashes, in the order of [`Group::ALL`].
    pub groups: [GroupHash; 3],
}

impl<'a> Leaf<'a> {
    /// The data of the leaf. The tree has its [`Hash::of_leaf`].
    pub fn data(&self) -> Vec<u8> {
        let Self { log_id, seq, id, recorded_at, writer, groups } = self;
        let recorded_at = recorded_at.exact();
        let [facts, actor, content] = groups.map(|GroupHash(hash)| hash);
        format!(
            "{VERSION}\nlog {log_id}\nseq {seq}\nid {id}\nrecorded {recorded_at}\nwriter {writer}\n\
             facts {facts}\nactor {actor}\ncontent {content}\n"
        )
        .into_bytes()
    }

    /// Reads the data of a leaf. Errors: anything that [`Leaf::data`] would not write.
    pub fn parse(data: &'a [u8]) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(data).ok();
        let leaf = text.and_then(parse).filter(|leaf| leaf.data() == data);
        leaf.ok_or_else(|| Invalid::new("must be the leaf of an entry", quoted(&String::from_utf8_lossy(data))))
    }
}

/// The hashes of all groups of an entry.
pub fn group_hashes(values: &[Values<'_>; 3], salts: &Salts) -> [GroupHash; 3] {
    values.each_ref().map(|values| values.hash(salts.of(values.group())))
}

/// Reads a leaf. Also accepts other spellings of numbers, times and hashes; the caller must check for these.
fn parse(text: &str) -> Option<Leaf<'_>> {
    let mut rest = text.strip_prefix(VERSION)?.strip_prefix('\n')?;
    let mut line = |name: &str| {
        let (value, after) = rest.strip_prefix(name)?.strip_prefix(' ')?.split_once('\n')?;
        rest = after;
        Some(value)
    };
    let is_hex = |text: &&str| text.bytes().all(|digit| digit.is_ascii_digit() || matches!(digit, b'a'..=b'f'));
    let log_id = line("log").filter(|id| id.len() == LOG_ID).filter(is_hex)?;
    let seq = line("seq")?.parse().ok().filter(|seq| *seq > 0)?;
    let id = line("id").filter(|id| check_entry_id(id).is_ok())?;
    let recorded_at = Timestamp::parse(line("recorded")?).ok()?;
    let is_key = |writer: &str| {
        (1..=MAX_WRITER).contains(&writer.len()) && writer.bytes().all(|letter| letter.is_ascii_alphanumeric())
    };
    let writer = line("writer").filter(|writer| *writer == SERVICE || is_key(writer))?;
    let mut hash = |group: Group| Hash::parse(line(group.name())?).ok().map(GroupHash);
    let groups = [hash(Group::Facts)?, hash(Group::Actor)?, hash(Group::Content)?];
    rest.is_empty().then_some(Leaf { log_id, seq, id, recorded_at, writer, groups })
}

/// The bundle of these leaves, as a log serves its entries: for each leaf, two bytes of length and its data.
pub fn bundle<'a>(leaves: impl IntoIterator<Item = Leaf<'a>>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for leaf in leaves {
        let data = leaf.data();
        // The length fits: the limits of ids keep it below 600 bytes.
        bundle.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        bundle.extend(data);
    }
    bundle
}

/// The data of the leaves in a bundle. Errors: the bundle ends within a leaf.
pub fn unbundle(mut bundle: &[u8]) -> Result<Vec<&[u8]>, Invalid> {
    let mut leaves = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk().ok_or_else(torn)?;
        let (leaf, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(torn)?;
        leaves.push(leaf);
        bundle = rest;
    }
    Ok(leaves)
}

fn torn() -> Invalid {
    Invalid("the bundle of entries ends within an entry".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::{Change, JsonText};

    fn leaf() -> Leaf<'static> {
        let groups = [1, 2, 3].map(|byte| GroupHash(Hash([byte; 32])));
        let recorded_at = Timestamp::saturating(1_737_369_000_000_000);
        Leaf { log_id: "0123456789abcdef0123456789abcdef", seq: 7, id: "log_1", recorded_at, writer: SERVICE, groups }
    }

    #[test]
    fn a_leaf_reads_back() {
        let text = "auditlog/entry/v1\nlog 0123456789abcdef0123456789abcdef\nseq 7\nid log_1\n\
                    recorded 2025-01-20T10:30:00.000000Z\nwriter -\n\
                    facts AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n\
                    actor AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n\
                    content AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n";
        assert_eq!(String::from_utf8(leaf().data()).as_deref(), Ok(text));
        let id = "x".repeat(128);
        let largest = Leaf { seq: Seq::MAX, id: &id, writer: "0Az", recorded_at: Timestamp::MIN, ..leaf() };
        for leaf in [leaf(), largest] {
            assert_eq!(Leaf::parse(&leaf.data()), Ok(leaf));
        }
    }

    #[test]
    fn another_spelling_of_a_leaf_is_refused() {
        let text = String::from_utf8(leaf().data()).expect("UTF-8");
        for (from, to) in [
            ("v1", "v2"),
            ("v1\n", "v1\r\n"),
            ("log 0123", "log 012"),
            ("log 0123", "log 012G"),
            ("abcdef\n", "ABCDEF\n"),
            ("seq 7", "seq 07"),
            ("seq 7", "seq +7"),
            ("seq 7", "seq 0"),
            ("seq 7", "seq -7"),
            ("seq 7", "seq 9223372036854775808"),
            ("seq 7", "seq  7"),
            ("id log_1", "id "),
            ("id log_1", "id log 1"),
            ("id log_1", "id é"),
            ("id log_1\n", "id log_1\nid log_1\n"),
            (".000000Z", "Z"),
            (".000000Z", ".0000000Z"),
            (".000000Z", ".000000+00:00"),
            ("writer -", "writer "),
            ("writer -", "writer --"),
            ("writer -\n", ""),
            ("AQE=", "AQF="),
            ("AQE=", "AQE"),
            ("actor", "content"),
            ("AwM=\n", "AwM="),
            ("AwM=\n", "AwM=\n\n"),
            ("auditlog", " auditlog"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from} is there");
            assert!(Leaf::parse(other.as_bytes()).is_err(), "{from:?} as {to:?}");
        }
        assert!(Leaf::parse(&[0xff]).is_err() && Leaf::parse(b"").is_err());
    }

    #[test]
    fn each_group_has_its_own_fields_in_order() {
        let metadata = ["z", "a.b", "é", "Z", "\u{ffff}", "\u{10000}"].map(|key| (key.to_owned(), String::new()));
        let metadata = BTreeMap::from(metadata);
        let value = |text: &str| JsonText::parse(text).expect("JSON");
        let change =
            |field: &str| Change { field: field.to_owned(), old_value: value("null"), new_value: value("[ 1 ]") };
        let values = [
            Values::Facts {
                timestamp: Timestamp::saturating(0),
                resource_type: "rule",
                resource_id: "r",
                action: "created",
                user_id: "u",
                trace_id: None,
                outcome: Some("denied"),
                actor_type: None,
            },
            Values::Actor { user_name: None, user_email: Some("e"), metadata: &metadata },
            Values::Content { resource_name: Some("n"), changes: &[change(""), change("f")] },
        ];
        let names = values.each_ref().map(|values| {
            let mut names = Vec::new();
            values.each_field(|name, value| names.push(format!("{name}={value}")));
            names.join(" ")
        });
        assert_eq!(
            names[0],
            "timestamp=1970-01-01T00:00:00.000000Z resourceType=rule resourceId=r action=created userId=u \
             outcome=denied"
        );
        assert_eq!(
            names[1],
            "userEmail=e metadata.Z= metadata.a.b= metadata.z= metadata.é= metadata.\u{ffff}= metadata.\u{10000}="
        );
        let change = |place: u8, field: &str| {
            format!("changes.{place}.field={field} changes.{place}.oldValue=null changes.{place}.newValue=[1]")
        };
        assert_eq!(names[2], format!("resourceName=n {} {}", change(0, ""), change(1, "f")));
        let salts = Salts::from_bytes([1; 48]);
        assert_eq!(Salts::parse(salts.bytes()), Ok(salts.clone()));
        assert!(Salts::parse(&salts.bytes()[1..]).is_err());
        let hashes = group_hashes(&values, &salts);
        assert_ne!(hashes, group_hashes(&values, &Salts::from_bytes([2; 48])));
    }

    #[test]
    fn a_bundle_gives_its_leaves_back() {
        let leaves = [leaf(), Leaf { seq: 8, ..leaf() }];
        let bundled = bundle(leaves.clone());
        assert_eq!(unbundle(&bundled), Ok(leaves.each_ref().map(Leaf::data).iter().map(Vec::as_slice).collect()));
        assert_eq!(unbundle(&[]), Ok(vec![]));
        for length in [1, 2, bundled.len() / 2 + 1, bundled.len() - 1] {
            assert!(unbundle(&bundled[..length]).is_err(), "{length}");
        }
    }
}
