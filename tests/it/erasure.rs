//! Erasure removes values and salts, keeps hashes and records, and leaves every leaf, count and page unchanged.

mod commands;
mod planted;
mod refused;
mod traces;

use std::collections::BTreeMap;
use std::time::Duration;

use auditlog::access::Scope;
use auditlog::counts::EntryCounter;
use auditlog::domain::{Action, Clock, Content, EntryId, Erased, Group, NewEntry, Random, ResourceType};
use auditlog::error::Error;
use auditlog::grpc::pb::erase_audit_logs_request::Target as Asked;
use auditlog::grpc::pb::{EntryIds, EraseAuditLogsRequest, EraseAuditLogsResponse};
use auditlog::ingest::{Eraser, ErasureReport, Ingest, Target};
use auditlog::metrics::Metrics;
use auditlog::store::{ErasureCount, Store};
use auditlog_verify::merkle::Hash;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sea_orm::{ConnectionTrait, Database as Connections, Statement};
use serde_json::Value;

use crate::support::check_log::check_log;
use crate::support::database::execute;
use crate::support::erasure::{ORG, REASON, USER, both, eraser, erasure, of, of_user, person};
use crate::support::ingest::{all, organization, start, write};
use crate::support::service::with_key;
use crate::support::{Backend, Database, Service, on_every_database};

fn of_entries(ids: &[&str]) -> Target {
    Target::Entries(ids.iter().map(|id| EntryId::parse(*id).expect("an id")).collect())
}

fn extent(entries: i64, groups: i64) -> ErasureCount {
    ErasureCount { entries, groups }
}

/// The erased groups of each entry that has any, by sequence number.
async fn erased(store: &Store) -> BTreeMap<i64, String> {
    let entries = all(store, ORG).await.into_iter().filter(|entry| !entry.erased.is_empty());
    let names = |erased: Erased| erased.groups().map(Group::name).collect::<Vec<_>>().join(" ");
    entries.map(|entry| (entry.seq, names(entry.erased))).collect()
}

/// The leaf hashes in order.
async fn leaves(store: &Store) -> Vec<Hash> {
    let sealed = store.hashed_entries(&organization(ORG), 0, i64::MAX, 1_000_000).await.expect("read");
    sealed.into_iter().map(|sealed| sealed.leaf).collect()
}

/// Checks the running counts against the entries.
async fn check_counts(store: &Store) {
    let counter = EntryCounter::new(store.clone());
    counter.count_all(&organization(ORG), |_| ()).await.expect("it is counted");
    let checked = counter.check(&organization(ORG), |_| ()).await.expect("it is checked");
    assert_eq!(checked.faults, []);
}

/// Writes four entries: by ada on a rule, by ada on herself, by bob on ada, and by bob on a rule with the id `ada`.
pub async fn four(ingest: &Ingest) -> Vec<NewEntry> {
    let entries = vec![
        person("log_1", "ada", (ResourceType(3), "rule_1"), "one"),
        person("log_2", "ada", (USER, "ada"), "two"),
        person("log_3", "bob", (USER, "ada"), "three"),
        person("log_4", "bob", (ResourceType(3), "ada"), "four"),
    ];
    write(ingest, ORG, entries.clone()).await.expect("written");
    entries
}

