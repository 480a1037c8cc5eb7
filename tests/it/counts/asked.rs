//! Random requests, and what brute force answers to them.

use auditlog::domain::{
    Action, Filter, Identifier, Limit, Offset, Outcome, ResourceType, Search, Seq, TimeRange, Timestamp,
};
use auditlog::query::{Page, Query, Start};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::model::{ACTIONS, Log, RARE, RESOURCES, Row, TYPES, USERS, zipf};

/// A request; of each part, a set of bits says what it asks for, and an empty one asks for all.
#[derive(Debug, Default, Clone)]
pub struct Asked {
    users: u64,
    resources: u64,
    kinds: u64,
    actions: u64,
    outcomes: u64,
    /// Inclusive.
    pub from: Option<i64>,
    /// Exclusive.
    pub to: Option<i64>,
    offset: i64,
    limit: i32,
}

impl Asked {
    pub fn random(random: &mut StdRng, rows: &[Row]) -> Self {
        let mut asked = Self::default();
        match random.random_range(0..10) {
            0..=2 => {}
            3 | 4 => asked.users = some(random, USERS),
            5 => asked.resources = some(random, RESOURCES),
            6 | 7 => {
                asked.resources = some(random, RESOURCES);
                asked.kinds = some(random, TYPES);
            }
            8 => asked.kinds = some(random, TYPES),
            _ => {
                asked.users = some(random, USERS);
                asked.resources = some(random, RESOURCES);
            }
        }
        if random.random_bool(0.3) {
            asked.actions = some(random, ACTIONS);
        }
        if random.random_bool(0.15) {
            asked.actions = 1 << RARE;
        }
        if random.random_bool(0.2) {
            asked.outcomes = some(random, Outcome::ALL.len() as u8);
        }
        let end = |random: &mut StdRng| {
            let near = *[0, 0, 1, -1, 1_000_000, -1_000_000].choose(random).expect("steps");
            rows.choose(random).map(|row| row.time + near)
        };
        if random.random_bool(0.3) {
            asked.from = end(random);
        }
        if random.random_bool(0.3) {
            asked.to = end(random).filter(|to| asked.from.is_none_or(|from| from <= *to));
        }
        asked.limit = *[1, 2, 10, 50, 100].choose(random).expect("limits");
        asked.offset = asked.some_offset(random, rows.iter().filter(|row| asked.matches(row)).count() as i64);
        asked
    }

    /// Shallow, deep, and at the ends of what about `total` entries have.
    fn some_offset(&self, random: &mut StdRng, total: i64) -> i64 {
        let limit = i64::from(self.limit);
        match random.random_range(0..10) {
            0 => random.random_range(0..=total.min(1_023)),
            1 => total / 2,
            2 => total - limit,
            3 => total - 1 - random.random_range(0..3),
            4 => total + random.random_range(0..3),
            5 => 1_024,
            _ => random.random_range(0..=total),
        }
        .max(0)
    }

    pub fn matches(&self, row: &Row) -> bool {
        let any = |set: u64, value: u8| set == 0 || set & (1 << value) != 0;
        any(self.users, row.user)
            && any(self.resources, row.resource)
            && any(self.kinds, row.kind)
            && any(self.actions, row.action)
            && (self.outcomes == 0 || row.outcome.is_some_and(|outcome| any(self.outcomes, place(outcome))))
            && self.from.is_none_or(|from| from <= row.time)
            && self.to.is_none_or(|to| row.time < to)
    }

    /// The filter as a client might write it, who names things twice.
    pub fn filter(&self) -> Filter {
        fn values<T>(set: u64, value: impl Fn(u8) -> T) -> Vec<T> {
            let twice = (0..64).chain((0..64).rev().step_by(2)).filter(|place| set & (1 << place) != 0);
            twice.map(value).collect()
        }
        let time = TimeRange::parse(self.from.map(Timestamp::saturating), self.to.map(Timestamp::saturating));
        let filter = Filter {
            resource_types: values(self.kinds, |kind| ResourceType(i16::from(kind))),
            resource_ids: values(self.resources, |id| Identifier::parse(format!("r{id}")).expect("an id")),
            actions: values(self.actions, |action| Action(i16::from(action))),
            outcomes: values(self.outcomes, |place| Outcome::ALL[usize::from(place)]),
            user_ids: values(self.users, |id| Identifier::parse(format!("u{id}")).expect("an id")),
            time: time.expect("in order"),
            search: Search::default(),
        };
        filter.normalized()
    }

