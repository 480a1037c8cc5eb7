//! Checks the log of an organization against its entries.

use std::collections::{HashMap, HashSet};

use auditlog::domain::{Entry, Group, Seq, entry_values, leaf_hash};
use auditlog::store::{HashedEntry, LogHead, Store};
use auditlog_verify::merkle::{CompactRange, GroupHash, Hash, Leaf, ProofRequest, Salts, TileId};

use super::ingest::{catalogue, organization};

/// All entries in the order of their sequence numbers.
async fn entries(store: &Store, name: &str, size: u64) -> Vec<HashedEntry> {
    store.hashed_entries(&organization(name), 0, Seq::MAX, size + 1).await.expect("read")
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
    let remains = transaction.erased_hashes(&organization(name), &seqs).await.expect("read");
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
