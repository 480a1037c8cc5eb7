//! The running counts of one key, and the rules by which new entries change them. Pure functions, so that a test can
//! try all orders of entries.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{COUNT_DISTANCE, Counts, Damaged, EntryKind, Position, PositionRange};

/// [`COUNT_DISTANCE`]. Small in the tests here, which then see many running counts. A gap of more than twice as many
/// entries is split.
pub(super) const DISTANCE: i64 = if cfg!(test) { 8 } else { COUNT_DISTANCE };
const WIDEST: i64 = 2 * DISTANCE;
/// The number of level-1 counts in a block, which follow one level-0 count. A block with more than twice as many is
/// split. A late entry changes the level-1 counts of its block and all later level-0 counts: this size keeps both few.
const BLOCK: usize = if cfg!(test) { 4 } else { 32 };

/// The running counts of a key, as far as they are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountIndex {
    /// The counts of all counted entries of the key.
    pub total: Counts,
    /// The position of the newest counted entry.
    pub newest: Position,
    /// The number of counted entries after the last running count.
    pub tail: i64,
    /// Level 0: the counts of all entries up to each position.
    pub level0: BTreeMap<Position, Counts>,
    /// Level 1, of the loaded blocks: the counts of the entries up to each position since the level-0 count before it.
    pub level1: BTreeMap<Position, Counts>,
}

/// The position and kind of an entry: all that counts need.
pub type CountedEntry = (Position, EntryKind);

impl CountIndex {
    /// The blocks that `rows`, in order, change. A block reaches from a level-0 count, or the start, to the next, or
    /// the end.
    pub fn touched(&self, rows: &[CountedEntry]) -> Vec<PositionRange> {
        let late = rows.iter().map(|(position, _)| *position).take_while(|position| *position < self.newest);
        let mut starts: BTreeSet<_> = late.map(|position| self.block(position).after).collect();
        if self.tail + rows.len() as i64 >= DISTANCE {
            starts.insert(self.block(Position::END).after);
        }
        starts.into_iter().map(|start| PositionRange { after: start, to: self.next_level0(start) }).collect()
    }

    /// Counts `rows`, which are in order. The blocks that they change must be loaded. Errors: a count beyond its limit.
    pub fn add(&mut self, rows: &[CountedEntry]) -> Result<(), Damaged> {
        let late = rows.partition_point(|(position, _)| *position < self.newest);
        let (late, in_order) = rows.split_at(late);
        for (position, kind) in late {
            let PositionRange { to, .. } = self.block(*position);
            self.level0.range_mut(*position..).try_for_each(|(_, counts)| counts.add(*kind))?;
            self.level1.range_mut(*position..to).try_for_each(|(_, counts)| counts.add(*kind))?;
            self.total.add(*kind)?;
            if to == Position::END && self.level1.range(*position..).next().is_none() {
                self.tail += 1;
            }
        }
        for (position, kind) in in_order {
            self.total.add(*kind)?;
            self.newest = *position;
            self.tail += 1;
            if self.tail >= DISTANCE {
                let below = self.level0.last_key_value().map(|(_, counts)| counts.clone()).unwrap_or_default();
                self.level1.insert(*position, self.total.minus(&below)?);
                self.tail = 0;
                self.split_block(*position)?;
            }
        }
        Ok(())
    }

    /// The gaps between running counts of `blocks` that have become too wide.
    pub fn gaps(&self, blocks: &[PositionRange]) -> Vec<PositionRange> {
        let mut gaps = Vec::new();
        for block in blocks.iter().flat_map(|block| self.blocks_in(*block)) {
            let (mut after, mut before) = (block.after, 0);
            for (position, counts) in self.level1.range(above(block.after)..block.to) {
                if counts.total() - before > WIDEST {
                    gaps.push(PositionRange { after, to: *position });
                }
                (after, before) = (*position, counts.total());
            }
            let (to, rest) = match self.level0.get(&block.to) {
                Some(next) => {
                    let below = self.level0.get(&block.after).map_or(0, Counts::total);
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

    /// Adds running counts inside `gap`, whose counted entries are `rows`, in order. Errors: a damaged count.
    pub fn split(&mut self, gap: PositionRange, rows: &[CountedEntry]) -> Result<(), Damaged> {
        let is_tail = gap.to == self.newest && !self.level0.contains_key(&gap.to) && !self.level1.contains_key(&gap.to);
        let mut counts = self.level1.get(&gap.after).cloned().unwrap_or_default();
        let (mut since, mut left) = (0, rows.len() as i64);
        for (position, kind) in rows {
            counts.add(*kind)?;
            (since, left) = (since + 1, left - 1);
            if since == DISTANCE && left >= DISTANCE {
                self.level1.insert(*position, counts.clone());
                since = 0;
            }
        }
        if is_tail {
            self.tail = since;
        }
        self.split_block(gap.to)
    }

    /// Splits the block of `position` if it has too many running counts: the one in the middle moves to level 0.
    fn split_block(&mut self, position: Position) -> Result<(), Damaged> {
        loop {
            let PositionRange { after, to } = self.block(position);
            let block: Vec<_> = self.level1.range(above(after)..to).map(|(position, _)| *position).collect();
            let Some(middle) = (block.len() > 2 * BLOCK).then(|| block[block.len() / 2]) else { return Ok(()) };
            let Some(counts) = self.level1.remove(&middle) else { return Ok(()) };
            for (_, later) in self.level1.range_mut(middle..to) {
                *later = later.minus(&counts)?;
            }
            let below = self.level0.get(&after).cloned().unwrap_or_default();
            self.level0.insert(middle, below.plus(&counts)?);
        }
    }

    /// The block that an entry at `position` belongs to.
    fn block(&self, position: Position) -> PositionRange {
        let after = self.level0.range(..position).next_back().map_or(Position::START, |(position, _)| *position);
        PositionRange { after, to: self.next_level0(after) }
    }

    /// The blocks of `span`, which was one block before it was split.
    fn blocks_in(&self, PositionRange { after, to }: PositionRange) -> Vec<PositionRange> {
        let inside = self.level0.range(above(after)..to).map(|(position, _)| *position);
        let starts = std::iter::once(after).chain(inside);
        starts.map(|start| PositionRange { after: start, to: self.next_level0(start) }).collect()
    }

    fn next_level0(&self, after: Position) -> Position {
        self.level0.range(above(after)..).next().map_or(Position::END, |(position, _)| *position)
    }
}

/// The next position.
fn above(position: Position) -> Position {
    Position { seq: position.seq.saturating_add(1), ..position }
}

#[cfg(test)]
mod tests;
