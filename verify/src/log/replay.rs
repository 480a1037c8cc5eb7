//! The replay of a log: checks each entry against its leaf, and builds the tree of all leaves.

use super::disclosed::{DisclosedEntry, DisclosedGroup};
use super::erasures::{ErasedGroups, Erasures, Removal};
use super::service_record::{self, Record};
use super::tile_check::{Row, Rows};
use super::{Kind, Trust, Violation};
use crate::merkle::{CompactRange, Hash, KeyEndorsement, check_fields};
use crate::types::{Group, Invalid, Seq, Timestamp};

/// The number of bad entries that are kept to find out what happened to them. More are ignored.
const SUSPECTS: usize = 16;

/// The state that a verifier keeps of a log it has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPrefix {
    /// The tree.
    pub edge: CompactRange,
    /// When the last entry was recorded.
    pub recorded_at: Timestamp,
}

impl VerifiedPrefix {
    /// The state of a log without entries.
    pub fn nothing() -> Self {
        Self { edge: CompactRange::default(), recorded_at: Timestamp::MIN }
    }
}

/// Replays the entries of a log in order of their numbers. Needs memory for the compact range, and some hundred bytes
/// for each erased group whose record has not come yet.
#[derive(Debug)]
pub struct LogReplay {
    log_id: String,
    organization: String,
    /// The tree of the stored leaf hashes. Each entry's values are compared with its hash.
    edge: CompactRange,
    recorded_at: Timestamp,
    /// The tree of an earlier verification, which the replay must match.
    remembered: Option<CompactRange>,
    fork: Option<(Seq, Seq)>,
    /// The number of entries that match the remembered tree.
    passed: Seq,
    erasures: Erasures,
    bad: Vec<(Violation, Hash)>,
    introduced: Vec<KeyEndorsement>,
    rows: Rows,
}

impl LogReplay {
    /// Replays the log of `organization`, whose keys are in `trust`. Starts after the verified prefix `known`, and
    /// compares with the tree `remembered`.
    pub fn new(trust: &Trust, organization: &str, known: VerifiedPrefix, remembered: Option<CompactRange>) -> Self {
        let VerifiedPrefix { edge, recorded_at } = known;
        let mut replay = Self {
            log_id: trust.log_id().to_owned(),
            organization: organization.to_owned(),
            edge,
            recorded_at,
            remembered,
            fork: None,
            passed: 0,
            erasures: Erasures::new(trust),
            bad: Vec::new(),
            introduced: Vec::new(),
            rows: Rows::default(),
        };
        replay.pass_remembered();
        replay
    }

    /// Takes the next entry. Returns the erasures that it records. Errors: it is not the next entry; the replay ends.
    pub fn entry(&mut self, entry: &DisclosedEntry) -> Result<Vec<Removal>, Violation> {
        self.check_next(entry.seq)?;
        let sound = self.check(entry);
        self.append(entry.leaf);
        let removals = match sound {
            Ok(None | Some(Record::Administration)) => Vec::new(),
            Ok(Some(Record::Rotation(introduction))) => {
                let removals = self.erasures.introduced(entry.seq, &introduction);
                self.introduced.push(introduction);
                removals
            }
            Ok(Some(Record::Erasure(record, signatures))) => {
                self.erasures.recorded(entry.seq, &record, signatures.as_deref())
            }
            Err(violation) => {
                self.keep(violation, entry.leaf);
                Vec::new()
            }
        };
        Ok(removals)
    }

    /// Takes the next entry if it could not be decoded. `leaf` is its stored leaf hash.
    pub fn unreadable(&mut self, seq: Seq, leaf: Hash, why: &Invalid) -> Result<(), Violation> {
        self.check_next(seq)?;
        self.append(leaf);
        self.keep(Violation::of_entry(Kind::Changed, seq, impossible(why)), leaf);
        Ok(())
    }

    /// The violation for a next entry that the service itself cannot read; `why` is the service's message.
    pub fn damaged(&self, why: &str) -> Violation {
        Violation::of_entry(Kind::Changed, self.next(), format!("the service cannot read it: {why}"))
    }

