//! `IntegrityService`: proofs of real logs, verified with code that shares nothing with the code that makes them.

mod access;
mod entries;
mod leaf_input;
mod mirror;
mod surfaces;

use auditlog::access::Scope;
use auditlog::domain::{Clock, Random, Seq};
use auditlog::grpc::pb;
use auditlog::grpc::pb::get_inclusion_proof_request::Entry;
use auditlog::grpc::pb::integrity_service_client::IntegrityServiceClient;
use auditlog_verify::merkle::{CompactRange, Hash, Leaf, unbundle, verify_consistency, verify_inclusion};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::support::ingest::{entry, organization, start, write};
use crate::support::log::{sign_at, verifier};
use crate::support::service::with_key;
use crate::support::{Backend, Database, Service, on_every_database};

pub const ORGANIZATION: &str = "org_a";

/// A service, and one of its logs as its clients see it.
pub struct Log {
    pub service: Service,
    client: IntegrityServiceClient<Channel>,
    /// An API key with the scope `verify`.
    pub key: String,
    pub log_id: String,
    /// The data of each leaf.
    leaves: Vec<Vec<u8>>,
    /// The root at each size.
    roots: Vec<Hash>,
}

impl Log {
    /// A log with `size` entries and a checkpoint of all of them.
    pub async fn with(database: &Database, size: usize) -> Self {
        let service = Service::start(database).await;
        let ingest = start(&service.store, Clock::system());
        let numbers: Vec<_> = (1..=size).collect();
        for numbers in numbers.chunks(500) {
            let entries = numbers.iter().map(|number| entry(&format!("log_{number}"), *number as u64)).collect();
            write(&ingest, ORGANIZATION, entries).await.expect("written");
        }
        let key = service.key(Some(ORGANIZATION), &[Scope::Verify]).await;
        let client = verifier(&service).await;
        sign_at(database, &service, ORGANIZATION, size as u64).await;
        let head = service.store.log_head(&organization(ORGANIZATION)).await.expect("read").expect("a log");
        let (leaves, roots) = (Vec::new(), vec![Hash::of_nothing()]);
        let mut log = Self { service, client, key, log_id: head.log_id, leaves, roots };
        let mut edge = CompactRange::default();
        for index in 0..size.div_ceil(256) {
            let width = (size - index * 256).min(256);
            for leaf in unbundle(&log.bundle(index, width).await.expect("a bundle")).expect("whole leaves") {
                let _ = edge.append(Hash::of_leaf(leaf));
                log.leaves.push(leaf.to_vec());
                log.roots.push(edge.root());
            }
        }
        assert_eq!((log.leaves.len(), edge.root()), (size, head.root), "the bundles have all leaves");
        log
    }

    pub async fn bundle(&self, index: usize, width: usize) -> Result<Vec<u8>, Status> {
        let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
        self.tile(&format!("tile/entries/{index:03}{partial}")).await
    }

    pub async fn tile(&self, path: &str) -> Result<Vec<u8>, Status> {
        let request = pb::GetTileRequest { organization_id: ORGANIZATION.to_owned(), path: path.to_owned() };
        Ok(self.client.clone().get_tile(with_key(request, &self.key)).await?.into_inner().data)
    }

    pub async fn entries(&self, after_sequence: Seq, limit: Seq) -> Result<Vec<pb::LogEntry>, Status> {
        let request = pb::ReadEntriesRequest { organization_id: ORGANIZATION.to_owned(), after_sequence, limit };
        let mut stream = self.client.clone().read_entries(with_key(request, &self.key)).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(piece) = stream.message().await? {
            entries.extend(piece.entries);
        }
        Ok(entries)
    }

    async fn inclusion(
        &self,
        entry: Option<Entry>,
        size: Option<Seq>,
    ) -> Result<pb::GetInclusionProofResponse, Status> {
        let request = pb::GetInclusionProofRequest { organization_id: ORGANIZATION.to_owned(), entry, size };
        self.client.clone().get_inclusion_proof(with_key(request, &self.key)).await.map(Response::into_inner)
    }

