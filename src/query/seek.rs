//! Finds where a page far down begins: at the lowest running count with no more entries above it than the offset.

use crate::domain::{COUNT_DISTANCE, CountKey, Position, PositionRange};
use crate::error::Result;
use crate::store::ScanRange;

use super::matched::{Ends, MatchTotal, Matched};

/// Where to start reading a page.
#[derive(Debug, Clone)]
pub(super) struct PageStart {
    /// The number of matching entries that come before it in the list.
    pub(super) above: i64,
    /// The ranges that have all entries of the page.
    pub(super) spans: Vec<PositionRange>,
}

/// Whether running counts are needed to find the page. A smaller offset is skipped entry by entry.
pub(super) fn is_deep(offset: i64) -> bool {
    offset >= COUNT_DISTANCE
}

/// The running counts of a key up to the end of the span: positions, and the matching entries up to each.
struct KeySteps {
    ends: Ends,
    counts: Vec<(Position, i64)>,
}

impl KeySteps {
    /// An upper bound on the number of matching entries between `position` and the end of the span.
    fn most_above(&self, position: Position) -> i64 {
        let place = self.counts.partition_point(|(at, _)| *at <= position);
        let below = place.checked_sub(1).map_or(self.ends.after, |last| self.counts[last].1.max(self.ends.after));
        self.ends.to - below
    }

    /// A lower bound on the same number.
    fn fewest_above(&self, position: Position) -> i64 {
        let place = self.counts.partition_point(|(at, _)| *at < position);
        self.ends.to - self.counts.get(place).map_or(self.ends.to, |(_, count)| (*count).min(self.ends.to))
    }

    /// The parts of `span` up to `to` with matching entries, from the newest on, until they have `needed` of them.
    fn spans_with_entries(&self, span: PositionRange, to: Position, needed: i64) -> Vec<PositionRange> {
        let mut spans: Vec<PositionRange> = Vec::new();
        let (mut upper, mut upper_count, mut found) = (to, self.ends.to, 0);
        let below = self.counts.partition_point(|(at, _)| *at < to);
        // The entries between `to` and the running count before it do not count: some may lie above.
        let mut is_whole = false;
        if let Some((_, count)) = self.counts.get(below) {
            upper_count = (*count).min(self.ends.to);
        }
        for (at, count) in self.counts[..below].iter().rev().copied().chain([(span.after, self.ends.after)]) {
            let (after, count) = (at.max(span.after), count.max(self.ends.after));
            if upper_count > count && after < upper {
                match spans.last_mut() {
                    Some(last) if last.after == upper => last.after = after,
                    _ => spans.push(PositionRange { after, to: upper }),
                }
                found += if is_whole { upper_count - count } else { 0 };
            }
            if found >= needed || at <= span.after {
                break;
            }
            (upper, upper_count, is_whole) = (at, count, true);
        }
        spans
    }

    /// The last running count at or before `position`.
    fn last(&self, position: Position) -> Option<(Position, i64)> {
        let place = self.counts.partition_point(|(at, _)| *at <= position);
        place.checked_sub(1).map(|last| self.counts[last])
    }
}

