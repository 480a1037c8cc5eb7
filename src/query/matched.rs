//! The entries that a filter matches. Their number comes from the running counts of its keys; entries between a running
//! count and an end of the range are counted one by one. The entries of a page come from the index that reads the
//! fewest.

use std::collections::BTreeSet;

use crate::domain::{
    COUNT_DISTANCE, CountKey, CountedBy, Counts, Entry, EntryKind, Filter, Identifier, KeyFilter, KindFilter,
    OrganizationId, Position, PositionRange, ResourceType, Search, Seq,
};
use crate::error::Result;
use crate::store::{CountState, CountUncounted, IndexScan, KeyState, PageRequest, RunningCount, ScanRange, Snapshot};

/// A filter, and the state of the counts of its keys at one moment.
pub(super) struct Matched<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) organization: &'a OrganizationId,
    /// If the reader named resources without types, it has all types. Without its search, which runs on what matches
    /// the rest.
    pub(super) filter: Filter,
    pub(super) span: PositionRange,
    /// The keys whose counts answer the filter; empty if no counts can.
    pub(super) keys: Vec<CountKey>,
    pub(super) state: CountState,
    /// The scan that finds the entries: by its keys, or by the smaller of users and resources.
    pub(super) streams: IndexScan,
}

/// The number of entries that match.
pub(super) struct MatchTotal {
    pub(super) total: i64,
    /// The counted entries of each key at the ends of the span; `None` if the total does not come from running counts.
    pub(super) counted: Option<Vec<Ends>>,
}

/// The matching counted entries of a key up to the two ends of a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) after: i64,
    pub(super) to: i64,
}

impl<'a> Matched<'a> {
    /// Reads the counts of what `filter` selects. With `traces`, only their entries are selected. `None` if there is no
    /// such organization.
    pub(super) async fn read(
        snapshot: &'a Snapshot,
        organization: &'a OrganizationId,
        filter: Filter,
        traces: &[Identifier],
    ) -> Result<Option<Self>> {
        Self::read_with(snapshot, organization, filter, traces, None, false).await
    }

    /// Reads the counts of all entries in `span`. `None` if there is no such organization.
    pub(super) async fn read_span(
        snapshot: &'a Snapshot,
        organization: &'a OrganizationId,
        span: PositionRange,
    ) -> Result<Option<Self>> {
        Self::read_with(snapshot, organization, Filter::default(), &[], Some(span), false).await
    }

    /// Like [`Self::read`]. If the uncounted entries are few, their number is 0, and the caller has to count them.
    pub(super) async fn read_counted(
        snapshot: &'a Snapshot,
        organization: &'a OrganizationId,
        filter: Filter,
    ) -> Result<Option<Self>> {
        Self::read_with(snapshot, organization, filter, &[], None, true).await
    }

    /// `span` replaces the time of `filter`.
    async fn read_with(
        snapshot: &'a Snapshot,
        organization: &'a OrganizationId,
        filter: Filter,
        traces: &[Identifier],
        span: Option<PositionRange>,
        is_counted: bool,
    ) -> Result<Option<Self>> {
        let CountedBy { keys: key_filter, kinds, time, is_answered } = filter.counted_by();
        let is_answered = is_answered && traces.is_empty();
        let (span, sides) = (span.unwrap_or_else(|| time.into()), sides(key_filter, traces));
        let all: Vec<_> = sides.iter().flat_map(keys).collect();
        let uncounted = match is_answered {
            _ if is_counted => CountUncounted::Few,
            true if !kinds.is_empty() && sides == [IndexScan::Time] => CountUncounted::ByKind(&filter),
            true => CountUncounted::Number(&filter),
            false => CountUncounted::No,
        };
        let state = snapshot.state(organization, uncounted, &all, span).await?;
        let Some(state) = state else { return Ok(None) };
        let (streams, keys) = (smaller(sides, &state.keys), if is_answered { all } else { Vec::new() });
        Ok(Some(Self { snapshot, organization, filter, span, keys, state, streams }))
    }

