//! One organization's log while a group is admitted to it: which entries are new, which were there,
//! which numbers they get.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Batch, Written};
use crate::domain::{Entry, EntryId, Erased, NewEntry, Random, Timestamp};
use crate::error::{Error, MAX_VIOLATIONS, Result, Violation};
use crate::merkle::{self, Completed, Salts};
use crate::store::{Head, Sealed};

/// The log under its head's lock.
pub(super) struct Log {
    pub(super) head: Head,
    /// One time for the whole group: the clock's, or the last one where the clock fell behind.
    pub(super) recorded_at: Timestamp,
    /// What the group asks for and the log has.
    stored: HashMap<EntryId, Sealed>,
    /// What the group adds, in order of numbers.
    pub(super) fresh: Vec<Sealed>,
    /// Places in `fresh`.
    places: HashMap<EntryId, usize>,
    random: Random,
}

impl Log {
    pub(super) fn new(head: Head, now: Timestamp, random: Random) -> Self {
        let recorded_at = now.max(head.last_recorded_at);
        Self { head, recorded_at, stored: HashMap::new(), fresh: Vec::new(), places: HashMap::new(), random }
    }

    /// Takes note of an entry that the log has and the group may ask for.
    pub(super) fn know(&mut self, stored: Sealed) {
        self.stored.insert(stored.entry.content.id.clone(), stored);
    }

    /// Admits all of `batch`, or nothing. Errors: `IdConflict`, with the places of up to eight entries.
    pub(super) fn admit(&mut self, batch: &Batch) -> Result<Vec<Written>> {
        let before = self.fresh.len();
        let mut answers = Vec::with_capacity(batch.entries.len());
        let mut conflicts = Vec::new();
        for (place, new) in batch.entries.iter().enumerate() {
            match self.admit_entry(new, batch)? {
                Some(written) => answers.push(written),
                None if conflicts.len() < MAX_VIOLATIONS => conflicts.push(conflict(place, &new.content.id)),
                None => break,
            }
        }
        if conflicts.is_empty() {
            return Ok(answers);
        }
        for refused in self.fresh.drain(before..) {
            self.places.remove(&refused.entry.content.id);
        }
        Err(Error::told(conflicts, Error::IdConflict))
    }

    /// `None` if the id is taken by an entry with other content.
    fn admit_entry(&mut self, new: &NewEntry, batch: &Batch) -> Result<Option<Written>> {
        let id = &new.content.id;
        let known = self.places.get(id).map(|place| &self.fresh[*place]).or_else(|| self.stored.get(id));
        let written = |Sealed { entry, salts: _, leaf }: &Sealed, replayed| {
            Some(Written { id: id.clone(), seq: entry.seq, recorded_at: entry.recorded_at, leaf: *leaf, replayed })
        };
        match known {
            Some(sealed) if sealed.entry.is_replayed_by(new) => Ok(written(sealed, true)),
            Some(_) => Ok(None),
            None => {
                let sealed = self.sealed(new, batch)?;
                let written = written(&sealed, false);
                self.places.insert(id.clone(), self.fresh.len());
                self.fresh.push(sealed);
                Ok(written)
            }
        }
    }

    /// The entry as the log will have it for ever. Its leaf is a function of what is known here, under
    /// the lock and inside the transaction.
    fn sealed(&self, new: &NewEntry, batch: &Batch) -> Result<Sealed> {
        let entry = Entry {
            // As many as fit into memory.
            seq: self.head.seq + self.fresh.len() as i64 + 1,
            timestamp: new.timestamp.unwrap_or(self.recorded_at),
            recorded_at: self.recorded_at,
            writer_key_id: batch.key_id.clone(),
            erased: Erased::default(),
            content: Arc::clone(&new.content),
        };
        let salts = Salts::draw(&self.random);
        let leaf = merkle::leaf_hash(&entry, &self.head.log_id, &batch.catalogue, &salts);
        let unnamed = || Error::Internal(anyhow::anyhow!("an entry's type or action has no name"));
        Ok(Sealed { leaf: leaf.ok_or_else(unnamed)?, entry, salts })
    }

    /// The tree with what the group adds, and the hashes that its tiles get by it.
    pub(super) fn grow(&mut self) -> Vec<Completed> {
        let edge = &mut self.head.edge;
        self.fresh.iter().flat_map(|sealed| edge.append(sealed.leaf)).collect()
    }
}

fn conflict(place: usize, id: &EntryId) -> Violation {
    let why = "is the id of an entry with other content; send the same content again, or another id";
    Violation { field: format!("audit_logs[{place}].id"), description: format!("{id} {why}") }
}