    async fn consistency(
        &self,
        first_size: Seq,
        second_size: Option<Seq>,
    ) -> Result<pb::GetConsistencyProofResponse, Status> {
        let organization_id = ORGANIZATION.to_owned();
        let request = pb::GetConsistencyProofRequest { organization_id, first_size, second_size };
        self.client.clone().get_consistency_proof(with_key(request, &self.key)).await.map(Response::into_inner)
    }

    /// Checks the proof that entry `seq` is in the tree of `size`.
    pub async fn check_inclusion(&self, seq: Seq, size: Seq) {
        let leaf = &self.leaves[seq as usize - 1];
        let proof = self.inclusion(Some(Entry::Sequence(seq)), Some(size)).await.expect("a proof");
        let by_id = Entry::Id(Leaf::parse(leaf).expect("a leaf").id.to_owned());
        assert_eq!(self.inclusion(Some(by_id), Some(size)).await.expect("a proof"), proof);
        let root = self.roots[size as usize];
        assert_eq!((proof.sequence, proof.size, hash(&proof.root)), (seq, size, root));
        assert_eq!(hash(&proof.leaf_hash), Hash::of_leaf(leaf), "{seq}");
        let held = verify_inclusion(leaf, seq as u64 - 1, &hashes(&proof.hashes), size as u64, root);
        assert_eq!(held, Ok(()), "{seq} of {size}");
    }

