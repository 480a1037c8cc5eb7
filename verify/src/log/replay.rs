//! A walk along the entries of a log: each against its leaf, all leaves as a tree.

use super::disclosed::{DisclosedEntry, Part};
use super::erasures::{ErasedGroups, Erasures, Removal};
use super::service_record::{self, Record};
use super::tile_check::{Row, Rows};
use super::{Kind, Trust, Violation};
use crate::merkle::{CompactRange, GroupHash, Hash, KeyEndorsement};
use crate::types::{Group, Invalid, Seq, Timestamp};

/// The bad entries that are kept to find out what happened to them; more are only counted.
const SUSPECTS: usize = 16;

/// The state that a verifier keeps of a log that it has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPrefix {
    /// The tree.
    pub edge: CompactRange,
    /// When its last entry was recorded.
    pub recorded_at: Timestamp,
}

impl VerifiedPrefix {
    /// Of a log without entries.
    pub fn nothing() -> Self {
        Self { edge: CompactRange::default(), recorded_at: Timestamp::MIN }
    }
}

/// Entries as they come, in the order of their numbers. Needs memory for the path to the last one, and for each erased
/// group whose record has not come yet, some hundred bytes.
#[derive(Debug)]
pub struct LogReplay {
    log_id: String,
    organization: String,
    /// Of the leaf hashes as they are stored: their values are compared with them one by one.
    edge: CompactRange,
    recorded_at: Timestamp,
    /// The state that the replay must pass through.
    remembered: Option<CompactRange>,
    fork: Option<(Seq, Seq)>,
    /// The entries that were found to be as they are remembered.
    passed: Seq,
    erasures: Erasures,
    bad: Vec<(Violation, Hash)>,
    introduced: Vec<KeyEndorsement>,
    rows: Rows,
}

