//! Reads the entries of a resource, oldest first, in pieces. Other requests run between two pieces, and while a piece is
//! folded.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Entry, OrganizationId, Position, ResourceKey, Seq};
use crate::error::Result;
use crate::store::{PieceSize, Store};

/// The time after which a fold gives way to other requests.
const TURN: Duration = Duration::from_millis(10);

/// A turn of the work on entries, which is over after a short time.
pub(super) struct Turn(Instant);

impl Default for Turn {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Turn {
    /// Gives way to other requests, and to the end of the own one, if the turn is over.
    pub(super) async fn pause(&mut self) {
        if self.0.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.0 = Instant::now();
        }
    }
}

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
            Some(last) if entries.len() == limit => self.after = Position::of(last),
            _ => self.is_done = true,
        }
        self.piece = next_size(&entries);
        // Gives way to other requests.
        tokio::task::yield_now().await;
        Ok(Some(entries))
    }
}

/// The size of the piece after `entries`.
pub(super) fn next_size(entries: &[Entry]) -> PieceSize {
    PieceSize::after(entries.len(), entries.iter().map(|entry| entry.content.size()).sum())
}
