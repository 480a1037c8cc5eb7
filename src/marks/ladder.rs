//! The marks of one key, and how entries that are folded change them: pure, so that a test can try all orders.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Counts, Damaged, EntryKind, Position, PositionRange};

/// Entries between marks. Twice as many are split. Few in the tests here, which then see many marks.
pub(super) const DISTANCE: i64 = if cfg!(test) { 8 } else { 1_024 };
const WIDEST: i64 = 2 * DISTANCE;
/// Marks that count from one super mark; twice as many are split. An entry that comes late changes the marks of its
/// own block and all later super marks, so that small blocks and few blocks are both wanted.
const BLOCK: usize = if cfg!(test) { 4 } else { 32 };

/// A key's marks, as far as they are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    /// The count of all folded entries.
    pub whole: Counts,
    /// The position of the newest folded entry.
    pub newest: Position,
    /// Folded entries after the last mark.
    pub tail: i64,
    /// All super marks: the entries up to each.
    pub supers: BTreeMap<Position, Counts>,
    /// Marks of the blocks that are loaded: the entries up to each, those up to the super mark before it left out.
    pub inner: BTreeMap<Position, Counts>,
}

/// An entry as counts see it.
pub type Counted = (Position, EntryKind);

impl Ladder {
    /// The blocks that `rows`, in order, change: from a super mark, or the start, to the next, or the end.
    pub fn touched(&self, rows: &[Counted]) -> Vec<PositionRange> {
        let late = rows.iter().map(|(position, _)| *position).take_while(|position| *position < self.newest);
        let mut starts: BTreeSet<_> = late.map(|position| self.block(position).after).collect();
        if self.tail + rows.len() as i64 >= DISTANCE {
            starts.insert(self.block(Position::END).after);
        }
        starts.into_iter().map(|start| PositionRange { after: start, to: self.next_super(start) }).collect()
    }

    /// Counts `rows`, which are in order. The blocks that they touch must be loaded.
    pub fn fold(&mut self, rows: &[Counted]) -> Result<(), Damaged> {
        let late = rows.partition_point(|(position, _)| *position < self.newest);
        let (late, in_order) = rows.split_at(late);
        for (position, leaf) in late {
            let PositionRange { to, .. } = self.block(*position);
            self.supers.range_mut(*position..).try_for_each(|(_, counts)| counts.add(*leaf))?;
            self.inner.range_mut(*position..to).try_for_each(|(_, counts)| counts.add(*leaf))?;
            self.whole.add(*leaf)?;
            if to == Position::END && self.inner.range(*position..).next().is_none() {
                self.tail += 1;
            }
        }
        for (position, leaf) in in_order {
            self.whole.add(*leaf)?;
            self.newest = *position;
            self.tail += 1;
            if self.tail >= DISTANCE {
                let below = self.supers.last_key_value().map(|(_, counts)| counts.clone()).unwrap_or_default();
                self.inner.insert(*position, self.whole.minus(&below)?);
                self.tail = 0;
                self.split_block(*position)?;
            }
        }
        Ok(())
    }

    /// The distances between marks of `blocks` that have become too wide.
    pub fn gaps(&self, blocks: &[PositionRange]) -> Vec<PositionRange> {
        let mut gaps = Vec::new();
        for block in blocks.iter().flat_map(|block| self.blocks_in(*block)) {
            let (mut after, mut before) = (block.after, 0);
            for (position, counts) in self.inner.range(above(block.after)..block.to) {
                if counts.total() - before > WIDEST {
                    gaps.push(PositionRange { after, to: *position });
                }
                (after, before) = (*position, counts.total());
            }
            let (to, rest) = match self.supers.get(&block.to) {
                Some(next) => {
                    let below = self.supers.get(&block.after).map_or(0, Counts::total);
                    (block.to, next.total() - below - before)
                }
                None => (self.newest, self.tail),
            };
            if rest > WIDEST {
                gaps.push(PositionRange { after, to });
            }
        }
        gaps
    }

    /// Adds marks in `gap`, whose folded entries are `rows`, in order.
    pub fn split(&mut self, gap: PositionRange, rows: &[Counted]) -> Result<(), Damaged> {
        let is_tail = gap.to == self.newest && !self.supers.contains_key(&gap.to) && !self.inner.contains_key(&gap.to);
        let mut counts = self.inner.get(&gap.after).cloned().unwrap_or_default();
        let (mut since, mut left) = (0, rows.len() as i64);
        for (position, leaf) in rows {
            counts.add(*leaf)?;
            (since, left) = (since + 1, left - 1);
            if since == DISTANCE && left >= DISTANCE {
                self.inner.insert(*position, counts.clone());
                since = 0;
            }
        }
        if is_tail {
            self.tail = since;
        }
        self.split_block(gap.to)
    }

    /// Makes the middle mark of the block that ends at or after `position` a super mark, if it has too many.
    fn split_block(&mut self, position: Position) -> Result<(), Damaged> {
        loop {
            let PositionRange { after, to } = self.block(position);
            let block: Vec<_> = self.inner.range(above(after)..to).map(|(position, _)| *position).collect();
            let Some(middle) = (block.len() > 2 * BLOCK).then(|| block[block.len() / 2]) else { return Ok(()) };
            let Some(counts) = self.inner.remove(&middle) else { return Ok(()) };
            for (_, later) in self.inner.range_mut(middle..to) {
                *later = later.minus(&counts)?;
            }
            let below = self.supers.get(&after).cloned().unwrap_or_default();
            self.supers.insert(middle, below.plus(&counts)?);
        }
    }

    /// The block that an entry at `position` belongs to.
    fn block(&self, position: Position) -> PositionRange {
        let after = self.supers.range(..position).next_back().map_or(Position::START, |(position, _)| *position);
        PositionRange { after, to: self.next_super(after) }
    }

    /// The blocks of `span`, which was one block before new marks split it.
    fn blocks_in(&self, PositionRange { after, to }: PositionRange) -> Vec<PositionRange> {
        let inside = self.supers.range(above(after)..to).map(|(position, _)| *position);
        let starts = std::iter::once(after).chain(inside);
        starts.map(|start| PositionRange { after: start, to: self.next_super(start) }).collect()
    }

    fn next_super(&self, after: Position) -> Position {
        self.supers.range(above(after)..).next().map_or(Position::END, |(position, _)| *position)
    }
}

/// The next position.
fn above(position: Position) -> Position {
    Position { seq: position.seq.saturating_add(1), ..position }
}

#[cfg(test)]
mod tests;
