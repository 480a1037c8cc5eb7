//! Lists with a search. The rest of the filter selects the candidates; they are read newest first, in pieces, and each
//! is tested.

use super::matched::Matched;
use crate::domain::{Entry, Position, PositionRange, Search, Seq};
use crate::error::{Error, Result, Violation};
use crate::store::PageRequest;

/// The maximum number of candidates of a request with an offset. A cursor goes on with a walk that was within it.
pub(super) const MAX_CANDIDATES: i64 = 50_000;
/// The number of candidates of the first piece.
const FIRST_PIECE: usize = 100;
/// The minimum and the maximum number of candidates of a piece.
const PIECE: [usize; 2] = [4, 2_000];
/// The approximate size of a piece. It sets the number of candidates of the next piece.
const PIECE_BYTES: usize = 1024 * 1024;

impl Matched<'_> {
    /// Calls `found` with all entries that match, newest first. Errors: `TooBroad`.
    pub(super) async fn search_all(&self, search: &Search, mut found: impl FnMut(Entry)) -> Result<()> {
        let candidates = self.count().await?.total;
        if candidates > MAX_CANDIDATES {
            let description = format!(
                "must select at most {MAX_CANDIDATES} entries to test, got {candidates}; narrow it with a range of time, \
                 users, resources, types, actions, outcomes or traces"
            );
            return Err(Error::TooBroad(vec![Violation { field: "filter".to_owned(), description }]));
        }
        let mut scan = CandidateScan::new(self, search, self.span.to, self.state.head, candidates);
        while let Some(matching) = scan.next().await? {
            matching.into_iter().for_each(&mut found);
        }
        Ok(())
    }

    /// The number of entries that match, and at most `limit` of them after `offset`. Errors: `TooBroad`.
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
    /// The number of candidates of the next piece.
    piece: usize,
    is_done: bool,
}

impl<'m, 's> CandidateScan<'m, 's> {
    fn new(matched: &'m Matched<'s>, search: &'m Search, to: Position, head: Seq, candidates: i64) -> Self {
        Self { matched, search, to, head, candidates, piece: FIRST_PIECE, is_done: false }
    }

    /// The matching entries of the next piece; `None` after the last piece.
    async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        if self.is_done {
            return Ok(None);
        }
        let spans = vec![PositionRange { after: self.matched.span.after, to: self.to }];
        let window = PageRequest { spans, offset: 0, limit: self.piece as i64, head: self.head };
        let mut entries = self.matched.candidates(self.search, &window, self.candidates).await?;
        match entries.last() {
            Some(Entry { timestamp, seq, .. }) if entries.len() == self.piece => {
                self.to = Position { timestamp: *timestamp, seq: seq - 1 };
            }
            _ => self.is_done = true,
        }
        let bytes: usize = entries.iter().map(|entry| entry.content.size()).sum();
        let [fewest, most] = PIECE;
        self.piece = (PIECE_BYTES * entries.len() / bytes.max(1)).clamp(fewest, most);
        entries.retain(|entry| self.search.matches(entry));
        Ok(Some(entries))
    }
}
