//! Lists, histories, single entries and those around them, counts, exports and followers. All are exact, and each page is from one moment.

mod around;
mod count;
mod cursor;
mod export;
mod follow;
mod matched;
mod named;
mod search;
mod seek;

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::domain::{Entry, EntryId, Filter, Limit, Offset, OrganizationId, Position, PositionRange, Search, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::{CURSOR_KEY_ID, PageRequest, Snapshot, Store};
pub use around::Surroundings;
pub use count::{Buckets, EntryCounts};
use cursor::{Cursor, CursorKey, ListScope};
pub use export::{Export, ExportPiece};
pub use follow::Follow;
use matched::{MatchTotal, Matched};
use named::with_named;
use seek::PageStart;

/// The start of a page, as the reader gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// After this many entries.
    Offset(Offset),
    /// At the `next_cursor` of an earlier page.
    Cursor(String),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// The number of matching entries. With a cursor, the number at the walk's first page.
    pub total: i64,
    /// The maximum number of entries that the page may have.
    pub limit: Limit,
    /// The number of entries before the page.
    pub offset: i64,
    /// The cursor of the next page; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// Answers readers.
#[derive(Clone)]
pub struct Query {
    store: Store,
    /// Read from the database with the first list.
    cursor_key: Arc<OnceCell<CursorKey>>,
}

impl Query {
    /// Reads from `store`.
    pub fn new(store: Store) -> Self {
        Self { store, cursor_key: Arc::default() }
    }

    /// A page of the entries of `organization` that match `filter`. Errors: `OrganizationNotFound`; `InvalidParameter`
    /// for a cursor that is not of this list.
    pub async fn list(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        filter: &Filter,
        start: Start,
        limit: Limit,
    ) -> Result<Page> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        // Read before the snapshot, which may hold the only connection of the permit.
        let key = self.cursor_key().await?;
        // Running counts that are read one after another must be from one moment. So must types and the entries that
        // have them, and the entries that a search tests: an erasure may come in between. A walk goes on through
        // erasures.
        let mut is_held = is_of_any_type(filter)
            || matches!(&start, Start::Offset(offset) if seek::is_deep(offset.get()) || !filter.search.is_empty());
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
        self.find(key_id, organization, id).await?.ok_or(Error::AuditLogNotFound)
    }

    async fn find(&self, key_id: &str, organization: &OrganizationId, id: &EntryId) -> Result<Option<Entry>> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        self.store.entry(organization, id).await
    }

    async fn cursor_key(&self) -> Result<&CursorKey> {
        let read = async || Ok(CursorKey::new(self.store.cursor_key(CURSOR_KEY_ID).await?));
        self.cursor_key.get_or_try_init(read).await
    }

    /// `None` if the page needs a held snapshot.
    async fn page(
        &self,
        snapshot: &Snapshot,
        organization: &OrganizationId,
        filter: &Filter,
        (start, key): (&Start, &CursorKey),
        limit: Limit,
    ) -> Result<Option<Page>> {
        let of_types = with_types(snapshot, organization, filter).await?;
        let (search, candidates) = (&filter.search, Filter { search: Search::default(), ..of_types });
        let candidates = with_named(snapshot, organization, candidates, search).await?;
        let matched = Matched::read(snapshot, organization, candidates, &search.trace_ids).await?;
        let matched = matched.ok_or(Error::OrganizationNotFound)?;
        let list = (organization, filter);
        if !search.is_empty() {
            return search_page(&matched, search, (start, key, list), limit).await.map(Some);
        }
        let begin = match start {
            Start::Offset(offset) => Begin::at(&matched, offset.get()).await?,
            Start::Cursor(text) => Begin::after(Cursor::parse(text, key, list, matched.state.head).at("cursor")?),
        };
        let Begin { head, total, offset, .. } = begin;
        let entries = match i64::from(limit.get()).min(total - offset) {
            ..=0 => Vec::new(),
            limit if matched.is_sparse(total, limit) && !snapshot.is_held() => return Ok(None),
            limit => {
                let PageStart { above, spans } = begin.place(&matched, limit).await?;
                matched.page(&PageRequest { spans, offset: offset - above, limit, head }, total).await?
            }
        };
        let next_cursor = next_cursor(&entries, (head, total, offset), limit).map(|next| next.text(key, list));
        Ok(Some(Page { entries, total, limit, offset, next_cursor }))
    }
}

