//! `auditlog running-counts`, and a service that keeps none.

use std::ops::Range;
use std::time::{Duration, Instant};

use auditlog::counts::EntryCounter;
use auditlog::domain::{Action, Clock, CountKey, Counts, EntryKind, Identifier, OrganizationId, ResourceType};
use auditlog::store::{LevelPosition, Store};
use serde_json::Value;

use super::model::{Log, ORGANIZATION, Order};
use super::{Storm, execute};
use crate::support::ingest;
use crate::support::process::{create_key, ran};
use crate::support::{Backend, Database, Process, on_every_database};

const ENTRIES: usize = 8_000;

/// `auditlog running-counts` with `arguments`.
fn running_counts(database: &Database, arguments: &[&str]) -> (Option<i32>, String, String) {
    ran(&[&["running-counts"], arguments].concat(), &[("AUDITLOG_DATABASE_URL", &database.url)])
}

/// Bytes as SQL.
fn blob(backend: Backend, counts: &Counts) -> String {
    let hex = auditlog::domain::hex(&counts.bytes());
    match backend {
        Backend::Sqlite => format!("x'{hex}'"),
        Backend::Postgres => format!("'\\x{hex}'::bytea"),
    }
}

/// One entry more than `counts`.
fn one_more(counts: &Counts) -> Counts {
    let mut counts = counts.clone();
    let kind = EntryKind { resource_type: ResourceType(0), action: Action(1), outcome: None };
    counts.add(kind).expect("room");
    counts
}

/// Moves a running count of the organization to level 0, as the split of a block does. Returns its place and that of a
/// later count.
async fn promote(storm: &Storm<'_>) -> [(LevelPosition, Counts); 2] {
    let known =
        storm.store.key_counts(&storm.log.organization, &CountKey::Organization).await.expect("read").expect("counts");
    let level1: Vec<_> = known.running_counts.iter().filter(|((level, _), _)| *level == 1).collect();
    let (middle, below) = level1[level1.len() / 2];
    set(storm, *middle, "level = 0").await;
    let mut after = None;
    for (key, counts) in level1.iter().skip(level1.len() / 2 + 1) {
        let counts = counts.minus(below).expect("more");
        set(storm, **key, &format!("counts = {}", blob(storm.database.backend, &counts))).await;
        after.get_or_insert((**key, counts));
    }
    [((0, middle.1), below.clone()), after.expect("a count after the middle")]
}

async fn set(storm: &Storm<'_>, (level, position): LevelPosition, what: &str) {
    let (timestamp, seq) = (position.timestamp.micros(), position.seq);
    let place = format!("key = 'o' AND level = {level} AND timestamp = {timestamp} AND seq = {seq}");
    execute(storm.database, &format!("UPDATE running_counts SET {what} WHERE {place}")).await;
}

