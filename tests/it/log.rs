//! The log of each organization: leaves, compact range, root and tiles match the entries, after any mix of accepted and
//! refused writes.

use std::collections::{HashMap, HashSet};

use auditlog::domain::{Clock, Entry, Group, Seq, entry_values, leaf_hash};
use auditlog::error::Error;
use auditlog::store::{HashedEntry, LogHead, Store};
use auditlog_verify::merkle::{CompactRange, GroupHash, Hash, Leaf, ProofRequest, Salts, TileId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::ingest::{catalogue, entry, organization, start, write};
use crate::support::{Backend, Database, on_every_database};

const ORGANIZATIONS: [&str; 2] = ["org_a", "org_b"];

/// All entries in the order of their sequence numbers.
async fn entries(store: &Store, name: &str, size: u64) -> Vec<HashedEntry> {
    store.sealed(&organization(name), 0, Seq::MAX, size + 1).await.expect("read")
}

/// Checks the log of an organization against its entries. Returns its size.
pub async fn check_log(store: &Store, name: &str) -> u64 {
    let LogHead { log_id, edge, root } = store.log_head(&organization(name)).await.expect("read").expect("a log");
    let entries = entries(store, name, edge.size()).await;
    assert_eq!(entries.len() as u64, edge.size(), "{name}: the edge is of another size");
    let mut grown = CompactRange::default();
    let mut roots = vec![grown.root()];
    let mut tiles = std::collections::BTreeMap::new();
    let erased = check_erased(store, name, &entries).await;
    for (place, HashedEntry { entry, salts, leaf }) in entries.iter().enumerate() {
        assert_eq!(entry.seq, place as Seq + 1, "{name}");
        let own = match entry.erased.is_empty() {
            true => leaf_hash(entry, &log_id, &catalogue(), salts).expect("a name"),
            false => leaf_of_erased(entry, salts, &log_id, &erased),
        };
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

/// The kept hashes of erased groups.
type Erased = HashMap<(Seq, Group), GroupHash>;

/// Checks that erased values are gone, that each erased group has its hash and exactly one record in a later entry of
/// the service, and that nothing else is recorded.
async fn check_erased(store: &Store, name: &str, entries: &[HashedEntry]) -> Erased {
    let partly: Vec<_> = entries.iter().filter(|sealed| !sealed.entry.erased.is_empty()).collect();
    let seqs: Vec<_> = partly.iter().map(|sealed| sealed.entry.seq).collect();
    let transaction = store.append().await.expect("a transaction");
    let remains = transaction.remains(&organization(name), &seqs).await.expect("read");
    transaction.roll_back().await.expect("it ends");
    let remains: Erased = remains.into_iter().map(|remains| ((remains.seq, remains.group), remains.hash)).collect();
    let mut recorded = HashMap::new();
    for HashedEntry { entry, .. } in
        entries.iter().filter(|sealed| sealed.entry.content.id.as_str().starts_with("auditlog:erasure:"))
    {
        let [reason, changes @ ..] = &entry.content.changes[..] else { panic!("a reason") };
        assert_eq!((reason.field.as_str(), entry.writer_key_id.as_str()), ("reason", "-"), "{name}");
        let changes = match changes {
            [changes @ .., last] if last.field == "signatures" => changes,
            unsigned => unsigned,
        };
        assert!((1..999).contains(&changes.len()), "{name}: {} records {}", entry.seq, changes.len());
        for change in changes {
            let place: Vec<_> = change.field.split('.').collect();
            let ["erased", seq, group] = place[..] else { panic!("{name}: {change:?}") };
            let (seq, group): (Seq, _) = (seq.parse().expect("a number"), Group::parse(group).expect("a group"));
            assert!(seq < entry.seq && change.old_value.as_str() == "null", "{name}: {change:?}");
            let hash: String = serde_json::from_str(change.new_value.as_str()).expect("a string");
            let twice = recorded.insert((seq, group), GroupHash(Hash::parse(&hash).expect("a hash")));
            assert_eq!(twice, None, "{name}: {change:?} is recorded twice");
        }
    }
    assert_eq!(recorded, remains, "{name}: what is recorded is what remains");
    let gone = partly.iter().flat_map(|sealed| sealed.entry.erased.groups().map(|group| (sealed.entry.seq, group)));
    assert_eq!(gone.collect::<HashSet<_>>(), remains.keys().copied().collect(), "{name}: what is gone is recorded");
    for HashedEntry { entry, salts, .. } in partly {
        assert_eq!(*entry.content, entry.content.without(entry.erased), "{name}: values of {} are left", entry.seq);
        assert_eq!(*salts, salts.without(entry.erased), "{name}: a salt of {} is left", entry.seq);
    }
    remains
}

fn leaf_of_erased(entry: &Entry, salts: &Salts, log_id: &str, erased: &Erased) -> Hash {
    let catalogue = catalogue();
    let resource_type = catalogue.resource_type_name(entry.content.resource_type).expect("a name");
    let action = catalogue.action_name(entry.content.action).expect("a name");
    let values = entry_values(entry, resource_type, action);
    let groups = values.map(|values| match entry.erased.has(values.group()) {
        true => erased[&(entry.seq, values.group())],
        false => values.hash(salts.of(values.group())),
    });
    let (seq, id, recorded_at) = (entry.seq, entry.content.id.as_str(), entry.recorded_at);
    Hash::of_leaf(&Leaf { log_id, seq, id, recorded_at, writer: &entry.writer_key_id, groups }.data())
}

/// The root of the tree at an earlier size, computed from its tiles.
async fn root_at(store: &Store, name: &str, size: u64) -> Hash {
    let question = ProofRequest::root(size).expect("a size");
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