impl Matched<'_> {
    /// Finds where to start reading a page of `limit` entries: a place near the entry at `offset`, with at most
    /// `offset` matching entries before it.
    pub(super) async fn seek(&self, counted: &MatchTotal, offset: i64, limit: i64) -> Result<PageStart> {
        let MatchTotal { total, counted } = counted;
        let is_sparse = self.is_sparse(*total, limit);
        let (Some(counted), true) = (counted, is_deep(offset) || is_sparse) else {
            return Ok(PageStart { above: 0, spans: vec![self.span] });
        };
        let needed = offset.saturating_add(limit);
        // All uncounted entries may lie above.
        let offset_counted = offset - self.state.uncounted.unwrap_or(0);
        let level0 = self.snapshot.level0_counts(self.organization, &self.keys, self.span.to).await?;
        let mut steps: Vec<_> = counted.iter().map(|ends| KeySteps { ends: *ends, counts: Vec::new() }).collect();
        for (key, count) in &level0 {
            steps[*key].counts.push((count.position, self.matching(&count.counts)));
        }
        let (low, high) = match is_sparse {
            true => (self.span.after, self.span.to),
            false => {
                let high = lowest(&steps, self.span, |at| most_above(&steps, at) <= offset_counted);
                let low = highest(&steps, self.span, |at| fewest_above(&steps, at) >= needed);
                (low.unwrap_or(self.span.after), high.unwrap_or(self.span.to))
            }
        };
        self.add_level1(&mut steps, low, high).await?;
        let begin = lowest(&steps, self.span, |at| most_above(&steps, at) <= offset_counted);
        let (to, above) = match begin {
            Some(position) => (position, self.above(&steps, position).await?),
            None => (self.span.to, 0),
        };
        let spans = match (is_sparse, &steps[..]) {
            (true, [steps]) => steps.spans_with_entries(self.span, to, needed - above),
            _ => {
                let low = highest(&steps, self.span, |at| fewest_above(&steps, at) >= needed);
                vec![PositionRange { after: low.unwrap_or(self.span.after), to }]
            }
        };
        Ok(PageStart { above, spans })
    }

    /// Whether the entries of a page of `limit` among `total` lie so far apart that it pays to load all running counts
    /// of their only key. The counts show the ranges without a match.
    pub(super) fn is_sparse(&self, total: i64, limit: i64) -> bool {
        /// The number of entries that can be read in the time in which the counts are loaded.
        const WORTH: i64 = 8_192;
        let ([_], [key]) = (&self.keys[..], &self.state.keys[..]) else { return false };
        let is_indexed = key.total.is_some() && self.state.uncounted == Some(0) && !self.kinds().is_empty();
        let entries = self.entries(key);
        is_indexed
            && self.keys != [CountKey::Organization]
            && limit.saturating_mul(entries / total.max(1)).min(entries) > WORTH
    }

    /// The ranges with matching entries before `position`, from the newest on: enough for `needed` entries, or all.
    /// Loads all running counts of the only key.
    pub(super) async fn sparse_spans(&self, position: Position, needed: i64) -> Result<Vec<PositionRange>> {
        let level0 = self.snapshot.level0_counts(self.organization, &self.keys, self.span.to).await?;
        let to = self.state.keys.first().and_then(|key| key.total.as_ref()).map_or(0, |total| self.matching(total));
        let mut steps = [KeySteps { ends: Ends { after: 0, to }, counts: Vec::new() }];
        for (_, count) in &level0 {
            steps[0].counts.push((count.position, self.matching(&count.counts)));
        }
        self.add_level1(&mut steps, Position::START, self.span.to).await?;
        Ok(steps[0].spans_with_entries(self.span, position, needed))
    }

    /// Adds the level-1 counts of each key from its last level-0 count at or before `low` up to `high`.
    async fn add_level1(&self, steps: &mut [KeySteps], low: Position, high: Position) -> Result<()> {
        let spans: Vec<(&CountKey, PositionRange)> = self
            .keys
            .iter()
            .zip(steps.iter())
            .map(|(key, steps)| {
                let after = steps.last(low).map_or(Position::START, |(position, _)| position);
                (key, PositionRange { after, to: high })
            })
            .collect();
        let mut added = Vec::new();
        for (key, count) in self.snapshot.running_counts(self.organization, &spans, 1).await? {
            // So far, the steps are level-0 counts alone.
            let before = steps[key].last(count.position).map_or(0, |(_, count)| count);
            added.push((key, (count.position, before + self.matching(&count.counts))));
        }
        added.into_iter().for_each(|(key, count)| steps[key].counts.push(count));
        steps.iter_mut().for_each(|steps| steps.counts.sort_unstable());
        Ok(())
    }

    /// The exact number of matching entries between `position` and the end of the span.
    async fn above(&self, steps: &[KeySteps], position: Position) -> Result<i64> {
        let (mut above, mut parts) = (0, Vec::new());
        for (stream, steps) in steps.iter().enumerate() {
            let (from, below) = match steps.last(position) {
                Some((at, count)) if at > self.span.after => (at, count),
                _ => (self.span.after, steps.ends.after),
            };
            above += steps.ends.to - below;
            if from < position {
                parts.push(ScanRange { stream, span: PositionRange { after: from, to: position } });
            }
        }
        let between: i64 = self.count_parts(&parts, self.state.counted).await?.iter().sum();
        let uncounted = match self.state.uncounted {
            None | Some(0) => 0,
            Some(_) => {
                let span = PositionRange { after: position, to: self.span.to };
                let (counted, head) = (self.state.counted, self.state.head);
                self.snapshot.count_numbered(self.organization, &self.filter, span, counted, head).await?
            }
        };
        Ok(above - between + uncounted)
    }
}

