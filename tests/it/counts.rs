//! Totals and pages are what brute force gives, whatever happens to the counts that make them fast.

mod asked;
mod calls;
mod commands;
mod grouped;
mod model;
mod parts;
mod sparse;

use std::pin::pin;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use auditlog::counts::EntryCounter;
use auditlog::error::Error;
use auditlog::query::Query;
use auditlog::store::Store;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::database::execute;
use crate::support::process::auditlog;
use crate::support::{Backend, Database, on_every_database, say};
use asked::Reader;
use model::{Log, ORDERS, ORGANIZATION, Order};

/// Enough for two blocks of running counts of the organization.
const BEGUN: usize = 68_000;
const BATCH: usize = 500;
const WRITERS: u64 = 3;
const BATCHES: usize = 12;
const KILLS: usize = 10;

fn seed() -> u64 {
    std::env::var("AUDITLOG_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2_026)
}

/// A storm's parts.
struct Storm<'a> {
    database: &'a Database,
    store: Store,
    log: Log,
    seed: u64,
    asked: AtomicUsize,
    deep: AtomicUsize,
}

impl<'a> Storm<'a> {
    async fn begin(database: &'a Database, entries: usize) -> Self {
        let (store, log, seed) = (database.store().await, Log::of(ORGANIZATION), seed());
        say(&format!("{:?}: running counts, AUDITLOG_TEST_SEED={seed}", database.backend));
        let storm = Self { database, store, log, seed, asked: AtomicUsize::new(0), deep: AtomicUsize::new(0) };
        storm.grow(entries).await;
        storm
    }

    /// Entries in order, until there are so many.
    async fn grow(&self, entries: usize) {
        let mut random = self.random(self.log.len() as u64);
        while self.log.len() < entries {
            self.log.write(&self.store, &mut random, Order::Ascending, 2_000).await;
        }
        if self.database.backend == Backend::Postgres {
            // As it does by itself after a minute.
            execute(self.database, "ANALYZE").await;
        }
    }

    fn random(&self, number: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(1_000) + number)
    }

    async fn ask(&self, number: u64, times: usize) {
        self.ask_while(number, |asked| asked < times).await;
    }

    async fn ask_while(&self, number: u64, goes_on: impl Fn(usize) -> bool) {
        let seed = self.seed.wrapping_mul(1_000) + number;
        let mut reader = Reader::new(&self.log, Query::new(self.store.clone()), seed);
        while goes_on(reader.asked) {
            reader.ask().await;
        }
        self.asked.fetch_add(reader.asked, Ordering::SeqCst);
        self.deep.fetch_add(reader.deep, Ordering::SeqCst);
    }

    async fn write(&self, number: u64) {
        let mut random = self.random(number);
        for _ in 0..BATCHES {
            let order = *ORDERS.choose(&mut random).expect("orders");
            let count = random.random_range(1..=BATCH);
            self.log.write(&self.store, &mut random, order, count).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await;
        }
    }

    /// The same from two readers at once.
    async fn ask_twice(&self, number: u64, times: usize) {
        tokio::join!(self.ask(number, times), self.ask(number + 1, times));
    }

    /// Counts entries now and then, and is often dropped before it ends. Returns how often.
    async fn count(&self, number: u64, done: &AtomicBool) -> usize {
        let (mut random, mut gone) = (self.random(number), 0);
        let counter = EntryCounter::new(self.database.store().await);
        while !done.load(Ordering::SeqCst) {
            let polls = if random.random_bool(0.6) { random.random_range(1..20) } else { usize::MAX };
            match dropped_after(polls, counter.count_all(&self.log.organization, |_| {})).await {
                Some(counted) => assert!(is_whole_or_away(&counted), "{counted:?}"),
                None => gone += 1,
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await;
        }
        gone
    }

    async fn count_all(&self) {
        EntryCounter::new(self.store.clone()).count_all(&self.log.organization, |_| {}).await.expect("counted");
    }

    async fn check(&self, when: &str) -> auditlog::counts::CountCheck {
        let checked =
            EntryCounter::new(self.store.clone()).check(&self.log.organization, |_| {}).await.expect("checked");
        assert_eq!(checked.faults, [], "{when}");
        assert_eq!(checked.head, self.log.len() as i64, "{when}");
        checked
    }
}

fn is_whole_or_away(outcome: &Result<i64, Error>) -> bool {
    matches!(outcome, Ok(_) | Err(Error::StorageUnavailable(_)))
}

/// The result of `future`; `None` if it is still pending after `polls` polls.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    let outcome = std::future::poll_fn(|context| match left.checked_sub(1) {
        None => Poll::Ready(None),
        Some(fewer) => {
            left = fewer;
            future.as_mut().poll(context).map(Some)
        }
    });
    outcome.await
}

