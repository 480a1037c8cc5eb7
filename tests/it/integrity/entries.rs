//! `ReadEntries` returns all hashed values exactly, in order, and the remaining values of erased or damaged entries.

use auditlog::access::Scope;
use auditlog::domain::{Change, Clock, Group, JsonText, Random, Timestamp, hex};
use auditlog::grpc::pb;
use auditlog::grpc::pb::log_entry_group::Disclosed;
use auditlog_verify::merkle::{GroupHash, Hash, Leaf, Salt, SaltedFields};
use tonic::{Code, Status, Streaming};

use super::{Log, ORGANIZATION, hash, refusal};
use crate::support::database::execute;
use crate::support::ingest::{entry, start, write};
use crate::support::log::verifier;
use crate::support::service::with_key;
use crate::support::trail::{self, ENTRIES};
use crate::support::{Backend, Database, Service, on_every_database};

fn disclosed(entry: &pb::LogEntry, group: Group) -> Option<&Disclosed> {
    let pb::LogEntry { facts, actor, content, .. } = entry;
    [facts, actor, content][group as usize].as_ref()?.disclosed.as_ref()
}

/// The hash of a group, computed from its fields or as returned. `None` if the entry has neither.
fn group_hash(entry: &pb::LogEntry, group: Group) -> Option<Hash> {
    match disclosed(entry, group)? {
        Disclosed::Hash(bytes) => Some(hash(bytes)),
        Disclosed::Values(pb::SaltedFields { salt, fields }) => {
            let salt: Salt = salt.as_slice().try_into().expect("16 bytes");
            let fields = fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect();
            Some(SaltedFields { salt, fields }.hash(group).0)
        }
    }
}

/// The leaf data computed from the values.
fn leaf(entry: &pb::LogEntry, log_id: &str) -> Option<Vec<u8>> {
    let groups = Group::ALL.map(|group| group_hash(entry, group).map(GroupHash));
    let groups = [groups[0]?, groups[1]?, groups[2]?];
    let prost_types::Timestamp { seconds, nanos } = entry.recorded_at?;
    let (recorded_at, writer) =
        (Timestamp::from_parts(seconds, nanos).expect("in range"), entry.writer_key_id.as_str());
    Some(Leaf { log_id, seq: entry.sequence, id: &entry.id, recorded_at, writer, groups }.data())
}

async fn begin(service: &Service, key: &str) -> Result<Streaming<pb::ReadEntriesResponse>, Status> {
    let request = pb::ReadEntriesRequest { organization_id: trail::ORGANIZATION.to_owned(), ..Default::default() };
    Ok(verifier(service).await.read_entries(with_key(request, key)).await?.into_inner())
}

/// Reads a stream to its error.
async fn ended(mut stream: Streaming<pb::ReadEntriesResponse>) -> Status {
    loop {
        match stream.message().await {
            Ok(piece) => assert!(piece.is_some(), "all of it came"),
            Err(status) => return status,
        }
    }
}

