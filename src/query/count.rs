//! Counts by group. Kinds and time buckets come from running counts: a number of entries is the difference of the
//! running counts at two edges, plus the entries between a running count and an edge, plus those that are not counted
//! yet. Users and resources are counted entry by entry, within a budget.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::matched::{Ends, Matched};
use super::named::with_named;
use super::search::MAX_CANDIDATES;
use super::{Query, with_types};
use crate::domain::{
    Action, COUNT_DISTANCE, Calendar, Catalogue, Content, Entry, EntryKind, Filter, GroupBy, Grouping, Identifier,
    OrganizationId, Outcome, Position, PositionRange, ResourceType, Search, Seq, TimeBucket, Timestamp, Top,
};
use crate::error::{AtField, Error, Result, Violation};
use crate::store::{IndexScan, KeyState, RunningCount, ScanRange, Snapshot, TopScan};

/// The maximum number of pairs of a time bucket and a key of the filter. Each pair is counted on its own.
const MAX_PAIRS: usize = 20_000;
/// The maximum number of parts that one statement counts.
const MAX_PARTS: usize = 10_000;

/// The number of matching entries, and of those in each group, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryCounts {
    /// The number of all matching entries.
    pub total: i64,
    /// The last number of the organization at that moment.
    pub head: Seq,
    /// The groups of each grouping, in the order asked for.
    pub groups: Vec<(GroupBy, Buckets)>,
}

/// The groups of one grouping. Those of time are in order; of the others, the one with most entries is first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Buckets {
    /// All units of time in the range, also those without entries.
    Time(Vec<(TimeBucket, i64)>),
    /// The actions that occur.
    Actions(Vec<(Action, i64)>),
    /// The types that occur.
    ResourceTypes(Vec<(ResourceType, i64)>),
    /// The outcomes that occur; `None` for entries without one.
    Outcomes(Vec<(Option<Outcome>, i64)>),
    /// The users with most entries.
    Users {
        /// Users, and the number of entries of each.
        top: Vec<(Identifier, i64)>,
        /// The number of entries of all other users.
        other: i64,
    },
    /// The resources with most entries.
    Resources {
        /// Resources, and the number of entries of each.
        top: Vec<(ResourceType, Identifier, i64)>,
        /// The number of entries of all other resources.
        other: i64,
    },
}

impl EntryCounts {
    /// Whether `catalogue` names all types and actions of the groups.
    pub fn is_named_by(&self, catalogue: &Catalogue) -> bool {
        let has_type = |code: &ResourceType| catalogue.resource_type_name(*code).is_some();
        self.groups.iter().all(|(_, buckets)| match buckets {
            Buckets::Actions(actions) => actions.iter().all(|(code, _)| catalogue.action_name(*code).is_some()),
            Buckets::ResourceTypes(types) => types.iter().all(|(code, _)| has_type(code)),
            Buckets::Resources { top, other: _ } => top.iter().all(|(code, _, _)| has_type(code)),
            Buckets::Time(_) | Buckets::Outcomes(_) | Buckets::Users { .. } => true,
        })
    }
}

impl Query {
    /// The number of entries of `organization` that match `filter`, and of those in each group. Errors:
    /// `OrganizationNotFound`; `InvalidParameter` for too many time buckets; `TooBroad`.
    pub async fn count(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        filter: &Filter,
        grouping: &Grouping,
    ) -> Result<EntryCounts> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        // Running counts that are read one after another must be from one moment.
        let snapshot = self.store.held_snapshot().await?;
        let counts = entry_counts(&snapshot, organization, filter, grouping).await;
        snapshot.close().await?;
        counts
    }
}

async fn entry_counts(
    snapshot: &Snapshot,
    organization: &OrganizationId,
    filter: &Filter,
    grouping: &Grouping,
) -> Result<EntryCounts> {
    let counter = GroupCounter::read(snapshot, organization, filter).await?;
    let groups = counter.groups(grouping).await?;
    Ok(EntryCounts { total: counter.total, head: counter.matched.state.head, groups })
}

