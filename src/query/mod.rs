//! Lists, histories and single entries: exact, and each answer from one moment.

mod cursor;
mod export;
mod matched;
mod seek;

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::domain::{Entry, EntryId, Filter, Limit, Offset, OrganizationId, Position, PositionRange, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::{CURSOR_KEY_ID, PageRequest, Snapshot, Store};
use cursor::{Cursor, CursorKey};
pub use export::{Export, Piece};
use matched::{Counted, Matched};
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
    /// Read with the first list.
    cursor_key: Arc<OnceCell<CursorKey>>,
}

impl Query {
    /// Reads from `store`.
    pub fn new(store: Store) -> Self {
        Self { store, cursor_key: Arc::default() }
    }

    /// A page of the entries of `organization` that match `filter`. Errors: `InvalidParameter` for a
    /// cursor that is not of this list.
    pub async fn list(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        filter: &Filter,
        start: Start,
        limit: Limit,
    ) -> Result<Page> {
        let _permit = self.store.read_permit(key_id).await?;
        // Before the snapshot, which may hold the permit's only connection.
        let key = self.cursor_key().await?;
        // Marks that are looked for one after the other must be of one moment, as must types and what has them.
        let mut is_held =
            is_of_any_type(filter) || matches!(&start, Start::Offset(offset) if seek::is_deep(offset.get()));
        loop {
            let snapshot = if is_held { self.store.held_snapshot().await? } else { self.store.snapshot() };
            let page = self.page(&snapshot, organization, filter, (&start, key), limit).await;
            snapshot.close().await?;
            match page? {
                Some(page) => return Ok(page),
                None => is_held = true,
            }
        }
    }

    /// One entry. Errors: `AuditLogNotFound`.
    pub async fn get(&self, key_id: &str, organization: &OrganizationId, id: &EntryId) -> Result<Entry> {
        let _permit = self.store.read_permit(key_id).await?;
        self.store.entry(organization, id).await?.ok_or(Error::AuditLogNotFound)
    }

    /// Begins an export of the entries numbered above `after`, up to `through` or, without it, to the last
    /// one now. Errors: `OrganizationNotFound`; `InvalidParameter` for numbers that the log does not have.
    pub async fn export(
        &self,
        key_id: &str,
        organization: OrganizationId,
        filter: Filter,
        after: Seq,
        through: Option<Seq>,
    ) -> Result<Export> {
        Export::begin(self.store.clone(), key_id, organization, filter, after, through).await
    }

    async fn cursor_key(&self) -> Result<&CursorKey> {
        let read = async || Ok(CursorKey::new(self.store.cursor_key(CURSOR_KEY_ID).await?));
        self.cursor_key.get_or_try_init(read).await
    }

    /// `None` where the snapshot must be held.
    async fn page(
        &self,
        snapshot: &Snapshot,
        organization: &OrganizationId,
        filter: &Filter,
        (start, key): (&Start, &CursorKey),
        limit: Limit,
    ) -> Result<Option<Page>> {
        let of_types = match is_of_any_type(filter) {
            true => Filter { resource_types: snapshot.types().await?, ..filter.clone() },
            false => filter.clone(),
        };
        let matched = Matched::read(snapshot, organization, of_types).await?.ok_or(Error::OrganizationNotFound)?;
        let begin = match start {
            Start::Offset(offset) => Begin::at(&matched, offset.get()).await?,
            Start::Cursor(text) => {
                Begin::after(Cursor::parse(text, key, (organization, filter), matched.state.head).at("cursor")?)
            }
        };
        let Begin { head, total, offset, .. } = begin;
        let entries = match i64::from(limit.get()).min(total - offset) {
            ..=0 => Vec::new(),
            limit if matched.is_sparse(total, limit) && !snapshot.is_held() => return Ok(None),
            limit => {
                let Place { above, spans } = begin.place(&matched, limit).await?;
                matched.page(&PageRequest { spans, offset: offset - above, limit, head }, total).await?
            }
        };
        // A page holds at most 100 entries.
        let walked = offset.saturating_add(entries.len() as i64);
        let next = entries.last().filter(|_| walked < total).map(|last| Cursor {
            head,
            total,
            walked,
            last: Position { timestamp: last.timestamp, seq: last.seq },
        });
        let next_cursor = next.map(|next| next.text(key, (organization, filter)));
        Ok(Some(Page { entries, total, limit, offset, next_cursor }))
    }
}

/// Where a page begins.
struct Begin {
    /// Entries with higher numbers came after the list was begun.
    head: Seq,
    total: i64,
    offset: i64,
    from: From,
}

enum From {
    Counted(Counted),
    /// The last position before that of the last entry.
    Position(Position),
}

impl Begin {
    async fn at(matched: &Matched<'_>, offset: i64) -> Result<Self> {
        let counted = matched.count().await?;
        Ok(Self { head: matched.state.head, total: counted.total, offset, from: From::Counted(counted) })
    }

    fn after(Cursor { head, total, walked, last: Position { timestamp, seq } }: Cursor) -> Self {
        Self { head, total, offset: walked, from: From::Position(Position { timestamp, seq: seq - 1 }) }
    }

    async fn place(&self, matched: &Matched<'_>, limit: i64) -> Result<Place> {
        match &self.from {
            From::Counted(counted) => matched.seek(counted, self.offset, limit).await,
            From::Position(to) => {
                let spans = match matched.is_sparse(self.total, limit) {
                    // The marks also count what came after the walk was begun.
                    true => matched.sparse_spans(*to, limit + (matched.state.head - self.head)).await?,
                    false => vec![PositionRange { after: matched.span.after, to: *to }],
                };
                Ok(Place { above: self.offset, spans })
            }
        }
    }
}

/// Whether resources are asked for by their ids alone. They are found by type and id, so that such an id is looked
/// for in all types, those of this moment.
fn is_of_any_type(filter: &Filter) -> bool {
    filter.resource_types.is_empty() && !filter.resource_ids.is_empty()
}
