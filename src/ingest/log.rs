//! One organization's log while a group is admitted to it: finds the entries that are new, and gives them numbers and
//! times.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Batch, Written};
use crate::domain::{
    Entry, EntryId, Erased, Invalid, NewEntry, OrganizationId, Random, Timestamp, content_hashes, entry_leaf,
};
use crate::error::{Error, MAX_VIOLATIONS, Result, Violation};
use crate::store::{Append, HashedEntry, Head};
use auditlog_verify::merkle::{CompletedNode, GroupHash, Hash, Salts};

/// How far ahead of the server's clock a timestamp may be. Microseconds.
const MAX_AHEAD: i64 = 5 * 60 * 1_000_000;

/// A log whose head is locked.
pub(super) struct Log {
    pub(super) head: Head,
    /// This server's clock, read once for the whole group: the timestamp of entries without one.
    now: Timestamp,
    /// `now`, or the last entry's `recorded_at` if that is later: it never decreases.
    pub(super) recorded_at: Timestamp,
    /// The entries of the group that the log already has.
    stored: HashMap<EntryId, HashedEntry>,
    /// The entries that the group adds, in order of their numbers.
    pub(super) fresh: Vec<HashedEntry>,
    /// Indexes into `fresh`.
    places: HashMap<EntryId, usize>,
}

/// The part of an entry's leaf that does not depend on its log.
pub(super) struct Prepared {
    salts: Salts,
    /// The hashes of the groups; `None` if the entry gets its timestamp from the log.
    groups: Option<[GroupHash; 3]>,
}

/// Hashes the entries of `batch`, in their order. Most of the work of a leaf is done here, before its log is locked.
/// Errors: `Internal` if a type or an action has no name.
pub(super) fn prepare(batch: &Batch, random: &Random) -> Result<Vec<Prepared>> {
    let prepared = |NewEntry { timestamp, content }: &NewEntry| {
        let salts = Salts::from_bytes(random.bytes());
        let hashes = |timestamp| content_hashes(content, timestamp, &batch.catalogue, &salts).ok_or_else(unnamed);
        let groups = timestamp.map(hashes).transpose()?;
        Ok(Prepared { salts, groups })
    };
    batch.entries.iter().map(prepared).collect()
}

fn unnamed() -> Error {
    Error::Internal(anyhow::anyhow!("an entry's type or action has no name"))
}

/// The outcome for one entry.
enum WriteDecision {
    Written(Written),
    /// Another entry with different content has this id.
    Conflict,
    /// The entry is new, and its timestamp is too far ahead.
    Premature(Timestamp),
}

impl Log {
    pub(super) fn new(head: Head, now: Timestamp) -> Self {
        let recorded_at = now.max(head.last_recorded_at);
        Self { head, now, recorded_at, stored: HashMap::new(), fresh: Vec::new(), places: HashMap::new() }
    }

    /// Registers an entry of the log whose id the group also has.
    pub(super) fn know(&mut self, stored: HashedEntry) {
        self.stored.insert(stored.entry.content.id.clone(), stored);
    }

    /// Admits all of `batch` or nothing. `prepared` has the result of [`prepare`]. Errors: `IdConflict`; without
    /// conflicts, `TimestampAhead`. Both name the places of up to eight entries.
    pub(super) fn admit(&mut self, batch: &Batch, prepared: &[Prepared]) -> Result<Vec<Written>> {
        let before = self.fresh.len();
        let mut answers = Vec::with_capacity(batch.entries.len());
        let (mut conflicts, mut premature, mut latest) = (Vec::new(), Vec::new(), Timestamp::MIN);
        for (place, (new, prepared)) in batch.entries.iter().zip(prepared).enumerate() {
            match self.admit_entry(new, prepared, batch)? {
                WriteDecision::Written(written) => answers.push(written),
                WriteDecision::Conflict if conflicts.len() < MAX_VIOLATIONS => {
                    conflicts.push(conflict(place, &new.content.id));
                }
                WriteDecision::Conflict => break,
                WriteDecision::Premature(timestamp) => {
                    latest = latest.max(timestamp);
                    if premature.len() < MAX_VIOLATIONS {
                        premature.push(self.premature(place, timestamp));
                    }
                }
            }
        }
        if conflicts.is_empty() && premature.is_empty() {
            return Ok(answers);
        }
        for refused in self.fresh.drain(before..) {
            self.places.remove(&refused.entry.content.id);
        }
        // A conflict is permanent, so its writer must not wait for the timestamps.
        if conflicts.is_empty() {
            let wait = self.until_allowed(latest);
            return Err(Error::from_violations(premature, |violations| Error::TimestampAhead { violations, wait }));
        }
        Err(Error::from_violations(conflicts, Error::IdConflict))
    }