on_every_database! {
    async fn every_entry_makes_its_leaf(database: &Database) {
        let log = Log::with(database, 700).await;
        let entries = log.entries(0, 0).await.expect("they are read");
        assert_eq!(entries.len(), 700);
        for (place, entry) in entries.iter().enumerate() {
            let data = leaf(entry, &log.log_id).expect("all groups");
            assert_eq!(data, log.leaves[place], "{place}");
            assert_eq!(hash(&entry.leaf_hash), Hash::of_leaf(&data));
        }
        for (after, limit, first, count) in [(0, 1, 1, 1), (699, 0, 700, 1), (255, 2, 256, 2), (100, 300, 101, 300), (690, 500, 691, 10)] {
            let some = log.entries(after, limit).await.expect("they are read");
            assert_eq!(some, entries[first - 1..first - 1 + count], "{limit} after {after}");
        }
        assert_eq!(log.entries(700, 0).await.expect("none"), []);
        for (after, limit, expected) in [
            (-1, 0, "after_sequence: must be 0 to 700, got -1"),
            (701, 0, "after_sequence: must be 0 to 700, got 701"),
            (0, -1, "limit: must be 1 or more, or 0 for all, got -1"),
        ] {
            let status = log.entries(after, limit).await.expect_err("refused");
            assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_PARAMETER".to_owned(), expected.to_owned()));
        }
    }

    async fn a_large_log_is_read_up_to_its_head_in_messages_of_the_default_size_limit(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let service = Service::start(trail).await;
        let key = service.key(Some(trail::ORGANIZATION), &[Scope::Verify]).await;
        let head = service.store.log_head(&crate::support::ingest::organization(trail::ORGANIZATION)).await.expect("read").expect("a log");
        // Uses a client with gRPC's default limit of 4 MiB per message.
        let mut stream = begin(&service, &key).await.expect("it begins");
        let mut edge = auditlog_verify::merkle::CompactRange::default();
        while let Some(piece) = stream.message().await.expect("a message") {
            assert!(!piece.entries.is_empty());
            for entry in piece.entries {
                let _ = edge.append(hash(&entry.leaf_hash));
                // Only some entries, because hashing is slow without optimization.
                if entry.sequence % 16 == 0 {
                    assert_eq!(Hash::of_leaf(&leaf(&entry, &head.log_id).expect("all groups")), hash(&entry.leaf_hash));
                }
            }
        }
        assert_eq!((edge.size(), edge.root()), (ENTRIES as u64, head.root));
    }

    async fn entries_written_during_a_read_are_not_included(database: &Database) {
        let service = Service::start(database).await;
        let ingest = start(&service.store, Clock::system());
        let large = |number: u64| {
            let mut new = entry(&format!("log_{number}"), number);
            let value = JsonText::parse(&format!("\"{}\"", "x".repeat(250 * 1024))).expect("JSON");
            let change = Change { field: String::new(), old_value: JsonText::null(), new_value: value };
            std::sync::Arc::make_mut(&mut new.content).changes = vec![change];
            new
        };
        // Far more data than the buffers of a connection hold.
        for request in 0..12 {
            write(&ingest, trail::ORGANIZATION, (request * 10..request * 10 + 10).map(large).collect()).await.expect("written");
        }
        let key = service.key(Some(trail::ORGANIZATION), &[Scope::Verify]).await;
        let mut stream = begin(&service, &key).await.expect("it begins");
        let mut entries = stream.message().await.expect("a message").expect("not the end").entries;
        write(&ingest, trail::ORGANIZATION, (120..130).map(large).collect()).await.expect("written");
        while let Some(piece) = stream.message().await.expect("a message of at most 4 MiB") {
            entries.extend(piece.entries);
        }
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
    }

    async fn a_read_ends_when_its_key_is_revoked_or_the_service_drains(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let service = Service::start(trail).await;
        let [revoked, good] = [service.key(Some(trail::ORGANIZATION), &[Scope::Verify]).await, service.key(Some(trail::ORGANIZATION), &[Scope::Verify]).await];
        let streams = [begin(&service, &revoked).await.expect("it begins"), begin(&service, &good).await.expect("it begins")];
        let [of_revoked, mut of_good] = streams;
        of_good.message().await.expect("a message").expect("not the end");
        assert!(service.store.revoke_key(&revoked[3..15], Clock::system().now(), &Random::system()).await.expect("it is revoked"));
        tokio::time::sleep(std::time::Duration::from_millis(5_500)).await;
        let status = ended(of_revoked).await;
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "The API key was revoked"));
        let stopping = tokio::spawn(service.stop());
        let status = ended(of_good).await;
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "The service is shutting down; try again"));
        stopping.await.expect("the service stops");
    }

    async fn erased_groups_are_sent_as_hashes_and_all_proofs_hold(database: &Database) {
        let log = Log::with(database, 300).await;
        let before = log.entries(0, 0).await.expect("they are read");
        let bundle = log.bundle(0, 256).await.expect("a bundle");
        erase(database, &before[6], Group::Actor).await;
        erase(database, &before[6], Group::Content).await;
        erase(database, &before[255], Group::Content).await;
        let after = log.entries(0, 0).await.expect("they are read");
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(leaf(before, &log.log_id), leaf(after, &log.log_id));
            let is_whole = ![7, 256].contains(&before.sequence);
            assert_eq!(before == after, is_whole, "{}", before.sequence);
        }
        let hashed = |entry| Group::ALL.map(|group| matches!(disclosed(entry, group), Some(Disclosed::Hash(_))));
        assert_eq!([&after[6], &after[255], &after[7]].map(hashed), [[false, true, true], [false, false, true], [false; 3]]);
        assert_eq!(log.bundle(0, 256).await.expect("a bundle"), bundle, "bundles hold leaves, which no erasure changes");
        for seq in [7, 256, 257] {
            log.check_inclusion(seq, 300).await;
        }
        // If the record of its hash is deleted, a group has neither values nor a hash.
        execute(database, "DELETE FROM erasures WHERE seq = 7 AND group_code = 1").await;
        let lost = log.entries(6, 1).await.expect("it is read").remove(0);
        assert!(lost.actor.is_none() && lost.content.is_some() && leaf(&lost, &log.log_id).is_none());
        assert_eq!(log.bundle(0, 256).await.expect_err("no leaf").code(), Code::Internal);
    }

    async fn a_damaged_entry_is_reported_after_all_entries_before_it(database: &Database) {
        let log = Log::with(database, 100).await;
        execute(database, "DELETE FROM audit_logs WHERE seq = 30").await;
        let rest: Vec<_> = log.entries(20, 20).await.expect("they are read").iter().map(|entry| entry.sequence).collect();
        assert_eq!(rest, (21..=40).filter(|seq| *seq != 30).collect::<Vec<_>>(), "a gap shows");
        execute(database, "UPDATE audit_logs SET changes = 'no JSON' WHERE seq = 73").await;
        let request = pb::ReadEntriesRequest { organization_id: ORGANIZATION.to_owned(), ..Default::default() };
        let mut stream = verifier(&log.service).await.read_entries(with_key(request, &log.key)).await.expect("it begins").into_inner();
        let mut last = 0;
        let status = loop {
            match stream.message().await {
                Ok(piece) => last = piece.expect("not the end").entries.last().expect("entries").sequence,
                Err(status) => break status,
            }
        };
        assert_eq!((last, refusal(&status).1.as_str()), (72, "ENTRY_DAMAGED"), "{status:?}");
        assert_eq!(status.message(), "Entry 73 cannot be read: it was changed, and not by this service");
        execute(database, "UPDATE audit_logs SET changes = '[]', resource_type = 999 WHERE seq = 73").await;
        let unnamed = log.entries(72, 1).await.expect("it is read").remove(0);
        assert!(unnamed.facts.is_none() && unnamed.actor.is_some());
    }
}

/// Erases a group with SQL, like the eraser does.
pub async fn erase(database: &Database, entry: &pb::LogEntry, group: Group) {
    let hash = hex(&group_hash(entry, group).expect("values").0);
    let hash = match database.backend {
        Backend::Sqlite => format!("x'{hash}'"),
        Backend::Postgres => format!("decode('{hash}', 'hex')"),
    };
    let (seq, code) = (entry.sequence, group as i16);
    let values = match group {
        Group::Facts => panic!("facts are never erased"),
        Group::Actor => "user_name = NULL, user_email = NULL, metadata = '{}'",
        Group::Content => "resource_name = NULL, changes = '[]'",
    };
    execute(database, &format!("UPDATE audit_logs SET {values}, erased = erased + {} WHERE seq = {seq}", 1 << code))
        .await;
    execute(database, &format!("INSERT INTO erasures VALUES ('{ORGANIZATION}', {seq}, {code}, {hash}, 300)")).await;
}