/// The entries that match, and what all groups of them share.
struct GroupCounter<'a> {
    matched: Matched<'a>,
    /// Whether the running counts of keys are used, and the streams are those of keys.
    is_indexed: bool,
    /// The matching entries of each stream up to the ends of the span.
    ends: Vec<Ends>,
    /// The number up to which entries are in `ends`.
    counted: Seq,
    /// All other entries that match. With a search, all of them.
    uncounted: Vec<(Timestamp, EntryKind)>,
    /// With a search, the user and the resource of each match.
    found: Option<Vec<(Identifier, (Identifier, ResourceType))>>,
    total: i64,
}

impl<'a> GroupCounter<'a> {
    async fn read(snapshot: &'a Snapshot, organization: &'a OrganizationId, filter: &Filter) -> Result<Self> {
        let with_types = with_types(snapshot, organization, filter).await?;
        let (search, candidates) = (&filter.search, Filter { search: Search::default(), ..with_types });
        if !search.is_empty() {
            let candidates = with_named(snapshot, organization, candidates, search).await?;
            return Self::search(snapshot, organization, candidates, search).await;
        }
        let matched = Matched::read_counted(snapshot, organization, candidates).await?;
        let mut matched = matched.ok_or(Error::OrganizationNotFound)?;
        let (counted, head) = (matched.state.counted, matched.state.head);
        let is_indexed = !matched.keys.is_empty() && matched.state.uncounted.is_some();
        if !is_indexed {
            // Counts all entries of each stream, one by one.
            let parts: Vec<_> =
                (0..matched.streams.len()).map(|stream| ScanRange { stream, span: matched.span }).collect();
            let counts = matched.count_parts(&parts, head).await?;
            let total = counts.iter().sum();
            let ends = counts.into_iter().map(|to| Ends { after: 0, to }).collect();
            return Ok(Self { matched, is_indexed, ends, counted: head, uncounted: Vec::new(), found: None, total });
        }
        let uncounted = match counted < head {
            true => snapshot.numbered_kinds(organization, &matched.filter, matched.span, counted, head).await?,
            false => Vec::new(),
        };
        matched.state.uncounted = Some(uncounted.len() as i64);
        matched.state.uncounted_kinds = uncounted.iter().map(|(_, kind)| *kind).collect();
        let ends = matched.counted().await?;
        let total = ends.iter().map(|ends| ends.to - ends.after).sum::<i64>() + uncounted.len() as i64;
        Ok(Self { matched, is_indexed, ends, counted, uncounted, found: None, total })
    }

    async fn search(
        snapshot: &'a Snapshot,
        organization: &'a OrganizationId,
        candidates: Filter,
        search: &Search,
    ) -> Result<Self> {
        let matched = Matched::read(snapshot, organization, candidates, &search.trace_ids).await?;
        let matched = matched.ok_or(Error::OrganizationNotFound)?;
        let (mut uncounted, mut found) = (Vec::new(), Vec::new());
        let each = |entry: Entry| {
            let Content { resource_type, ref resource_id, ref user_id, .. } = *entry.content;
            uncounted.push((entry.timestamp, entry.content.kind()));
            found.push((user_id.clone(), (resource_id.clone(), resource_type)));
        };
        matched.search_all(search, each).await?;
        let (counted, total) = (matched.state.head, uncounted.len() as i64);
        Ok(Self { matched, is_indexed: false, ends: Vec::new(), counted, uncounted, found: Some(found), total })
    }

