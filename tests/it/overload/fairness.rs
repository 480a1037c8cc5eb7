//! The reads of one key do not starve another: a free connection goes to the one that used less connection time.

use std::time::Duration;

use auditlog::domain::OrganizationId;
use futures::FutureExt;

use super::all_connections;
use crate::support::{Backend, Database, TIMEOUT, on_every_database};

on_every_database! {
    async fn a_key_with_many_waiting_reads_does_not_starve_another(database: &Database) {
        let store = database.store().await;
        let organization = OrganizationId::parse("org_a").expect("an id");
        let read = |key_id: &'static str| Box::pin(store.read_permit(key_id, &organization));
        let mut running = all_connections(&store, "al_busy");
        assert!(running.len() > 1, "a key that reads alone may use all connections");
        let mut waiting: Vec<_> = (0..30).map(|_| read("al_busy")).collect();
        assert!(waiting.iter_mut().all(|read| read.now_or_never().is_none()), "no connection is free");
        let mut other = read("al_other");
        assert!(other.as_mut().now_or_never().is_none(), "no connection is free");
        drop(running.pop());
        let permit = other.as_mut().now_or_never().expect("the free connection is for the key that used none");
        assert!(waiting.iter_mut().all(|read| read.now_or_never().is_none()), "there was one free connection");
        drop((permit.expect("a permit"), running));
        // All connections come back, to the reads that still wait.
        for read in waiting {
            let permit = tokio::time::timeout(TIMEOUT, read).await.expect("in time");
            drop(permit.expect("a permit"));
        }
    }

    async fn a_free_connection_goes_to_the_key_that_used_the_least(database: &Database) {
        let store = database.store().await;
        let organization = OrganizationId::parse("org_a").expect("an id");
        let slow = all_connections(&store, "al_slow");
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(slow);
        // Others are known, so each of these gets half of the connections.
        let mut running = ["al_one", "al_two"].map(|key_id| all_connections(&store, key_id));
        let [mut slow, mut new] = ["al_slow", "al_new"].map(|key_id| Box::pin(store.read_permit(key_id, &organization)));
        assert!(slow.as_mut().now_or_never().is_none() && new.as_mut().now_or_never().is_none(), "no connection is free");
        drop(running[0].pop());
        assert!(slow.as_mut().now_or_never().is_none(), "it came first, but it used more");
        let permit = new.as_mut().now_or_never().expect("the free connection is for the key that used none");
        drop(permit.expect("a permit"));
        slow.as_mut().now_or_never().expect("the connection came back").expect("a permit");
    }

    async fn a_key_leaves_half_of_the_connections_to_another(database: &Database) {
        let store = database.store().await;
        let organization = OrganizationId::parse("org_a").expect("an id");
        let count = all_connections(&store, "al_busy").len();
        let other = store.read_permit("al_other", &organization).await.expect("a permit");
        let busy = all_connections(&store, "al_busy");
        assert_eq!(busy.len(), count.div_ceil(2));
        // The same key in another organization has connections of its own.
        let organization = OrganizationId::parse("org_b").expect("an id");
        let elsewhere = store.read_permit("al_busy", &organization).now_or_never();
        elsewhere.expect("a connection is free").expect("a permit");
        drop((busy, other));
    }
}
