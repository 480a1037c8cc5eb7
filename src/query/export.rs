//! Exports: all matching entries in order of their numbers, in pieces.

use super::Query;
use crate::domain::{Entry, Filter, OrganizationId, Seq, check_seq};
use crate::error::{AtField, Error, Result};
use crate::limits::Reservation;
use crate::store::{PieceSize, Store};
use auditlog_verify::merkle::Hash;

/// The number of sequence numbers that one statement covers while entries match.
const WINDOW: Seq = 1_000;
/// The window doubles up to this while pieces are empty.
const WIDEST: Seq = 16_000;

/// An export under way. It holds no database resources between pieces.
pub struct Export {
    store: Store,
    key_id: String,
    organization: OrganizationId,
    filter: Filter,
    /// The last number that was covered.
    at: Seq,
    head: Seq,
    /// The number of sequence numbers that the next statement covers.
    window: Seq,
    piece: PieceSize,
    is_begun: bool,
    /// The bytes of the last piece, until the next is read: its messages are sent one by one.
    held: Option<Reservation>,
}

/// The matching entries of the next numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPiece {
    /// Ordered by number.
    pub entries: Vec<Entry>,
    /// The leaf hash of each entry, in the same order.
    pub leaves: Vec<Hash>,
    /// The last number that was covered.
    pub sequence: Seq,
    /// The number at which the export ends.
    pub head: Seq,
}

impl Query {
    /// Starts an export of the entries after the number `after`, up to `through`, by default up to the last entry now.
    /// Errors: `OrganizationNotFound`; `InvalidParameter` for numbers that the log does not have.
    pub async fn export(
        &self,
        key_id: &str,
        organization: OrganizationId,
        filter: Filter,
        after: Seq,
        through: Option<Seq>,
    ) -> Result<Export> {
        let _permit = self.store.read_permit(key_id, &organization).await?;
        let head = self.store.head(&organization).await?.ok_or(Error::OrganizationNotFound)?;
        let end = check_seq(through.unwrap_or(head), head, "the organization's last number").at("through_sequence")?;
        let at = check_seq(after, end, "where the export ends").at("after_sequence")?;
        Ok(Export::new(self.store.clone(), key_id, organization, filter, at, end))
    }
}

impl Export {
    /// An export of the entries after `at`, up to `head`.
    pub(super) fn new(
        store: Store,
        key_id: &str,
        organization: OrganizationId,
        filter: Filter,
        at: Seq,
        head: Seq,
    ) -> Self {
        Self {
            store,
            key_id: key_id.to_owned(),
            organization,
            filter,
            at,
            head,
            window: WINDOW,
            piece: PieceSize::FIRST,
            is_begun: false,
            held: None,
        }
    }

    /// The last number that was covered.
    pub(super) fn sequence(&self) -> Seq {
        self.at
    }

    /// Moves the end to `head`, for a follower. The end never moves back.
    pub(super) fn extend(&mut self, head: Seq) {
        self.head = self.head.max(head);
    }

    /// Releases the bytes of the last piece, whose messages were sent.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// The next piece; `None` after the last. There is at least one piece.
    pub async fn next(&mut self) -> Result<Option<ExportPiece>> {
        self.release();
        if self.is_begun && self.at >= self.head {
            return Ok(None);
        }
        self.is_begun = true;
        let _permit = self.store.read_permit_of_stream(&self.key_id, &self.organization, 0).await?;
        let to = self.head.min(self.at.saturating_add(self.window));
        let limit = self.piece.entries();
        let mut read = self.store.range(&self.organization, &self.filter, self.at, to, limit as i64).await?;
        self.at = match read.last() {
            Some((last, _)) if read.len() == limit => last.seq,
            _ => to.max(self.at),
        };
        if read.is_empty() {
            self.window = WIDEST.min(self.window * 2);
        } else {
            self.window = WINDOW;
            let bytes: usize = read.iter().map(|(entry, _)| entry.content.size()).sum();
            self.piece = PieceSize::after(read.len(), bytes);
            self.held = Some(self.store.hold(&self.key_id, bytes));
            read.retain(|(entry, _)| self.filter.search.matches(entry));
        }
        let (entries, leaves): (Vec<Entry>, Vec<Hash>) = read.into_iter().unzip();
        Ok(Some(ExportPiece { entries, leaves, sequence: self.at, head: self.head }))
    }
}