/// A page of a list with a search.
async fn search_page(
    matched: &Matched<'_>,
    search: &Search,
    (start, key, list): (&Start, &CursorKey, ListScope<'_>),
    limit: Limit,
) -> Result<Page> {
    let most = i64::from(limit.get());
    let (head, total, offset, entries) = match start {
        Start::Offset(offset) => {
            let (total, entries) = matched.search(search, offset.get(), most).await?;
            (matched.state.head, total, offset.get(), entries)
        }
        Start::Cursor(text) => {
            let cursor = Cursor::parse(text, key, list, matched.state.head).at("cursor")?;
            let Cursor { head, total, walked, last: Position { timestamp, seq } } = cursor;
            let below = Position { timestamp, seq: seq - 1 };
            (head, total, walked, matched.search_on(search, below, head, most.min(total - walked)).await?)
        }
    };
    let next_cursor = next_cursor(&entries, (head, total, offset), limit).map(|next| next.text(key, list));
    Ok(Page { entries, total, limit, offset, next_cursor })
}

/// The cursor after a page of `entries` with `offset` entries before it; `None` after the last page. A search whose
/// entries were erased during the walk ends with a page that is not full.
fn next_cursor(entries: &[Entry], (head, total, offset): (Seq, i64, i64), limit: Limit) -> Option<Cursor> {
    // No overflow: a page has at most 100 entries.
    let walked = offset.saturating_add(entries.len() as i64);
    let last = entries.last().filter(|_| walked < total && entries.len() == usize::from(limit.get()))?;
    Some(Cursor { head, total, walked, last: Position::of(last) })
}

/// The start of a page.
struct Begin {
    /// The log's last number when the walk began. Entries with higher numbers are not shown.
    head: Seq,
    total: i64,
    offset: i64,
    from: Anchor,
}

enum Anchor {
    Offset(MatchTotal),
    /// The position just below the last entry of the page before.
    Cursor(Position),
}

impl Begin {
    async fn at(matched: &Matched<'_>, offset: i64) -> Result<Self> {
        let counted = matched.count().await?;
        Ok(Self { head: matched.state.head, total: counted.total, offset, from: Anchor::Offset(counted) })
    }

    fn after(Cursor { head, total, walked, last: Position { timestamp, seq } }: Cursor) -> Self {
        Self { head, total, offset: walked, from: Anchor::Cursor(Position { timestamp, seq: seq - 1 }) }
    }

    async fn place(&self, matched: &Matched<'_>, limit: i64) -> Result<PageStart> {
        match &self.from {
            Anchor::Offset(counted) => matched.seek(counted, self.offset, limit).await,
            Anchor::Cursor(to) => {
                let spans = match matched.is_sparse(self.total, limit) {
                    // The running counts also include entries that came after the walk began.
                    true => matched.sparse_spans(*to, limit + (matched.state.head - self.head)).await?,
                    false => vec![PositionRange { after: matched.span.after, to: *to }],
                };
                Ok(PageStart { above: self.offset, spans })
            }
        }
    }
}

/// Whether the filter has resource ids without types. The index finds resources by type and id, so each id is looked up
/// in all types that the organization has at the time of the snapshot.
fn is_of_any_type(filter: &Filter) -> bool {
    filter.resource_types.is_empty() && !filter.resource_ids.is_empty()
}

/// `filter`, with the types that the organization has if it has resource ids without types.
async fn with_types(snapshot: &Snapshot, organization: &OrganizationId, filter: &Filter) -> Result<Filter> {
    Ok(match is_of_any_type(filter) {
        true => Filter { resource_types: snapshot.types(organization).await?, ..filter.clone() },
        false => filter.clone(),
    })
}