    async fn groups(&self, grouping: &Grouping) -> Result<Vec<(GroupBy, Buckets)>> {
        let Grouping { by, zone, top } = grouping;
        if let Some(place) = by.iter().position(|by| by.is_top())
            && self.total > MAX_CANDIDATES
        {
            let description = format!(
                "must have at most {MAX_CANDIDATES} entries to read, got {}; narrow the filter with a range of time, a \
                 user, a resource, a type or an action",
                self.total
            );
            return Err(too_broad(place, description));
        }
        let has_kinds = by.iter().any(|by| matches!(by, GroupBy::Action | GroupBy::ResourceType | GroupBy::Outcome));
        let kinds = if has_kinds { self.by_kind().await? } else { BTreeMap::new() };
        let mut groups = Vec::with_capacity(by.len());
        for (place, by) in by.iter().enumerate() {
            let buckets = match by {
                GroupBy::Time(unit) => self.by_time(&Calendar::new(*unit, zone), place).await?,
                GroupBy::Action => Buckets::Actions(summed(&kinds, |kind| kind.action)),
                GroupBy::ResourceType => Buckets::ResourceTypes(summed(&kinds, |kind| kind.resource_type)),
                GroupBy::Outcome => Buckets::Outcomes(summed(&kinds, |kind| kind.outcome)),
                GroupBy::User => self.by_user(*top).await?,
                GroupBy::Resource => self.by_resource(*top).await?,
            };
            groups.push((*by, buckets));
        }
        Ok(groups)
    }

    /// The streams with matching entries, and their ends.
    fn streams(&self) -> impl Iterator<Item = (usize, Ends)> {
        self.ends.iter().copied().enumerate().filter(|(_, ends)| ends.to > ends.after)
    }

    /// The state of the key of a stream, if it has running counts.
    fn key(&self, stream: usize) -> Option<&KeyState> {
        self.matched.state.keys.get(stream).filter(|key| self.is_indexed && key.total.is_some())
    }

    /// The number of matching entries of each kind that occurs.
    async fn by_kind(&self) -> Result<BTreeMap<EntryKind, i64>> {
        let Matched { snapshot, organization, filter, span, streams, .. } = &self.matched;
        let mut counts: BTreeMap<EntryKind, i64> = BTreeMap::new();
        // The parts between running counts and the ends of the span, and whether their entries are added or taken away.
        let (mut parts, mut signs) = (Vec::new(), Vec::new());
        for (stream, _) in self.streams() {
            let mut count = |sign: i64, from: &RunningCount, to: Position| {
                for (kind, entries) in from.counts.by_kind() {
                    *counts.entry(kind).or_insert(0) += sign * entries;
                }
                if from.position < to {
                    parts.push(ScanRange { stream, span: PositionRange { after: from.position, to } });
                    signs.push(sign);
                }
            };
            match (self.key(stream), span.to) {
                (Some(KeyState { total: Some(total), after, to: _ }), Position::END) => {
                    count(-1, after, span.after);
                    count(1, &RunningCount { position: Position::END, counts: total.clone() }, Position::END);
                }
                (Some(KeyState { total: _, after, to }), end) => {
                    count(-1, after, span.after);
                    count(1, to, end);
                }
                (None, end) => count(1, &RunningCount { position: span.after, ..RunningCount::default() }, end),
            }
        }
        for (parts, signs) in parts.chunks(MAX_PARTS).zip(signs.chunks(MAX_PARTS)) {
            let found = snapshot.count_kinds(organization, filter, streams, parts, self.counted).await?;
            for (place, kind, entries) in found {
                *counts.entry(kind).or_insert(0) += signs.get(place).map_or(0, |sign| sign * entries);
            }
        }
        for (_, kind) in &self.uncounted {
            *counts.entry(*kind).or_insert(0) += 1;
        }
        let filter = self.matched.kinds();
        counts.retain(|kind, count| *count > 0 && filter.has(*kind));
        Ok(counts)
    }

