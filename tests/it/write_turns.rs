//! The write scheduler: what writes to one organization do to writes to another.

use std::time::Duration;

use auditlog::domain::{Clock, NewEntry};
use auditlog::store::Store;
use futures::future::join_all;
use sea_orm::{ConnectionTrait, Database as Connections, Statement};

use crate::support::database::{self, hold_head};
use crate::support::ingest::{all, entry, organization, start, write};
use crate::support::{Backend, Database, on_every_database};

/// More than the committers that may wait for a lock at the same time.
const LOCKED: [&str; 3] = ["locked_a", "locked_b", "locked_c"];
const FREE: usize = 20;

fn entries(prefix: &str, count: u64) -> Vec<NewEntry> {
    (0..count).map(|number| entry(&format!("{prefix}_{number}"), number)).collect()
}

/// Creates organizations, so that their first write finds a head.
async fn create(store: &Store, names: impl IntoIterator<Item = String>) {
    for name in names {
        let log_id = format!("log of {name}");
        store.create_organization(&organization(&name), &log_id, Clock::system().now()).await.expect("made");
    }
}

/// The number of deadlocks that PostgreSQL has found in `database`.
async fn deadlocks(database: &Database) -> i64 {
    let connection = Connections::connect(&database.url).await.expect("a connection");
    let query = "SELECT pg_stat_clear_snapshot(), deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), query)).await;
    row.expect("an answer").expect("a row").try_get_by_index(1).expect("a number")
}

on_every_database! {
    async fn a_burst_of_one_organization_delays_another_by_a_few_groups(database: &Database) {
        let store = database.store().await;
        create(&store, ["greedy", "modest"].map(str::to_owned)).await;
        let ingest = start(&store, Clock::system());
        let greedy: Vec<_> = (0..20)
            .map(|number| {
                let (ingest, entries) = (ingest.clone(), entries(&format!("log_{number}"), 500));
                tokio::spawn(async move { write(&ingest, "greedy", entries).await })
            })
            .collect();
        tokio::task::yield_now().await;
        write(&ingest, "modest", entries("log", 1)).await.expect("written");
        let done = greedy.iter().filter(|write| write.is_finished()).count();
        assert!(done <= 10, "{done} of 20 groups came first");
        for written in join_all(greedy).await {
            written.expect("no panic").expect("written");
        }
        assert_eq!(all(&store, "greedy").await.len(), 10_000);
    }

    async fn two_services_that_write_to_the_same_new_organizations_do_not_deadlock(database: &Database) {
        let stores = [database.store().await, database.store().await];
        let ingests = [start(&stores[0], Clock::system()), start(&stores[1], Clock::system())];
        for round in 0..5 {
            let writes = ingests.iter().enumerate().flat_map(|(number, ingest)| {
                (0..20).map(move |place| async move {
                    // The two services name the organizations in opposite orders.
                    let place = if number == 0 { place } else { 19 - place };
                    write(ingest, &format!("org_{round}_{place}"), entries(&format!("log_{number}"), 3)).await
                })
            });
            for written in join_all(writes).await {
                written.expect("written");
            }
        }
        for place in 0..20 {
            let seqs: Vec<_> = all(&stores[0], &format!("org_4_{place}")).await.iter().map(|entry| entry.seq).collect();
            assert_eq!(seqs.len(), 6, "{seqs:?}");
        }
        if database.backend == Backend::Postgres {
            assert_eq!(deadlocks(database).await, 0);
        }
    }
}

/// SQLite locks the whole database, so this needs PostgreSQL.
#[test]
fn locked_organizations_delay_no_other() {
    database::run(Backend::Postgres, async |database| {
        let store = database.store().await;
        let free: Vec<_> = (0..FREE).map(|number| format!("free_{number}")).collect();
        create(&store, LOCKED.map(str::to_owned).into_iter().chain(free.iter().cloned())).await;
        let ingest = start(&store, Clock::system());
        let mut holders = Vec::new();
        for name in LOCKED {
            holders.push(hold_head(&database.store().await, name).await);
        }
        let write_locked = |round: usize| {
            let ingest = ingest.clone();
            let all = LOCKED.map(|name| {
                let (ingest, entries) = (ingest.clone(), entries(&format!("log_{round}"), 2));
                async move { write(&ingest, name, entries).await }
            });
            tokio::spawn(join_all(all))
        };
        let mut waiting = vec![write_locked(0)];
        for round in 1..=10 {
            // Commits lie between the rounds, so that each is queued before the next.
            let writes = free.iter().map(|name| write(&ingest, name, entries(&format!("log_{round}"), 1)));
            for written in tokio::time::timeout(Duration::from_secs(20), join_all(writes)).await.expect("others go on")
            {
                written.expect("written");
            }
            waiting.push(write_locked(round));
        }
        assert!(waiting.iter().all(|write| !write.is_finished()), "the heads are still locked");
        for holder in holders {
            holder.roll_back().await.expect("the lock is given back");
        }
        for written in join_all(waiting).await.into_iter().flat_map(|all| all.expect("no panic")) {
            written.expect("written");
        }
        for name in LOCKED {
            let stored = all(&store, name).await;
            let mut ids: Vec<_> = stored.iter().map(|entry| (entry.seq, entry.content.id.to_string())).collect();
            ids.sort_unstable();
            let ids: Vec<_> = ids.into_iter().map(|(_, id)| id).collect();
            let expected: Vec<_> =
                (0..=10).flat_map(|round| [0, 1].map(|number| format!("log_{round}_{number}"))).collect();
            assert_eq!(ids, expected, "writes to one organization keep their order");
        }
        assert_eq!(deadlocks(&database).await, 0);
    });
}
