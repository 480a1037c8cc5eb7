//! One organization's log while a group is admitted to it: which entries are new, which were there,
//! which numbers and times they get.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Batch, Written};
use crate::domain::{Entry, EntryId, Erased, Invalid, NewEntry, Random, Timestamp, leaf_hash};
use crate::error::{Error, MAX_VIOLATIONS, Result, Violation};
use crate::store::{HashedEntry, Head};
use auditlog_verify::merkle::{CompletedNode, Salts};

/// How far ahead of the server a timestamp may be. Microseconds.
const MAX_AHEAD: i64 = 5 * 60 * 1_000_000;

/// The log under its head's lock.
pub(super) struct Log {
    pub(super) head: Head,
    /// This server's clock, once for the whole group: the timestamp of an entry that came without one.
    now: Timestamp,
    /// The same, or the last entry's where the clock is behind it: it never decreases.
    pub(super) recorded_at: Timestamp,
    /// The entries of the group that the log already has.
    stored: HashMap<EntryId, HashedEntry>,
    /// The entries that the group adds, in the order of their numbers.
    pub(super) fresh: Vec<HashedEntry>,
    /// Places in `fresh`.
    places: HashMap<EntryId, usize>,
    random: Random,
}

/// The outcome for one entry.
enum Admission {
    Written(Written),
    /// The id is that of an entry with other content.
    Conflict,
    /// It is new, and its timestamp too far ahead.
    Premature(Timestamp),
}

impl Log {
    pub(super) fn new(head: Head, now: Timestamp, random: Random) -> Self {
        let recorded_at = now.max(head.last_recorded_at);
        Self { head, now, recorded_at, stored: HashMap::new(), fresh: Vec::new(), places: HashMap::new(), random }
    }

    /// Takes note of an entry that the log has and the group may ask for.
    pub(super) fn know(&mut self, stored: HashedEntry) {
        self.stored.insert(stored.entry.content.id.clone(), stored);
    }

    /// Admits all of `batch`, or nothing. Errors: `IdConflict`, or where there is none `TimestampAhead`, with the
    /// places of up to eight entries.
    pub(super) fn admit(&mut self, batch: &Batch) -> Result<Vec<Written>> {
        let before = self.fresh.len();
        let mut answers = Vec::with_capacity(batch.entries.len());
        let (mut conflicts, mut premature, mut latest) = (Vec::new(), Vec::new(), Timestamp::MIN);
        for (place, new) in batch.entries.iter().enumerate() {
            match self.admit_entry(new, batch)? {
                Admission::Written(written) => answers.push(written),
                Admission::Conflict if conflicts.len() < MAX_VIOLATIONS => {
                    conflicts.push(conflict(place, &new.content.id));
                }
                Admission::Conflict => break,
                Admission::Premature(timestamp) => {
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
        // A conflict is for ever, so that its writer must not wait for the others.
        if conflicts.is_empty() {
            let wait = self.until_allowed(latest);
            return Err(Error::told(premature, |violations| Error::TimestampAhead { violations, wait }));
        }
        Err(Error::told(conflicts, Error::IdConflict))
    }

    /// The id is looked for first: a retry of what is stored is a replay at any time.
    fn admit_entry(&mut self, new: &NewEntry, batch: &Batch) -> Result<Admission> {
        let id = &new.content.id;
        let known = self.places.get(id).map(|place| &self.fresh[*place]).or_else(|| self.stored.get(id));
        let written = |HashedEntry { entry, salts: _, leaf }: &HashedEntry, replayed| {
            Admission::Written(Written {
                id: id.clone(),
                seq: entry.seq,
                recorded_at: entry.recorded_at,
                leaf: *leaf,
                replayed,
            })
        };
        match (known, new.timestamp) {
            (Some(sealed), _) if sealed.entry.is_replayed_by(new) => Ok(written(sealed, true)),
            (Some(_), _) => Ok(Admission::Conflict),
            (None, Some(timestamp)) if timestamp > self.now.plus(MAX_AHEAD) => Ok(Admission::Premature(timestamp)),
            (None, _) => {
                let sealed = self.sealed(new, batch)?;
                let written = written(&sealed, false);
                self.places.insert(id.clone(), self.fresh.len());
                self.fresh.push(sealed);
                Ok(written)
            }
        }
    }

    fn premature(&self, place: usize, timestamp: Timestamp) -> Violation {
        let allowed = format!("must be at most 5 minutes ahead of the server's {}", self.now);
        let Invalid(description) = Invalid::new(allowed, timestamp);
        Violation { field: format!("audit_logs[{place}].timestamp"), description }
    }

    /// How long until `timestamp` is allowed by this clock.
    fn until_allowed(&self, timestamp: Timestamp) -> Duration {
        let micros = timestamp.micros().saturating_sub(self.now.plus(MAX_AHEAD).micros());
        Duration::from_micros(micros.try_into().unwrap_or(0))
    }

    /// The entry as the log will have it for ever. Its leaf is a function of what is known here, under
    /// the lock and inside the transaction.
    fn sealed(&self, new: &NewEntry, batch: &Batch) -> Result<HashedEntry> {
        // The service's own entries have one time; verifiers hold them to it.
        let now = if new.content.id.is_service() { self.recorded_at } else { self.now };
        let entry = Entry {
            // As many as fit into memory.
            seq: self.head.seq + self.fresh.len() as i64 + 1,
            timestamp: new.timestamp.unwrap_or(now),
            recorded_at: self.recorded_at,
            writer_key_id: batch.key_id.clone(),
            erased: Erased::default(),
            content: Arc::clone(&new.content),
        };
        let salts = Salts::from_bytes(self.random.bytes());
        let leaf = leaf_hash(&entry, &self.head.log_id, &batch.catalogue, &salts);
        let unnamed = || Error::Internal(anyhow::anyhow!("an entry's type or action has no name"));
        Ok(HashedEntry { leaf: leaf.ok_or_else(unnamed)?, entry, salts })
    }

    /// The tree with what the group adds, and the hashes that its tiles get by it.
    pub(super) fn grow(&mut self) -> Vec<CompletedNode> {
        let edge = &mut self.head.edge;
        self.fresh.iter().flat_map(|sealed| edge.append(sealed.leaf)).collect()
    }
}

fn conflict(place: usize, id: &EntryId) -> Violation {
    let why = "is the id of an entry with other content; send the same content again, or another id";
    Violation { field: format!("audit_logs[{place}].id"), description: format!("{id} {why}") }
}
