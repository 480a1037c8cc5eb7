//! Writes: numbering, replays, conflicts, and the state after a refused request.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use auditlog::deadline::Deadline;
use auditlog::domain::{
    Action, ActorType, Clock, Content, Identifier, JsonText, Metadata, Name, NewEntry, Outcome, Random, ResourceType,
    Timestamp,
};
use auditlog::error::Error;
use auditlog::ingest::{Ingest, QueueLimits};
use auditlog::metrics::Metrics;
use auditlog_verify::merkle::{CompactRange, Hash};

use crate::support::database::{LOCK_TIMEOUT, block_writes, execute, hold_head, poison};
use crate::support::ingest::{all, entry, organization, query, start, write};
use crate::support::process::create_key;
use crate::support::{Backend, Database, Process, on_every_database, run};

/// A clock that the test sets, in microseconds.
fn set_clock(at: i64) -> (Clock, Arc<AtomicI64>) {
    let hand = Arc::new(AtomicI64::new(at));
    let read = Arc::clone(&hand);
    (Clock::from_fn(move || Timestamp::saturating(read.load(Ordering::SeqCst))), hand)
}

on_every_database! {
    async fn a_written_entry_reads_back_as_it_was_sent(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let sent = entry("log_1", 3);
        let written = write(&ingest, "org", vec![sent.clone()]).await.expect("written");
        let read = query(&store).await.get("key", &organization("org"), &sent.content.id).await.expect("read");
        assert_eq!(read.content, sent.content);
        assert_eq!((read.seq, read.recorded_at), (1, written[0].recorded_at));
        assert_eq!(read.timestamp, read.recorded_at);
        assert!(!written[0].replayed);
    }

    async fn a_replayed_id_returns_the_stored_entry(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let first = write(&ingest, "org", vec![entry("log_1", 1)]).await.expect("written");
        let again = write(&ingest, "org", vec![entry("log_2", 1), entry("log_1", 1)]).await.expect("written");
        assert_eq!((again[1].seq, again[1].recorded_at, again[1].replayed), (1, first[0].recorded_at, true));
        assert_eq!((again[0].seq, again[0].replayed), (2, false));
    }

    async fn a_replay_is_recognized_by_exactly_the_fields_that_the_writer_sent(database: &Database) {
        let store = database.store().await;
        let (clock, hand) = set_clock(1_000_000);
        let ingest = start(&store, clock);
        let at = |timestamp: Option<i64>| NewEntry { timestamp: timestamp.map(Timestamp::saturating), ..entry("log_1", 1) };
        write(&ingest, "org", vec![at(None)]).await.expect("written");
        hand.store(9_000_000, Ordering::SeqCst);
        assert!(write(&ingest, "org", vec![at(None)]).await.expect("a replay")[0].replayed);
        assert!(write(&ingest, "org", vec![at(Some(1_000_000))]).await.expect("a replay")[0].replayed);
        let other = write(&ingest, "org", vec![at(Some(1_000_001))]).await;
        assert!(matches!(other, Err(Error::IdConflict(_))), "{other:?}");
        let backdated = NewEntry { timestamp: Some(Timestamp::saturating(5)), ..entry("log_2", 1) };
        write(&ingest, "org", vec![backdated.clone()]).await.expect("written");
        let other = NewEntry { timestamp: Some(Timestamp::saturating(6)), ..backdated.clone() };
        assert!(matches!(write(&ingest, "org", vec![other]).await, Err(Error::IdConflict(_))));
        let without = NewEntry { timestamp: None, ..backdated };
        assert!(write(&ingest, "org", vec![without.clone()]).await.expect("a replay")[0].replayed);
        // The same within one request.
        let later = NewEntry { timestamp: Some(Timestamp::saturating(7)), ..entry("log_3", 1) };
        let twice = write(&ingest, "org", vec![later, NewEntry { timestamp: None, ..entry("log_3", 1) }]).await;
        assert_eq!(twice.expect("written").iter().map(|one| one.replayed).collect::<Vec<_>>(), [false, true]);
    }

    async fn an_entry_without_a_timestamp_gets_the_server_time_even_behind_recorded_at(database: &Database) {
        let store = database.store().await;
        let (clock, hand) = set_clock(70 * 31_556_952_000_000);
        let ingest = start(&store, clock);
        write(&ingest, "org", vec![entry("log_ahead", 1)]).await.expect("written");
        hand.store(5_000_000, Ordering::SeqCst);
        let (fast, _) = set_clock(3_600_000_000);
        let fast = start(&database.store().await, fast);
        write(&fast, "two", vec![entry("log_ahead", 1)]).await.expect("written");
        for organization in ["org", "two"] {
            write(&ingest, organization, vec![entry("log_now", 2)]).await.expect("written");
            let entries = all(&store, organization).await;
            let [ahead, now] = &entries[..] else { panic!("{entries:?}") };
            assert_eq!((now.timestamp.micros(), now.recorded_at), (5_000_000, ahead.recorded_at), "{organization}");
            assert!(write(&ingest, organization, vec![entry("log_now", 2)]).await.expect("a replay")[0].replayed);
        }
    }

    async fn a_timestamp_too_far_ahead_is_refused_unless_the_entry_is_a_replay(database: &Database) {
        let store = database.store().await;
        let (clock, hand) = set_clock(60 * 60_000_000);
        let ingest = start(&store, clock);
        let at = |id: &str, minute: i64| {
            NewEntry { timestamp: Some(Timestamp::saturating(minute * 60_000_000)), ..entry(id, 1) }
        };
        write(&ingest, "org", vec![at("log_1", 64), at("log_2", 65)]).await.expect("written");
        // The clock is set back.
        hand.store(50 * 60_000_000, Ordering::SeqCst);
        let again = write(&ingest, "org", vec![at("log_1", 64), at("log_2", 65)]).await.expect("a replay");
        assert!(again.iter().all(|one| one.replayed));
        let early = write(&ingest, "org", vec![at("log_1", 64), at("log_3", 0), at("log_4", 56), at("log_5", 57)]).await;
        let Err(Error::TimestampAhead { violations, wait }) = early else { panic!("{early:?}") };
        let fields: Vec<_> = violations.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["audit_logs[2].timestamp", "audit_logs[3].timestamp"]);
        let expected = "must be at most 5 minutes ahead of the server's 1970-01-01T00:50:00Z, got 1970-01-01T00:56:00Z";
        assert_eq!((violations[0].description.as_str(), wait), (expected, Duration::from_secs(120)));
        assert_eq!(all(&store, "org").await.len(), 2, "all or nothing");
        // A conflict is permanent, so it is reported first.
        let both = write(&ingest, "org", vec![at("log_4", 56), at("log_1", 1)]).await;
        assert!(matches!(both, Err(Error::IdConflict(_))), "{both:?}");
        assert!(write(&ingest, "new", vec![at("log_1", 56)]).await.is_err());
        assert!(!store.has_organization(&organization("new")).await.expect("an answer"));
        // At a later time, the same request is accepted.
        hand.store(52 * 60_000_000, Ordering::SeqCst);
        let taken = write(&ingest, "org", vec![at("log_1", 64), at("log_3", 0), at("log_4", 56), at("log_5", 57)]).await;
        assert_eq!(taken.expect("written").iter().map(|one| one.replayed).collect::<Vec<_>>(), [true, false, false, false]);
    }

    async fn each_part_of_the_content_makes_a_conflict(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        write(&ingest, "org", vec![entry("log_1", 1)]).await.expect("written");
        let original = entry("log_1", 1);
        let mut others = Vec::new();
        let mut other = |change: &dyn Fn(&mut Content)| {
            let mut content = Content::clone(&original.content);
            change(&mut content);
            others.push(NewEntry { timestamp: None, content: Arc::new(content) });
        };
        let name = || Name::optional("else".to_owned()).expect("a name");
        let id = || Identifier::parse("else").expect("an id");
        other(&|content| content.resource_type = ResourceType(0));
        other(&|content| content.resource_id = id());
        other(&|content| content.resource_name = None);
        other(&|content| content.action = Action(0));
        other(&|content| content.user_id = id());
        other(&|content| content.user_name = name());
        other(&|content| content.user_email = name());
        other(&|content| content.changes.clear());
        other(&|content| content.changes[0].field = "else".to_owned());
        other(&|content| content.changes[0].old_value = JsonText::parse("0").expect("JSON"));
        other(&|content| content.changes[0].new_value = JsonText::null());
        other(&|content| content.metadata = Metadata::default());
        other(&|content| content.trace_id = Some(id()));
        other(&|content| content.outcome = None);
        other(&|content| content.outcome = Some(Outcome::Denied));
        other(&|content| content.actor_type = None);
        other(&|content| content.actor_type = Some(ActorType::Anonymous));
        for other in others {
            let refused = write(&ingest, "org", vec![other.clone()]).await;
            assert!(matches!(refused, Err(Error::IdConflict(_))), "{other:?}");
        }
        assert!(write(&ingest, "org", vec![original]).await.expect("a replay")[0].replayed);
    }

    async fn replays_and_conflicts_are_recognized_within_one_request(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let twice = write(&ingest, "org", vec![entry("log_1", 1), entry("log_2", 2), entry("log_1", 1)]).await;
        let twice: Vec<_> = twice.expect("written").iter().map(|one| (one.seq, one.replayed)).collect();
        assert_eq!(twice, [(1, false), (2, false), (1, true)]);
        let torn = write(&ingest, "org", vec![entry("log_3", 3), entry("log_4", 4), entry("log_3", 5)]).await;
        let Err(Error::IdConflict(violations)) = torn else { panic!("{torn:?}") };
        assert_eq!(violations[0].field, "audit_logs[2].id");
        assert_eq!(all(&store, "org").await.len(), 2);
        let next = write(&ingest, "org", vec![entry("log_4", 6)]).await.expect("its id is free");
        assert_eq!(next[0].seq, 3);
    }

    async fn a_refused_request_leaves_nothing_behind_and_no_organization(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let refused = write(&ingest, "new", vec![entry("log_1", 1), entry("log_1", 2)]).await;
        assert!(matches!(refused, Err(Error::IdConflict(_))));
        assert!(!store.has_organization(&organization("new")).await.expect("an answer"));
        store.create_organization(&organization("made"), "00", Timestamp::MIN).await.expect("made");
        write(&ingest, "made", vec![entry("log_1", 1), entry("log_1", 2)]).await.expect_err("refused");
        assert!(store.has_organization(&organization("made")).await.expect("an answer"));
    }

    async fn a_refused_request_to_a_new_organization_does_not_affect_concurrent_requests(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let requests = (0..30).map(|number| {
            let is_refused = number % 3 == 0;
            let name = if is_refused { format!("refused_{number}") } else { format!("made_{}", number % 2) };
            let (own, ingest) = (entry(&format!("log_{number}"), 1), &ingest);
            let entries = if is_refused { vec![own, entry(&format!("log_{number}"), 2)] } else { vec![own] };
            async move { write(ingest, &name, entries).await }
        });
        let outcomes = futures::future::join_all(requests).await;
        for (number, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_ok(), number % 3 != 0, "{number}: {outcome:?}");
        }
        let made: Vec<_> = store.organizations().await.expect("a list").into_iter().map(|one| (one.id, one.head_seq)).collect();
        assert_eq!(made, [("made_0".to_owned(), 10), ("made_1".to_owned(), 10)]);
    }

    async fn a_refused_request_does_not_affect_concurrent_requests(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        write(&ingest, "org", vec![entry("taken", 1)]).await.expect("written");
        let requests = (0..60u64).map(|number| {
            let own = entry(&format!("log_{number}"), number);
            let entries = if number % 3 == 0 { vec![own, entry("taken", 2)] } else { vec![own] };
            write(&ingest, "org", entries)
        });
        let outcomes = futures::future::join_all(requests).await;
        for (number, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_ok(), number % 3 != 0, "{number}: {outcome:?}");
        }
        let mut seqs: Vec<_> = all(&store, "org").await.iter().map(|entry| entry.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=41).collect::<Vec<_>>());
    }

    async fn recorded_at_never_falls_when_the_clock_does(database: &Database) {
        let store = database.store().await;
        let (clock, hand) = set_clock(5_000_000);
        let ingest = start(&store, clock);
        let mut recorded = Vec::new();
        for (number, time) in [5_000_000, 1_000_000, 6_000_000, -7].into_iter().enumerate() {
            hand.store(time, Ordering::SeqCst);
            let written = write(&ingest, "org", vec![entry(&format!("log_{number}"), 1)]).await.expect("written");
            recorded.push(written[0].recorded_at.micros());
        }
        assert_eq!(recorded, [5_000_000, 5_000_000, 6_000_000, 6_000_000]);
    }

    async fn a_full_queue_refuses_at_once_and_forgets_nothing(database: &Database) {
        let store = database.store().await;
        let limits = QueueLimits { entries: 20, bytes: 1_000_000 };
        let (ingest, _) = Ingest::start(store.clone(), Clock::system(), Random::system(), limits, &Metrics::default());
        // Another transaction's lock blocks the writer.
        let blocker = hold_head(&store, "org").await;
        let requests = (0..10u64).map(|number| Box::pin(write(&ingest, "org", vec![entry(&format!("log_{number}"), number)])));
        let mut waiting: Vec<_> = requests.collect();
        for request in &mut waiting {
            assert!(futures::poll!(request).is_pending(), "it is queued by its first poll");
        }
        let refused = write(&ingest, "org", vec![entry("log_x", 1)]).await;
        assert!(matches!(refused, Err(Error::Overloaded("Too many writes to this organization are waiting"))), "{refused:?}");
        let mut others = Box::pin(write(&ingest, "other", (0..10u64).map(|number| entry(&format!("log_{number}"), number)).collect()));
        assert!(futures::poll!(&mut others).is_pending(), "the other half of the queue is for others");
        let refused = write(&ingest, "third", vec![entry("log_x", 1)]).await;
        assert!(matches!(refused, Err(Error::Overloaded("Too many writes are waiting"))), "{refused:?}");
        blocker.roll_back().await.expect("the lock is given back");
        for outcome in futures::future::join_all(waiting).await {
            outcome.expect("written");
        }
        others.await.expect("written");
        write(&ingest, "org", vec![entry("log_x", 1)]).await.expect("there is room again");
        assert_eq!(all(&store, "org").await.len(), 11);
    }

    async fn a_write_that_would_miss_its_deadline_is_refused_before_it_is_queued(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let due = |milliseconds| Deadline::after(Duration::from_millis(milliseconds));
        let org = organization("org");
        store.create_organization(&org, "00", Timestamp::MIN).await.expect("made");
        let held = async |number: u64| {
            let blocker = block_writes(database).await;
            let mut waiting = Box::pin(write(&ingest, "org", vec![entry(&format!("log_{number}"), number)]));
            assert!(futures::poll!(&mut waiting).is_pending());
            (blocker, waiting)
        };
        let (blocker, mut waiting) = held(1).await;
        ingest.in_time(due(100), Some(&org)).expect("nothing is known yet");
        assert!(tokio::time::timeout(Duration::from_millis(800), &mut waiting).await.is_err(), "it waits");
        blocker.rollback().await.expect("the lock is given back");
        waiting.await.expect("written");
        ingest.in_time(due(100), Some(&org)).expect("nothing waits");
        let (blocker, waiting) = held(2).await;
        // A group took 0.8 s, and one is in progress.
        let refused = ingest.in_time(due(1_000), Some(&org));
        assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
        ingest.in_time(due(60_000), Some(&org)).expect("there is time enough");
        blocker.rollback().await.expect("the lock is given back");
        waiting.await.expect("written");
        for number in 3..30 {
            write(&ingest, "org", vec![entry(&format!("log_{number}"), number)]).await.expect("written");
        }
        let (blocker, waiting) = held(30).await;
        ingest.in_time(due(1_000), Some(&org)).expect("groups are quick again");
        blocker.rollback().await.expect("the lock is given back");
        waiting.await.expect("written");
    }

    async fn queued_bytes_are_bounded_too(database: &Database) {
        let store = database.store().await;
        let limits = QueueLimits { entries: 1_000, bytes: 4_000 };
        let (ingest, _) = Ingest::start(store.clone(), Clock::system(), Random::system(), limits, &Metrics::default());
        let blocker = hold_head(&store, "org").await;
        let mut waiting = Box::pin(write(&ingest, "org", vec![entry("a", 1), entry("b", 2)]));
        assert!(futures::poll!(&mut waiting).is_pending());
        let refused = write(&ingest, "org", vec![entry("c", 3), entry("d", 4)]).await;
        assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
        blocker.roll_back().await.expect("the lock is given back");
        waiting.await.expect("written");
        let large = (0..10u64).map(|number| entry(&format!("log_{number}"), number)).collect();
        write(&ingest, "org", large).await.expect("a request larger than the queue has it for itself");
    }

    async fn many_rows_go_into_one_request(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let entries: Vec<_> = (0..1_000u64).map(|number| entry(&format!("log_{number}"), number)).collect();
        let written = write(&ingest, "org", entries).await.expect("written");
        let seqs: Vec<_> = written.iter().map(|one| one.seq).collect();
        assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
    }

    async fn a_second_writer_waits_for_the_first(database: &Database) {
        let (first, second) = (database.store().await, database.store().await);
        first.create_organization(&organization("org"), "00", Timestamp::MIN).await.expect("made");
        let holder = hold_head(&first, "org").await;
        let waiting = tokio::spawn(async move {
            let append = second.append().await.expect("a transaction");
            let head = append.lock_head(&organization("org"), "01", Timestamp::MIN, LOCK_TIMEOUT).await;
            head.expect("no error").expect("the lock").seq
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished(), "two hold the same head");
        let mut edge = CompactRange::default();
        (0..7).for_each(|_| drop(edge.append(Hash::of_nothing())));
        holder.move_heads(&[(&organization("org"), Timestamp::MIN, &edge)]).await.expect("it moves");
        holder.commit().await.expect("committed");
        assert_eq!(waiting.await.expect("no panic"), 7, "the waiter sees what it waited for");
    }

    async fn a_write_dropped_by_its_caller_is_not_started(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let blocker = hold_head(&store, "org").await;
        // The writer has taken the first write or is about to. The caller drops the second one before the lock is free.
        let mut first = Box::pin(write(&ingest, "org", vec![entry("log_1", 1)]));
        assert!(futures::poll!(&mut first).is_pending());
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut second = Box::pin(write(&ingest, "org", vec![entry("log_2", 1)]));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        blocker.roll_back().await.expect("the lock is given back");
        first.await.expect("written");
        assert_eq!(write(&ingest, "org", vec![entry("log_3", 1)]).await.expect("written")[0].seq, 2);
    }

    async fn a_request_that_the_database_rejects_fails_alone(database: &Database) {
        let store = database.store().await;
        poison(database).await;
        let ingest = start(&store, Clock::system());
        let requests = (0..50u64).map(|number| {
            let mut content = Content::clone(&entry(&format!("log_{number}"), number).content);
            if number == 17 {
                content.user_name = Name::optional("poison".to_owned()).expect("a name");
            }
            write(&ingest, "org", vec![NewEntry { timestamp: None, content: Arc::new(content) }])
        });
        for (number, outcome) in futures::future::join_all(requests).await.into_iter().enumerate() {
            match number {
                17 => assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}"),
                _ => assert!(!outcome.expect("written")[0].replayed),
            }
        }
        assert_eq!(all(&store, "org").await.len(), 49);
    }
}

