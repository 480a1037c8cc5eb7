//! A log's entries as they were hashed, in the order of their numbers, a piece at a time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{Catalogue, Entry, Erased, Group, OrganizationId, Seq, entry_leaf, entry_values};
use crate::error::{Error, Result};
use crate::store::{HashedEntry, Store};
use auditlog_verify::merkle::{GroupHash, Leaf, Values};

/// Entries and bytes of a piece, about: what it takes in memory, whatever its entries hold.
const ENTRIES: Seq = 256;
const FEWEST: Seq = 4;
const BYTES: usize = 1024 * 1024;

/// Entries on their way. Holds nothing of the database between its pieces.
pub struct Entries {
    store: Store,
    organization: OrganizationId,
    /// Everything up to here was given.
    at: Seq,
    to: Seq,
    /// Whether nothing may come after it.
    is_to_end: bool,
    /// The entries of the next piece.
    limit: Seq,
    catalogue: Option<Arc<Catalogue>>,
}

/// An entry with all that its leaf is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The entry, its salts, and the hash of its leaf as it is stored.
    pub sealed: HashedEntry,
    /// The public names of its type and its action; `None` where they have none, which nobody writes.
    pub names: Option<[String; 2]>,
    /// The hashes of its groups, where those are erased. Of one that was removed without a record there is none.
    pub erased: [Option<GroupHash>; 3],
}

impl Opened {
    /// The values of a group; `None` where they are gone.
    pub fn values(&self, group: Group) -> Option<Values<'_>> {
        let entry = &self.sealed.entry;
        let is_known = !entry.erased.has(group) && (self.names.is_some() || group != Group::Facts);
        let [resource_type, action] =
            self.names.as_ref().map_or(["", ""], |names| names.each_ref().map(String::as_str));
        let values = entry_values(entry, resource_type, action).into_iter().find(|values| values.group() == group);
        values.filter(|_| is_known)
    }

    /// The hash of a group; `None` where neither values nor hash are left.
    pub fn hash(&self, group: Group) -> Option<GroupHash> {
        match self.values(group) {
            Some(values) => Some(values.hash(self.sealed.salts.of(group))),
            None => self.erased[group as usize],
        }
    }

    /// The leaf, in the log `log_id`; `None` where it cannot be made.
    pub fn leaf<'a>(&'a self, log_id: &'a str) -> Option<Leaf<'a>> {
        let groups = [self.hash(Group::Facts)?, self.hash(Group::Actor)?, self.hash(Group::Content)?];
        Some(entry_leaf(&self.sealed.entry, log_id, groups))
    }
}

impl Entries {
    pub(super) fn between(store: Store, organization: OrganizationId, after: Seq, to: Seq) -> Self {
        Self { store, organization, at: after, to, is_to_end: false, limit: FEWEST, catalogue: None }
    }

    /// The same up to the end of the log, which is now at `to`.
    pub(super) fn to_end(store: Store, organization: OrganizationId, after: Seq, to: Seq) -> Self {
        Self { is_to_end: true, ..Self::between(store, organization, after, to) }
    }

    /// The next entries; `None` after the last. An entry that is missing is left out. Errors: `EntryDamaged` and
    /// `EntryAfterEnd`, after all entries before it.
    pub async fn next(&mut self) -> Result<Option<Vec<Opened>>> {
        let _permit = self.store.read_permit_of_stream().await?;
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

    /// The same for a caller that holds a permit to read.
    pub(super) async fn read(&mut self) -> Result<Option<Vec<Opened>>> {
        if self.at >= self.to {
            return Ok(None);
        }
        let mut to = self.to.min(self.at + self.limit);
        let entries = loop {
            match self.store.sealed(&self.organization, self.at, to, self.limit.unsigned_abs()).await {
                // Those before it are given first.
                Err(Error::EntryDamaged(seq)) if seq > self.at + 1 => to = seq - 1,
                entries => break entries?,
            }
        };
        let piece = self.opened(entries).await?;
        let bytes: usize = piece.iter().map(|opened| opened.sealed.entry.content.size()).sum();
        let room = BYTES * piece.len() / bytes.max(1);
        self.limit = Seq::try_from(room).unwrap_or(ENTRIES).clamp(FEWEST, ENTRIES);
        self.at = to;
        Ok(Some(piece))
    }

    async fn opened(&mut self, entries: Vec<HashedEntry>) -> Result<Vec<Opened>> {
        let mut hashes = HashMap::new();
        if let (Some(first), Some(last)) = (entries.first(), entries.last())
            && entries.iter().any(|sealed| sealed.entry.erased != Erased::default())
        {
            // After the entries, so that what was erased by then has its hashes by now.
            hashes = self.store.erased(&self.organization, first.entry.seq, last.entry.seq).await?;
        }
        let mut piece = Vec::with_capacity(entries.len());
        for sealed in entries {
            let seq = sealed.entry.seq;
            let erased = Group::ALL.map(|group| hashes.get(&(seq, group)).copied());
            piece.push(Opened { names: self.names(&sealed.entry).await?, sealed, erased });
        }
        Ok(piece)
    }

    /// The public names of the entry's type and action.
    async fn names(&mut self, entry: &Entry) -> Result<Option<[String; 2]>> {
        if let Some(names) = self.catalogue.as_deref().and_then(|catalogue| names(catalogue, entry)) {
            return Ok(Some(names));
        }
        // A type may be new. Codes never change meaning, so that the other names remain.
        let catalogue = self.catalogue.insert(Arc::new(self.store.catalogue().await?));
        Ok(names(catalogue, entry))
    }
}

fn names(catalogue: &Catalogue, entry: &Entry) -> Option<[String; 2]> {
    let resource_type = catalogue.resource_type_name(entry.content.resource_type)?;
    let action = catalogue.action_name(entry.content.action)?;
    Some([resource_type.to_owned(), action.to_owned()])
}
