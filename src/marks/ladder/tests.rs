//! The ladder against counting by brute force, whatever the order in which entries are folded.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::domain::{Action, ResourceType, Timestamp};

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
    whole: Counts,
    newest: Position,
    tail: i64,
    supers: BTreeMap<Position, Counts>,
    inner: BTreeMap<Position, Counts>,
}

/// A key, and all its folded entries.
#[derive(Default)]
struct Model {
    stored: Stored,
    entries: BTreeMap<Position, EntryKind>,
    clock: i64,
    splits: usize,
    gaps: usize,
}

impl Model {
    fn rows(&mut self, random: &mut StdRng, order: Order, count: i64) -> Vec<Counted> {
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
                let leaf = (ResourceType(random.random_range(0..3)), Action(random.random_range(0..3)));
                (Position { timestamp: Timestamp::saturating(time), seq: numbered + place }, leaf)
            })
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Folds as the database's folder does: loads what is touched, and writes back what was loaded.
    fn fold(&mut self, rows: &[Counted]) {
        let Stored { whole, newest, tail, supers, inner } = &self.stored;
        let mut ladder = Ladder { whole: whole.clone(), newest: *newest, tail: *tail, ..Ladder::default() };
        let mut blocks = Vec::new();
        let is_loaded = !ladder.touched(rows).is_empty();
        if is_loaded {
            ladder.supers = supers.clone();
            blocks = ladder.touched(rows);
            let inside = |at: &Position| blocks.iter().any(|block| block.after < *at && *at <= block.to);
            ladder.inner =
                inner.iter().filter(|(at, _)| inside(at)).map(|(at, counts)| (*at, counts.clone())).collect();
        }
        let loaded: Vec<_> = ladder.inner.keys().copied().collect();
        self.entries.extend(rows.iter().copied());
        ladder.fold(rows).expect("counts are whole");
        for gap in ladder.gaps(&blocks) {
            let inside: Vec<_> = self.entries.range(above(gap.after)..=gap.to).map(|(at, leaf)| (*at, *leaf)).collect();
            ladder.split(gap, &inside).expect("counts are whole");
            self.gaps += 1;
        }
        let stored = &mut self.stored;
        self.splits += ladder.supers.len().saturating_sub(stored.supers.len());
        (stored.whole, stored.newest, stored.tail) = (ladder.whole, ladder.newest, ladder.tail);
        loaded.iter().for_each(|at| drop(stored.inner.remove(at)));
        stored.inner.extend(ladder.inner);
        match is_loaded {
            true => stored.supers = ladder.supers,
            false => assert!(ladder.supers.is_empty(), "a super mark among those that nobody loaded"),
        }
    }

    /// Compares each count with the entries, and the sizes with what they may be after a step of `step` entries.
    fn check(&self, step: i64, told: &str) {
        let Stored { whole, newest, tail, supers, inner } = &self.stored;
        let (mut all, mut below, mut since, mut in_block) = (Counts::default(), Counts::default(), 0, 0);
        let mut marks = 0;
        for (at, leaf) in &self.entries {
            all.add(*leaf).expect("room");
            since += 1;
            let is_mark = supers.contains_key(at) || inner.contains_key(at);
            if let Some(counts) = inner.get(at) {
                assert_eq!(counts.bytes(), all.minus(&below).expect("more").bytes(), "{told}: a mark at {at:?}");
                in_block += 1;
            }
            if let Some(counts) = supers.get(at) {
                assert_eq!(counts.bytes(), all.bytes(), "{told}: a super mark at {at:?}");
                (below, in_block) = (all.clone(), 0);
            }
            assert!(in_block <= 2 * BLOCK, "{told}: a block of more than {in_block} marks at {at:?}");
            if is_mark {
                assert!(since <= WIDEST + step, "{told}: {since} entries before the mark at {at:?}");
                (since, marks) = (0, marks + 1);
            }
        }
        assert_eq!(marks, supers.len() + inner.len(), "{told}: marks lie at entries, one at each");
        assert_eq!(whole.bytes(), all.bytes(), "{told}: the whole count");
        let last = self.entries.last_key_value().map(|(at, _)| *at);
        assert_eq!((Some(*newest), *tail), (last, since), "{told}: the end");
        assert!(since <= WIDEST + step, "{told}: {since} entries after the last mark");
    }
}

/// Steps of `orders` until there are `entries`; a key begins with all that it has then.
fn fold_and_check(seed: u64, orders: &[Order], entries: usize) -> Model {
    let (mut random, mut model) = (StdRng::seed_from_u64(seed), Model::default());
    while model.entries.len() < entries {
        let order = orders[random.random_range(0..orders.len())];
        let most = *[2, DISTANCE, 4 * DISTANCE, 8 * DISTANCE].get(random.random_range(0..4)).expect("one of four");
        let count = random.random_range(1..=most);
        let rows = model.rows(&mut random, order, count);
        model.fold(&rows);
        model.check(count, &format!("seed {seed}, {order:?}, {} entries", model.entries.len()));
    }
    model
}

const ALL: [Order; 6] =
    [Order::Ascending, Order::Jittered, Order::Late, Order::Crowded, Order::Descending, Order::Tied];

#[test]
fn marks_are_what_brute_force_counts_in_any_mixture_of_orders() {
    let (mut splits, mut gaps) = (0, 0);
    for seed in 0..200 {
        let model = fold_and_check(seed, &ALL, 400);
        (splits, gaps) = (splits + model.splits, gaps + model.gaps);
    }
    assert!(splits > 500 && gaps > 500, "{splits} blocks and {gaps} gaps were split");
}

#[test]
fn marks_are_what_brute_force_counts_in_each_order_alone() {
    for order in ALL {
        for seed in 0..15 {
            fold_and_check(seed, &[order], 400);
        }
    }
}

#[test]
fn marks_are_what_brute_force_counts_where_the_end_grows_while_the_past_is_crowded() {
    for seed in 0..60 {
        fold_and_check(seed, &[Order::Ascending, Order::Ascending, Order::Ascending, Order::Crowded], 500);
    }
}

#[test]
fn rows_that_only_lengthen_a_tail_need_no_marks() {
    let row = |seq: i64| (Position { timestamp: Timestamp::saturating(seq), seq }, (ResourceType(0), Action(0)));
    let mut ladder = Ladder::default();
    let rows: Vec<_> = (1..DISTANCE).map(row).collect();
    assert_eq!(ladder.touched(&rows), []);
    ladder.fold(&rows).expect("room");
    assert_eq!((ladder.tail, ladder.newest), (DISTANCE - 1, rows[rows.len() - 1].0));
    assert_eq!(ladder.touched(&[row(DISTANCE)]), [PositionRange::ALL], "the next one makes a mark");
}