    /// Errors: too many buckets, in the grouping at `place`.
    async fn by_time(&self, calendar: &Calendar, place: usize) -> Result<Buckets> {
        let buckets = match self.range(calendar).await? {
            Some((start, end)) => calendar.buckets(start, end).at(format!("by[{place}]"))?,
            None => Vec::new(),
        };
        let pairs = buckets.len() * self.streams().count();
        if pairs > MAX_PAIRS {
            let description = format!(
                "must have at most {MAX_PAIRS} pairs of a unit of time and a user or resource, got {pairs}; ask for a \
                 larger unit, a shorter range, or fewer users or resources"
            );
            return Err(too_broad(place, description));
        }
        let counts = self.histogram(&buckets).await?;
        Ok(Buckets::Time(buckets.into_iter().zip(counts).collect()))
    }

    /// The range that time buckets cover: that of the filter. If it has no start, they begin with the unit of the
    /// oldest entry in the range, and if it has no end, they end with the unit of the newest; `None` if there is no
    /// entry.
    async fn range(&self, calendar: &Calendar) -> Result<Option<(Timestamp, Timestamp)>> {
        let Matched { snapshot, organization, filter, span, state, .. } = &self.matched;
        let (start, end) = (filter.time.start(), filter.time.end());
        if let (Some(start), Some(end)) = (start, end) {
            return Ok(Some((start, end)));
        }
        let extent = snapshot.extent(organization, *span, state.head).await?;
        Ok(extent.map(|(oldest, newest)| {
            let start = start.unwrap_or_else(|| calendar.start_of(oldest));
            (start, end.unwrap_or_else(|| calendar.end_of(newest)))
        }))
    }

    /// The number of matching entries in each of `buckets`, which cover all of them without gaps.
    async fn histogram(&self, buckets: &[TimeBucket]) -> Result<Vec<i64>> {
        let mut counts = vec![0; buckets.len()];
        let edge = |bucket: &TimeBucket| Position { timestamp: bucket.start, seq: 0 };
        let edges: Vec<_> = buckets.iter().skip(1).map(edge).collect();
        let mut bases = self.running_counts(&edges).await?.into_iter();
        // For each stream and edge: the part before the edge that is counted entry by entry, and the number of entries
        // up to that part, if a running count says it. If not, it is the number up to the edge before.
        let (mut parts, mut below_parts) = (Vec::new(), Vec::new());
        for (stream, _) in self.streams() {
            let mut before = self.matched.span.after;
            for (edge, base) in edges.iter().zip(bases.by_ref()) {
                let base = base.filter(|base| base.position > before);
                let after = base.as_ref().map_or(before, |base| base.position);
                parts.push(ScanRange { stream, span: PositionRange { after, to: *edge } });
                below_parts.push(base.map(|base| self.matched.matching(&base.counts)));
                before = *edge;
            }
        }
        let mut counted = below_parts.into_iter().zip(self.count_parts(&parts).await?);
        for (_, ends) in self.streams() {
            let mut below = ends.after;
            for (count, (below_part, part)) in counts.iter_mut().zip(counted.by_ref().take(edges.len())) {
                let up_to = below_part.unwrap_or(below) + part;
                *count += up_to - below;
                below = up_to;
            }
            if let Some(last) = counts.last_mut() {
                *last += ends.to - below;
            }
        }
        for (timestamp, _) in &self.uncounted {
            let place = buckets.partition_point(|bucket| bucket.start <= *timestamp);
            if let Some(count) = place.checked_sub(1).and_then(|place| counts.get_mut(place)) {
                *count += 1;
            }
        }
        Ok(counts)
    }

    /// For each stream and each of `edges`: the last running count at or before the edge. `None` for a stream that has
    /// none, or so few entries that it takes less time to count all of them.
    async fn running_counts(&self, edges: &[Position]) -> Result<Vec<Option<RunningCount>>> {
        let Matched { snapshot, organization, keys, .. } = &self.matched;
        // Of the entries between two running counts, half lie before an edge.
        let skipped = edges.len() as i64 * COUNT_DISTANCE / 2;
        let is_worth = |stream: usize| self.key(stream).is_some_and(|key| self.matched.entries(key) > skipped);
        let worth = self.streams().filter(|(stream, _)| is_worth(*stream));
        let places = worth.flat_map(|(stream, _)| edges.iter().map(move |edge| (&keys[stream], *edge)));
        let places: Vec<_> = places.collect();
        let mut found = snapshot.counts_at(organization, &places).await?.into_iter();
        let mut counts = Vec::new();
        for (stream, _) in self.streams() {
            match is_worth(stream) {
                true => counts.extend(found.by_ref().take(edges.len()).map(Some)),
                false => counts.extend(edges.iter().map(|_| None)),
            }
        }
        Ok(counts)
    }