/// Cuts PostgreSQL's connections repeatedly while eight clients write.
#[test]
fn cut_connections_lose_nothing_that_was_acknowledged() {
    run(async {
        let Some(database) = Database::fresh(Backend::Postgres).await else { return };
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let writers = (0..8u64).map(|writer| {
            let ingest = ingest.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0..60u64 {
                    let id = format!("log_{writer}_{number}");
                    // The client retries with the same id.
                    for _ in 0..20 {
                        match write(&ingest, "org", vec![entry(&id, number)]).await {
                            Ok(_) => {
                                acknowledged.push(id.clone());
                                break;
                            }
                            Err(Error::StorageUnavailable(_)) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                acknowledged
            })
        });
        let writing = futures::future::join_all(writers);
        let cutting = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(40)).await;
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
                execute(&database, cut).await;
            }
        };
        let (written, ()) = tokio::join!(writing, cutting);
        let acknowledged: Vec<_> = written.into_iter().flat_map(|ids| ids.expect("no panic")).collect();
        assert_eq!(acknowledged.len(), 480);
        let entries = all(&database.store().await, "org").await;
        assert_eq!(entries.len(), 480, "each once");
        let stored: std::collections::HashSet<_> = entries.iter().map(|entry| entry.content.id.as_str()).collect();
        assert!(acknowledged.iter().all(|id| stored.contains(id.as_str())));
        let mut seqs: Vec<_> = entries.iter().map(|entry| entry.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=480).collect::<Vec<_>>());
    });
}