    pub(super) async fn count(&self) -> Result<MatchTotal> {
        let is_indexed = !self.keys.is_empty() && self.state.keys.iter().any(|key| key.total.is_some());
        match self.state.uncounted {
            Some(uncounted) if is_indexed => {
                let counted = self.counted().await?;
                let total = counted.iter().map(|ends| ends.to - ends.after).sum::<i64>() + uncounted;
                Ok(MatchTotal { total, counted: Some(counted) })
            }
            _ => {
                let parts: Vec<_> =
                    (0..self.streams.len()).map(|stream| ScanRange { stream, span: self.span }).collect();
                let total = self.count_parts(&parts, self.state.head).await?.iter().sum();
                Ok(MatchTotal { total, counted: None })
            }
        }
    }

    /// The entries of the page `window`. `total` is the number of matching entries.
    pub(super) async fn page(&self, window: &PageRequest, total: i64) -> Result<Vec<Entry>> {
        let kinds = self.kind_scan(window.offset.saturating_add(window.limit), total);
        let streams = kinds.as_ref().unwrap_or(&self.streams);
        self.snapshot.page(self.organization, &self.filter, streams, window).await
    }

    /// A scan with one stream for each kind of entry that the filter selects and the organization has. `None` if the
    /// filter selects no kinds, if it has users or resources, if the kinds are not known because too many entries are
    /// not counted yet, or if reading all entries by time until `needed` match is estimated to be cheaper.
    pub(super) fn kind_scan(&self, needed: i64, total: i64) -> Option<IndexScan> {
        /// The number of entries that can be read in the time in which a stream is found.
        const FOUND: i64 = 10;
        let kinds = self.occurring_kinds()?;
        let (streams, all) = (kinds.len() as i64, self.all());
        let by_time = needed.saturating_mul(all / total.max(1)).min(all);
        let by_kind = needed.saturating_mul(streams).min(total) + streams * FOUND;
        (by_kind <= by_time || streams == 1).then(|| IndexScan::Kinds(kinds.into_iter().collect()))
    }

    /// The kinds that the filter selects and the organization has. `None` if the filter selects no kinds, if it has
    /// users, resources or traces, or if too many entries are not counted yet.
    fn occurring_kinds(&self) -> Option<BTreeSet<EntryKind>> {
        let filter = self.kinds();
        if self.streams != IndexScan::Time || filter.is_empty() || self.state.uncounted.is_none() {
            return None;
        }
        let totals = self.state.keys.iter().filter_map(|key| key.total.as_ref());
        let counted = totals.flat_map(Counts::kinds).filter(|kind| filter.has(*kind));
        Some(counted.chain(self.state.uncounted_kinds.iter().copied()).collect())
    }

    /// The candidates of the page `window` that SQL does not exclude from `search`. `candidates` is the number of all.
    pub(super) async fn candidates(
        &self,
        search: &Search,
        window: &PageRequest,
        candidates: i64,
    ) -> Result<Vec<Entry>> {
        // Each piece of the scan reads as many entries of each stream as it may return.
        let pays = |kinds: &BTreeSet<EntryKind>| candidates.saturating_mul(kinds.len() as i64) <= self.all();
        let kinds = self.occurring_kinds().filter(pays).map(|kinds| IndexScan::Kinds(kinds.into_iter().collect()));
        let filter = Filter { search: search.clone(), ..self.filter.clone() };
        self.snapshot.page(self.organization, &filter, kinds.as_ref().unwrap_or(&self.streams), window).await
    }

    /// An estimate of the number of entries in the span, whether they match or not.
    fn all(&self) -> i64 {
        self.state.keys.first().map_or(self.state.head, |key| self.entries(key))
    }

    /// An estimate of the number of entries that a key has in the span.
    pub(super) fn entries(&self, key: &KeyState) -> i64 {
        let to = match (&key.total, self.span.to) {
            (Some(total), Position::END) => total.total(),
            (Some(_), _) => key.to.counts.total() + COUNT_DISTANCE,
            (None, _) => self.state.head,
        };
        to - key.after.counts.total()
    }

