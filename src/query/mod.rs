//! Lists, histories and single entries: exact, and each answer from one moment.

mod cursor;
mod export;
mod matched;
mod seek;

use crate::domain::{Entry, EntryId, Filter, Limit, Offset, OrganizationId, Position, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::{Snapshot, Store};
use cursor::Cursor;
pub use export::{Export, Piece};
use matched::Matched;
use seek::Place;

/// Where a page begins, as a reader says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// After so many entries.
    Offset(Offset),
    /// At the `next_cursor` of an earlier page.
    Cursor(String),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Entries that match; on a cursor page, those of the walk's first page.
    pub total: i64,
    /// The most entries that the page could hold.
    pub limit: Limit,
    /// Entries before the page.
    pub offset: i64,
    /// The cursor of the next page, `None` on the last.
    pub next_cursor: Option<String>,
}

/// Answers readers.
#[derive(Clone)]
pub struct Query {
    store: Store,
}

impl Query {
    /// Reads from `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of the entries of `organization` that match `filter`. Errors: `InvalidParameter` for a
    /// cursor that is not of this list.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        start: Start,
        limit: Limit,
    ) -> Result<Page> {
        // Marks that are looked for one after the other must be of one moment, as must types and what has them.
        let is_held = match &start {
            Start::Offset(offset) => seek::is_deep(offset.get()) || is_of_any_type(filter),
            Start::Cursor(_) => is_of_any_type(filter),
        };
        let snapshot = if is_held { self.store.held_snapshot().await? } else { self.store.snapshot() };
        let page = self.page(&snapshot, organization, filter, start, limit).await;
        snapshot.close().await?;
        page
    }

    /// One entry. Errors: `AuditLogNotFound`.
    pub async fn get(&self, organization: &OrganizationId, id: &EntryId) -> Result<Entry> {
        self.store.entry(organization, id).await?.ok_or(Error::AuditLogNotFound)
    }

    /// Begins an export of the entries numbered above `after`, up to `through` or, without it, to the last
    /// one now. Errors: `OrganizationNotFound`; `InvalidParameter` for numbers that the log does not have.
    pub async fn export(
        &self,
        organization: OrganizationId,
        filter: Filter,
        after: Seq,
        through: Option<Seq>,
    ) -> Result<Export> {
        Export::begin(self.store.clone(), organization, filter, after, through).await
    }

    async fn page(
        &self,
        snapshot: &Snapshot,
        organization: &OrganizationId,
        filter: &Filter,
        start: Start,
        limit: Limit,
    ) -> Result<Page> {
        let of_types = match is_of_any_type(filter) {
            true => Filter { resource_types: snapshot.types().await?, ..filter.clone() },
            false => filter.clone(),
        };
        let is_counted = matches!(start, Start::Offset(_));
        let matched = Matched::read(snapshot, organization, of_types, is_counted).await?;
        let matched = matched.ok_or(Error::OrganizationNotFound)?;
        let Begin { head, total, offset, place } = match start {
            Start::Offset(offset) => {
                let (offset, counted) = (offset.get(), matched.count().await?);
                let place = match offset < counted.total {
                    true => matched.seek(&counted, offset).await?,
                    false => Place::at_top(matched.span),
                };
                Begin { head: matched.state.head, total: counted.total, offset, place }
            }
            Start::Cursor(text) => {
                let Cursor { head, total, walked, last: Position { timestamp, seq } } =
                    Cursor::parse(&text, organization, filter, matched.state.head).at("cursor")?;
                // The last place before that of the last entry.
                let position = Position { timestamp, seq: seq - 1 };
                Begin { head, total, offset: walked, place: Place { position, above: walked } }
            }
        };
        let limit_left = i64::from(limit.get()).min(total - offset);
        let entries = match limit_left > 0 {
            true => matched.page(place, offset - place.above, limit_left, head, total).await?,
            false => Vec::new(),
        };
        // A page holds at most 100 entries.
        let walked = offset.saturating_add(entries.len() as i64);
        let next = entries.last().filter(|_| walked < total).map(|last| Cursor {
            head,
            total,
            walked,
            last: Position { timestamp: last.timestamp, seq: last.seq },
        });
        let next_cursor = next.map(|next| next.text(organization, filter));
        Ok(Page { entries, total, limit, offset, next_cursor })
    }
}

/// Whether resources are asked for by their ids alone. They are found by type and id, so that such an id is looked
/// for in all types, those of this moment.
fn is_of_any_type(filter: &Filter) -> bool {
    filter.resource_types.is_empty() && !filter.resource_ids.is_empty()
}

/// Where a page begins, once it is known.
struct Begin {
    /// Entries with higher numbers came after the list was begun.
    head: Seq,
    total: i64,
    offset: i64,
    place: Place,
}