/// The file system is full for a while. Acknowledged entries must be stored, and later writes must succeed.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    run(async {
        let Some(database) = Database::fresh(Backend::Sqlite).await else { return };
        let key = create_key(&database.url, &["--organization", "org", "--scope", "read", "--scope", "write"]);
        // A limit on file size, in blocks of 1,024 bytes, replaces a full disk.
        let mut limited = Command::new("bash");
        let script = r#"trap '' XFSZ; ulimit -Sf 600; exec "$0" serve"#;
        limited.args(["-c", script, env!("CARGO_BIN_EXE_auditlog")]);
        limited.env("AUDITLOG_DATABASE_URL", &database.url).env("AUDITLOG_LISTEN", "127.0.0.1:0");
        let service = Process::spawn(limited);
        let http = reqwest::Client::new();
        let write = async |id: String| {
            let mut entry = crate::support::json::least(&id);
            entry["changes"] = serde_json::json!([{"field": "f", "newValue": "x".repeat(20_000)}]);
            let request = http.post(service.url("/v1/org/audit-logs")).bearer_auth(&key);
            let response = request.json(&serde_json::json!({"auditLogs": [entry]})).send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("text"))
        };
        let mut acknowledged = Vec::new();
        let mut refused = 0;
        for number in 0..60 {
            match write(format!("log_{number}")).await {
                (201, _) => acknowledged.push(format!("log_{number}")),
                (503, text) => {
                    assert!(text.contains("storage_unavailable"), "{text}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
            if refused == 3 {
                break;
            }
        }
        assert!(refused == 3 && acknowledged.len() > 5, "{refused} refused, {} acknowledged", acknowledged.len());
        let freed =
            Command::new("prlimit").args(["--fsize=unlimited", "--pid", &service.child.id().to_string()]).status();
        assert!(freed.is_ok_and(|status| status.success()), "the limit is lifted");
        for number in 100..120 {
            let (status, text) = write(format!("log_{number}")).await;
            assert_eq!(status, 201, "{text}");
            acknowledged.push(format!("log_{number}"));
        }
        service.kill();
        let entries = all(&database.store().await, "org").await;
        for id in acknowledged {
            assert!(entries.iter().any(|entry| entry.content.id.as_str() == id), "{id} was acknowledged");
        }
        let mut seqs: Vec<_> = entries.iter().map(|entry| entry.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=entries.len() as i64).collect::<Vec<_>>());
    });
}
