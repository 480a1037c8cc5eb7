//! Searches: pages, totals and exports are what brute force finds, whoever writes, erases and counts meanwhile.

pub mod asked;
mod broad;
mod cases;
mod commands;
mod erased;
pub mod model;
mod names;
mod reader;
mod refused;
mod started;
pub mod values;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use auditlog::access::Scope;
use auditlog::counts::EntryCounter;
use auditlog::error::Error;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::support::erasure::ORG;
use crate::support::ingest::organization;
use crate::support::surfaces::{Ask, Surfaces};
use crate::support::{Backend, Database, Service, on_every_database, say};
use asked::encoded;
use model::Log;
use reader::{Reader, Tally};

/// The entries before the readers begin. Each page tests all of them.
const BEGUN: usize = 360;
const READERS: u64 = 3;
/// The first pages that each reader asks for. Most have next pages.
const ASKED: usize = 420;
/// A reader exports after so many first pages.
const EXPORT_EVERY: usize = 12;
/// The most entries and erasures that are added meanwhile, so that a slow machine is not made slower.
const MAX_ENTRIES: usize = 900;
const MAX_ERASURES: usize = 30;
/// The searches that are sent to each surface.
const SENT: usize = 120;
/// The parameters of a search and of a list that can be combined, two at a time.
const PARAMETERS: usize = 19;

fn seed() -> u64 {
    std::env::var("AUDITLOG_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2_026)
}

/// Asks for pages and exports.
async fn read(log: &Log, seed: u64) -> Tally {
    let mut reader = Reader::new(log, seed);
    while reader.tally.asked < ASKED {
        reader.ask().await;
        if reader.tally.asked.is_multiple_of(EXPORT_EVERY) {
            reader.export().await;
        }
    }
    reader.tally
}

/// Writes and erases until the readers are done.
async fn change(log: &Log, seed: u64, done: &AtomicBool) {
    let (mut random, mut erasures) = (StdRng::seed_from_u64(seed), 0);
    while !done.load(Ordering::SeqCst) {
        let entries = log.known().await.rows.len();
        if erasures < MAX_ERASURES && random.random_bool(0.2) {
            log.erase_some(&mut random).await;
            erasures += 1;
        } else if entries < MAX_ENTRIES {
            let count = random.random_range(1..=6);
            log.write(&mut random, count).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(50..350))).await;
    }
}

/// Counts entries until the readers are done.
async fn count(log: &Log, done: &AtomicBool) {
    let counter = EntryCounter::new(log.store.clone());
    while !done.load(Ordering::SeqCst) {
        match counter.count_all(&organization(ORG), |_| ()).await {
            // Writers on a slow machine may hold SQLite's lock for longer than a counter waits.
            Ok(_) | Err(Error::StorageUnavailable(_)) => {}
            Err(error) => panic!("{}", error.with_causes()),
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// The numbers of the entries of a page.
fn numbers(page: &Value) -> Vec<i64> {
    let entries = page["auditLogs"].as_array().unwrap_or_else(|| panic!("entries: {page}"));
    entries.iter().map(|entry| entry["sequence"].as_i64().expect("a number")).collect()
}

on_every_database! {
    async fn searches_are_exact_while_others_write_erase_and_count(database: &Database) {
        let (begun, seed) = (Instant::now(), seed());
        say(&format!("{:?}: random searches, AUDITLOG_TEST_SEED={seed}", database.backend));
        let log = Log::begin(database, seed, BEGUN).await;
        let (wrote, done) = (begun.elapsed(), AtomicBool::new(false));
        let reading = async {
            let tallies = join_all((1..=READERS).map(|number| read(&log, seed.wrapping_add(number)))).await;
            done.store(true, Ordering::SeqCst);
            tallies.into_iter().fold(Tally::default(), Tally::plus)
        };
        let (tally, (), ()) = tokio::join!(reading, change(&log, seed, &done), count(&log, &done));
        let known = log.known().await;
        let erased = known.erased.values().flatten().flatten().count();
        say(&format!(
            "{:?}: {} searches, {} pages, {} exports, {} entries found; {} entries and {erased} erased groups at the end; \
             {} pairs of parameters, {} with matches; {wrote:?} to write, {:?} in all",
            database.backend, tally.asked, tally.pages, tally.exports, tally.found, known.rows.len(), tally.pairs.len(),
            tally.matched.len(), begun.elapsed()
        ));
        let all = PARAMETERS * (PARAMETERS - 1) / 2;
        assert_eq!(tally.pairs.len(), all, "each parameter comes with each other");
        assert!(tally.matched.len() > all * 4 / 5, "most pairs have matches");
        assert!(tally.pages > tally.asked + tally.asked / 3, "many pages have next ones");
        assert!(known.rows.len() > BEGUN + 60, "entries came meanwhile");
        let counter = EntryCounter::new(log.store.clone());
        counter.count_all(&organization(ORG), |_| ()).await.expect("counted");
        let checked = counter.check(&organization(ORG), |_| ()).await.expect("checked");
        assert_eq!(checked.faults, [], "the counts and the index of names are right");
    }

    async fn random_searches_are_answered_alike_on_every_surface(database: &Database) {
        let seed = seed();
        say(&format!("{:?}: random searches on every surface, AUDITLOG_TEST_SEED={seed}", database.backend));
        let log = Log::begin(database, seed, 200).await;
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let key = surfaces.service.key(Some(ORG), &[Scope::Read]).await;
        let (mut reader, mut found) = (Reader::new(&log, seed.wrapping_add(9)), 0);
        for _ in 0..SENT {
            let asked = reader.search().await;
            let (limit, expected) = (reader.limit(), reader.expected(&asked));
            let path = format!("/v1/{ORG}/audit-logs?limit={limit}&{}", encoded(&asked.query));
            let answer = surfaces.rest(&Ask::get(&path, &key)).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            let page = answer.body();
            assert_eq!(numbers(&page), expected[..limit.min(expected.len())], "{path}");
            assert_eq!(page["pagination"]["total"], expected.len(), "{path}");
            assert_eq!(surfaces.grpc(&path, &key).await.expect("a request").expect("a page"), answer.text, "{path}");
            found += numbers(&page).len();
        }
        assert!(found > SENT, "the searches find {found} entries");
    }
}