on_every_database! {
    async fn an_erasure_removes_values_and_changes_no_leaf(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let sent = four(&ingest).await;
        let before = leaves(&store).await;
        let eraser = eraser(&store);
        let content = erasure(of_entries(&["log_3", "log_1", "log_1"]), of(&[Group::Content]));
        assert_eq!(eraser.extent(&content).await.expect("an extent"), extent(2, 2));
        assert_eq!(erased(&store).await, BTreeMap::new(), "to ask erases nothing");
        let forgotten = eraser.erase(content.clone()).await.expect("erased");
        let is_purged = database.backend == Backend::Sqlite;
        assert_eq!(forgotten, ErasureReport { extent: extent(2, 2), recorded: vec![5], is_complete: true, is_purged });
        assert_eq!(erased(&store).await, [(1, "content".to_owned()), (3, "content".to_owned())].into());
        let forgotten = eraser.erase(erasure(of_entries(&["log_1"]), both())).await.expect("erased");
        assert_eq!((forgotten.extent, forgotten.recorded), (extent(1, 1), vec![6]), "only what is left");
        assert_eq!(erased(&store).await[&1], "actor content");
        let again = eraser.erase(erasure(of_entries(&["log_1"]), both())).await.expect("nothing to do");
        assert_eq!((again.extent, again.recorded, again.is_complete), (extent(0, 0), vec![], true));
        assert_eq!(eraser.extent(&content).await.expect("an extent"), extent(0, 0));
        assert_eq!(leaves(&store).await[..4], before[..], "no leaf changes");
        assert_eq!(check_log(&store, ORG).await, 6);
        check_counts(&store).await;
        // A retry of the write gets the same answer, although values are erased. A retry with different remaining
        // content is a conflict.
        let replayed = write(&ingest, ORG, sent).await.expect("replayed");
        assert!(replayed.iter().all(|written| written.replayed) && replayed[0].leaf == before[0]);
        let other = person("log_3", "bob", (USER, "ada"), "other");
        assert!(matches!(write(&ingest, ORG, vec![other]).await, Err(Error::IdConflict(_))));
    }

    async fn the_record_says_what_by_whom_and_why(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        four(&ingest).await;
        eraser(&store).erase(erasure(of_entries(&["log_2"]), both())).await.expect("erased");
        let record = all(&store, ORG).await.into_iter().max_by_key(|entry| entry.seq).expect("a record");
        let Content { id, resource_type, resource_id, resource_name, action, user_id, user_name, changes, metadata, .. } = &*record.content;
        let uuid = id.as_str().strip_prefix("auditlog:erasure:").expect("its id");
        assert_eq!(uuid.len(), 36, "{uuid}");
        assert_eq!((*resource_type, resource_id.as_str(), *action), (ResourceType(6), ORG, Action(1)));
        assert_eq!((user_id.as_str(), record.writer_key_id.as_str()), ("key:ErasersKey01", "-"));
        assert_eq!((resource_name, user_name, metadata.pairs().len()), (&None, &None, 0));
        assert_eq!(record.timestamp, record.recorded_at);
        let fields: Vec<_> = changes.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(fields, ["reason", "erased.2.actor", "erased.2.content"]);
        assert_eq!(changes[0].new_value.as_str(), format!("\"{REASON}\""));
        let connection = Connections::connect(&database.url).await.expect("the database opens");
        let asked = "SELECT count(*) FROM erasures WHERE seq = 2 AND erased_by = 5";
        let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), asked)).await;
        assert_eq!(row.expect("an answer").expect("a row").try_get_by_index::<i64>(0).expect("a count"), 2, "by that entry");
    }

    async fn a_user_is_erased_as_actor_and_as_resource(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        four(&ingest).await;
        let eraser = eraser(&store);
        for (groups, expected) in [(of(&[Group::Actor]), extent(2, 2)), (of(&[Group::Content]), extent(2, 2)), (both(), extent(3, 4))] {
            assert_eq!(eraser.extent(&erasure(of_user("ada"), groups)).await.expect("an extent"), expected);
        }
        let forgotten = eraser.erase(erasure(of_user("ada"), both())).await.expect("erased");
        assert_eq!((forgotten.extent, forgotten.recorded.len()), (extent(3, 4), 2));
        let expected = [(1, "actor"), (2, "actor content"), (3, "content")].map(|(seq, groups)| (seq, groups.to_owned()));
        assert_eq!(erased(&store).await, expected.into());
        // The record names the eraser, and nobody can erase that.
        let record = eraser.erase(erasure(of_user("key:ErasersKey01"), both())).await.expect("nothing to do");
        assert_eq!((record.extent, record.recorded), (extent(0, 0), vec![]));
        assert_eq!(eraser.erase(erasure(of_user("nobody"), both())).await.expect("nothing to do").extent, extent(0, 0));
        assert_eq!(check_log(&store, ORG).await, 6);
    }

    async fn a_large_erasure_takes_many_transactions_with_a_record_each(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        for first in (0..7_000).step_by(500) {
            let entries = (first..first + 500).map(|number| person(&format!("log_{number}"), if number % 7 == 0 { "bob" } else { "ada" }, (USER, "ada"), "x"));
            write(&ingest, ORG, entries.collect()).await.expect("written");
        }
        check_counts(&store).await;
        let eraser = Eraser::new(store.clone(), Clock::system(), Random::system(), Duration::ZERO, None, &Metrics::default());
        let erasure = erasure(of_user("ada"), both());
        assert_eq!(eraser.extent(&erasure).await.expect("an extent"), extent(7_000, 13_000));
        let (mut calls, mut groups) = (0, 0);
        loop {
            let ErasureReport { extent, recorded, is_complete, .. } = eraser.erase(erasure.clone()).await.expect("erased");
            assert!(recorded.len() <= 3 && extent.groups <= 2_994, "{extent:?} {recorded:?}");
            (calls, groups) = (calls + 1, groups + extent.groups);
            if is_complete {
                break;
            }
        }
        assert_eq!(groups, 13_000);
        assert!((4..=8).contains(&calls), "{calls} calls with time for one transaction each");
        check_log(&store, ORG).await;
        check_counts(&store).await;
    }

    async fn the_log_stays_consistent_under_concurrent_writes_and_erasures(database: &Database) {
        let store = database.store().await;
        let other = database.store().await;
        let ingests = [start(&store, Clock::system()), start(&other, Clock::system())];
        write(&ingests[0], ORG, vec![person("log_0", "u0", (USER, "u0"), "x")]).await.expect("written");
        let seed: u64 = std::env::var("AUDITLOG_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(17);
        let writers = (0..3u64).map(|writer| {
            let ingest = &ingests[writer as usize % 2];
            async move {
                let mut random = StdRng::seed_from_u64(seed + writer);
                for round in 0..40 {
                    let entries = (0..random.random_range(1..30)).map(|place| {
                        let [user, resource] = [(); 2].map(|()| format!("u{}", random.random_range(0..4)));
                        let resource_type = ResourceType(random.random_range(3..6));
                        person(&format!("log_{writer}_{round}_{place}"), &user, (resource_type, &resource), "x")
                    });
                    write(ingest, ORG, entries.collect()).await.expect("written");
                }
            }
        });
        let erasers = [&store, &other].into_iter().enumerate().map(|(number, store)| async move {
            let (eraser, mut random) = (eraser(store), StdRng::seed_from_u64(seed + 100 + number as u64));
            let mut groups = 0;
            for _ in 0..25 {
                let chosen = [of(&[Group::Actor]), of(&[Group::Content]), both()][random.random_range(0..3)];
                let target = match random.random_bool(0.5) {
                    true => of_user(&format!("u{}", random.random_range(0..4))),
                    false => {
                        let sealed = store.hashed_entries(&organization(ORG), random.random_range(0..200), i64::MAX, 20).await.expect("read");
                        let ids = sealed.into_iter().map(|sealed| sealed.entry.content.id.clone());
                        let ids: Vec<_> = ids.filter(|id| !id.is_service()).collect();
                        if ids.is_empty() { continue } else { Target::Entries(ids) }
                    }
                };
                groups += eraser.erase(erasure(target, chosen)).await.expect("erased").extent.groups;
            }
            groups
        });
        let (_, groups) = tokio::join!(futures::future::join_all(writers), futures::future::join_all(erasers));
        let gone: usize = all(&store, ORG).await.iter().map(|entry| entry.erased.groups().count()).sum();
        assert_eq!(groups.iter().sum::<i64>(), gone as i64, "each group is erased by one of them");
        assert!(gone > 200, "{gone} groups are gone");
        check_log(&store, ORG).await;
        check_counts(&store).await;
        let eraser = eraser(&store);
        for user in ["u0", "u1", "u2", "u3"] {
            eraser.erase(erasure(of_user(user), both())).await.expect("erased");
            assert_eq!(eraser.extent(&erasure(of_user(user), both())).await.expect("an extent"), extent(0, 0));
        }
        check_log(&store, ORG).await;
    }

    async fn a_tampered_entry_is_not_erased_and_all_others_are(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        four(&ingest).await;
        execute(database, "UPDATE audit_logs SET user_name = 'Mallory' WHERE id = 'log_2'").await;
        let eraser = eraser(&store);
        let refused = eraser.erase(erasure(of_user("ada"), both())).await.expect_err("one is refused");
        let Error::Tampered(violations) = refused else { panic!("{refused}") };
        // The scan meets it twice: as an entry by the user, and as an entry about the user.
        assert!(violations.iter().all(|one| one.description.starts_with("entry log_2 (number 2) is not what its leaf says")), "{violations:?}");
        assert_eq!(erased(&store).await, [(1, "actor".to_owned()), (3, "content".to_owned())].into());
        assert!(all(&store, ORG).await.iter().any(|entry| entry.content.user_name.as_ref().is_some_and(|name| name.as_str() == "Mallory")));
        assert!(matches!(eraser.erase(erasure(of_entries(&["log_2"]), both())).await, Err(Error::Tampered(_))));
        // A group that was set to NULL without a record is evidence too.
        execute(database, "UPDATE audit_logs SET erased = 4, resource_name = NULL, changes = '[]' WHERE id = 'log_4'").await;
        assert!(matches!(eraser.erase(erasure(of_entries(&["log_4"]), both())).await, Err(Error::Tampered(_))));
        assert_eq!(store.head(&organization(ORG)).await.expect("read"), Some(6), "nothing more is recorded");
    }

    async fn an_unreadable_entry_does_not_stop_the_erasure_of_others(database: &Database) {
        for (number, edit) in ["changes = 'x'", "salts = ''", "leaf_hash = ''", "resource_type = 999, action = 999"].into_iter().enumerate() {
            let Some(database) = Database::fresh(database.backend).await else { return };
            let store = database.store().await;
            four(&start(&store, Clock::system())).await;
            execute(&database, &format!("UPDATE audit_logs SET {edit} WHERE id = 'log_1'")).await;
            let eraser = eraser(&store);
            for _ in 0..2 {
                let refused = eraser.erase(erasure(of_user("ada"), both())).await.expect_err("one is refused");
                let Error::Tampered(violations) = refused else { panic!("{edit}: {}", refused.with_causes()) };
                let expected = if number < 3 { "entry number 1 cannot be read" } else { "entry log_1 (number 1) is not what its leaf says" };
                assert!(violations.iter().all(|one| one.description.starts_with(expected)), "{violations:?}");
            }
            let connection = Connections::connect(&database.url).await.expect("the database opens");
            let asked = "SELECT sum(erased) FROM audit_logs WHERE id IN ('log_2', 'log_3')";
            let asked = asked.replace("sum(erased)", "CAST(sum(erased) AS bigint)");
            let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), asked)).await;
            let sum: i64 = row.expect("an answer").expect("a row").try_get_by_index(0).expect("a sum");
            assert_eq!(sum, 2 + 4 + 4, "{edit}: all others are erased");
            connection.close().await.expect("it closes");
        }
    }
}