fn most_above(steps: &[KeySteps], position: Position) -> i64 {
    steps.iter().map(|steps| steps.most_above(position)).sum()
}

fn fewest_above(steps: &[KeySteps], position: Position) -> i64 {
    steps.iter().map(|steps| steps.fewest_above(position)).sum()
}

/// The positions of the running counts inside `span`, ascending.
fn inside(steps: &[KeySteps], span: PositionRange) -> Vec<Position> {
    let counts = steps.iter().flat_map(|steps| &steps.counts).map(|(position, _)| *position);
    let mut inside: Vec<_> = counts.filter(|at| span.after < *at && *at < span.to).collect();
    inside.sort_unstable();
    inside
}

/// The lowest position of a running count for which `holds` is true. It must be true for all higher ones too.
fn lowest(steps: &[KeySteps], span: PositionRange, holds: impl Fn(Position) -> bool) -> Option<Position> {
    let inside = inside(steps, span);
    let place = inside.partition_point(|at| !holds(*at));
    inside.get(place).copied()
}

/// The highest position of a running count for which `holds` is true. It must be true for all lower ones too.
fn highest(steps: &[KeySteps], span: PositionRange, holds: impl Fn(Position) -> bool) -> Option<Position> {
    let inside = inside(steps, span);
    let place = inside.partition_point(|at| holds(*at));
    place.checked_sub(1).map(|place| inside[place])
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::domain::Timestamp;

    fn at(time: i64) -> Position {
        Position { timestamp: Timestamp::saturating(time), seq: 1 }
    }

    /// Matching entries, and running counts of them.
    fn steps(random: &mut StdRng, entries: &[i64], span: PositionRange) -> KeySteps {
        let up_to = |position: Position| entries.iter().filter(|time| at(**time) <= position).count() as i64;
        let ends = Ends { after: up_to(span.after), to: up_to(span.to) };
        let mut places: Vec<_> = (0..random.random_range(0..30)).map(|_| at(random.random_range(0..1_000))).collect();
        places.sort_unstable();
        places.dedup();
        KeySteps { ends, counts: places.into_iter().map(|place| (place, up_to(place))).collect() }
    }

    #[test]
    fn the_ranges_of_a_sparse_filter_contain_its_newest_entries() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..3_000 {
            let mut entries: Vec<i64> =
                (0..random.random_range(0..15)).map(|_| random.random_range(0..1_000)).collect();
            entries.sort_unstable();
            entries.dedup();
            let mut ends = [0, 0].map(|_| random.random_range(-1..1_001));
            ends.sort_unstable();
            let span = PositionRange { after: at(ends[0]), to: at(ends[1]) };
            let steps = steps(&mut random, &entries, span);
            let to = if random.random_bool(0.5) { span.to } else { at(random.random_range(ends[0]..=ends[1])) };
            let needed = random.random_range(1..10);
            let spans = steps.spans_with_entries(span, to, needed);
            let expected: Vec<_> =
                entries.iter().rev().map(|time| at(*time)).filter(|at| span.after < *at && *at <= to).collect();
            let held = |at: &Position| spans.iter().any(|span| span.after < *at && *at <= span.to);
            assert!(expected.iter().take(needed as usize).all(held), "{spans:?} hold {needed} of {expected:?}");
            let is_inside = |one: &PositionRange| span.after <= one.after && one.to <= to && one.after < one.to;
            assert!(spans.iter().all(is_inside), "{spans:?} lie in {span:?} up to {to:?}");
        }
    }

    #[test]
    fn the_bounds_on_the_number_of_newer_entries_hold_at_every_position() {
        let mut random = StdRng::seed_from_u64(8);
        for _ in 0..3_000 {
            let entries: Vec<i64> = (0..20).map(|_| random.random_range(0..1_000)).collect();
            let steps = steps(&mut random, &entries, PositionRange::ALL);
            let place = at(random.random_range(-1..1_001));
            let above = entries.iter().filter(|time| at(**time) > place).count() as i64;
            assert!(steps.fewest_above(place) <= above && above <= steps.most_above(place));
        }
    }
}