    fn check_next(&self, seq: Seq) -> Result<(), Violation> {
        let expected = self.next();
        match seq.cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Violation {
                kind: Kind::Missing,
                entries: Some((expected, expected)),
                why: match seq - expected {
                    1 => format!("it is not there; {seq} follows"),
                    more => format!("it is not there, nor are {} after it; {seq} follows", more - 1),
                },
            }),
            std::cmp::Ordering::Less => {
                Err(Violation::of_entry(Kind::Reordered, seq, format!("it comes where {expected} should")))
            }
        }
    }

    /// Checks that the values of `entry` make the stored leaf, and that it may follow here. Returns what it records.
    fn check(&mut self, entry: &DisclosedEntry) -> Result<Option<Record>, Violation> {
        let bad = |kind, why: String| Err(Violation::of_entry(kind, entry.seq, why));
        if matches!(entry.group(Group::Facts), DisclosedGroup::Hash(_)) {
            return bad(Kind::Removed, "its facts are not there, which are never erased".to_owned());
        }
        if let Some(group) = Group::ALL.into_iter().find(|group| *entry.group(*group) == DisclosedGroup::Nothing) {
            return bad(Kind::Removed, format!("its {} is not there, nor the hash of it", group.name()));
        }
        if entry.leaf_as(&self.log_id, entry.seq) != Some(entry.leaf) {
            return bad(Kind::Changed, "what it says does not make the hash that is stored for it".to_owned());
        }
        for group in Group::ALL {
            if let Some(Err(why)) = entry.fields(group).map(|fields| check_fields(group, &fields.fields)) {
                return bad(Kind::Changed, impossible(&why));
            }
        }
        let before = std::mem::replace(&mut self.recorded_at, entry.recorded_at);
        if entry.recorded_at < before {
            return bad(
                Kind::Reordered,
                format!("it was recorded at {}, before the one that it follows", entry.recorded_at),
            );
        }
        let record = service_record::record(entry, &self.organization);
        let record = record.or_else(|why| bad(Kind::Added, format!("it {why}")))?;
        for group in Group::ALL {
            if let DisclosedGroup::Hash(hash) = entry.group(group) {
                self.erasures.gone(entry.seq, group, *hash);
            }
        }
        Ok(record)
    }

    fn append(&mut self, leaf: Hash) {
        let index = self.edge.size();
        let completed = self.edge.append(leaf);
        self.rows.push(0, index, leaf);
        for one in completed {
            self.rows.push(one.level, one.index, one.hash);
        }
        self.pass_remembered();
    }

    /// At the end of the remembered tree, compares it with the replayed tree.
    fn pass_remembered(&mut self) {
        let Some(remembered) = self.remembered.take_if(|remembered| remembered.size() == self.edge.size()) else {
            return;
        };
        if remembered == self.edge {
            self.passed = self.edge.size() as Seq;
            return;
        }
        // Compares the roots of the largest complete subtrees. The first one that differs has a changed entry.
        let size = self.edge.size();
        let (old, new) = (remembered.bytes(), self.edge.bytes());
        let mut differing = old.chunks(Hash::LENGTH).zip(new.chunks(Hash::LENGTH)).map(|(old, new)| old != new);
        let mut first = 1;
        for height in (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1) {
            let last = first + (1 << height) - 1;
            if differing.next() == Some(true) {
                self.fork = Some((first, last));
                return;
            }
            first = last + 1;
        }
    }

    fn keep(&mut self, violation: Violation, stored: Hash) {
        if self.bad.len() < SUSPECTS {
            self.bad.push((violation, stored));
        }
    }

    /// The violation for a log that ends before the `size` of the checkpoint.
    pub fn truncated(&self, size: u64) -> Violation {
        let why = format!("the checkpoint has {size} entries, and the log ends with {}", self.edge.size());
        Violation::of_entry(Kind::Truncated, self.next(), why)
    }

    /// The number of the next entry.
    pub fn next(&self) -> Seq {
        // The cast is safe: entries are numbered by `i64`, and each has come.
        self.edge.size() as Seq + 1
    }

    /// The hashes that full tiles should have. Returns each row only once.
    pub fn rows(&mut self) -> Vec<Row> {
        self.rows.full()
    }

    /// The hashes of the tiles that are not full yet.
    pub fn last_rows(&mut self) -> Vec<Row> {
        self.rows.open()
    }

    /// Whether an erased group still lacks a record.
    pub fn lacks_records(&self) -> bool {
        self.erasures.lacks_records()
    }

    /// The tree of the stored leaf hashes.
    pub fn edge(&self) -> &CompactRange {
        &self.edge
    }

    /// The state to keep of the log, once everything else has been verified.
    pub fn remembered(&self) -> VerifiedPrefix {
        VerifiedPrefix { edge: self.edge.clone(), recorded_at: self.recorded_at }
    }

    /// The keys that entries introduced, in order.
    pub fn introduced(&self) -> &[KeyEndorsement] {
        &self.introduced
    }

    /// The numbers of erased groups that have a record.
    pub fn erased(&self) -> ErasedGroups {
        self.erasures.counts()
    }

    /// The id of the log.
    pub(super) fn log_id(&self) -> &str {
        &self.log_id
    }

    /// The first bad entries, each with its stored leaf hash.
    pub(super) fn bad(&self) -> &[(Violation, Hash)] {
        &self.bad
    }

    /// A range of the remembered tree in which at least one entry has changed.
    pub(super) fn fork(&self) -> Option<(Seq, Seq)> {
        self.fork
    }

    /// The number of entries that match the remembered tree.
    pub(super) fn passed(&self) -> Seq {
        self.passed
    }

    /// The first group that is not properly erased. If the log `goes_on`, its record may follow.
    pub(super) fn unrecorded(&self, goes_on: bool) -> Option<Violation> {
        self.erasures.first_bad(goes_on)
    }
}

fn impossible(why: &Invalid) -> String {
    format!("it has what no entry has: {why}")
}