    async fn count_parts(&self, parts: &[ScanRange]) -> Result<Vec<i64>> {
        let mut counts = Vec::with_capacity(parts.len());
        for parts in parts.chunks(MAX_PARTS) {
            counts.extend(self.matched.count_parts(parts, self.counted).await?);
        }
        Ok(counts)
    }

    async fn by_user(&self, top: Top) -> Result<Buckets> {
        let Matched { snapshot, organization, .. } = &self.matched;
        let kinds = self.matched.kind_scan(self.total, self.total);
        let scan = self.top_scan(kinds.as_ref().unwrap_or(&self.matched.streams), top);
        let top = match &self.found {
            Some(found) => most_frequent(found.iter().map(|(user, _)| user), top),
            None if self.total == 0 => Vec::new(),
            None => snapshot.top_users(organization, scan).await?,
        };
        let other = self.total - top.iter().map(|(_, entries)| *entries).sum::<i64>();
        Ok(Buckets::Users { top, other })
    }

    async fn by_resource(&self, top: Top) -> Result<Buckets> {
        let Matched { snapshot, organization, .. } = &self.matched;
        let kinds = self.matched.kind_scan(self.total, self.total);
        let scan = self.top_scan(kinds.as_ref().unwrap_or(&self.matched.streams), top);
        let top = match &self.found {
            Some(found) => {
                let most = most_frequent(found.iter().map(|(_, resource)| resource), top).into_iter();
                most.map(|((id, code), entries)| (code, id, entries)).collect()
            }
            None if self.total == 0 => Vec::new(),
            None => snapshot.top_resources(organization, scan).await?,
        };
        let other = self.total - top.iter().map(|(_, _, entries)| *entries).sum::<i64>();
        Ok(Buckets::Resources { top, other })
    }

    fn top_scan<'s>(&'s self, streams: &'s IndexScan, top: Top) -> TopScan<'s> {
        let Matched { filter, span, state, .. } = &self.matched;
        TopScan { filter, streams, span: *span, head: state.head, entries: self.total, top: top.get() }
    }
}

/// The sum of the entries with the same value, for each value that occurs: the highest first, and equal ones by value.
fn summed<V: Ord>(kinds: &BTreeMap<EntryKind, i64>, value: impl Fn(&EntryKind) -> V) -> Vec<(V, i64)> {
    let mut sums: BTreeMap<V, i64> = BTreeMap::new();
    for (kind, entries) in kinds {
        *sums.entry(value(kind)).or_insert(0) += entries;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    // The sort is stable.
    sums.sort_by_key(|(_, entries)| Reverse(*entries));
    sums
}

/// The values that occur most, with their numbers: the highest first, and equal ones by value.
fn most_frequent<'v, V: Ord + Clone + 'v>(values: impl Iterator<Item = &'v V>, top: Top) -> Vec<(V, i64)> {
    let mut numbers: BTreeMap<&V, i64> = BTreeMap::new();
    values.for_each(|value| *numbers.entry(value).or_insert(0) += 1);
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_by_key(|(_, number)| Reverse(*number));
    numbers.into_iter().take(top.get().into()).map(|(value, number)| (value.clone(), number)).collect()
}

/// The error for the grouping at `place`.
fn too_broad(place: usize, description: String) -> Error {
    Error::TooBroad(vec![Violation { field: format!("by[{place}]"), description }])
}
