//! Erased values leave no trace in the database's files or in logs.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use auditlog::domain::{Clock, Erased, Filter, Group, JsonText, PositionRange, ResourceType};
use auditlog::store::Store;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sea_orm::{ConnectionTrait, Database as Connections, Statement};

use super::{ORG, USER, both, check_counts, eraser, erasure, of, of_user, person};
use crate::support::check_log::check_log;
use crate::support::ingest::{organization, start, write};
use crate::support::{Backend, Database, on_every_database, postgres, say};

/// The files of the database: those in the test's directory on SQLite, those in the database's directory on PostgreSQL.
async fn files(database: &Database) -> Vec<PathBuf> {
    let directory = match database.backend {
        Backend::Sqlite => database.directory.path().to_owned(),
        Backend::Postgres => {
            let connection = Connections::connect(&database.url).await.expect("it connects");
            let asked = "SELECT oid::text FROM pg_database WHERE datname = current_database()";
            let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), asked)).await;
            let oid: String = row.expect("an answer").expect("a row").try_get_by_index(0).expect("text");
            connection.close().await.expect("it closes");
            postgres::log().parent().expect("a directory").join("data/base").join(oid)
        }
    };
    fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

/// Finds `whats`, each of four bytes or more, in the files. Returns the file and the value of each match.
pub async fn traces(database: &Database, whats: &[Vec<u8>]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut by_start = HashMap::<[u8; 4], Vec<&Vec<u8>>>::new();
    for what in whats {
        by_start.entry(what[..4].try_into().expect("four bytes")).or_default().push(what);
    }
    let mut found = BTreeSet::new();
    for path in files(database).await {
        // PostgreSQL may have removed the file in the meantime.
        let Ok(bytes) = fs::read(&path) else { continue };
        for (place, start) in bytes.windows(4).enumerate() {
            let begin = by_start.get(start).into_iter().flatten();
            found.extend(
                begin.filter(|what| bytes[place..].starts_with(what)).map(|what| (path.clone(), (*what).clone())),
            );
        }
    }
    found.into_iter().collect()
}

async fn run(database: &Database, statements: &[&str]) {
    let connection = Connections::connect(&database.url).await.expect("it connects");
    for statement in statements {
        connection.execute_unprepared(statement).await.expect("it runs");
    }
    connection.close().await.expect("it closes");
}

