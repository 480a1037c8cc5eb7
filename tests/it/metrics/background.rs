//! Metrics of the background jobs and of the process.

use std::collections::BTreeSet;

use auditlog::access::Scope;
use auditlog::app::Options;
use auditlog::domain::Clock;
use auditlog::grpc::pb::erase_audit_logs_request::Target;
use auditlog::grpc::pb::{EntryIds, EraseAuditLogsRequest};
use auditlog::ingest::QueueLimits;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::requests::body;
use super::{Seen, comes_to, whole};
use crate::support::database::hold_head;
use crate::support::ingest::{entry, organization, start, write};
use crate::support::service::{options, with_key};
use crate::support::until;
use crate::support::{Backend, Database, Process, Service, on_every_database};

const PATH: &str = "/v1/org_a/audit-logs";

/// A write of `count` entries.
fn many(count: usize) -> serde_json::Value {
    let entries = (0..count).map(|number| body(&format!("log_{number}"))["auditLogs"][0].clone());
    json!({ "auditLogs": entries.collect::<Vec<_>>() })
}

on_every_database! {
    async fn queue_gauges_count_the_waiting_entries_and_bytes(database: &Database) {
        let queue = QueueLimits { entries: 5, bytes: 1024 * 1024 };
        let service = Service::start_with(database, Clock::system(), Options { queue, ..options() }).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        let blocker = hold_head(&service.store, "org_a").await;
        let waiting = tokio::spawn(service.http.post(service.url(PATH)).bearer_auth(&key).json(&many(3)).send());
        let seen = comes_to(&service, "auditlog_queue_entries", |entries| entries == 3.0).await;
        let bytes = seen.count("auditlog_queue_bytes");
        assert!((1_536.0..10_000.0).contains(&bytes), "{bytes}");
        assert_eq!(service.post(PATH, &key, &many(3)).await.status, 429);
        let seen = Seen::of(&service).await;
        assert_eq!(seen.value(r#"auditlog_refusals_total{reason="queue"}"#), Some(1.0));
        assert_eq!(seen.value("auditlog_queue_entries"), Some(3.0), "what was refused leaves nothing");
        assert_eq!(seen.value("auditlog_queue_bytes"), Some(bytes));
        waiting.abort();
        blocker.roll_back().await.expect("the lock is given back");
        let seen = comes_to(&service, "auditlog_queue_entries", |entries| entries == 0.0).await;
        assert_eq!(seen.value("auditlog_queue_bytes"), Some(0.0), "nor does what was cancelled");
        service.stop().await;
    }

    async fn writes_beyond_the_byte_limit_of_the_queue_are_refused(database: &Database) {
        let queue = QueueLimits { entries: 1_000, bytes: 2_000 };
        let service = Service::start_with(database, Clock::system(), Options { queue, ..options() }).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        let blocker = hold_head(&service.store, "org_a").await;
        let waiting = tokio::spawn(service.http.post(service.url(PATH)).bearer_auth(&key).json(&many(3)).send());
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 3.0).await;
        assert_eq!(service.post(PATH, &key, &many(2)).await.status, 429);
        let seen = Seen::of(&service).await;
        assert_eq!(seen.value("auditlog_queue_entries"), Some(3.0));
        assert_eq!(seen.value(r#"auditlog_refusals_total{reason="queue"}"#), Some(1.0));
        blocker.roll_back().await.expect("the lock is given back");
        assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 201);
        assert_eq!(Seen::of(&service).await.value("auditlog_queue_entries"), Some(0.0));
        service.stop().await;
    }

    async fn one_organization_can_fill_half_of_the_queue(database: &Database) {
        let queue = QueueLimits { entries: 6, bytes: 1024 * 1024 };
        let service = Service::start_with(database, Clock::system(), Options { queue, ..options() }).await;
        let key = service.key(None, &[Scope::Write]).await;
        let blocker = hold_head(&service.store, "org_a").await;
        let of_a = tokio::spawn(service.http.post(service.url(PATH)).bearer_auth(&key).json(&many(3)).send());
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 3.0).await;
        let refused = service.post(PATH, &key, &many(1)).await;
        assert_eq!(refused.status, 429);
        assert!(refused.text.contains("Too many writes to this organization are waiting"), "{}", refused.text);
        assert_eq!(Seen::of(&service).await.value(r#"auditlog_refusals_total{reason="queue"}"#), Some(1.0));
        let path = PATH.replace("org_a", "org_b");
        let of_b = tokio::spawn(service.http.post(service.url(&path)).bearer_auth(&key).json(&many(3)).send());
        // SQLite locks the whole database; on PostgreSQL, the other organization goes on.
        match database.backend {
            Backend::Sqlite => drop(comes_to(&service, "auditlog_queue_entries", |entries| entries == 6.0).await),
            Backend::Postgres => until("the other organization is written", async || of_b.is_finished().then_some(())).await,
        }
        blocker.roll_back().await.expect("the lock is given back");
        for written in [of_a, of_b] {
            assert_eq!(written.await.expect("no panic").expect("an answer").status(), 201);
        }
        service.stop().await;
    }

    async fn commits_and_their_entries_are_counted(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        assert_eq!(service.post(PATH, &key, &many(3)).await.status, 201);
        assert_eq!(service.post(PATH, &key, &many(4)).await.status, 201);
        let seen = Seen::of(&service).await;
        assert_eq!(seen.value("auditlog_entries_written_total"), Some(4.0));
        assert_eq!(seen.value("auditlog_entries_replayed_total"), Some(3.0));
        assert_eq!(seen.value("auditlog_write_group_entries_count"), Some(2.0));
        assert_eq!(seen.value("auditlog_write_group_entries_sum"), Some(7.0));
        assert_eq!(seen.value(r#"auditlog_write_group_entries_bucket{le="2"}"#), Some(0.0));
        assert_eq!(seen.value("auditlog_commit_seconds_count"), Some(2.0));
        assert!(seen.count("auditlog_commit_seconds_sum") > 0.0);
        let conflict = body("log_0")["auditLogs"][0].to_string().replace("\"r\"", "\"another\"");
        let conflict = json!({ "auditLogs": [serde_json::from_str::<serde_json::Value>(&conflict).expect("JSON")] });
        assert_eq!(service.post(PATH, &key, &conflict).await.status, 409);
        let seen = Seen::of(&service).await;
        assert_eq!(seen.value("auditlog_entries_written_total"), Some(4.0), "a conflict writes nothing");
        service.stop().await;
    }

    async fn commits_that_fail_are_counted(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        assert_eq!(Seen::of(&service).await.value("auditlog_commit_failures_total"), Some(0.0));
        let connection = sea_orm::Database::connect(&database.url).await.expect("the database accepts");
        let rename = async |from: &str, to: &str| {
            let statement = format!("ALTER TABLE {from} RENAME TO {to}");
            connection.execute_unprepared(&statement).await.expect("it runs");
        };
        rename("audit_logs", "gone").await;
        assert!(service.post(PATH, &key, &many(1)).await.status >= 500);
        let seen = Seen::of(&service).await;
        let failed = seen.count("auditlog_commit_failures_total");
        assert!(failed >= 1.0, "{failed}");
        assert_eq!(seen.value("auditlog_commit_seconds_count"), Some(failed), "they took their time");
        assert_eq!(seen.value("auditlog_entries_written_total"), Some(0.0));
        rename("gone", "audit_logs").await;
        assert_eq!(service.post(PATH, &key, &many(1)).await.status, 201);
        let seen = Seen::of(&service).await;
        assert_eq!(seen.value("auditlog_commit_failures_total"), Some(failed));
        assert_eq!(seen.value("auditlog_commit_seconds_count"), Some(failed + 1.0));
        connection.close().await.expect("it closes");
        service.stop().await;
    }

    async fn the_oldest_write_grows_older_while_it_waits(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        const AGE: &str = "auditlog_oldest_write_seconds";
        assert_eq!(Seen::of(&service).await.value(AGE), Some(0.0));
        let blocker = hold_head(&service.store, "org_a").await;
        let waiting = tokio::spawn(service.http.post(service.url(PATH)).bearer_auth(&key).json(&many(1)).send());
        let first = comes_to(&service, AGE, |age| age > 0.0).await.count(AGE);
        comes_to(&service, AGE, |age| age > first + 0.5).await;
        blocker.roll_back().await.expect("the lock is given back");
        assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 201);
        comes_to(&service, AGE, |age| age == 0.0).await;
        service.stop().await;
    }

    async fn a_missing_signing_key_is_a_gauge_and_a_warning(database: &Database) {
        let signing = |seen: &Seen| ["configured", "missing"].map(|what| seen.count(&format!("auditlog_signing_{what}")));
        let service = Service::start(database).await;
        assert_eq!(signing(&Seen::of(&service).await), [0.0, 0.0], "nothing was ever signed");
        service.stop().await;
        let service = whole(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        assert_eq!(service.post(PATH, &key, &many(1)).await.status, 201);
        until("it is signed", async || service.store.checkpoint(&organization("org_a")).await.expect("read")).await;
        assert_eq!(signing(&Seen::of(&service).await), [1.0, 0.0]);
        service.stop().await;
        let service = Service::start(database).await;
        assert_eq!(signing(&Seen::of(&service).await), [0.0, 1.0], "it was signed before");
        service.stop().await;
        let process = Process::serve(&database.url);
        let warned = |line: &&String| line.contains("WARN") && line.contains("logs were signed before, and no signing key");
        assert!(process.said.iter().find(warned).is_some(), "{:?}", process.said);
    }

    async fn a_log_that_is_ahead_of_the_clock_is_a_gauge_and_one_warning_without_names(database: &Database) {
        let service = Service::start(database).await;
        assert_eq!(Seen::of(&service).await.value("auditlog_clock_behind_seconds"), Some(0.0), "it is always there");
        let fast = Clock::from_fn(|| Clock::system().now().plus(3_600 * 1_000_000));
        write(&start(&service.store, fast), "org_a", vec![entry("log_ahead", 1)]).await.expect("written");
        assert_eq!(Seen::of(&service).await.value("auditlog_clock_behind_seconds"), Some(0.0), "nothing is seen yet");
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        assert_eq!(service.post(PATH, &key, &many(1)).await.status, 201);
        let seen = Seen::of(&service).await.count("auditlog_clock_behind_seconds");
        assert!((3_000.0..=3_600.0).contains(&seen), "{seen}");
        service.stop().await;
        // The warning in the log of a process.
        let service = Process::serve(&database.url);
        for number in 0..3 {
            let write = reqwest::Client::new().post(service.url(PATH)).bearer_auth(&key);
            let entry = body(&format!("log_again_{number}"));
            assert_eq!(write.json(&entry).send().await.expect("an answer").status(), 201);
        }
        service.signal("TERM");
        let warned: Vec<_> = service.log.iter().filter(|line| line.contains("ahead of this server's clock")).collect();
        assert!(warned.len() == 1 && warned[0].contains("WARN") && !warned[0].contains("org_a"), "{warned:?}");
    }

    async fn entries_too_far_ahead_are_counted_as_refused(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        let mut entry = body("log_1");
        entry["auditLogs"][0]["timestamp"] = json!("9000-01-01T00:00:00Z");
        assert_eq!(service.post(PATH, &key, &entry).await.status, 429);
        assert_eq!(Seen::of(&service).await.value(r#"auditlog_refusals_total{reason="ahead"}"#), Some(1.0));
        service.stop().await;
    }

    async fn the_running_counts_lag_is_the_number_of_uncounted_entries(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        for (name, count) in [("org_a", 2_500), ("org_b", 2_100)] {
            for from in (0..count).step_by(500) {
                let entries = (from..count.min(from + 500)).map(|number| entry(&format!("log_{number}"), number));
                write(&ingest, name, entries.collect()).await.expect("written");
            }
        }
        // Another process locks the running counts. On SQLite, one lock holds all of them.
        let mut holds = Vec::new();
        for name in &["org_a", "org_b"][..if database.backend == Backend::Sqlite { 1 } else { 2 }] {
            holds.push(store.begin_counting(&organization(name), 0).await.expect("a transaction").expect("nobody else counts"));
        }
        let service = Service::start(database).await;
        let seen = comes_to(&service, "auditlog_running_counts_lag_entries", |lag| lag > 0.0).await;
        assert_eq!(seen.value("auditlog_running_counts_lag_entries"), Some(4_600.0));
        assert_eq!(seen.value("auditlog_running_counts_lag_largest_entries"), Some(2_500.0));
        drop(holds);
        let seen = comes_to(&service, "auditlog_running_counts_lag_entries", |lag| lag == 0.0).await;
        assert_eq!(seen.value("auditlog_running_counts_lag_largest_entries"), Some(0.0));
        service.stop().await;
        let service = Service::start_with(database, Clock::system(), Options { running_counts: false, ..options() }).await;
        assert!(!Seen::of(&service).await.0.contains("auditlog_running_counts_lag"), "a process without the counting job has no lag");
        service.stop().await;
    }

    async fn pool_connections_are_measured_by_pool_and_state(database: &Database) {
        let service = Service::start(database).await;
        let writers = |state| format!("auditlog_pool_connections{{pool=\"writers\",state=\"{state}\"}}");
        let most = if database.backend == Backend::Sqlite { 1.0 } else { 2.0 };
        let seen = comes_to(&service, &writers("used"), |used| used == 0.0).await;
        assert_eq!(seen.value(r#"auditlog_pool_connections_max{pool="writers"}"#), Some(most));
        assert_eq!(seen.value(r#"auditlog_pool_connections_max{pool="readers"}"#), Some(10.0));
        let committers = if database.backend == Backend::Sqlite { None } else { Some(4.0) };
        assert_eq!(seen.value(r#"auditlog_pool_connections_max{pool="committers"}"#), committers);
        assert!(seen.value(r#"auditlog_pool_connections{pool="readers",state="idle"}"#).is_some());
        assert!(!seen.0.contains("erasers"), "the writers erase");
        let blocker = hold_head(&service.store, "org_a").await;
        comes_to(&service, &writers("used"), |used| used >= 1.0).await;
        blocker.roll_back().await.expect("the lock is given back");
        let seen = comes_to(&service, &writers("used"), |used| used == 0.0).await;
        assert!(seen.value(&writers("idle")).is_some_and(|idle| (1.0..=most).contains(&idle)));
        service.stop().await;
    }

    async fn the_age_of_checkpoints_grows_while_nothing_is_signed(database: &Database) {
        let service = whole(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        assert_eq!(service.post(PATH, &key, &many(3)).await.status, 201);
        until("it is signed", async || service.store.checkpoint(&organization("org_a")).await.expect("read")).await;
        let seen = comes_to(&service, "auditlog_checkpoint_age_seconds", |age| age < 3.0).await;
        assert_eq!(seen.value("auditlog_signer_stopped"), Some(0.0));
        let (file, away) = (database.directory.path().join("key"), database.directory.path().join("away"));
        std::fs::rename(&file, &away).expect("the key goes away");
        comes_to(&service, "auditlog_signer_stopped", |stopped| stopped == 1.0).await;
        comes_to(&service, "auditlog_checkpoint_age_seconds", |age| age > 4.0).await;
        comes_to(&service, r#"auditlog_job_failures_total{name="signing"}"#, |failures| failures > 1.0).await;
        std::fs::rename(&away, &file).expect("the key comes back");
        let seen = comes_to(&service, "auditlog_signer_stopped", |stopped| stopped == 0.0).await;
        assert!(seen.count("auditlog_checkpoint_age_seconds") < 4.0);
        service.stop().await;
        let service = Service::start(database).await;
        let seen = Seen::of(&service).await;
        assert!(!seen.0.contains("checkpoint") && !seen.0.contains("signer"), "without a key there is nothing to tell");
        service.stop().await;
    }

    async fn each_background_job_has_its_runs_and_its_last_success(database: &Database) {
        let service = whole(database).await;
        for name in ["continuity", "counts", "database_health", "followed_heads", "signing"] {
            let series = |metric: &str| format!("auditlog_job_{metric}{{name=\"{name}\"}}");
            let begun = Clock::system().now().micros() as f64 / 1e6;
            comes_to(&service, &series("last_success_timestamp_seconds"), |at| at > begun).await;
            let seen = comes_to(&service, &series("runs_total"), |runs| runs > 1.0).await;
            assert_eq!(seen.value(&series("failures_total")), Some(0.0), "{name}");
        }
        service.stop().await;
        let service = Service::start_with(database, Clock::system(), Options { running_counts: false, ..options() }).await;
        let seen = Seen::of(&service).await;
        let names = seen.0.lines().filter_map(|line| line.strip_prefix("auditlog_job_runs_total{name=\"")?.split('"').next());
        assert_eq!(names.collect::<BTreeSet<_>>(), ["database_health", "followed_heads"].into());
        service.stop().await;
    }

    async fn erased_groups_are_counted(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write, Scope::Erase]).await;
        assert_eq!(service.post(PATH, &key, &many(3)).await.status, 201);
        assert_eq!(Seen::of(&service).await.value("auditlog_erased_groups_total"), Some(0.0));
        let erase = |dry_run| EraseAuditLogsRequest {
            organization_id: "org_a".to_owned(),
            target: Some(Target::Entries(EntryIds { ids: vec!["log_0".to_owned(), "log_1".to_owned()] })),
            reason: "asked".to_owned(),
            dry_run,
            ..Default::default()
        };
        for (dry_run, count) in [(true, 0.0), (false, 4.0), (false, 4.0)] {
            service.erasures().await.erase_audit_logs(with_key(erase(dry_run), &key)).await.expect("erased");
            assert_eq!(Seen::of(&service).await.value("auditlog_erased_groups_total"), Some(count), "dry: {dry_run}");
        }
        service.stop().await;
    }

    async fn process_metrics_are_served(database: &Database) {
        let service = Service::start(database).await;
        let before = Seen::of(&service).await;
        let memory = before.count("process_resident_memory_bytes");
        assert!((4e6..64e9).contains(&memory), "{memory}");
        let now = Clock::system().now().micros() as f64 / 1e6;
        let started = before.count("process_start_time_seconds");
        assert!((now - 600.0..=now).contains(&started), "{started} of {now}");
        let build = format!("auditlog_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!(before.value(&build), Some(1.0));
        // Other tests in this process open and close files too, so this needs many.
        let files: Vec<_> = (0..500).map(|_| std::fs::File::open("/dev/null").expect("a file")).collect();
        let after = Seen::of(&service).await;
        drop(files);
        assert!(after.count("process_open_fds") > 500.0);
        let held = std::hint::black_box(vec![1u8; 128 * 1024 * 1024]);
        let grown = Seen::of(&service).await.count("process_resident_memory_bytes");
        assert!(grown > held.len() as f64, "{memory} and then {grown}");
        service.stop().await;
    }
}