    /// Checks the proof that the tree of `second` begins with that of `first`.
    async fn check_consistency(&self, first: Seq, second: Seq) {
        let proof = self.consistency(first, Some(second)).await.expect("a proof");
        assert_eq!(proof.second_size, second);
        let (old, new) = (self.roots[first as usize], self.roots[second as usize]);
        let held = verify_consistency(first as u64, old, &hashes(&proof.hashes), second as u64, new);
        assert_eq!(held, Ok(()), "{first} of {second}");
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Hash::of_bytes(bytes).expect("32 bytes")
}

fn hashes(bytes: &[Vec<u8>]) -> Vec<Hash> {
    bytes.iter().map(|bytes| hash(bytes)).collect()
}

/// The code, the reason, and each field violation with its description.
pub fn refusal(status: &Status) -> (Code, String, String) {
    let details = status.get_error_details();
    let reason = details.error_info().expect("ErrorInfo").reason.clone();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    let descriptions = violations.iter().map(|one| format!("{}: {}", one.field, one.description)).collect::<Vec<_>>();
    (status.code(), reason, descriptions.join("; "))
}

on_every_database! {
    async fn every_proof_up_to_size_70_holds(database: &Database) {
        let log = Log::with(database, 70).await;
        for size in 1..=70 {
            for seq in 1..=size {
                log.check_inclusion(seq, size).await;
            }
            for first in 0..=size {
                log.check_consistency(first, size).await;
            }
        }
    }

    async fn random_proofs_of_thousands_of_entries_hold(database: &Database) {
        const SIZE: Seq = 3_000;
        let log = Log::with(database, SIZE as usize).await;
        let random = Random::seeded(3_000);
        let below = |bound: Seq| Seq::from(u32::from_be_bytes(random.bytes())) % bound;
        for turn in 0..150 {
            let size = match turn {
                0..8 => [1, 255, 256, 257, 511, 512, 513, SIZE][turn],
                _ => 1 + below(SIZE),
            };
            for seq in [1, size, 1 + below(size)] {
                log.check_inclusion(seq, size).await;
            }
            for first in [1, size, below(size + 1)] {
                log.check_consistency(first, size).await;
            }
        }
    }

    async fn a_proof_without_a_size_uses_the_last_checkpoint(database: &Database) {
        let log = Log::with(database, 10).await;
        let ingest = start(&log.service.store, Clock::system());
        write(&ingest, ORGANIZATION, (11..=20).map(|n| entry(&format!("log_{n}"), n)).collect()).await.expect("written");
        let last = log.inclusion(Some(Entry::Id("log_10".to_owned())), None).await.expect("a proof");
        assert_eq!((last.sequence, last.size, hash(&last.root)), (10, 10, log.roots[10]));
        assert_eq!(log.consistency(3, None).await.expect("a proof").second_size, 10);
        let newer = log.inclusion(Some(Entry::Id("log_11".to_owned())), None).await.expect_err("not covered yet");
        assert_eq!(refusal(&newer), (Code::NotFound, "CHECKPOINT_NOT_FOUND".to_owned(), String::new()));
        assert!(log.inclusion(Some(Entry::Id("log_11".to_owned())), Some(11)).await.is_ok(), "the log has that size");
        assert_eq!(refusal(&log.consistency(11, None).await.expect_err("not covered yet")).1, "CHECKPOINT_NOT_FOUND");
        sign_at(database, &log.service, ORGANIZATION, 20).await;
        assert_eq!(log.inclusion(Some(Entry::Id("log_11".to_owned())), None).await.expect("a proof").size, 20);
    }

    async fn a_position_outside_the_log_is_refused_with_the_allowed_range(database: &Database) {
        let log = Log::with(database, 10).await;
        let by = |seq| Some(Entry::Sequence(seq));
        for (entry, size, expected) in [
            (None, None, "id: is required, or sequence"),
            (by(0), None, "sequence: must be 1 or more, got 0"),
            (by(Seq::MIN), None, "sequence: must be 1 or more, got -9223372036854775808"),
            (by(5), Some(4), "size: must be 5 to 10, got 4"),
            (by(5), Some(11), "size: must be 5 to 10, got 11"),
            (by(5), Some(-5), "size: must be 5 to 10, got -5"),
            (by(5), Some(Seq::MAX), "size: must be 5 to 10, got 9223372036854775807"),
            (Some(Entry::Id(String::new())), None, "id: must be 1 to 128 bytes, got 0"),
        ] {
            let status = log.inclusion(entry, size).await.expect_err("refused");
            assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_PARAMETER".to_owned(), expected.to_owned()));
        }
        for entry in [by(11), by(Seq::MAX), Some(Entry::Id("log_11".to_owned()))] {
            let status = log.inclusion(entry, None).await.expect_err("refused");
            assert_eq!(refusal(&status), (Code::NotFound, "AUDIT_LOG_NOT_FOUND".to_owned(), String::new()));
        }
        for (first, second, expected) in [
            (-1, None, "first_size: must be 0 to 10, got -1"),
            (11, None, "first_size: must be 0 to 10, got 11"),
            (5, Some(11), "second_size: must be 0 to 10, got 11"),
            (5, Some(-1), "second_size: must be 0 to 10, got -1"),
            (5, Some(4), "first_size: must be 0 to 4, got 5"),
            (Seq::MAX, Some(Seq::MAX), "second_size: must be 0 to 10, got 9223372036854775807"),
        ] {
            let status = log.consistency(first, second).await.expect_err("refused");
            assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_PARAMETER".to_owned(), expected.to_owned()));
        }
    }

    async fn a_log_without_a_checkpoint_says_so(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Verify]).await;
        let organization_id = ORGANIZATION.to_owned();
        let mut client = verifier(&service).await;
        let none = client.get_checkpoint(with_key(pb::GetCheckpointRequest { organization_id: organization_id.clone() }, &key)).await;
        assert_eq!(refusal(&none.expect_err("none")).1, "CHECKPOINT_NOT_FOUND");
        let empty = pb::GetConsistencyProofRequest { organization_id: organization_id.clone(), first_size: 0, second_size: Some(0) };
        assert!(client.get_consistency_proof(with_key(empty, &key)).await.expect("a proof").into_inner().hashes.is_empty());
        let tile = pb::GetTileRequest { organization_id: organization_id.clone(), path: "tile/0/000.p/1".to_owned() };
        assert_eq!(refusal(&client.get_tile(with_key(tile, &key)).await.expect_err("none")).1, "TILE_NOT_FOUND");
        let keys = pb::GetPublicKeysRequest { organization_id: organization_id.clone() };
        assert!(client.get_public_keys(with_key(keys, &key)).await.expect("an answer").into_inner().public_keys.is_empty());
        let entries = pb::ReadEntriesRequest { organization_id, ..Default::default() };
        let mut entries = client.read_entries(with_key(entries, &key)).await.expect("it begins").into_inner();
        assert!(entries.message().await.expect("an end").is_none());
    }
}
