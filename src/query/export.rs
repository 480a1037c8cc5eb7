//! Exports: all entries that match, in the order of their numbers, a piece at a time.

use crate::domain::{Entry, Filter, Invalid, OrganizationId, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::Store;

/// Entries and bytes of a piece, about: what it takes in memory, whatever its entries hold.
const ENTRIES: usize = 100;
const FEWEST: usize = 4;
const BYTES: usize = 1024 * 1024;
/// Numbers that one statement looks at: few where many match, since PostgreSQL would sort them all, and more from
/// piece to piece where none do.
const WINDOW: Seq = 1_000;
const WIDEST: Seq = 16_000;

/// An export under way. It holds nothing of the database between its pieces.
pub struct Export {
    store: Store,
    organization: OrganizationId,
    filter: Filter,
    /// Everything up to here was given.
    at: Seq,
    head: Seq,
    /// The next statement's numbers and entries.
    window: Seq,
    limit: usize,
    is_begun: bool,
}

/// The entries that match among the next ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// By their numbers.
    pub entries: Vec<Entry>,
    /// Everything up to here was looked at.
    pub sequence: Seq,
    /// Where the export ends.
    pub head: Seq,
}

impl Export {
    /// Errors: `OrganizationNotFound`; `InvalidParameter` for numbers that the log does not have.
    pub(super) async fn begin(
        store: Store,
        key_id: &str,
        organization: OrganizationId,
        filter: Filter,
        after: Seq,
        through: Option<Seq>,
    ) -> Result<Self> {
        let _permit = store.read_permit(key_id).await?;
        let head = store.head(&organization).await?.ok_or(Error::OrganizationNotFound)?;
        let end = number(through.unwrap_or(head), head, "the organization's last number").at("through_sequence")?;
        let at = number(after, end, "where the export ends").at("after_sequence")?;
        Ok(Self { store, organization, filter, at, head: end, window: WINDOW, limit: FEWEST, is_begun: false })
    }

    /// The next piece, at least one; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        if self.is_begun && self.at >= self.head {
            return Ok(None);
        }
        self.is_begun = true;
        let _permit = self.store.read_permit_of_stream().await?;
        let to = self.head.min(self.at.saturating_add(self.window));
        let entries = self.store.range(&self.organization, &self.filter, self.at, to, self.limit as u64).await?;
        self.at = match entries.last() {
            Some(last) if entries.len() == self.limit => last.seq,
            _ => to.max(self.at),
        };
        if entries.is_empty() {
            self.window = WIDEST.min(self.window * 2);
        } else {
            self.window = WINDOW;
            let bytes: usize = entries.iter().map(|entry| entry.content.size()).sum();
            self.limit = (BYTES * entries.len() / bytes.max(1)).clamp(FEWEST, ENTRIES);
        }
        Ok(Some(Piece { entries, sequence: self.at, head: self.head }))
    }
}

fn number(number: Seq, most: Seq, what: &str) -> std::result::Result<Seq, Invalid> {
    match (0..=most).contains(&number) {
        true => Ok(number),
        false => Err(Invalid::new(format_args!("must be 0 to {most}, {what}"), number)),
    }
}