    /// The id is looked up first: a retry of a stored entry is a replay, whatever its timestamp.
    fn admit_entry(&mut self, new: &NewEntry, prepared: &Prepared, batch: &Batch) -> Result<WriteDecision> {
        let id = &new.content.id;
        let known = self.places.get(id).map(|place| &self.fresh[*place]).or_else(|| self.stored.get(id));
        let written = |HashedEntry { entry, salts: _, leaf }: &HashedEntry, replayed| {
            WriteDecision::Written(Written {
                id: id.clone(),
                seq: entry.seq,
                recorded_at: entry.recorded_at,
                leaf: *leaf,
                replayed,
            })
        };
        match (known, new.timestamp) {
            (Some(hashed), _) if hashed.entry.is_replayed_by(new) => Ok(written(hashed, true)),
            (Some(_), _) => Ok(WriteDecision::Conflict),
            (None, Some(timestamp)) if timestamp > self.now.plus(MAX_AHEAD) => Ok(WriteDecision::Premature(timestamp)),
            (None, _) => {
                let hashed = self.hashed(new, prepared, batch)?;
                let written = written(&hashed, false);
                self.places.insert(id.clone(), self.fresh.len());
                self.fresh.push(hashed);
                Ok(written)
            }
        }
    }

    fn premature(&self, place: usize, timestamp: Timestamp) -> Violation {
        let allowed = format!("must be at most 5 minutes ahead of the server's {}", self.now);
        let Invalid(description) = Invalid::new(allowed, timestamp);
        Violation { field: format!("audit_logs[{place}].timestamp"), description }
    }

    /// The time until this clock allows `timestamp`.
    fn until_allowed(&self, timestamp: Timestamp) -> Duration {
        let micros = timestamp.micros().saturating_sub(self.now.plus(MAX_AHEAD).micros());
        Duration::from_micros(micros.try_into().unwrap_or(0))
    }

    /// The entry in its final form. All inputs of its leaf are known here, under the lock and inside the transaction.
    fn hashed(&self, new: &NewEntry, Prepared { salts, groups }: &Prepared, batch: &Batch) -> Result<HashedEntry> {
        // A service entry has the same timestamp and `recorded_at`; verifiers check this.
        let now = if new.content.id.is_service() { self.recorded_at } else { self.now };
        let entry = Entry {
            // The cast is safe: `fresh` fits into memory.
            seq: self.head.seq + self.fresh.len() as i64 + 1,
            timestamp: new.timestamp.unwrap_or(now),
            recorded_at: self.recorded_at,
            writer_key_id: batch.key_id.clone(),
            erased: Erased::default(),
            content: Arc::clone(&new.content),
        };
        let groups = match groups {
            Some(groups) => *groups,
            None => content_hashes(&entry.content, entry.timestamp, &batch.catalogue, salts).ok_or_else(unnamed)?,
        };
        let leaf = Hash::of_leaf(&entry_leaf(&entry, &self.head.log_id, groups).data());
        Ok(HashedEntry { leaf, entry, salts: salts.clone() })
    }

    /// Appends the new leaves to the tree. Returns the nodes that this completes, for the tiles.
    pub(super) fn grow(&mut self) -> Vec<CompletedNode> {
        let edge = &mut self.head.edge;
        self.fresh.iter().flat_map(|hashed| edge.append(hashed.leaf)).collect()
    }
}

/// Writes the admitted entries of `logs`.
pub(super) async fn write(append: &mut Append, mut logs: BTreeMap<&OrganizationId, Log>) -> Result<()> {
    let (mut entries, mut completed) = (Vec::new(), Vec::new());
    for (organization, log) in &mut logs {
        completed.push((*organization, log.grow()));
        entries.extend(log.fresh.drain(..).map(|hashed| (*organization, hashed)));
    }
    append.insert(&entries).await?;
    append.complete(&completed).await?;
    let written = logs.iter().filter(|(_, log)| log.head.edge.size() > log.head.seq.unsigned_abs());
    let moved: Vec<_> = written.map(|(organization, log)| (*organization, log.recorded_at, &log.head.edge)).collect();
    if !moved.is_empty() {
        append.move_heads(&moved).await?;
    }
    Ok(())
}

fn conflict(place: usize, id: &EntryId) -> Violation {
    let why = "is the id of an entry with other content; send the same content again, or another id";
    Violation { field: format!("audit_logs[{place}].id"), description: format!("{id} {why}") }
}