/// A process that counts entries.
fn counting(url: &str) -> Child {
    let mut command = auditlog();
    command.args(["running-counts", "update", "--organization", ORGANIZATION]).env("AUDITLOG_DATABASE_URL", url);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

/// Kills counting processes at random moments. Returns how many were still alive.
async fn kill_counters(storm: &Storm<'_>) -> usize {
    let (mut random, mut killed, mut life) = (storm.random(50), 0, Duration::from_millis(1_000));
    for _ in 0..KILLS {
        for order in [Order::Late, Order::Crowded] {
            storm.log.write(&storm.store, &mut random, order, BATCH).await;
        }
        let begun = Instant::now();
        let mut processes = [counting(&storm.database.url), counting(&storm.database.url)];
        tokio::time::sleep(life.mul_f64(random.random())).await;
        for process in &mut processes {
            match process.try_wait().expect("it can be asked") {
                Some(status) => {
                    assert!(status.success(), "{status}");
                    life = life.min(begun.elapsed());
                }
                None => {
                    process.kill().expect("SIGKILL");
                    killed += 1;
                }
            }
            process.wait().expect("it ends");
        }
    }
    killed
}

/// Counts and asks another organization, whose users and resources have the same names.
async fn ask_other(storm: &Storm<'_>, other: &Log) {
    let counter = EntryCounter::new(storm.store.clone());
    counter.count_all(&other.organization, |_| {}).await.expect("counted");
    let checked = counter.check(&other.organization, |_| {}).await.expect("checked");
    assert_eq!((checked.faults, checked.counted), (Vec::new(), other.len() as i64));
    storm.check("another organization has running counts too").await;
    let mut reader = Reader::new(other, Query::new(storm.store.clone()), storm.seed);
    while reader.asked < 50 {
        reader.ask().await;
    }
}

/// Deletes counts that may be missing: all counts of some keys, and level-1 counts of blocks.
async fn lose_counts(storm: &Storm<'_>) {
    let mut random = storm.random(60);
    let keys = storm.store.counted_keys(&storm.log.organization).await.expect("keys");
    for key in keys.iter().filter(|_| random.random_bool(0.3)) {
        for table in ["key_totals", "running_counts"] {
            execute(storm.database, &format!("DELETE FROM {table} WHERE key = '{}'", key.text())).await;
        }
    }
    let last = "SELECT max(m.timestamp) FROM running_counts m WHERE m.key = running_counts.key";
    let lost = format!("DELETE FROM running_counts WHERE level = 1 AND seq % 3 = 0 AND timestamp < ({last})");
    execute(storm.database, &lost).await;
}

on_every_database! {
    async fn answers_are_exact_while_writers_readers_and_dying_counters_race(database: &Database) {
        let begun = Instant::now();
        let storm = Storm::begin(database, BEGUN / 2).await;
        storm.count_all().await;
        storm.grow(BEGUN).await;
        let wrote = begun.elapsed();
        // More uncounted entries than readers count one by one.
        storm.ask(1, 30).await;
        storm.count_all().await;
        storm.check("in order").await;
        let (other, mut random) = (Log::of("other"), storm.random(3));
        other.write(&storm.store, &mut random, Order::Jittered, 3_000).await;
        let done = AtomicBool::new(false);
        let writing = async {
            futures::future::join_all((10..10 + WRITERS).map(|number| storm.write(number))).await;
            done.store(true, Ordering::SeqCst);
        };
        let reading = (20..23).map(|number| storm.ask_while(number, |_| !done.load(Ordering::SeqCst)));
        let counting = (30..32).map(|number| storm.count(number, &done));
        let (_, _, gone) =
            tokio::join!(writing, futures::future::join_all(reading), futures::future::join_all(counting));
        let raced = storm.asked.load(Ordering::SeqCst);
        storm.check("after a race").await;
        storm.ask_twice(40, 100).await;
        storm.count_all().await;
        let checked = storm.check("after a race, all counted").await;
        assert_eq!(checked.counted, checked.head);
        storm.ask_twice(42, 220).await;
        ask_other(&storm, &other).await;
        say(&format!(
            "{:?}: {} keys, {} running counts; {raced} requests during a race, {gone:?} counters gone; {} in all, {} deep; \
             {wrote:?} to write, {:?} in all",
            database.backend,
            checked.keys,
            checked.counts,
            storm.asked.load(Ordering::SeqCst),
            storm.deep.load(Ordering::SeqCst),
            begun.elapsed()
        ));
        let stored = storm.store.key_counts(&storm.log.organization, &auditlog::domain::CountKey::Organization).await;
        let stored = stored.expect("counts").expect("the organization's").running_counts;
        assert!(stored.keys().any(|(level, _)| *level == 0), "blocks were split");
        assert!(gone.iter().sum::<usize>() > 0, "counters were dropped");
    }

    async fn answers_are_exact_after_counters_are_killed_and_counts_are_lost(database: &Database) {
        let begun = Instant::now();
        let storm = Storm::begin(database, 16_000).await;
        let done = AtomicBool::new(false);
        let killing = async {
            let killed = kill_counters(&storm).await;
            done.store(true, Ordering::SeqCst);
            killed
        };
        let (killed, ()) = tokio::join!(killing, storm.ask_while(1, |_| !done.load(Ordering::SeqCst)));
        storm.check("after kills").await;
        storm.count_all().await;
        storm.check("after kills, all counted").await;
        storm.ask_twice(100, 150).await;
        lose_counts(&storm).await;
        storm.check("running counts are lost").await;
        storm.ask_twice(102, 250).await;
        let mut random = storm.random(4);
        for order in ORDERS {
            storm.log.write(&storm.store, &mut random, order, BATCH).await;
            storm.count_all().await;
        }
        storm.check("counted on").await;
        storm.ask_twice(104, 150).await;
        let asked = storm.asked.load(Ordering::SeqCst);
        say(&format!("{:?}: {killed} counters killed, {asked} requests, {:?}", database.backend, begun.elapsed()));
        assert!(killed > 0, "processes were killed at work");
    }
}
