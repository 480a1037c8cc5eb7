//! The entries around an entry: those within some minutes of it that are nearest to it.

use super::matched::Matched;
use super::{Page, Query, Start, next_cursor};
use crate::domain::{Entry, EntryId, Filter, Limit, Minutes, OrganizationId, Position, PositionRange, Seq, TimeRange};
use crate::error::{Error, Result, Violation};
use crate::store::{PageRequest, Snapshot};

/// The entries around an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The times that are near enough.
    pub window: TimeRange,
    /// A page of the list of the entries in the window.
    pub page: Page,
}

impl Query {
    /// The page, in the list of the entries within `minutes` of the entry `id`, that has this entry and those nearest to
    /// it: as many before as after it, or more of one side if the other side has fewer. With `cursor`, the page after
    /// an earlier one. Errors: `AuditLogsNotFound`; `InvalidParameter` for a cursor that is not of this list.
    pub async fn around(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        id: &EntryId,
        minutes: Minutes,
        cursor: Option<String>,
        limit: Limit,
    ) -> Result<Surroundings> {
        let entry = self.find(key_id, organization, id).await?.ok_or_else(|| not_found(id))?;
        let window = TimeRange::around(entry.timestamp, minutes);
        let filter = Filter { time: window, ..Filter::default() };
        let page = match cursor {
            Some(cursor) => self.list(key_id, organization, &filter, Start::Cursor(cursor), limit).await?,
            None => self.middle_page(key_id, organization, &filter, Position::of(&entry), limit).await?,
        };
        Ok(Surroundings { window, page })
    }

    /// The page with the entry at `middle`. `filter` has only a time.
    async fn middle_page(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        filter: &Filter,
        middle: Position,
        limit: Limit,
    ) -> Result<Page> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        // Read before the snapshot, which may hold the only connection of the permit.
        let key = self.cursor_key().await?;
        // The totals of both sides must be from one moment.
        let snapshot = self.store.held_snapshot().await?;
        let nearest = nearest(&snapshot, organization, filter.time.into(), middle, i64::from(limit.get())).await;
        snapshot.close().await?;
        let NearestEntries { entries, total, offset, head } = nearest?;
        let next_cursor = next_cursor(&entries, (head, total, offset), limit);
        let next_cursor = next_cursor.map(|next| next.text(key, (organization, filter)));
        Ok(Page { entries, total, limit, offset, next_cursor })
    }
}

/// The entries nearest to another one, and their place among all entries of a window.
struct NearestEntries {
    /// Newest first.
    entries: Vec<Entry>,
    /// The number of entries in the window.
    total: i64,
    /// The number of those that are newer than all of `entries`.
    offset: i64,
    /// The last number of the log.
    head: Seq,
}

/// Reads the `limit` entries of `window` nearest to the entry at `middle`, with that entry: one range of the index
/// towards each side.
async fn nearest(
    snapshot: &Snapshot,
    organization: &OrganizationId,
    window: PositionRange,
    middle: Position,
    limit: i64,
) -> Result<NearestEntries> {
    let up_to_entry = PositionRange { to: middle, ..window };
    let after_entry = PositionRange { after: middle, ..window };
    let older = Matched::read_span(snapshot, organization, up_to_entry).await?.ok_or(Error::OrganizationNotFound)?;
    let newer = Matched::read_span(snapshot, organization, after_entry).await?.ok_or(Error::OrganizationNotFound)?;
    let (head, older_total, newer_total) = (older.state.head, older.count().await?.total, newer.count().await?.total);
    let (older_limit, newer_limit) = shares(limit, older_total, newer_total);
    let mut entries = snapshot.oldest(organization, after_entry, head, newer_limit).await?;
    entries.reverse();
    let request = PageRequest { spans: vec![up_to_entry], offset: 0, limit: older_limit, head };
    entries.extend(older.page(&request, older_total).await?);
    Ok(NearestEntries { entries, total: older_total + newer_total, offset: newer_total - newer_limit, head })
}

/// The numbers of entries to show up to an entry, which is one of the `older`, and after it: half of `limit` each. If
/// one side has fewer, the other side has the room.
fn shares(limit: i64, older: i64, newer: i64) -> (i64, i64) {
    let newer = newer.min(((limit - 1) / 2).max(limit - older));
    (older.min(limit - newer), newer)
}

fn not_found(id: &EntryId) -> Error {
    let description = format!("there is no entry {id}");
    Error::AuditLogsNotFound(vec![Violation { field: "id".to_owned(), description }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_of_an_entry_share_the_limit() {
        for (limit, older, newer, expected) in [
            (10, 100, 100, (6, 4)),
            (11, 100, 100, (6, 5)),
            (1, 100, 100, (1, 0)),
            (2, 100, 100, (2, 0)),
            (3, 100, 100, (2, 1)),
            (10, 1, 100, (1, 9)),
            (10, 3, 100, (3, 7)),
            (10, 100, 0, (10, 0)),
            (10, 100, 2, (8, 2)),
            (10, 4, 3, (4, 3)),
            (10, 1, 0, (1, 0)),
            (100, 50, 51, (50, 50)),
        ] {
            assert_eq!(shares(limit, older, newer), expected, "{limit} of {older} and {newer}");
        }
    }

    #[test]
    fn shares_are_as_large_as_possible_and_have_the_entry() {
        for limit in 1..=12 {
            for (older, newer) in (1..=15).flat_map(|older| (0..=15).map(move |newer| (older, newer))) {
                let shown = shares(limit, older, newer);
                assert_eq!(shown.0 + shown.1, limit.min(older + newer), "{limit} of {older} and {newer}");
                assert!((1..=older).contains(&shown.0) && (0..=newer).contains(&shown.1), "{shown:?}");
                assert!(shown.0 == older || shown.0 >= limit / 2, "{limit} of {older} and {newer}: {shown:?}");
                assert!(shown.1 == newer || shown.1 >= (limit - 1) / 2, "{limit} of {older} and {newer}: {shown:?}");
            }
        }
    }
}
