//! Random counts by group, and what brute force answers to them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use auditlog::counts::EntryCounter;
use auditlog::domain::{Action, GroupBy, Grouping, Limit, Offset, ResourceType, Seq, TimeBucket, TimeUnit, Top, Zone};
use auditlog::error::Error;
use auditlog::query::{Buckets, EntryCounts, Query, Start};
use jiff::tz::TimeZoneDatabase;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::asked::Asked;
use super::model::{Log, ORGANIZATION, Row};
use super::{Storm, WRITERS};
use crate::support::{Backend, Database, on_every_database, say};

/// Enough for running counts of the organization and of some users, with more between them than buckets skip.
const ENTRIES: usize = 24_000;
const SECOND: i64 = 1_000_000;
/// 2023-11-15T00:00:00Z.
const MIDNIGHT: i64 = 1_700_006_400 * SECOND;
const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"];

/// Counts, and compares with what the log holds.
struct GroupReader<'a> {
    log: &'a Log,
    query: Query,
    random: StdRng,
    rows: Vec<Row>,
    asked: usize,
    /// How many of the counts had time buckets.
    histograms: usize,
}

impl<'a> GroupReader<'a> {
    fn new(storm: &'a Storm<'_>, number: u64) -> Self {
        let (log, query, random) = (&storm.log, Query::new(storm.store.clone()), storm.random(number));
        Self { log, query, random, rows: Vec::new(), asked: 0, histograms: 0 }
    }

    fn refresh(&mut self) {
        self.rows.extend(self.log.rows_after(self.rows.len()));
    }

    /// While nobody writes: a list has the same total.
    async fn ask_quietly(&mut self, times: usize) {
        for _ in 0..times {
            let Some((asked, total)) = self.ask().await else { continue };
            let (start, limit) = (Start::Offset(Offset::default()), Limit::parse(Some(1)).expect("a limit"));
            let page = self.query.list("key", &self.log.organization, &asked.filter(), start, limit).await;
            assert_eq!(page.expect("a page").total, total, "{asked:?}");
        }
    }

    /// Counts once, and returns the total; `None` if there are too many buckets.
    async fn ask(&mut self) -> Option<(Asked, i64)> {
        self.refresh();
        let (asked, grouping, zone) = self.random_count();
        let first = self.log.last_committed();
        let counts = self.query.count("key", &self.log.organization, &asked.filter(), &grouping).await;
        let counts = match counts {
            Ok(counts) => counts,
            Err(Error::InvalidParameter(refused)) => {
                let is_refused = refused[0].description.starts_with("must make at most 200 buckets, got ");
                assert!(is_refused && is_long(&asked, &grouping), "{asked:?}, {grouping:?}: {refused:?}");
                return None;
            }
            Err(error) => panic!("{asked:?}, {grouping:?}: {}", error.with_causes()),
        };
        self.refresh();
        let heads = self.log.heads_from(first);
        assert!(heads.contains(&counts.head), "{} is none of the heads {heads:?}", counts.head);
        check(&counts, (&asked, &grouping, zone), &self.rows);
        self.asked += 1;
        self.histograms += usize::from(unit(&grouping).is_some());
        Some((asked, counts.total))
    }

    fn random_count(&mut self) -> (Asked, Grouping, &'static str) {
        let mut asked = Asked::random(&mut self.random, &self.rows);
        let random = &mut self.random;
        let mut all = GroupBy::ALL.map(|(_, by)| by);
        all.shuffle(random);
        let mut by: Vec<GroupBy> = Vec::new();
        for one in all {
            if by.len() < 5 && random.random_bool(0.5) && one.beside(&by).is_ok() {
                by.push(one);
            }
        }
        let zone = *ZONES.choose(random).expect("zones");
        let top = Top::parse(Some(random.random_range(1..=50))).expect("a number");
        let grouping = Grouping { by, zone: Zone::parse(zone).expect("a zone"), top };
        if let Some(unit) = unit(&grouping)
            && random.random_bool(0.8)
        {
            let (near, length) = (self.rows.choose(random).expect("rows").time, length(unit));
            // Often at an edge of a bucket, where entries are.
            let from = match random.random_bool(0.5) {
                true => near - near.rem_euclid(length),
                false => near - random.random_range(0..length),
            };
            (asked.from, asked.to) = (Some(from), Some(from + random.random_range(1..=150 * length)));
        }
        (asked, grouping, zone)
    }
}

fn unit(grouping: &Grouping) -> Option<TimeUnit> {
    grouping.by.iter().find_map(|by| by.unit())
}

