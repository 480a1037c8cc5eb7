//! `auditlog.v1.IntegrityService`.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tonic::{Request, Response, Status};

use super::pb::get_inclusion_proof_request as which;
use super::pb::integrity_service_server::IntegrityService;
use super::pb::log_entry_group::Disclosed;
use super::{Service, authorization, pb, wire};
use crate::access::{Caller, Scope};
use crate::domain::{EntryId, Group, Invalid, OrganizationId, Seq};
use crate::error::{AtField, Error, Result};
use crate::integrity::{Consistency, Inclusion, LeafInput, Which};
use crate::store::HashedEntry;
use auditlog_verify::merkle::{GroupHash, Hash, SaltedFields};

impl Service {
    async fn verifier<T>(&self, request: &Request<T>, named: &str) -> Result<(Caller, OrganizationId)> {
        self.enter(request, named, Scope::Verify).await
    }
}

#[tonic::async_trait]
impl IntegrityService for Service {
    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> std::result::Result<Response<pb::GetCheckpointResponse>, Status> {
        let (caller, organization) = self.verifier(&request, &request.get_ref().organization_id).await?;
        let checkpoint = self.integrity.checkpoint(&caller.key_id, &organization).await?.note;
        Ok(Response::new(pb::GetCheckpointResponse { checkpoint }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> std::result::Result<Response<pb::GetInclusionProofResponse>, Status> {
        let (caller, organization) = self.verifier(&request, &request.get_ref().organization_id).await?;
        let pb::GetInclusionProofRequest { organization_id: _, entry, size } = request.into_inner();
        let proof = self.integrity.inclusion(&caller.key_id, &organization, &which(entry)?, size).await?;
        Ok(Response::new(inclusion(proof)))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> std::result::Result<Response<pb::GetConsistencyProofResponse>, Status> {
        let (caller, organization) = self.verifier(&request, &request.get_ref().organization_id).await?;
        let pb::GetConsistencyProofRequest { organization_id: _, first_size, second_size } = request.into_inner();
        let Consistency { second, hashes } =
            self.integrity.consistency(&caller.key_id, &organization, first_size, second_size).await?;
        Ok(Response::new(pb::GetConsistencyProofResponse { second_size: second, hashes: bytes(hashes) }))
    }

    async fn get_public_keys(
        &self,
        request: Request<pb::GetPublicKeysRequest>,
    ) -> std::result::Result<Response<pb::GetPublicKeysResponse>, Status> {
        let (caller, organization) = self.verifier(&request, &request.get_ref().organization_id).await?;
        let keys = self.integrity.keys(&caller.key_id, &organization).await?.into_iter();
        let public_keys = keys.map(|(key, sequence)| pb::PublicKey { verifier_key: key.text(), sequence }).collect();
        Ok(Response::new(pb::GetPublicKeysResponse { public_keys }))
    }

    async fn get_tile(
        &self,
        request: Request<pb::GetTileRequest>,
    ) -> std::result::Result<Response<pb::GetTileResponse>, Status> {
        let (caller, organization) = self.verifier(&request, &request.get_ref().organization_id).await?;
        let path = request.into_inner().path.parse().at("path")?;
        let data = self.integrity.tile(&caller.key_id, &organization, &path).await?;
        Ok(Response::new(pb::GetTileResponse { data }))
    }

    type ReadEntriesStream = Pin<Box<dyn Stream<Item = std::result::Result<pb::ReadEntriesResponse, Status>> + Send>>;

    async fn read_entries(
        &self,
        request: Request<pb::ReadEntriesRequest>,
    ) -> std::result::Result<Response<Self::ReadEntriesStream>, Status> {
        let (caller, organization) = self.verifier(&request, &request.get_ref().organization_id).await?;
        let authorization = authorization(&request);
        let pb::ReadEntriesRequest { organization_id: _, after_sequence, limit } = request.into_inner();
        let entries =
            self.integrity.entries(&caller.key_id, organization, after_sequence, most(limit).at("limit")?).await?;
        // The reader pulls the pieces, so that a slow reader delays only itself.
        let service = self.clone();
        let pieces = stream::try_unfold(entries, move |mut entries| {
            let (service, authorization) = (service.clone(), authorization.clone());
            async move {
                let piece = service.piece(authorization.as_deref(), entries.next()).await?;
                Ok::<_, Error>(piece.map(|piece| (piece, entries)))
            }
        });
        let messages = pieces.map_ok(|piece| {
            let portions = wire::portions(piece.into_iter().map(log_entry), wire::MAX_PIECE);
            stream::iter(portions.map(|entries| Ok::<_, Error>(pb::ReadEntriesResponse { entries })))
        });
        Ok(Response::new(messages.try_flatten().map_err(Status::from).boxed()))
    }

    async fn get_log_entry(
        &self,
        request: Request<pb::GetLogEntryRequest>,
    ) -> std::result::Result<Response<pb::GetLogEntryResponse>, Status> {
        let (caller, organization) = self.verifier(&request, &request.get_ref().organization_id).await?;
        let seq = number(request.into_inner().sequence).at("sequence")?;
        let (log_id, input) = self.integrity.entry(&caller.key_id, organization, seq).await?;
        Ok(Response::new(pb::GetLogEntryResponse { log_id, entry: Some(log_entry(input)) }))
    }
}

fn which(entry: Option<which::Entry>) -> Result<Which> {
    match entry {
        Some(which::Entry::Id(id)) => Ok(Which::Id(EntryId::parse(id).at("id")?)),
        Some(which::Entry::Sequence(seq)) => Ok(Which::Seq(number(seq).at("sequence")?)),
        None => Err(Error::invalid("id", "is required, or sequence")),
    }
}

fn number(seq: Seq) -> std::result::Result<Seq, Invalid> {
    if seq > 0 { Ok(seq) } else { Err(Invalid::new("must be 1 or more", seq)) }
}

fn most(limit: Seq) -> std::result::Result<Option<Seq>, Invalid> {
    match limit {
        0 => Ok(None),
        1.. => Ok(Some(limit)),
        _ => Err(Invalid::new("must be 1 or more, or 0 for all", limit)),
    }
}

fn inclusion(proof: Inclusion) -> pb::GetInclusionProofResponse {
    let Inclusion { seq, size, leaf, hashes, root } = proof;
    let (leaf_hash, hashes, root) = (leaf.0.to_vec(), bytes(hashes), root.0.to_vec());
    pb::GetInclusionProofResponse { sequence: seq, size, leaf_hash, hashes, root }
}

fn bytes(hashes: Vec<Hash>) -> Vec<Vec<u8>> {
    hashes.into_iter().map(|hash| hash.0.to_vec()).collect()
}

fn log_entry(input: LeafInput) -> pb::LogEntry {
    let [facts, actor, content] = Group::ALL.map(|group| log_entry_group(&input, group));
    let HashedEntry { entry, salts: _, leaf } = input.hashed;
    pb::LogEntry {
        sequence: entry.seq,
        id: entry.content.id.as_str().to_owned(),
        recorded_at: Some(wire::time(entry.recorded_at)),
        writer_key_id: entry.writer_key_id,
        leaf_hash: leaf.0.to_vec(),
        facts,
        actor,
        content,
    }
}

/// The fields of a group or their hash; `None` if neither is left.
fn log_entry_group(input: &LeafInput, group: Group) -> Option<pb::LogEntryGroup> {
    let disclosed = match (input.values(group), input.erased[group as usize]) {
        (Some(values), _) => {
            let SaltedFields { salt, fields } = SaltedFields::new(&values, *input.hashed.salts.of(group));
            let fields = fields.into_iter().map(|(name, value)| pb::HashedField { name, value }).collect();
            Disclosed::Values(pb::SaltedFields { salt: salt.to_vec(), fields })
        }
        (None, Some(GroupHash(hash))) => Disclosed::Hash(hash.0.to_vec()),
        (None, None) => return None,
    };
    Some(pb::LogEntryGroup { disclosed: Some(disclosed) })
}