/// A unique word in each value of an entry.
fn mark(number: usize) -> String {
    format!("Zq{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Writes entries of many sizes, some larger than a database page, alternately by ada and by bob.
async fn fill(store: &Store, count: usize) {
    let ingest = start(store, Clock::system());
    let mut random = StdRng::seed_from_u64(3);
    for first in (0..count).step_by(250) {
        let entries = (first..first + 250).map(|number| {
            let user = if number % 2 == 0 { "ada" } else { "bob" };
            let resource = if number % 3 == 0 { (USER, "ada") } else { (ResourceType(3), "rule_1") };
            let length = match random.random_range(0..20) {
                0 => random.random_range(3_000..30_000),
                1..5 => random.random_range(300..3_000),
                _ => 0,
            };
            let mark = mark(number);
            let mut entry = person(&format!("log_{number}"), user, resource, &mark);
            let content = Arc::make_mut(&mut entry.content);
            let long = format!("\"{}{mark}\"", "x".repeat(length));
            content.changes[0].old_value = JsonText::parse(&long).expect("JSON");
            entry
        });
        write(&ingest, ORG, entries.collect()).await.expect("written");
    }
}

on_every_database! {
    async fn no_file_of_the_database_has_a_trace_of_what_was_erased(database: &Database) {
        let count = 3_000;
        let store = database.store().await;
        fill(&store, count).await;
        check_counts(&store).await;
        // Everything about these entries is erased, so none of their words may remain.
        let gone: Vec<_> = (0..count).filter(|number| number % 6 == 0).collect();
        let kept: Vec<_> = (0..count).filter(|number| number % 6 == 1).map(|number| mark(number).into_bytes()).collect();
        // As written, and as the index of names has them.
        let written = gone.iter().map(|number| mark(*number).into_bytes());
        let whats: Vec<_> = written.chain(gone.iter().map(|number| mark(*number).to_lowercase().into_bytes())).collect();
        let secrets = {
            let sealed = store.hashed_entries(&organization(ORG), 0, i64::MAX, 100_000).await.expect("read");
            let of_gone = sealed.iter().filter(|sealed| (sealed.entry.seq - 1) % 6 == 0);
            of_gone.flat_map(|sealed| [Group::Actor, Group::Content].map(|group| sealed.salts.of(group).to_vec())).collect::<Vec<_>>()
        };
        if database.backend == Backend::Postgres {
            run(database, &["CHECKPOINT", "ANALYZE"]).await;
        }
        assert!(traces(database, &whats[gone.len()..][..3]).await.len() >= 3, "the index has them");
        assert!(traces(database, &whats[..3]).await.len() >= 3 && !traces(database, &secrets[..3]).await.is_empty(), "they are found while they are there");
        let eraser = eraser(&store);
        // Erases in several steps, with writes in between that reuse the freed space.
        for groups in [of(&[Group::Content]), of(&[Group::Actor])] {
            eraser.erase(erasure(of_user("ada"), groups)).await.expect("erased");
            fill_more(&store, groups).await;
        }
        let forgotten = eraser.erase(erasure(of_user("ada"), both())).await.expect("nothing is left");
        assert_eq!((forgotten.extent.groups, forgotten.is_purged), (0, database.backend == Backend::Sqlite));
        if database.backend == Backend::Postgres {
            for (statements, is_enough) in [(&["VACUUM audit_logs", "VACUUM names", "CHECKPOINT"][..], false), (&["VACUUM FULL audit_logs", "CHECKPOINT"], false), (&["VACUUM FULL audit_logs", "VACUUM FULL names", "CHECKPOINT"], true)] {
                run(database, statements).await;
                let found = traces(database, &whats).await;
                say(&format!("after {statements:?}: {} traces in {:?}", found.len(), found.first().map(|(path, _)| path)));
                assert_eq!(found.is_empty(), is_enough, "{statements:?}");
            }
        }
        let found = traces(database, &whats).await;
        assert!(found.is_empty(), "{} traces, such as {:?}", found.len(), found.first().map(|(path, what)| (path, String::from_utf8_lossy(what))));
        assert_eq!(traces(database, &secrets).await, [], "no salt is left");
        // On SQLite, the file contains every remaining value. PostgreSQL compresses long values.
        assert!(traces(database, &kept[..50]).await.len() >= 25, "what is not erased is there");
        check_log(&store, ORG).await;
    }

    async fn an_open_snapshot_delays_the_purge_and_the_report_says_so(database: &Database) {
        let store = database.store().await;
        fill(&store, 250).await;
        let held = store.held_snapshot().await.expect("a snapshot");
        held.count_numbered(&organization(ORG), &Filter::default(), PositionRange::ALL, 0, 250).await.expect("it reads");
        let eraser = eraser(&store);
        let forgotten = eraser.erase(erasure(of_user("ada"), both())).await.expect("erased");
        assert_eq!((forgotten.is_purged, forgotten.is_complete), (false, true));
        held.close().await.expect("it ends");
        let again = eraser.erase(erasure(of_user("ada"), both())).await.expect("nothing to do");
        assert_eq!((again.is_purged, again.extent.groups), (database.backend == Backend::Sqlite, 0));
        if database.backend == Backend::Sqlite {
            assert_eq!(traces(database, &[mark(0).into_bytes(), mark(6).into_bytes()]).await, []);
        }
    }
}

/// Writes entries that are not erased, between the steps of an erasure.
async fn fill_more(store: &Store, groups: Erased) {
    let ingest = start(store, Clock::system());
    let entries = (0..500)
        .map(|number| person(&format!("more_{}_{number}", groups.0), "bob", (ResourceType(3), "rule_2"), "kept"));
    write(&ingest, ORG, entries.collect()).await.expect("written");
}
