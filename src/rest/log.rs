//! The log of an organization: its checkpoint and tiles in the layout of C2SP tlog-tiles, its keys, proofs, and the
//! inputs of its leaves.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tonic::Status;

use super::{Answer, Call, ErrorResponse, Services, after_access, json, leaf_input, params};
use crate::grpc::pb;
use auditlog_verify::merkle::{TILE_WIDTH, TilePath};

/// Caching of a full tile or bundle, which never changes. An erasure does not change it either: a bundle has leaves, no
/// values.
const FOREVER: &str = "private, max-age=31536000, immutable";
const NEVER: &str = "no-store";

/// The routes below `/v1/{organization_id}/log`.
pub(super) fn routes<S: Services>() -> Router<Arc<S>> {
    Router::new()
        .route("/v1/{organization_id}/log/checkpoint", get(checkpoint::<S>))
        .route("/v1/{organization_id}/log/keys", get(keys::<S>))
        .route("/v1/{organization_id}/log/inclusion-proof", get(inclusion::<S>))
        .route("/v1/{organization_id}/log/consistency-proof", get(consistency::<S>))
        .route("/v1/{organization_id}/log/tile/{*path}", get(tile::<S>))
        .route("/v1/{organization_id}/log/entries/{sequence}", get(entry::<S>))
}

async fn checkpoint<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let organization_id = call.path.clone();
    if let Err(fault) = call.params(&[]) {
        return Err(refused(&*service, call, organization_id, fault).await);
    }
    let message = pb::GetCheckpointRequest { organization_id };
    let note = service.get_checkpoint(call.request(message)).await?.into_inner().checkpoint;
    Ok(plain("text/plain; charset=utf-8", NEVER, note.into_bytes()))
}

async fn keys<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let organization_id = call.path.clone();
    if let Err(fault) = call.params(&[]) {
        return Err(refused(&*service, call, organization_id, fault).await);
    }
    let message = pb::GetPublicKeysRequest { organization_id };
    Ok(keys_json(service.get_public_keys(call.request(message)).await?.into_inner()))
}

async fn inclusion<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let organization_id = call.path.clone();
    let params = call.params(params::INCLUSION).and_then(|params| params.inclusion(organization_id.clone()));
    match params {
        Ok(message) => Ok(inclusion_json(service.get_inclusion_proof(call.request(message)).await?.into_inner())),
        Err(fault) => Err(refused(&*service, call, organization_id, fault).await),
    }
}

async fn consistency<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let organization_id = call.path.clone();
    let params = call.params(params::CONSISTENCY).and_then(|params| params.consistency(organization_id.clone()));
    match params {
        Ok(message) => Ok(consistency_json(service.get_consistency_proof(call.request(message)).await?.into_inner())),
        Err(fault) => Err(refused(&*service, call, organization_id, fault).await),
    }
}

async fn tile<S: Services>(State(service): State<Arc<S>>, call: Call<(String, String)>) -> Answer {
    let (organization_id, path) = call.path.clone();
    if let Err(fault) = call.params(&[]) {
        return Err(refused(&*service, call, organization_id, fault).await);
    }
    let path = format!("tile/{path}");
    let is_full = path.parse().is_ok_and(|path: TilePath| path.width == TILE_WIDTH);
    let message = pb::GetTileRequest { organization_id, path };
    let data = service.get_tile(call.request(message)).await?.into_inner().data;
    Ok(plain("application/octet-stream", if is_full { FOREVER } else { NEVER }, data))
}

async fn entry<S: Services>(State(service): State<Arc<S>>, call: Call<(String, String)>) -> Answer {
    let (organization_id, number) = call.path.clone();
    let message = match call.params(&[]).and_then(|_| params::sequence(&number)) {
        Ok(sequence) => pb::GetLogEntryRequest { organization_id, sequence },
        Err(fault) => return Err(refused(&*service, call, organization_id, fault).await),
    };
    let pb::GetLogEntryResponse { log_id, entry } = service.get_log_entry(call.request(message)).await?.into_inner();
    let entry = entry.unwrap_or_default();
    let input = leaf_input::body(&log_id, &entry).map_err(Status::from)?;
    Ok(json::answer(StatusCode::OK, &input))
}

/// The error for `fault`, unless access is refused first. Calls `get_tile`, the only call here that can be made invalid
/// on purpose.
async fn refused<S: Services, P>(
    service: &S,
    call: Call<P>,
    organization_id: String,
    fault: ErrorResponse,
) -> ErrorResponse {
    let invalid = pb::GetTileRequest { organization_id, path: String::new() };
    after_access(fault, service.get_tile(call.request(invalid))).await
}

fn plain(content_type: &'static str, caching: &'static str, body: Vec<u8>) -> Response {
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(content_type)), (CACHE_CONTROL, HeaderValue::from_static(caching))];
    (StatusCode::OK, headers, body).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InclusionBody {
    sequence: i64,
    size: i64,
    /// Hashes are in base64.
    leaf_hash: String,
    hashes: Vec<String>,
    root: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsistencyBody {
    second_size: i64,
    hashes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeysBody {
    public_keys: Vec<PublicKeyBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyBody {
    verifier_key: String,
    sequence: i64,
}

fn inclusion_json(proof: pb::GetInclusionProofResponse) -> Response {
    let pb::GetInclusionProofResponse { sequence, size, leaf_hash, hashes, root } = proof;
    let (leaf_hash, root) = (STANDARD.encode(leaf_hash), STANDARD.encode(root));
    json::answer(StatusCode::OK, &InclusionBody { sequence, size, leaf_hash, hashes: base64(hashes), root })
}

fn consistency_json(proof: pb::GetConsistencyProofResponse) -> Response {
    let pb::GetConsistencyProofResponse { second_size, hashes } = proof;
    json::answer(StatusCode::OK, &ConsistencyBody { second_size, hashes: base64(hashes) })
}

fn keys_json(keys: pb::GetPublicKeysResponse) -> Response {
    let pb::GetPublicKeysResponse { public_keys } = keys;
    let key = |pb::PublicKey { verifier_key, sequence }| PublicKeyBody { verifier_key, sequence };
    json::answer(StatusCode::OK, &KeysBody { public_keys: public_keys.into_iter().map(key).collect() })
}

fn base64(hashes: Vec<Vec<u8>>) -> Vec<String> {
    hashes.into_iter().map(|hash| STANDARD.encode(hash)).collect()
}