    /// The number of matching entries in each part, up to the sequence number `head`.
    pub(super) async fn count_parts(&self, parts: &[ScanRange], head: Seq) -> Result<Vec<i64>> {
        self.snapshot.count(self.organization, &self.filter, &self.streams, parts, head).await
    }

    /// The number of counted entries that the filter selects.
    pub(super) fn matching(&self, counts: &Counts) -> i64 {
        counts.matching(self.kinds())
    }

    /// The kinds of entry that the filter selects.
    pub(super) fn kinds(&self) -> KindFilter<'_> {
        self.filter.counted_by().kinds
    }

    /// The matching counted entries of each key up to the ends of the span.
    pub(super) async fn counted(&self) -> Result<Vec<Ends>> {
        let mut ends = Vec::with_capacity(self.keys.len());
        // The parts between running counts and the ends, and the owner of each.
        let (mut parts, mut owners) = (Vec::new(), Vec::new());
        for (stream, KeyState { total, after, to }) in self.state.keys.iter().enumerate() {
            let mut count = |is_to: bool, from: &RunningCount, to: Position| {
                if from.position < to {
                    parts.push(ScanRange { stream, span: PositionRange { after: from.position, to } });
                    owners.push((stream, is_to));
                }
                self.matching(&from.counts)
            };
            ends.push(match total {
                None => {
                    parts.push(ScanRange { stream, span: self.span });
                    owners.push((stream, true));
                    Ends { after: 0, to: 0 }
                }
                Some(total) => Ends {
                    after: count(false, after, self.span.after),
                    to: match self.span.to {
                        Position::END => self.matching(total),
                        end => count(true, to, end),
                    },
                },
            });
        }
        for ((stream, is_to), count) in owners.iter().zip(self.count_parts(&parts, self.state.counted).await?) {
            let ends: &mut Ends = &mut ends[*stream];
            *(if *is_to { &mut ends.to } else { &mut ends.after }) += count;
        }
        Ok(ends)
    }
}

/// A scan by user and a scan by resource, for the parts of the filter that have values; a scan by time if none has. With
/// traces, a scan of these: they have few entries.
fn sides(key_filter: KeyFilter<'_>, traces: &[Identifier]) -> Vec<IndexScan> {
    if !traces.is_empty() {
        return vec![IndexScan::Traces(traces.to_vec())];
    }
    let KeyFilter { user_ids, resource_types, resource_ids } = key_filter;
    let mut sides = Vec::new();
    if !user_ids.is_empty() {
        sides.push(IndexScan::Users(user_ids.to_vec()));
    }
    if !resource_ids.is_empty() {
        let of_type = |code: &ResourceType| {
            let code = *code;
            resource_ids.iter().map(move |id: &Identifier| (code, id.clone()))
        };
        sides.push(IndexScan::Resources(resource_types.iter().flat_map(of_type).collect()));
    }
    if sides.is_empty() {
        sides.push(IndexScan::Time);
    }
    sides
}

/// The keys whose counts cover `streams`; none for traces, which have no counts.
fn keys(streams: &IndexScan) -> Vec<CountKey> {
    match streams {
        IndexScan::Users(users) => users.iter().cloned().map(CountKey::User).collect(),
        IndexScan::Resources(resources) => {
            resources.iter().map(|(code, id)| CountKey::Resource(*code, id.clone())).collect()
        }
        IndexScan::Time | IndexScan::Kinds(_) => vec![CountKey::Organization],
        IndexScan::Traces(_) => Vec::new(),
    }
}

/// The side with fewer entries; `keys` are those of all sides, one after the other. A key without running counts has
/// about as many entries as lie between two of them, or fewer.
fn smaller(sides: Vec<IndexScan>, mut keys: &[KeyState]) -> IndexScan {
    let mut sized = Vec::new();
    for side in sides {
        let (own, rest) = keys.split_at(side.len().min(keys.len()));
        keys = rest;
        let size: i64 = own.iter().map(|key| key.total.as_ref().map_or(COUNT_DISTANCE, |total| total.total())).sum();
        sized.push((size, side));
    }
    sized.into_iter().min_by_key(|(size, _)| *size).map_or(IndexScan::Time, |(_, side)| side)
}