/// Waits until `running-counts status` prints `expected`.
async fn until_status(database: &Database, expected: &str) {
    let begun = Instant::now();
    loop {
        let status = running_counts(database, &["status"]).1;
        if status == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

on_every_database! {
    async fn check_names_each_damage_and_rebuild_mends_it(database: &Database) {
        let storm = Storm::begin(database, ENTRIES).await;
        let (code, stdout, error) = running_counts(database, &["status"]);
        assert_eq!((code, stdout), (Some(0), format!("org\t{ENTRIES}\t0\t{ENTRIES}\n")), "{error}");
        let (code, stdout, error) = running_counts(database, &["update"]);
        assert_eq!((code, stdout.as_str()), (Some(0), "8,000 entries counted\n"), "{error}");
        let all = format!("org\t{ENTRIES}\t{ENTRIES}\t0\n");
        let hot = storm.store.key_counts(&storm.log.organization, &CountKey::User(Identifier::parse("u0".to_owned()).expect("an id"))).await.expect("read");
        let hot = blob(database.backend, &one_more(&hot.expect("u0 has counts").total.counts));
        for damage in 0..7 {
            let [above, after] = promote(&storm).await;
            let (code, stdout, _) = running_counts(database, &["check"]);
            assert!(code == Some(0) && stdout.ends_with(": 0 wrong\n"), "{damage}: {stdout}");
            let changed = |counts: &Counts| format!("counts = {}", blob(database.backend, &one_more(counts)));
            let expected = match damage {
                0 => {
                    execute(database, &format!("UPDATE key_totals SET counts = {hot} WHERE key = 'uu0'")).await;
                    "org: user u0 has "
                }
                1 => {
                    set(&storm, above.0, &changed(&above.1)).await;
                    "org: the organization has a wrong count of "
                }
                2 => {
                    set(&storm, after.0, &changed(&after.1)).await;
                    "org: the organization has a wrong count of "
                }
                3 => {
                    execute(database, "UPDATE key_totals SET tail = tail + 1 WHERE key = 'r0:r0'").await;
                    "org: resource r0 (type code 0) has a wrong end"
                }
                4 => {
                    execute(database, "UPDATE key_totals SET newest_seq = newest_seq - 1 WHERE key = 'o'").await;
                    "org: the organization has a wrong end"
                }
                5 => {
                    execute(database, "UPDATE count_state SET counted_seq = counted_seq - 1").await;
                    "org: the organization has 7999 entries and a count of 8000"
                }
                _ => {
                    execute(database, "DELETE FROM running_counts WHERE key = 'o' AND level = 0").await;
                    "org: the organization has a wrong count of "
                }
            };
            let (code, stdout, error) = running_counts(database, &["check", "--organization", ORGANIZATION]);
            assert_eq!(code, Some(1), "{damage}: {stdout}");
            assert!(stdout.lines().any(|line| line.starts_with(expected)), "{damage}: {stdout}");
            assert!(error.contains("run `auditlog running-counts rebuild`"), "{damage}: {error}");
            let (code, stdout, error) = running_counts(database, &["rebuild"]);
            assert_eq!((code, stdout.as_str()), (Some(0), "8,000 entries counted\n"), "{damage}: {error}");
            assert_eq!(running_counts(database, &["status"]).1, all, "{damage}");
            storm.check("mended").await;
        }
        storm.ask(1, 50).await;
    }

    async fn an_organization_that_is_not_there_is_refused(database: &Database) {
        database.store().await.close().await;
        for command in ["status", "update", "check", "rebuild"] {
            let (code, stdout, error) = running_counts(database, &[command, "--organization", "nobody"]);
            assert_eq!((code, stdout.as_str()), (Some(1), ""), "{command}: {error}");
            assert!(error.contains("there is no organization nobody"), "{command}: {error}");
        }
        assert_eq!(running_counts(database, &["status"]).1, "");
    }

    async fn entries_lost_in_a_restore_are_not_counted(database: &Database) {
        let (one, other) = (database.store().await, database.store().await);
        let write = async |store: &Store, kind: &str, numbers: Range<u64>| {
            let ingest = ingest::start(store, Clock::system());
            for first in numbers.step_by(500) {
                let entry = |number: u64| ingest::entry(&format!("{kind}_{number}"), number * (kind.len() as u64));
                let written = ingest::write(&ingest, ORGANIZATION, (first..first + 500).map(entry).collect());
                written.await.expect("written");
            }
        };
        write(&one, "a", 0..2_000).await;
        execute(database, "CREATE TABLE yesterday AS SELECT * FROM organizations").await;
        write(&one, "a", 2_000..3_000).await;
        for restore in [
            "DELETE FROM audit_logs WHERE seq > 2000",
            "DELETE FROM organizations",
            "INSERT INTO organizations SELECT * FROM yesterday",
            "DROP TABLE yesterday",
        ] {
            execute(database, restore).await;
        }
        write(&other, "bbb", 2_000..3_000).await;
        let organization = OrganizationId::parse(ORGANIZATION).expect("an id");
        // It has written entries of these numbers, and remembers them.
        EntryCounter::new(one).count_all(&organization, |_| {}).await.expect("counted");
        let (code, stdout, _) = running_counts(database, &["check"]);
        assert!(code == Some(0) && stdout.ends_with(": 0 wrong\n"), "{stdout}");
    }

    async fn one_organization_that_cannot_be_counted_stops_no_other(database: &Database) {
        let storm = Storm::begin(database, 4_000).await;
        // Before the other by name, and so the first to be looked at.
        let first = Log::of("first");
        first.write(&storm.store, &mut storm.random(1), Order::Ascending, 3_000).await;
        let damaged = match database.backend {
            Backend::Sqlite => "x'01'",
            Backend::Postgres => "'\\x01'::bytea",
        };
        let columns = "organization_id, key, counts, newest_timestamp, newest_seq, tail";
        let damage = format!("INSERT INTO key_totals ({columns}) VALUES ('first', 'o', {damaged}, 0, 0, 0)");
        execute(database, &damage).await;
        let service = Process::serve_with(&database.url, &["--listen", "127.0.0.1:0"]);
        until_status(database, "first\t3000\t0\t3000\norg\t4000\t4000\t0\n").await;
        execute(database, "DELETE FROM key_totals WHERE organization_id = 'first'").await;
        until_status(database, "first\t3000\t3000\t0\norg\t4000\t4000\t0\n").await;
        assert_eq!(service.terminate(), Some(0));
        let (code, stdout, error) = running_counts(database, &["rebuild"]);
        assert_eq!((code, stdout.as_str()), (Some(0), "7,000 entries counted\n"), "{error}");
        assert_eq!(running_counts(database, &["check"]).0, Some(0));
        storm.ask(1, 30).await;
    }

    async fn a_service_that_keeps_no_running_counts_answers_exactly(database: &Database) {
        let storm = Storm::begin(database, 4_000).await;
        let key = create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read"]);
        let service = Process::serve_with(&database.url, &["--listen", "127.0.0.1:0", "--running-counts", "off"]);
        let total = async |service: &Process| {
            let url = service.url("/v1/org/audit-logs?offset=3900&limit=100");
            let answer = reqwest::Client::new().get(url).bearer_auth(&key).send().await.expect("an answer");
            let page: Value = answer.json().await.expect("JSON");
            assert_eq!(page["auditLogs"].as_array().map(Vec::len), Some(100));
            page["pagination"]["total"].as_i64()
        };
        // Several times as long as the counting job waits.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(total(&service).await, Some(4_000));
        // The log of the service has one entry, about the key. So few entries are not counted.
        let service_log = "auditlog:service\t1\t0\t1\n";
        assert_eq!(running_counts(database, &["status"]).1, format!("{service_log}org\t4000\t0\t4000\n"));
        assert_eq!(service.terminate(), Some(0));
        let service = Process::serve(&database.url);
        let begun = Instant::now();
        while running_counts(database, &["status"]).1 != format!("{service_log}org\t4000\t4000\t0\n") {
            assert!(begun.elapsed() < Duration::from_secs(20), "a service counts by itself");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(total(&service).await, Some(4_000));
        storm.check("counted by a service").await;
    }
}
