//! The log of each organization: leaves, edge, root and tiles are those of its entries, whatever was written and refused.

use auditlog::domain::{Clock, Seq};
use auditlog::error::Error;
use auditlog::merkle::{Edge, Hash, Question, TileId, leaf_hash};
use auditlog::store::{LogHead, Sealed, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::ingest::{catalogue, entry, organization, start, write};
use crate::support::{Backend, Database, on_every_database};

const ORGANIZATIONS: [&str; 2] = ["org_a", "org_b"];

/// All entries, in the order of their numbers.
async fn entries(store: &Store, name: &str, size: u64) -> Vec<Sealed> {
    store.sealed(&organization(name), 0, Seq::MAX, size + 1).await.expect("read")
}

/// That the log of an organization is that of its entries; gives its size.
pub async fn check_log(store: &Store, name: &str) -> u64 {
    let LogHead { log_id, edge, root } = store.log_head(&organization(name)).await.expect("read").expect("a log");
    let entries = entries(store, name, edge.size()).await;
    assert_eq!(entries.len() as u64, edge.size(), "{name}: the edge is of another size");
    let mut grown = Edge::default();
    let mut roots = vec![grown.root()];
    let mut tiles = std::collections::BTreeMap::new();
    for (place, Sealed { entry, salts, leaf }) in entries.iter().enumerate() {
        assert_eq!(entry.seq, place as Seq + 1, "{name}");
        let own = leaf_hash(entry, &log_id, &catalogue(), salts).expect("a name");
        assert_eq!(own, *leaf, "{name}: the leaf of {}", entry.seq);
        let of_leaves = TileId { level: 0, index: place as u64 / 256 };
        tiles.entry(of_leaves).or_insert_with(Vec::new).push(*leaf);
        for completed in grown.append(*leaf) {
            tiles.entry(completed.tile()).or_insert_with(Vec::new).push(completed.hash);
        }
        roots.push(grown.root());
    }
    assert_eq!((&grown, grown.root()), (&edge, root), "{name}: edge and root");
    for (tile, hashes) in &tiles {
        let read = store.tiles(&organization(name), &[*tile].into(), edge.size()).await.expect("read");
        assert_eq!(read.get(tile), Some(hashes), "{name}: {tile:?}");
    }
    for size in (0..roots.len()).step_by(97).chain([roots.len() - 1]) {
        assert_eq!(root_at(store, name, size as u64).await, roots[size], "{name}: the root at {size}");
    }
    edge.size()
}

/// The root of the tree as it was, from its tiles.
async fn root_at(store: &Store, name: &str, size: u64) -> Hash {
    let question = Question::root(size).expect("a size");
    let tiles = store.tiles(&organization(name), &question.tiles(), size).await.expect("read");
    question.answer(&tiles).expect("all tiles")[0]
}

on_every_database! {
    async fn leaves_edge_root_and_tiles_are_those_of_the_entries(database: &Database) {
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
