//! Lists with a search. The rest of the filter selects the candidates; they are read newest first, in pieces, and each
//! is tested.

use super::matched::Matched;
use crate::domain::{Entry, Position, PositionRange, Search, Seq};
use crate::error::{Error, Result};
use crate::store::{PageRequest, PieceSize};

/// The maximum number of candidates of a request with an offset. A cursor goes on with a walk that was within it.
pub(super) const MAX_CANDIDATES: i64 = 50_000;

impl Matched<'_> {
    /// Calls `found` with all entries that match, newest first. Errors: `SearchTooBroad`.
    pub(super) async fn search_all(&self, search: &Search, mut found: impl FnMut(Entry)) -> Result<()> {
        let candidates = self.count().await?.total;
        if candidates > MAX_CANDIDATES {
            return Err(Error::SearchTooBroad { candidates, most: MAX_CANDIDATES });
        }
        let mut scan = CandidateScan::new(self, search, self.span.to, self.state.head, candidates);
        while let Some(matching) = scan.next().await? {
            matching.into_iter().for_each(&mut found);
        }
        Ok(())
    }

    /// The number of entries that match, and at most `limit` of them after `offset`. Errors: `SearchTooBroad`.
    pub(super) async fn search(&self, search: &Search, offset: i64, limit: i64) -> Result<(i64, Vec<Entry>)> {
        let (mut total, mut entries) = (0, Vec::new());
        let found = |entry| {
            if total >= offset && (entries.len() as i64) < limit {
                entries.push(entry);
            }
            total += 1;
        };
        self.search_all(search, found).await?;
        Ok((total, entries))
    }

    /// At most `limit` matching entries up to the position `to`, with numbers up to `head`.
    pub(super) async fn search_on(&self, search: &Search, to: Position, head: Seq, limit: i64) -> Result<Vec<Entry>> {
        let mut scan = CandidateScan::new(self, search, to, head, MAX_CANDIDATES);
        let mut entries = Vec::new();
        while (entries.len() as i64) < limit
            && let Some(matching) = scan.next().await?
        {
            entries.extend(matching);
        }
        entries.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(entries)
    }
}

/// Reads candidates, newest first.
struct CandidateScan<'m, 's> {
    matched: &'m Matched<'s>,
    search: &'m Search,
    /// The position of the next candidate, or one above it.
    to: Position,
    head: Seq,
    candidates: i64,
    piece: PieceSize,
    is_done: bool,
}

impl<'m, 's> CandidateScan<'m, 's> {
    fn new(matched: &'m Matched<'s>, search: &'m Search, to: Position, head: Seq, candidates: i64) -> Self {
        Self { matched, search, to, head, candidates, piece: PieceSize::FIRST, is_done: false }
    }

    /// The matching entries of the next piece; `None` after the last piece.
    async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        if self.is_done {
            return Ok(None);
        }
        let spans = vec![PositionRange { after: self.matched.span.after, to: self.to }];
        let window = PageRequest { spans, offset: 0, limit: self.piece.entries() as i64, head: self.head };
        let mut entries = self.matched.candidates(self.search, &window, self.candidates).await?;
        match entries.last() {
            Some(Entry { timestamp, seq, .. }) if entries.len() == self.piece.entries() => {
                self.to = Position { timestamp: *timestamp, seq: seq - 1 };
            }
            _ => self.is_done = true,
        }
        let bytes = entries.iter().map(|entry| entry.content.size()).sum();
        self.piece = PieceSize::after(entries.len(), bytes);
        entries.retain(|entry| self.search.matches(entry));
        // Gives way to other requests.
        tokio::task::yield_now().await;
        Ok(Some(entries))
    }
}