impl LogReplay {
    /// Along the log of `organization` whose keys are those of `trust`, after what is `known` of it already, and by what
    /// is `remembered`.
    pub fn new(trust: &Trust, organization: &str, known: VerifiedPrefix, remembered: Option<CompactRange>) -> Self {
        let VerifiedPrefix { edge, recorded_at } = known;
        let mut walk = Self {
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
        walk.pass_remembered();
        walk
    }

    /// Takes the next entry, and gives what it records as erased. Errors: it is not the next one, so that the walk ends.
    pub fn entry(&mut self, told: &DisclosedEntry) -> Result<Vec<Removal>, Violation> {
        self.check_next(told.seq)?;
        let sound = self.check(told);
        self.append(told.leaf);
        let removals = match sound {
            Ok(None) => Vec::new(),
            Ok(Some(Record::Rotation(introduction))) => {
                let removals = self.erasures.introduced(told.seq, &introduction);
                self.introduced.push(introduction);
                removals
            }
            Ok(Some(Record::Erasure(record, signatures))) => {
                self.erasures.recorded(told.seq, &record, signatures.as_deref())
            }
            Err(violation) => {
                self.keep(violation, told.leaf);
                Vec::new()
            }
        };
        Ok(removals)
    }

    /// Takes the next entry, which is so wrong that it could not even be read, with the hash that is stored for it.
    pub fn unreadable(&mut self, seq: Seq, leaf: Hash, why: &Invalid) -> Result<(), Violation> {
        self.check_next(seq)?;
        self.append(leaf);
        self.keep(Violation::of_entry(Kind::Changed, seq, format!("it has what no entry has: {why}")), leaf);
        Ok(())
    }

    /// That the next entry is so wrong that the service itself cannot read it, and says `why`.
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

    /// That the values of `told` make the leaf that is stored, and that it may stand here. Gives what it records.
    fn check(&mut self, told: &DisclosedEntry) -> Result<Option<Record>, Violation> {
        let bad = |kind, why: String| Err(Violation::of_entry(kind, told.seq, why));
        if matches!(told.facts, Part::Hash(_)) {
            return bad(Kind::Removed, "its facts are not there, which are never erased".to_owned());
        }
        for (group, hash) in Group::ALL.into_iter().zip(told.hashes()) {
            if hash.is_none() {
                let why = format!("its {} is not there, nor the hash of it", group.name());
                return bad(Kind::Removed, why);
            }
        }
        if told.leaf_as(&self.log_id, told.seq) != Some(told.leaf) {
            return bad(Kind::Changed, "what it says does not make the hash that is stored for it".to_owned());
        }
        let before = std::mem::replace(&mut self.recorded_at, told.recorded_at);
        if told.recorded_at < before {
            return bad(
                Kind::Reordered,
                format!("it was recorded at {}, before the one that it follows", told.recorded_at),
            );
        }
        let record = service_record::record(told, &self.organization);
        let record = record.or_else(|why| bad(Kind::Added, format!("it {why}")))?;
        for (group, part) in [(Group::Actor, gone(&told.actor)), (Group::Content, gone(&told.content))] {
            if let Some(hash) = part {
                self.erasures.gone(told.seq, group, hash);
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

    /// Where the remembered tree ends, it is compared.
    fn pass_remembered(&mut self) {
        let Some(remembered) = self.remembered.take_if(|remembered| remembered.size() == self.edge.size()) else {
            return;
        };
        if remembered == self.edge {
            self.passed = self.edge.size() as Seq;
            return;
        }
        // The largest complete subtrees, of which the first that differs is where to look.
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

    /// That there is no next entry, though the checkpoint has `size`.
    pub fn truncated(&self, size: u64) -> Violation {
        let why = format!("the checkpoint has {size} entries, and the log ends with {}", self.edge.size());
        Violation::of_entry(Kind::Truncated, self.next(), why)
    }

    /// The number of the entry that should come next.
    pub fn next(&self) -> Seq {
        // Entries are numbered by `i64`, and each has come.
        self.edge.size() as Seq + 1
    }

    /// The rows of hashes that tiles should have, as far as they are full and were not taken before.
    pub fn rows(&mut self) -> Vec<Row> {
        self.rows.full()
    }

    /// Those that are not full yet.
    pub fn last_rows(&mut self) -> Vec<Row> {
        self.rows.open()
    }

    /// Whether groups are missing whose record has not come.
    pub fn lacks_records(&self) -> bool {
        self.erasures.lacks_records()
    }

    /// The tree of the leaf hashes that are stored.
    pub fn edge(&self) -> &CompactRange {
        &self.edge
    }

    /// The state to remember of the log, once everything else was found right.
    pub fn remembered(&self) -> VerifiedPrefix {
        VerifiedPrefix { edge: self.edge.clone(), recorded_at: self.recorded_at }
    }

    /// The keys that entries introduced, in order.
    pub fn introduced(&self) -> &[KeyEndorsement] {
        &self.introduced
    }

    /// The groups that are gone and have a record.
    pub fn erased(&self) -> ErasedGroups {
        self.erasures.counts()
    }

    /// The log that it is along.
    pub(super) fn log_id(&self) -> &str {
        &self.log_id
    }

    /// The first bad entries, each with the hash that is stored for it.
    pub(super) fn bad(&self) -> &[(Violation, Hash)] {
        &self.bad
    }

    /// The entries of the remembered tree of which one at least is not as it was.
    pub(super) fn fork(&self) -> Option<(Seq, Seq)> {
        self.fork
    }

    /// The entries that are as they are remembered.
    pub(super) fn passed(&self) -> Seq {
        self.passed
    }

    /// The first group that is gone and not properly erased. Where the log `goes_on`, its record may follow.
    pub(super) fn unrecorded(&self, goes_on: bool) -> Option<Violation> {
        self.erasures.first_bad(goes_on)
    }
}

fn gone<T>(part: &Part<T>) -> Option<GroupHash> {
    match part {
        Part::Hash(hash) => Some(*hash),
        Part::Values { .. } | Part::Nothing => None,
    }
}
