//! Lists, histories and single entries: exact, and each answer from one moment.

mod cursor;
mod export;

use crate::domain::{Entry, EntryId, Filter, Limit, Offset, OrganizationId, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::{Begin, Position, Snapshot, Store};
use cursor::Cursor;
pub use export::{Export, Piece};

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
        let snapshot = self.store.snapshot().await?;
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
        let indexed = indexed(snapshot, filter).await?;
        let head = snapshot.head(organization).await?.ok_or(Error::OrganizationNotFound)?;
        let Place { head, total, offset, begin } = match start {
            Start::Offset(offset) => {
                let total = snapshot.count(organization, &indexed, head).await?;
                Place { head, total, offset: offset.get(), begin: Begin::Offset(offset.get()) }
            }
            Start::Cursor(text) => {
                let Cursor { head, total, walked, last } =
                    Cursor::parse(&text, organization, filter, head).at("cursor")?;
                Place { head, total, offset: walked, begin: Begin::After(last) }
            }
        };
        let entries = match offset < total {
            true => snapshot.page(organization, &indexed, head, begin, limit).await?,
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

/// The same filter as the indexes serve it: a resource is found by its type and id, so that an id without
/// a type is looked for in all of them, those of this moment.
async fn indexed(snapshot: &Snapshot, filter: &Filter) -> Result<Filter> {
    let mut filter = filter.clone();
    if filter.resource_types.is_empty() && !filter.resource_ids.is_empty() {
        filter.resource_types = snapshot.resource_types().await?;
    }
    Ok(filter)
}

/// What a page needs to know before it is read.
struct Place {
    /// Entries with higher numbers came after the list was begun.
    head: i64,
    total: i64,
    offset: i64,
    begin: Begin,
}
