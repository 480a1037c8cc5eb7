//! The log of each organization: leaves, compact range, root and tiles match the entries, after any mix of accepted and
//! refused writes.

use auditlog::domain::Clock;
use auditlog::error::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::check_log::check_log;
use crate::support::ingest::{entry, organization, start, write};
use crate::support::{Backend, Database, on_every_database};

const ORGANIZATIONS: [&str; 2] = ["org_a", "org_b"];

on_every_database! {
    async fn leaves_compact_range_root_and_tiles_match_the_entries(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let mut random = StdRng::seed_from_u64(5);
        let mut next = 0;
        for round in 0..60 {
            let writes = (0..random.random_range(1..6)).map(|_| {
                let size = *[1, 2, 31, 100, 255, 256, 257].get(random.random_range(0..7)).expect("one of seven");
                let first = next;
                next += size;
                let entries: Vec<_> = (first..first + size).map(|number| entry(&format!("log_{number}"), number)).collect();
                (ORGANIZATIONS[random.random_range(0..2)], entries)
            });
            let writes: Vec<_> = writes.collect();
            let outcomes = writes.iter().map(|(to, entries)| write(&ingest, to, entries.clone()));
            let outcomes = futures::future::join_all(outcomes).await;
            for ((to, entries), outcome) in writes.iter().zip(outcomes) {
                let written = outcome.expect("written");
                let again = write(&ingest, to, entries.clone()).await.expect("a replay");
                assert!(written.iter().zip(&again).all(|(one, again)| (one.seq, one.leaf) == (again.seq, again.leaf)));
                let other = write(&ingest, to, vec![entry("log_new", 1), entry(entries[0].content.id.as_str(), 999_999)]);
                assert!(matches!(other.await, Err(Error::IdConflict(_))));
            }
            if round % 15 == 0 {
                for name in ORGANIZATIONS {
                    if store.log_head(&organization(name)).await.expect("read").is_some() {
                        check_log(&store, name).await;
                    }
                }
            }
        }
        let sizes = [check_log(&store, ORGANIZATIONS[0]).await, check_log(&store, ORGANIZATIONS[1]).await];
        assert!(sizes.iter().all(|size| *size > 2_000), "{sizes:?}");
    }
}
