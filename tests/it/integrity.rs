//! `IntegrityService`: proofs, tiles and entries of real logs, verified by what has no line in common with what makes
//! them.

use auditlog::access::Scope;
use auditlog::domain::Seq;
use auditlog::grpc::pb;
use auditlog::grpc::pb::get_inclusion_proof_request::Entry;
use auditlog::grpc::pb::integrity_service_client::IntegrityServiceClient;
use auditlog::merkle::{Edge, Hash, verify_consistency, verify_inclusion};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::ingest::{entry, organization, start, write};
use crate::support::log::{sign_at, verifier};
use crate::support::service::with_key;
use crate::support::{Backend, Database, Service, on_every_database};

const ORGANIZATION: &str = "org_a";

/// A service, and one of its logs as its clients see it.
struct Log {
    service: Service,
    client: IntegrityServiceClient<Channel>,
    key: String,
    /// The data of each leaf.
    leaves: Vec<Vec<u8>>,
    /// The root at each size.
    roots: Vec<Hash>,
}

impl Log {
    /// With `size` entries, and no checkpoint yet.
    async fn with(database: &Database, size: usize) -> Self {
        let service = Service::start(database).await;
        let ingest = start(&service.store, auditlog::domain::Clock::system());
        let numbers: Vec<_> = (1..=size).collect();
        for numbers in numbers.chunks(500) {
            let entries = numbers.iter().map(|number| entry(&format!("log_{number}"), *number as u64)).collect();
            write(&ingest, ORGANIZATION, entries).await.expect("written");
        }
        let key = service.key(Some(ORGANIZATION), &[Scope::Verify]).await;
        let client = verifier(&service).await;
        let mut log = Self { service, client, key, leaves: Vec::new(), roots: vec![Hash::of_nothing()] };
        let mut edge = Edge::default();
        let mut entries = log.entries(0, 0).await.expect("it begins");
        for entry in &mut entries {
            let _ = edge.append(Hash(entry.leaf_hash[..].try_into().expect("32 bytes")));
            log.roots.push(edge.root());
        }
        assert_eq!(entries.len(), size);
        log
    }

    async fn entries(&self, after_sequence: Seq, limit: Seq) -> Result<Vec<pb::LogEntry>, Status> {
        let request = pb::ReadEntriesRequest { organization_id: ORGANIZATION.to_owned(), after_sequence, limit };
        let mut stream = self.client.clone().read_entries(with_key(request, &self.key)).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(piece) = stream.message().await? {
            entries.extend(piece.entries);
        }
        Ok(entries)
    }

    async fn inclusion(&self, entry: Entry, size: Option<Seq>) -> Result<pb::GetInclusionProofResponse, Status> {
        let (organization_id, entry) = (ORGANIZATION.to_owned(), Some(entry));
        let request = pb::GetInclusionProofRequest { organization_id, entry, size };
        self.client.clone().get_inclusion_proof(with_key(request, &self.key)).await.map(Response::into_inner)
    }

    async fn consistency(
        &self,
        first_size: Seq,
        second_size: Option<Seq>,
    ) -> Result<pb::GetConsistencyProofResponse, Status> {
        let request =
            pb::GetConsistencyProofRequest { organization_id: ORGANIZATION.to_owned(), first_size, second_size };
        self.client.clone().get_consistency_proof(with_key(request, &self.key)).await.map(Response::into_inner)
    }
}

fn hashes(bytes: &[Vec<u8>]) -> Vec<Hash> {
    bytes.iter().map(|bytes| Hash(bytes[..].try_into().expect("32 bytes"))).collect()
}

on_every_database! {
    async fn every_proof_up_to_size_70_holds(database: &Database) {
        let log = Log::with(database, 70).await;
        sign_at(database, &log.service, ORGANIZATION, 70).await;
        for size in 1..=70 {
            for seq in 1..=size {
                let proof = log.inclusion(Entry::Sequence(seq), Some(size)).await.expect("a proof");
                assert_eq!((proof.sequence, proof.size), (seq, size));
            }
            for first in 0..=size {
                let proof = log.consistency(first, Some(size)).await.expect("a proof");
                let (old, new) = (first as usize, size as usize);
                let held = verify_consistency(first as u64, log.roots[old], &hashes(&proof.hashes), size as u64, log.roots[new]);
                assert_eq!(held, Ok(()), "{first} of {size}");
            }
        }
    }
}