/// The length of a unit in microseconds; of the shortest month.
fn length(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Minute => 60 * SECOND,
        TimeUnit::Hour => 3_600 * SECOND,
        TimeUnit::Day => 86_400 * SECOND,
        TimeUnit::Week => 7 * 86_400 * SECOND,
        TimeUnit::Month => 28 * 86_400 * SECOND,
    }
}

/// Whether a count may have more than 200 buckets.
fn is_long(asked: &Asked, grouping: &Grouping) -> bool {
    unit(grouping).is_some_and(|unit| match (asked.from, asked.to) {
        (Some(from), Some(to)) => (to - from) / length(unit) >= 195,
        _ => true,
    })
}

/// Compares `counts` with those of the matching `rows` up to its head.
fn check(counts: &EntryCounts, (asked, grouping, zone): (&Asked, &Grouping, &str), rows: &[Row]) {
    let context = format!("{asked:?} by {:?} in {zone} at {}", grouping.by, counts.head);
    let rows: Vec<Row> = rows.iter().filter(|row| row.seq <= counts.head && asked.matches(row)).copied().collect();
    let total = rows.len() as i64;
    assert_eq!(counts.total, total, "{context}");
    assert_eq!(counts.groups.iter().map(|(by, _)| *by).collect::<Vec<_>>(), grouping.by, "{context}");
    let top = usize::from(grouping.top.get());
    for (by, buckets) in &counts.groups {
        let context = format!("{by:?} of {context}");
        match buckets {
            Buckets::Time(buckets) => {
                check_time(buckets, (asked, by.unit().expect("a unit"), zone), &rows, &context);
            }
            Buckets::Actions(actions) => {
                assert_eq!(*actions, terms(&rows, |row| Action(i16::from(row.action))), "{context}");
            }
            Buckets::ResourceTypes(types) => {
                assert_eq!(*types, terms(&rows, |row| ResourceType(i16::from(row.kind))), "{context}");
            }
            Buckets::Outcomes(outcomes) => assert_eq!(*outcomes, terms(&rows, |row| row.outcome), "{context}"),
            Buckets::Users { top: users, other } => {
                let users: Vec<_> = users.iter().map(|(user, count)| (user.to_string(), *count)).collect();
                check_top(&users, *other, terms(&rows, |row| format!("u{}", row.user)), top, &context);
            }
            Buckets::Resources { top: resources, other } => {
                let resources = resources.iter().map(|(code, id, count)| ((id.to_string(), *code), *count));
                let expected = |row: &Row| (format!("r{}", row.resource), ResourceType(i16::from(row.kind)));
                check_top(&resources.collect::<Vec<_>>(), *other, terms(&rows, expected), top, &context);
            }
        }
    }
}

fn check_top<V>(shown: &[(V, i64)], other: i64, mut all: Vec<(V, i64)>, top: usize, context: &str)
where
    V: PartialEq + std::fmt::Debug,
{
    let total: i64 = all.iter().map(|(_, count)| count).sum();
    all.truncate(top);
    assert_eq!(shown, all, "{context}");
    assert_eq!(other, total - all.iter().map(|(_, count)| count).sum::<i64>(), "{context}");
}

/// The number of rows with each value, the highest first, and equal ones by value.
fn terms<V: Ord>(rows: &[Row], value: impl Fn(&Row) -> V) -> Vec<(V, i64)> {
    let mut terms: BTreeMap<V, i64> = BTreeMap::new();
    rows.iter().for_each(|row| *terms.entry(value(row)).or_default() += 1);
    let mut terms: Vec<_> = terms.into_iter().collect();
    terms.sort_by_key(|(_, count)| Reverse(*count));
    terms
}

/// The buckets cover the range without gaps, and each has the number of its rows and the name that they have.
fn check_time(
    buckets: &[(TimeBucket, i64)],
    (asked, unit, zone): (&Asked, TimeUnit, &str),
    rows: &[Row],
    context: &str,
) {
    assert_eq!(buckets.iter().map(|(_, count)| count).sum::<i64>(), rows.len() as i64, "{context}");
    assert!(buckets.windows(2).all(|two| two[0].0.end == two[1].0.start), "gaps in {context}: {buckets:?}");
    for (TimeBucket { value, start, end }, count) in buckets {
        assert!(start < end, "{value} of {context}");
        let held = rows.iter().filter(|row| (start.micros()..end.micros()).contains(&row.time));
        assert_eq!(held.count() as i64, *count, "{value} from {start} to {end} of {context}");
    }
    for row in rows.iter().step_by(rows.len() / 200 + 1) {
        let place = buckets.partition_point(|(bucket, _)| bucket.start.micros() <= row.time) - 1;
        assert_eq!(buckets[place].0.value, name(unit, zone, row.time), "{context}");
    }
    if let (Some(from), Some(to)) = (asked.from, asked.to) {
        assert_eq!(buckets.is_empty(), from == to, "{context}");
    }
    if let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) {
        assert!(asked.from.is_none_or(|from| from == first.start.micros()), "{first:?} begins {context}");
        assert!(asked.to.is_none_or(|to| to == last.end.micros()), "{last:?} ends {context}");
    }
}

