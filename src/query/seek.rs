//! Where a page far down begins: the lowest mark with no more than so many entries above it.

use crate::domain::{Key, Position, Span};
use crate::error::Result;
use crate::store::{Mark, Part};

use super::matched::{Counted, Ends, Matched};

/// An offset below which skipping entry by entry is as good: the distance of marks.
const SHALLOW: i64 = 1_024;

/// A place to read on from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) position: Position,
    /// The matching entries after it.
    pub(super) above: i64,
}

impl Place {
    /// Where `span` ends.
    pub(super) fn at_top(span: Span) -> Self {
        Self { position: span.to, above: 0 }
    }
}

/// Whether marks are needed to get there.
pub(super) fn is_deep(offset: i64) -> bool {
    offset >= SHALLOW
}

/// A key's marks inside of the span: positions, and matching entries up to them.
struct Steps {
    ends: Ends,
    marks: Vec<(Position, i64)>,
}

impl Steps {
    /// At least the matching entries between `position` and the end of the span.
    fn most_above(&self, position: Position) -> i64 {
        let place = self.marks.partition_point(|(at, _)| *at <= position);
        let below = place.checked_sub(1).map_or(self.ends.after, |last| self.marks[last].1.max(self.ends.after));
        self.ends.to - below
    }

    /// At most the same.
    fn fewest_above(&self, position: Position) -> i64 {
        let place = self.marks.partition_point(|(at, _)| *at < position);
        self.ends.to - self.marks.get(place).map_or(self.ends.to, |(_, count)| (*count).min(self.ends.to))
    }

    /// The last mark at or before `position`.
    fn last(&self, position: Position) -> Option<(Position, i64)> {
        let place = self.marks.partition_point(|(at, _)| *at <= position);
        place.checked_sub(1).map(|last| self.marks[last])
    }
}

impl Matched<'_> {
    /// A place with at most `offset` matching entries above it, near the entry of that offset.
    pub(super) async fn seek(&self, counted: &Counted, offset: i64) -> Result<Place> {
        let top = Place::at_top(self.span);
        let (Some(folded), true) = (&counted.folded, is_deep(offset)) else { return Ok(top) };
        // Those not folded yet may all lie above.
        let offset_folded = offset - self.state.unfolded.unwrap_or(0);
        let supers = self.snapshot.super_marks(self.organization, &self.keys, self.span.to).await?;
        let mut steps: Vec<_> = folded.iter().map(|ends| Steps { ends: *ends, marks: Vec::new() }).collect();
        for (key, mark) in &supers {
            steps[*key].marks.push((mark.position, self.matching(&mark.counts)));
        }
        // Between these two super marks.
        let high = lowest(&steps, self.span, |at| most_above(&steps, at) <= offset_folded).unwrap_or(self.span.to);
        let low = highest(&steps, self.span, |at| fewest_above(&steps, at) > offset_folded);
        self.add_inner(&mut steps, &supers, low.unwrap_or(self.span.after), high).await?;
        match lowest(&steps, self.span, |at| most_above(&steps, at) <= offset_folded) {
            Some(position) => Ok(Place { position, above: self.above(&steps, position).await? }),
            None => Ok(top),
        }
    }

    /// Adds the marks of each key from its last super mark up to `low`, to `high`.
    async fn add_inner(
        &self,
        steps: &mut [Steps],
        supers: &[(usize, Mark)],
        low: Position,
        high: Position,
    ) -> Result<()> {
        let spans: Vec<(&Key, Span)> = self
            .keys
            .iter()
            .zip(steps.iter())
            .map(|(key, steps)| {
                let after = steps.last(low).map_or(Position::START, |(position, _)| position);
                (key, Span { after, to: high })
            })
            .collect();
        for (key, mark) in self.snapshot.inner_marks(self.organization, &spans).await? {
            let of_key = supers.iter().filter(|(of, _)| *of == key).map(|(_, mark)| mark);
            let above = of_key.take_while(|above| above.position < mark.position).last();
            let before = above.map_or(0, |above| self.matching(&above.counts));
            steps[key].marks.push((mark.position, before + self.matching(&mark.counts)));
        }
        steps.iter_mut().for_each(|steps| steps.marks.sort_unstable());
        Ok(())
    }

    /// Exactly the matching entries between `position` and the end of the span.
    async fn above(&self, steps: &[Steps], position: Position) -> Result<i64> {
        let (mut above, mut parts) = (0, Vec::new());
        for (stream, steps) in steps.iter().enumerate() {
            let (from, below) = match steps.last(position) {
                Some((at, count)) if at > self.span.after => (at, count),
                _ => (self.span.after, steps.ends.after),
            };
            above += steps.ends.to - below;
            if from < position {
                parts.push(Part { stream, span: Span { after: from, to: position } });
            }
        }
        let between: i64 = self.count_parts(&parts, self.state.folded).await?.iter().sum();
        let unfolded = match self.state.unfolded {
            None | Some(0) => 0,
            Some(_) => {
                let span = Span { after: position, to: self.span.to };
                let (folded, head) = (self.state.folded, self.state.head);
                self.snapshot.count_numbered(self.organization, &self.filter, span, folded, head).await?
            }
        };
        Ok(above - between + unfolded)
    }
}

fn most_above(steps: &[Steps], position: Position) -> i64 {
    steps.iter().map(|steps| steps.most_above(position)).sum()
}

fn fewest_above(steps: &[Steps], position: Position) -> i64 {
    steps.iter().map(|steps| steps.fewest_above(position)).sum()
}

/// The marks inside of `span`, ascending.
fn inside(steps: &[Steps], span: Span) -> Vec<Position> {
    let marks = steps.iter().flat_map(|steps| &steps.marks).map(|(position, _)| *position);
    let mut inside: Vec<_> = marks.filter(|at| span.after < *at && *at < span.to).collect();
    inside.sort_unstable();
    inside
}

/// The lowest mark for which `holds`, which holds above it too.
fn lowest(steps: &[Steps], span: Span, holds: impl Fn(Position) -> bool) -> Option<Position> {
    let inside = inside(steps, span);
    let place = inside.partition_point(|at| !holds(*at));
    inside.get(place).copied()
}

/// The highest mark for which `holds`, which holds below it too.
fn highest(steps: &[Steps], span: Span, holds: impl Fn(Position) -> bool) -> Option<Position> {
    let inside = inside(steps, span);
    let place = inside.partition_point(|at| holds(*at));
    place.checked_sub(1).map(|place| inside[place])
}
