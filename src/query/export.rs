//! Exports: all entries that match, in the order of their numbers, a piece at a time.

use crate::domain::{Entry, Filter, Invalid, OrganizationId, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::Store;

/// Entries a piece at most, so that a piece fits into memory whatever its entries hold.
const ENTRIES: u64 = 100;
/// Numbers that one statement looks at, so that it ends soon where few of them match.
const NUMBERS: Seq = 10_000;

/// An export under way. It holds nothing of the database between its pieces.
pub struct Export {
    store: Store,
    organization: OrganizationId,
    filter: Filter,
    /// Everything up to here was given.
    at: Seq,
    head: Seq,
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
        organization: OrganizationId,
        filter: Filter,
        after: Seq,
        through: Option<Seq>,
    ) -> Result<Self> {
        let head = store.head(&organization).await?.ok_or(Error::OrganizationNotFound)?;
        let through = number(through.unwrap_or(head), head).at("through_sequence")?;
        let at = number(after, head).at("after_sequence")?;
        if at > through {
            let description = format!("must be at most through_sequence {through}, got {at}");
            return Err(Error::invalid("after_sequence", description));
        }
        Ok(Self { store, organization, filter, at, head: through, is_begun: false })
    }

    /// The next piece, at least one; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        if self.is_begun && self.at >= self.head {
            return Ok(None);
        }
        self.is_begun = true;
        let to = self.head.min(self.at.saturating_add(NUMBERS));
        let entries = self.store.range(&self.organization, &self.filter, self.at, to, ENTRIES).await?;
        self.at = match entries.last() {
            Some(last) if entries.len() as u64 == ENTRIES => last.seq,
            _ => to.max(self.at),
        };
        Ok(Some(Piece { entries, sequence: self.at, head: self.head }))
    }
}

fn number(number: Seq, head: Seq) -> std::result::Result<Seq, Invalid> {
    match (0..=head).contains(&number) {
        true => Ok(number),
        false => Err(Invalid::new(format_args!("must be 0 to {head}, the organization's last number"), number)),
    }
}
