//! A log's entries as they were hashed, in order of their numbers, in pieces.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{Catalogue, Entry, Erased, Group, OrganizationId, Seq, entry_leaf, entry_values};
use crate::error::{Error, Result};
use crate::limits::Reservation;
use crate::store::{HashedEntry, Store};
use auditlog_verify::merkle::{GroupHash, Leaf, Values};

/// The maximum number of entries of a piece.
const ENTRIES: Seq = 256;
/// The minimum number of entries of a piece.
const FEWEST: Seq = 4;
/// The approximate size of a piece. It sets the number of entries of the next piece.
const BYTES: usize = 1024 * 1024;

/// A reader of entries. It holds no database resources between pieces.
pub struct Entries {
    store: Store,
    key_id: String,
    organization: OrganizationId,
    /// The number up to which entries were returned.
    at: Seq,
    to: Seq,
    /// Whether an entry after the end of the log is an error.
    is_to_end: bool,
    /// The number of entries to read for the next piece.
    limit: Seq,
    catalogue: Option<Arc<Catalogue>>,
    /// The bytes of the last piece, until the next is read: its messages are sent one by one.
    held: Option<Reservation>,
}

/// An entry with everything that its leaf is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafInput {
    /// The entry, its salts, and its stored leaf hash.
    pub hashed: HashedEntry,
    /// The public names of its type and action; `None` if the catalogue lacks one, which this service never writes.
    pub names: Option<[String; 2]>,
    /// The stored hashes of its erased groups, by group; `None` for a group that was removed without an erasure record.
    pub erased: [Option<GroupHash>; 3],
}

impl LeafInput {
    /// The values of a group; `None` if they are gone.
    pub fn values(&self, group: Group) -> Option<Values<'_>> {
        let entry = &self.hashed.entry;
        let is_known = !entry.erased.has(group) && (self.names.is_some() || group != Group::Facts);
        let [resource_type, action] =
            self.names.as_ref().map_or(["", ""], |names| names.each_ref().map(String::as_str));
        let values = entry_values(entry, resource_type, action).into_iter().find(|values| values.group() == group);
        values.filter(|_| is_known)
    }

    /// The hash of a group; `None` if neither its values nor its hash are left.
    pub fn hash(&self, group: Group) -> Option<GroupHash> {
        match self.values(group) {
            Some(values) => Some(values.hash(self.hashed.salts.of(group))),
            None => self.erased[group as usize],
        }
    }

    /// The leaf in the log `log_id`; `None` if a group has neither values nor hash.
    pub fn leaf<'a>(&'a self, log_id: &'a str) -> Option<Leaf<'a>> {
        let groups = [self.hash(Group::Facts)?, self.hash(Group::Actor)?, self.hash(Group::Content)?];
        Some(entry_leaf(&self.hashed.entry, log_id, groups))
    }
}

impl Entries {
    pub(super) fn between(store: Store, key_id: &str, organization: OrganizationId, after: Seq, to: Seq) -> Self {
        let key_id = key_id.to_owned();
        Self {
            store,
            key_id,
            organization,
            at: after,
            to,
            is_to_end: false,
            limit: FEWEST,
            catalogue: None,
            held: None,
        }
    }

    /// Reads to the end of the log, which is now at `to`.
    pub(super) fn to_end(store: Store, key_id: &str, organization: OrganizationId, after: Seq, to: Seq) -> Self {
        Self { is_to_end: true, ..Self::between(store, key_id, organization, after, to) }
    }

    /// The next piece; `None` after the last. Missing entries are skipped. Errors: `EntryDamaged` and `EntryAfterEnd`,
    /// after all entries before the bad one.
    pub async fn next(&mut self) -> Result<Option<Vec<LeafInput>>> {
        self.held = None;
        let _permit = self.store.read_permit_of_stream(&self.key_id, &self.organization, 0).await?;
        if let Some(piece) = self.read().await? {
            return Ok(Some(piece));
        }
        if self.is_to_end
            && let Some(seq) = self.store.after_end(&self.organization).await?
        {
            return Err(Error::EntryAfterEnd(seq));
        }
        Ok(None)
    }

    /// Like [`Self::next`], for a caller that holds a read permit. Does not look for entries after the end.
    pub(super) async fn read(&mut self) -> Result<Option<Vec<LeafInput>>> {
        if self.at >= self.to {
            return Ok(None);
        }
        let mut to = self.to.min(self.at + self.limit);
        let entries = loop {
            match self.store.hashed_entries(&self.organization, self.at, to, self.limit.unsigned_abs()).await {
                // Return the entries before the damaged one first.
                Err(Error::EntryDamaged(seq)) if seq > self.at + 1 => to = seq - 1,
                entries => break entries?,
            }
        };
        let piece = self.leaf_inputs(entries).await?;
        let bytes: usize = piece.iter().map(|input| input.hashed.entry.content.size()).sum();
        self.held = Some(self.store.hold(&self.key_id, bytes));
        let room = BYTES * piece.len() / bytes.max(1);
        self.limit = Seq::try_from(room).unwrap_or(ENTRIES).clamp(FEWEST, ENTRIES);
        self.at = to;
        Ok(Some(piece))
    }

    async fn leaf_inputs(&mut self, entries: Vec<HashedEntry>) -> Result<Vec<LeafInput>> {
        let mut hashes = HashMap::new();
        if let (Some(first), Some(last)) = (entries.first(), entries.last())
            && entries.iter().any(|hashed| hashed.entry.erased != Erased::default())
        {
            // Read after the entries, so that the hashes of all groups erased by then are found.
            hashes = self.store.erased(&self.organization, first.entry.seq, last.entry.seq).await?;
        }
        let mut piece = Vec::with_capacity(entries.len());
        for hashed in entries {
            let seq = hashed.entry.seq;
            let erased = Group::ALL.map(|group| hashes.get(&(seq, group)).copied());
            piece.push(LeafInput { names: self.names(&hashed.entry).await?, hashed, erased });
        }
        Ok(piece)
    }

    /// The public names of the entry's type and action.
    async fn names(&mut self, entry: &Entry) -> Result<Option<[String; 2]>> {
        if let Some(names) = self.catalogue.as_deref().and_then(|catalogue| names(catalogue, entry)) {
            return Ok(Some(names));
        }
        // A type may be new. Codes never change their meaning, so cached names stay right.
        let catalogue = self.catalogue.insert(Arc::new(self.store.catalogue().await?));
        Ok(names(catalogue, entry))
    }
}

fn names(catalogue: &Catalogue, entry: &Entry) -> Option<[String; 2]> {
    let resource_type = catalogue.resource_type_name(entry.content.resource_type)?;
    let action = catalogue.action_name(entry.content.action)?;
    Some([resource_type.to_owned(), action.to_owned()])
}
