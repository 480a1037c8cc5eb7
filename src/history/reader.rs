//! Reads the entries of a resource, oldest first, in pieces. Other requests run between two pieces.

use crate::domain::{Entry, OrganizationId, Position, ResourceKey, Seq};
use crate::error::Result;
use crate::store::{PieceSize, Store};

/// A reader of the entries of one resource. Its caller holds a read permit.
pub(super) struct ResourceReader<'a> {
    store: &'a Store,
    organization: &'a OrganizationId,
    resource: &'a ResourceKey,
    /// Entries with higher numbers are left out.
    as_of: Seq,
    /// The position of the last entry that was read.
    after: Position,
    piece: PieceSize,
    is_done: bool,
}

impl<'a> ResourceReader<'a> {
    pub(super) fn new(
        store: &'a Store,
        organization: &'a OrganizationId,
        resource: &'a ResourceKey,
        as_of: Seq,
    ) -> Self {
        Self { store, organization, resource, as_of, after: Position::START, piece: PieceSize::FIRST, is_done: false }
    }

    /// The next piece; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        if self.is_done {
            return Ok(None);
        }
        let limit = self.piece.entries();
        let entries =
            self.store.resource_entries(self.organization, self.resource, self.after, self.as_of, limit as i64).await?;
        match entries.last() {
            Some(last) if entries.len() == limit => self.after = position(last),
            _ => self.is_done = true,
        }
        self.piece = next_size(&entries);
        // Gives way to other requests.
        tokio::task::yield_now().await;
        Ok(Some(entries))
    }
}

/// The position of an entry.
pub(super) fn position(entry: &Entry) -> Position {
    Position { timestamp: entry.timestamp, seq: entry.seq }
}

/// The size of the piece after `entries`.
pub(super) fn next_size(entries: &[Entry]) -> PieceSize {
    PieceSize::after(entries.len(), entries.iter().map(|entry| entry.content.size()).sum())
}
