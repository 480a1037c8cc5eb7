//! Erased groups and the records of their erasures. A key of the log must have signed each record.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Kind, Trust, Violation};
use crate::merkle::{ErasureRecord, GroupHash, KeyEndorsement, KeyName, Unsigned, VerifierKey, signers};
use crate::types::{Group, Seq};

/// The maximum number of unknown keys that a violation names.
const NAMED: usize = 3;

/// A group that was properly erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// The number of the entry that lost the group.
    pub seq: Seq,
    /// The group.
    pub group: Group,
    /// The number of the entry that records the erasure.
    pub recorded_by: Seq,
    /// The signer of the record.
    pub signed_by: RecordSigner,
}

/// The signer of the record of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSigner {
    /// A key that was passed to the verifier.
    GivenKey,
    /// Another key of the log: introduced by a trusted key, or trusted before.
    OtherKey,
    /// Nobody, because the log had no keys yet.
    Nobody,
}

/// Numbers of erased groups, by the signer of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasedGroups {
    /// Properly erased: a key that was passed to the verifier has signed the record.
    pub given_key: u64,
    /// Properly erased: another key of the log has signed the record.
    pub other_key: u64,
    /// Properly erased: the log had no keys at the time of the record.
    pub unsigned: u64,
    /// Not properly erased: there is a record, but no key of the log has signed it.
    pub refused: u64,
}

impl ErasedGroups {
    /// The number of properly erased groups.
    pub fn proper(&self) -> u64 {
        self.given_key + self.other_key + self.unsigned
    }
}

/// An erased group without a trusted record so far.
#[derive(Debug)]
struct Missing {
    hash: GroupHash,
    /// The first record with its hash, and why it is not trusted.
    refused: Option<(Seq, Refusal)>,
}

/// Why a record is not trusted.
#[derive(Debug, Clone)]
enum Refusal {
    /// The record has no signatures.
    Unsigned,
    /// Only unknown keys have signed the record: these.
    Strangers(Arc<str>),
    /// The record names a known key that has not signed it.
    Forged,
}

/// The erasures found so far in a part of a log.
#[derive(Debug)]
pub(super) struct Erasures {
    origin: KeyName,
    given: Vec<VerifierKey>,
    /// All keys of the log that are known so far.
    known: Vec<VerifierKey>,
    missing: BTreeMap<(Seq, Group), Missing>,
    counts: ErasedGroups,
}

impl Erasures {
    pub(super) fn new(trust: &Trust) -> Self {
        let (given, former) = (trust.keys().to_vec(), trust.former().iter());
        let known = given.iter().chain(former).cloned().collect();
        let (missing, counts) = (BTreeMap::new(), ErasedGroups::default());
        Self { origin: trust.origin().clone(), given, known, missing, counts }
    }

    /// Takes a group whose values are gone; `hash` is its hash.
    pub(super) fn gone(&mut self, seq: Seq, group: Group, hash: GroupHash) {
        self.missing.insert((seq, group), Missing { hash, refused: None });
    }

    /// Takes the entry `by`, which introduces a key. A known key that signs its own introduction is the log's first
    /// key: earlier records need no signature. Returns the erasures that are proper because of this.
    pub(super) fn introduced(&mut self, by: Seq, introduction: &KeyEndorsement) -> Vec<Removal> {
        let key = introduction.key();
        if !introduction.is_signed_by(&self.known) {
            return Vec::new();
        }
        if !self.known.contains(key) {
            self.known.push(key.clone());
        }
        if !introduction.is_signed_by(std::slice::from_ref(key)) {
            return Vec::new();
        }
        let before = |missing: &Missing| match missing.refused {
            Some((recorded_by, Refusal::Unsigned)) if recorded_by < by => Some(recorded_by),
            _ => None,
        };
        let found = self.missing.iter().filter_map(|(at, missing)| Some((*at, before(missing)?))).collect::<Vec<_>>();
        found.into_iter().map(|(at, recorded_by)| self.remove(at, recorded_by, RecordSigner::Nobody)).collect()
    }