    /// Whether `page` is that of `offset` at the head `head`; `matching` are all that match, newest first.
    fn is_answered(&self, page: &Page, matching: &[Seq], head: Seq, offset: usize) -> bool {
        let mut then = matching.iter().filter(|seq| **seq <= head);
        let total = then.clone().count() as i64;
        let count = page.entries.len();
        let is_full = count == (self.limit as usize).min((total as usize).saturating_sub(offset));
        let mut left = then.by_ref().skip(offset);
        page.total == total && is_full && page.entries.iter().all(|entry| Some(&entry.seq) == left.next())
    }
}

/// The place of `outcome` in a set of bits.
fn place(outcome: Outcome) -> u8 {
    Outcome::ALL.iter().position(|one| *one == outcome).expect("it is one of all") as u8
}

/// At least one of `count` values, mostly one or two of the frequent ones.
fn some(random: &mut StdRng, count: u8) -> u64 {
    let many = *[1, 1, 1, 2, 3, 12].choose(random).expect("numbers");
    (0..many).fold(0, |set, _| set | 1 << zipf(random, count))
}

/// Asks, and compares with what the log holds.
pub struct Reader<'a> {
    log: &'a Log,
    query: Query,
    random: StdRng,
    /// Newest first.
    rows: Vec<Row>,
    pub asked: usize,
    /// How many of the requests were for pages far down.
    pub deep: usize,
}

impl<'a> Reader<'a> {
    pub fn new(log: &'a Log, query: Query, seed: u64) -> Self {
        Self { log, query, random: StdRng::seed_from_u64(seed), rows: Vec::new(), asked: 0, deep: 0 }
    }

    fn refresh(&mut self) {
        let news = self.log.rows_after(self.rows.len());
        if !news.is_empty() {
            self.rows.extend(news);
            self.rows.sort_by_key(|row| std::cmp::Reverse((row.time, row.seq)));
        }
    }

    /// Asks once, and often for the next page too.
    pub async fn ask(&mut self) {
        self.refresh();
        let asked = Asked::random(&mut self.random, &self.rows);
        let first = self.log.last_committed();
        let (filter, limit) = (asked.filter(), Limit::parse(Some(asked.limit)).expect("a limit"));
        let start = Start::Offset(Offset::parse(Some(asked.offset)).expect("an offset"));
        let page = self.query.list("key", &self.log.organization, &filter, start, limit).await;
        let page = page.unwrap_or_else(|error| panic!("{asked:?}: {}", error.with_causes()));
        self.refresh();
        let matching: Vec<_> = self.rows.iter().filter(|row| asked.matches(row)).map(|row| row.seq).collect();
        let heads = self.log.heads_from(first);
        let offset = asked.offset as usize;
        let then: Vec<_> =
            heads.iter().filter(|head| asked.is_answered(&page, &matching, **head, offset)).copied().collect();
        assert!(!then.is_empty(), "{asked:?}: {} at none of the heads {heads:?}", describe(&page, &matching, offset));
        self.asked += 1;
        self.deep += usize::from(asked.offset >= 1_024 && !page.entries.is_empty());
        let Some(cursor) = page.next_cursor.filter(|_| self.random.random_bool(0.3)) else { return };
        let next = self.query.list("key", &self.log.organization, &filter, Start::Cursor(cursor), limit).await;
        let next = next.unwrap_or_else(|error| panic!("{asked:?}, next: {}", error.with_causes()));
        let offset = offset + page.entries.len();
        let is_next = then.iter().any(|head| asked.is_answered(&next, &matching, *head, offset));
        assert!(is_next, "{asked:?}, next: {} at none of the heads {then:?}", describe(&next, &matching, offset));
    }
}

fn describe(page: &Page, matching: &[Seq], offset: usize) -> String {
    let place = |seq: Seq| matching.iter().position(|one| *one == seq);
    let first = page.entries.first().map(|entry| (entry.seq, place(entry.seq)));
    let (total, count, all) = (page.total, page.entries.len(), matching.len());
    format!(
        "a total of {total} and {count} entries from {first:?} (number and place), of {all} now, asked for {offset}"
    )
}