/// The unit of a time, as another part of the library writes it.
fn name(unit: TimeUnit, zone: &str, time: i64) -> String {
    let zone = TimeZoneDatabase::bundled().get(zone).expect("a zone");
    let local = jiff::Timestamp::from_microsecond(time).expect("a time").to_zoned_datetime(zone);
    let format = match unit {
        TimeUnit::Minute => "%Y-%m-%dT%H:%M%:z",
        TimeUnit::Hour => "%Y-%m-%dT%H:00%:z",
        TimeUnit::Day => "%Y-%m-%d",
        TimeUnit::Week => "%G-W%V",
        TimeUnit::Month => "%Y-%m",
    };
    local.strftime(format).to_string().replace("+00:00", "Z")
}

/// An entry at each second.
fn row(seq: Seq, second: i64) -> Row {
    let (user, action) = ((seq % 3) as u8, (seq % 2) as u8);
    Row { time: MIDNIGHT + second * SECOND, seq, user, resource: 0, kind: 0, action, outcome: None }
}

/// Counts in ranges that begin and end at edges of buckets, and just beside them.
async fn count_at_edges(query: &Query, log: &Log) {
    let rows = log.rows_after(0);
    for (unit, hours) in [(TimeUnit::Minute, 3), (TimeUnit::Hour, 4), (TimeUnit::Day, 24)] {
        for beside in [-1, 0, 1] {
            let mut asked = Asked::default();
            let from = MIDNIGHT + 3_600 * SECOND;
            (asked.from, asked.to) = (Some(from + beside), Some(from + hours * 3_600 * SECOND - beside));
            let by = vec![GroupBy::Time(unit), GroupBy::User, GroupBy::Action];
            let (zone, top) = (Zone::parse("").expect("UTC"), Top::parse(None).expect("a number"));
            let grouping = Grouping { by, zone, top };
            let counts = query.count("key", &log.organization, &asked.filter(), &grouping).await.expect("counted");
            check(&counts, (&asked, &grouping, "UTC"), &rows);
        }
    }
}

on_every_database! {
    async fn groups_are_exact_while_writers_and_counters_race(database: &Database) {
        let storm = Storm::begin(database, ENTRIES / 2).await;
        let mut reader = GroupReader::new(&storm, 1);
        reader.ask_quietly(20).await;
        storm.count_all().await;
        reader.ask_quietly(60).await;
        // Uncounted, and few enough to be counted one by one.
        storm.grow(ENTRIES).await;
        reader.ask_quietly(60).await;
        let done = AtomicBool::new(false);
        let writing = async {
            futures::future::join_all((10..10 + WRITERS).map(|number| storm.write(number))).await;
            done.store(true, Ordering::SeqCst);
        };
        let reading = async {
            let mut reader = GroupReader::new(&storm, 2);
            while !done.load(Ordering::SeqCst) {
                reader.ask().await;
            }
            reader.asked
        };
        let ((), raced, _) = tokio::join!(writing, reading, storm.count(30, &done));
        reader.ask_quietly(40).await;
        storm.count_all().await;
        reader.ask_quietly(100).await;
        let (asked, histograms) = (reader.asked, reader.histograms);
        say(&format!("{:?}: {asked} counts by group, {histograms} with time, {raced} during a race", database.backend));
        assert!(histograms > 50 && raced > 0);
    }

    async fn entries_at_the_edges_of_buckets_are_counted_once(database: &Database) {
        let (store, log) = (database.store().await, Log::of(ORGANIZATION));
        let (query, counter) = (Query::new(store.clone()), EntryCounter::new(store.clone()));
        for first in (0..16_000).step_by(2_000) {
            log.write_rows(&store, 2_000, |head| (1..=2_000).map(|n| row(head + n, first + n)).collect()).await;
        }
        count_at_edges(&query, &log).await;
        counter.count_all(&log.organization, |_| ()).await.expect("counted");
        count_at_edges(&query, &log).await;
        // Late ones at the same seconds, uncounted and then counted.
        log.write_rows(&store, 4_000, |head| (1..=4_000).map(|n| row(head + n, 2 * n)).collect()).await;
        count_at_edges(&query, &log).await;
        counter.count_all(&log.organization, |_| ()).await.expect("counted");
        count_at_edges(&query, &log).await;
    }
}