    /// Takes the entry `by`, which records an erasure with the signature `lines`. Returns the erasures that are proper
    /// because of this.
    pub(super) fn recorded(&mut self, by: Seq, record: &ErasureRecord, lines: Option<&str>) -> Vec<Removal> {
        let recorded = |(seq, group, hash): &(Seq, Group, GroupHash)| {
            let at = (*seq, *group);
            self.missing.get(&at).is_some_and(|missing| missing.hash == *hash).then_some(at)
        };
        let found: Vec<_> = record.groups.iter().filter_map(recorded).collect();
        if found.is_empty() {
            return Vec::new();
        }
        match self.signer(record, lines) {
            Ok(signer) => found.into_iter().map(|at| self.remove(at, by, signer)).collect(),
            Err(refusal) => {
                for at in found {
                    if let Some(missing) = self.missing.get_mut(&at) {
                        missing.refused.get_or_insert_with(|| (by, refusal.clone()));
                    }
                }
                Vec::new()
            }
        }
    }

    fn signer(&self, record: &ErasureRecord, lines: Option<&str>) -> Result<RecordSigner, Refusal> {
        let lines = lines.ok_or(Refusal::Unsigned)?;
        match record.check(&self.origin, lines, &self.known) {
            Ok(()) if record.check(&self.origin, lines, &self.given).is_ok() => Ok(RecordSigner::GivenKey),
            Ok(()) => Ok(RecordSigner::OtherKey),
            Err(Unsigned::Unknown) => {
                let names = signers(lines).into_iter().take(NAMED).collect::<Vec<_>>();
                Err(Refusal::Strangers(names.join(" and ").into()))
            }
            Err(Unsigned::Forged | Unsigned::Malformed) => Err(Refusal::Forged),
        }
    }

    fn remove(&mut self, at: (Seq, Group), recorded_by: Seq, signed_by: RecordSigner) -> Removal {
        self.missing.remove(&at);
        let counted = match signed_by {
            RecordSigner::GivenKey => &mut self.counts.given_key,
            RecordSigner::OtherKey => &mut self.counts.other_key,
            RecordSigner::Nobody => &mut self.counts.unsigned,
        };
        *counted += 1;
        Removal { seq: at.0, group: at.1, recorded_by, signed_by }
    }

    /// Whether an erased group still lacks a record.
    pub(super) fn lacks_records(&self) -> bool {
        self.missing.values().any(|missing| missing.refused.is_none())
    }

    /// The numbers of erased groups.
    pub(super) fn counts(&self) -> ErasedGroups {
        let refused = self.missing.values().filter(|missing| missing.refused.is_some()).count();
        ErasedGroups { refused: refused as u64, ..self.counts }
    }

    /// The first group that is not properly erased. If the log `goes_on`, a record that has not come may follow.
    pub(super) fn first_bad(&self, goes_on: bool) -> Option<Violation> {
        let is_bad = |missing: &Missing| missing.refused.is_some() || !goes_on;
        let ((seq, group), missing) = self.missing.iter().find(|(_, missing)| is_bad(missing))?;
        let record = |by: &Seq, what: &str| format!("entry {by} records its erasure, and {what}");
        let why = match &missing.refused {
            None => "no later entry records with its hash that it was erased".to_owned(),
            Some((by, Refusal::Unsigned)) => record(by, "no key of the log has signed that"),
            Some((by, Refusal::Forged)) => record(by, "its signature is not that of its key for what it says"),
            Some((by, Refusal::Strangers(names))) => record(
                by,
                &format!("is signed by {names}, which is not trusted; a former key of the log has to be given, too"),
            ),
        };
        Some(Violation::of_entry(Kind::Removed, *seq, format!("its {} is gone, and {why}", group.name())))
    }
}
