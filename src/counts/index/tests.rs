//! Compares the index with a brute-force count, for entries that are counted in any order.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::domain::{Action, Outcome, ResourceType, Timestamp};

/// How the times of a step's entries lie.
#[derive(Debug, Clone, Copy)]
enum Order {
    Ascending,
    Jittered,
    /// Anywhere in the past.
    Late,
    /// In one narrow place of the past.
    Crowded,
    Descending,
    Tied,
}

/// The rows that a database keeps for a key.
#[derive(Default)]
struct Stored {
    total: Counts,
    newest: Position,
    tail: i64,
    level0: BTreeMap<Position, Counts>,
    level1: BTreeMap<Position, Counts>,
}

fn kind(random: &mut StdRng) -> EntryKind {
    EntryKind {
        resource_type: ResourceType(random.random_range(0..3)),
        action: Action(random.random_range(0..3)),
        outcome: random.random_bool(0.2).then_some(Outcome::Denied),
    }
}

/// A key, and all its counted entries.
#[derive(Default)]
struct Model {
    stored: Stored,
    entries: BTreeMap<Position, EntryKind>,
    clock: i64,
    splits: usize,
    gaps: usize,
}

impl Model {
    fn rows(&mut self, random: &mut StdRng, order: Order, count: i64) -> Vec<CountedEntry> {
        let (begun, spot) = (self.clock, random.random_range(0..=self.clock));
        let numbered = self.entries.len() as i64;
        let mut rows: Vec<_> = (1..=count)
            .map(|place| {
                let time = match order {
                    Order::Ascending => begun + place / 2,
                    Order::Jittered => begun + place + random.random_range(-9..=9),
                    Order::Late => random.random_range(-50..=begun),
                    Order::Crowded => spot + random.random_range(0..=2),
                    Order::Descending => -numbered - place,
                    Order::Tied => spot,
                };
                self.clock = self.clock.max(time);
                let kind = kind(random);
                (Position { timestamp: Timestamp::saturating(time), seq: numbered + place }, kind)
            })
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Counts as a step does: loads the blocks that change, and writes them back.
    fn add(&mut self, rows: &[CountedEntry]) {
        let Stored { total, newest, tail, level0, level1 } = &self.stored;
        let mut index = CountIndex { total: total.clone(), newest: *newest, tail: *tail, ..CountIndex::default() };
        let mut blocks = Vec::new();
        let is_loaded = !index.touched(rows).is_empty();
        if is_loaded {
            index.level0 = level0.clone();
            blocks = index.touched(rows);
            let inside = |at: &Position| blocks.iter().any(|block| block.after < *at && *at <= block.to);
            index.level1 =
                level1.iter().filter(|(at, _)| inside(at)).map(|(at, counts)| (*at, counts.clone())).collect();
        }
        let loaded: Vec<_> = index.level1.keys().copied().collect();
        self.entries.extend(rows.iter().copied());
        index.add(rows).expect("counts hold");
        for gap in index.gaps(&blocks) {
            let inside: Vec<_> = self.entries.range(above(gap.after)..=gap.to).map(|(at, kind)| (*at, *kind)).collect();
            index.split(gap, &inside).expect("counts hold");
            self.gaps += 1;
        }
        let stored = &mut self.stored;
        self.splits += index.level0.len().saturating_sub(stored.level0.len());
        (stored.total, stored.newest, stored.tail) = (index.total, index.newest, index.tail);
        loaded.iter().for_each(|at| drop(stored.level1.remove(at)));
        stored.level1.extend(index.level1);
        match is_loaded {
            true => stored.level0 = index.level0,
            false => assert!(index.level0.is_empty(), "a level-0 count that was not loaded"),
        }
    }

    /// Compares each count with the entries, and the sizes with what they may be after a step of `step` entries.
    fn check(&self, step: i64, context: &str) {
        let Stored { total, newest, tail, level0, level1 } = &self.stored;
        let (mut all, mut below, mut since, mut in_block) = (Counts::default(), Counts::default(), 0, 0);
        let mut counts_seen = 0;
        for (at, kind) in &self.entries {
            all.add(*kind).expect("room");
            since += 1;
            let is_counted = level0.contains_key(at) || level1.contains_key(at);
            if let Some(counts) = level1.get(at) {
                assert_eq!(
                    counts.bytes(),
                    all.minus(&below).expect("more").bytes(),
                    "{context}: the level-1 count at {at:?}"
                );
                in_block += 1;
            }
            if let Some(counts) = level0.get(at) {
                assert_eq!(counts.bytes(), all.bytes(), "{context}: the level-0 count at {at:?}");
                (below, in_block) = (all.clone(), 0);
            }
            assert!(in_block <= 2 * BLOCK, "{context}: a block of more than {in_block} counts at {at:?}");
            if is_counted {
                assert!(since <= WIDEST + step, "{context}: {since} entries before the count at {at:?}");
                (since, counts_seen) = (0, counts_seen + 1);
            }
        }
        assert_eq!(counts_seen, level0.len() + level1.len(), "{context}: counts lie at entries, one at each");
        assert_eq!(total.bytes(), all.bytes(), "{context}: the total count");
        let last = self.entries.last_key_value().map(|(at, _)| *at);
        assert_eq!((Some(*newest), *tail), (last, since), "{context}: the end");
        assert!(since <= WIDEST + step, "{context}: {since} entries after the last count");
    }
}

/// Steps of `orders` until there are `entries`; a key begins with all that it has then.
fn add_and_check(seed: u64, orders: &[Order], entries: usize) -> Model {
    let (mut random, mut model) = (StdRng::seed_from_u64(seed), Model::default());
    while model.entries.len() < entries {
        let order = orders[random.random_range(0..orders.len())];
        let most = *[2, DISTANCE, 4 * DISTANCE, 8 * DISTANCE].get(random.random_range(0..4)).expect("one of four");
        let count = random.random_range(1..=most);
        let rows = model.rows(&mut random, order, count);
        model.add(&rows);
        model.check(count, &format!("seed {seed}, {order:?}, {} entries", model.entries.len()));
    }
    model
}

const ALL: [Order; 6] =
    [Order::Ascending, Order::Jittered, Order::Late, Order::Crowded, Order::Descending, Order::Tied];

#[test]
fn running_counts_equal_brute_force_in_any_mixture_of_orders() {
    let (mut splits, mut gaps) = (0, 0);
    for seed in 0..200 {
        let model = add_and_check(seed, &ALL, 400);
        (splits, gaps) = (splits + model.splits, gaps + model.gaps);
    }
    assert!(splits > 500 && gaps > 500, "{splits} blocks and {gaps} gaps were split");
}

#[test]
fn running_counts_equal_brute_force_in_each_order_alone() {
    for order in ALL {
        for seed in 0..15 {
            add_and_check(seed, &[order], 400);
        }
    }
}

#[test]
fn running_counts_equal_brute_force_where_the_end_grows_while_the_past_is_crowded() {
    for seed in 0..60 {
        add_and_check(seed, &[Order::Ascending, Order::Ascending, Order::Ascending, Order::Crowded], 500);
    }
}

#[test]
fn rows_that_only_lengthen_a_tail_change_no_running_count() {
    let kind = EntryKind { resource_type: ResourceType(0), action: Action(0), outcome: None };
    let row = |seq: i64| (Position { timestamp: Timestamp::saturating(seq), seq }, kind);
    let mut index = CountIndex::default();
    let rows: Vec<_> = (1..DISTANCE).map(row).collect();
    assert_eq!(index.touched(&rows), []);
    index.add(&rows).expect("room");
    assert_eq!((index.tail, index.newest), (DISTANCE - 1, rows[rows.len() - 1].0));
    assert_eq!(index.touched(&[row(DISTANCE)]), [PositionRange::ALL], "the next one makes a running count");
}