/// A request to erase the default groups.
pub fn request(target: Asked, dry_run: bool) -> EraseAuditLogsRequest {
    let (organization_id, reason) = (ORG.to_owned(), REASON.to_owned());
    EraseAuditLogsRequest { organization_id, target: Some(target), groups: Vec::new(), reason, dry_run }
}

pub fn ids(ids: &[&str]) -> Asked {
    Asked::Entries(EntryIds { ids: ids.iter().map(|id| (*id).to_owned()).collect() })
}

on_every_database! {
    async fn every_surface_shows_which_groups_are_erased(database: &Database) {
        let service = Service::start(database).await;
        let ingest = start(&service.store, Clock::system());
        four(&ingest).await;
        let key = service.key(Some(ORG), &[Scope::Read, Scope::Erase]).await;
        let mut erasures = service.erasures().await;
        let dry = erasures.erase_audit_logs(with_key(request(ids(&["log_1", "log_2"]), true), &key)).await.expect("an answer");
        assert_eq!(dry.into_inner(), EraseAuditLogsResponse { entries: 2, groups: 4, ..Default::default() });
        let purged = database.backend == Backend::Sqlite;
        let asked = request(Asked::UserId("ada".to_owned()), false);
        let response = erasures.erase_audit_logs(with_key(asked.clone(), &key)).await.expect("an answer").into_inner();
        assert_eq!(response, EraseAuditLogsResponse { entries: 3, groups: 4, sequences: vec![5, 6], complete: true, purged });
        let again = erasures.erase_audit_logs(with_key(asked, &key)).await.expect("an answer").into_inner();
        assert_eq!(again, EraseAuditLogsResponse { complete: true, purged, ..Default::default() });
        let shown = |entry: &Value| {
            let names = ["erased", "userName", "userEmail", "resourceName", "changes"].map(|name| entry[name].to_string());
            (entry["id"].as_str().expect("an id").to_owned(), names.join(" "))
        };
        let page = service.get(&format!("/v1/{ORG}/audit-logs?userId=ada&resourceType=user"), &key).await;
        assert_eq!(page.body["pagination"]["total"], 1, "facts are there to be found: {}", page.text);
        let listed = shown(&page.body["auditLogs"][0]);
        assert_eq!(listed, ("log_2".to_owned(), r#"["actor","content"] null null null []"#.to_owned()));
        let metadata = serde_json::json!({"ipAddress": null, "userAgent": null, "source": null});
        assert_eq!(page.body["auditLogs"][0]["metadata"], metadata);
        assert_eq!(shown(&service.get(&format!("/v1/{ORG}/audit-logs/log_2"), &key).await.body), listed);
        let one = service.get(&format!("/v1/{ORG}/audit-logs/log_1"), &key).await.body;
        assert_eq!((&one["erased"], &one["resourceName"], &one["userName"]), (&serde_json::json!(["actor"]), &"Resource one".into(), &Value::Null));
        let history = service.send(service.http.get(service.url("/v1/rules/rule_1/history")).bearer_auth(&key)).await;
        assert_eq!(history.body["auditLogs"][0]["erased"], serde_json::json!(["actor"]));
        service.stop().await;
    }
}
