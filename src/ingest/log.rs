//! One organization's log while a group is admitted to it: which entries are new, which were there,
//! which numbers they get.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Batch, Written};
use crate::domain::{Entry, EntryId, NewEntry, OrganizationId, Timestamp};
use crate::error::{Error, MAX_VIOLATIONS, Result, Violation};
use crate::store::{Append, Head};

/// The log under its head's lock.
pub(super) struct Log {
    head: Head,
    /// One time for the whole group: the clock's, or the last one where the clock fell behind.
    recorded_at: Timestamp,
    /// What the group asks for and the log has.
    stored: HashMap<EntryId, Entry>,
    /// What the group adds, in order of numbers.
    fresh: Vec<Entry>,
    /// Places in `fresh`.
    places: HashMap<EntryId, usize>,
}

impl Log {
    pub(super) fn new(head: Head, now: Timestamp, stored: Vec<Entry>) -> Self {
        let recorded_at = now.max(head.last_recorded_at);
        let stored = stored.into_iter().map(|entry| (entry.content.id.clone(), entry)).collect();
        Self { head, recorded_at, stored, fresh: Vec::new(), places: HashMap::new() }
    }

    /// Admits all of `batch`, or nothing. Errors: `IdConflict`, with the places of up to eight entries.
    pub(super) fn admit(&mut self, batch: &Batch) -> Result<Vec<Written>> {
        let before = self.fresh.len();
        let mut answers = Vec::with_capacity(batch.entries.len());
        let mut conflicts = Vec::new();
        for (place, new) in batch.entries.iter().enumerate() {
            match self.admit_entry(new, &batch.key_id) {
                Some(written) => answers.push(written),
                None if conflicts.len() < MAX_VIOLATIONS => conflicts.push(conflict(place, &new.content.id)),
                None => break,
            }
        }
        if conflicts.is_empty() {
            return Ok(answers);
        }
        for refused in self.fresh.drain(before..) {
            self.places.remove(&refused.content.id);
        }
        Err(Error::told(conflicts, Error::IdConflict))
    }

    /// `None` if the id is taken by an entry with other content.
    fn admit_entry(&mut self, new: &NewEntry, key_id: &str) -> Option<Written> {
        let id = &new.content.id;
        let known = self.places.get(id).map(|place| &self.fresh[*place]).or_else(|| self.stored.get(id));
        let (entry, replayed) = match known {
            Some(entry) if entry.is_replayed_by(new) => (entry, true),
            Some(_) => return None,
            None => {
                let entry = self.numbered(new, key_id);
                self.places.insert(id.clone(), self.fresh.len());
                self.fresh.push(entry);
                (self.fresh.last()?, false)
            }
        };
        Some(Written { id: id.clone(), seq: entry.seq, recorded_at: entry.recorded_at, replayed })
    }

    /// The entry as the log will have it for ever. Its leaf is a function of what is known here, under
    /// the lock and inside the transaction.
    fn numbered(&self, new: &NewEntry, key_id: &str) -> Entry {
        Entry {
            // As many as fit into memory.
            seq: self.head.seq + self.fresh.len() as i64 + 1,
            timestamp: new.timestamp.unwrap_or(self.recorded_at),
            recorded_at: self.recorded_at,
            writer_key_id: key_id.to_owned(),
            content: Arc::clone(&new.content),
        }
    }

    /// Writes what was admitted; an organization that was made for nothing goes again.
    pub(super) async fn write(self, append: &Append, organization: &OrganizationId) -> Result<()> {
        let Self { head, recorded_at, fresh, .. } = self;
        let Some(last) = fresh.last() else {
            return if head.is_new { append.forget(organization).await } else { Ok(()) };
        };
        append.insert(organization, &fresh).await?;
        append.move_head(organization, last.seq, recorded_at).await
    }
}

fn conflict(place: usize, id: &EntryId) -> Violation {
    let why = "is the id of an entry with other content; send the same content again, or another id";
    Violation { field: format!("audit_logs[{place}].id"), description: format!("{id} {why}") }
}
