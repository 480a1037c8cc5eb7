//! Compares proofs from REST of the service, REST of a gateway, and gRPC.

use auditlog::grpc::pb;
use auditlog::grpc::pb::get_inclusion_proof_request::Entry;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tonic::{Response, Status};

use super::{Log, ORGANIZATION};
use crate::support::log::verifier;
use crate::support::service::with_key;
use crate::support::surfaces::{Ask, Surfaces, code};
use crate::support::{Backend, Database, Service, on_every_database};

fn base64(hashes: &[Vec<u8>]) -> Vec<String> {
    hashes.iter().map(|hash| STANDARD.encode(hash)).collect()
}

/// The same request for REST and gRPC. Most are valid.
struct Request {
    path: String,
    call: Call,
}

enum Call {
    Inclusion(pb::GetInclusionProofRequest),
    Consistency(pb::GetConsistencyProofRequest),
    Tile(pb::GetTileRequest),
    Keys(pb::GetPublicKeysRequest),
    Checkpoint(pb::GetCheckpointRequest),
}

fn request(random: &mut StdRng) -> Request {
    let organization_id =
        (*[ORGANIZATION, ORGANIZATION, ORGANIZATION, ORGANIZATION, "org_b"].choose(random).expect("ids")).to_owned();
    let number = |random: &mut StdRng| random.random_range(-1..=405_i64);
    let (path, call) = match random.random_range(0..8) {
        0..3 => {
            let size = random.random_bool(0.8).then(|| number(random));
            let (of, entry) = match random.random_bool(0.5) {
                true => {
                    let seq = number(random);
                    (format!("sequence={seq}"), Entry::Sequence(seq))
                }
                false => {
                    let id = format!("log_{}", number(random));
                    (format!("id={id}"), Entry::Id(id))
                }
            };
            let size_part = size.map_or_else(String::new, |size| format!("&size={size}"));
            let call =
                pb::GetInclusionProofRequest { organization_id: organization_id.clone(), entry: Some(entry), size };
            (format!("inclusion-proof?{of}{size_part}"), Call::Inclusion(call))
        }
        3..5 => {
            let (first_size, second_size) = (number(random), random.random_bool(0.8).then(|| number(random)));
            let second_part = second_size.map_or_else(String::new, |size| format!("&secondSize={size}"));
            let call =
                pb::GetConsistencyProofRequest { organization_id: organization_id.clone(), first_size, second_size };
            (format!("consistency-proof?firstSize={first_size}{second_part}"), Call::Consistency(call))
        }
        5 => ("keys".to_owned(), Call::Keys(pb::GetPublicKeysRequest { organization_id: organization_id.clone() })),
        6 => (
            "checkpoint".to_owned(),
            Call::Checkpoint(pb::GetCheckpointRequest { organization_id: organization_id.clone() }),
        ),
        _ => {
            const TILES: [&str; 9] = [
                "0/000",
                "0/001.p/144",
                "0/001.p/145",
                "1/000.p/1",
                "entries/000",
                "entries/001.p/144",
                "entries/001",
                "0/0",
                "9/000",
            ];
            let path = format!("tile/{}", TILES.choose(random).expect("tiles"));
            let call = pb::GetTileRequest { organization_id: organization_id.clone(), path: path.clone() };
            (path, Call::Tile(call))
        }
    };
    Request { path: format!("/v1/{organization_id}/log/{path}"), call }
}

/// The gRPC answer, as the bytes that REST returns, or the code of the error.
async fn grpc(service: &Service, key: &str, call: Call) -> Result<Vec<u8>, String> {
    let mut client = verifier(service).await;
    let shown = |json: Value| json.to_string().into_bytes();
    fn inner<T>(outcome: Result<Response<T>, Status>) -> Result<T, String> {
        outcome.map(Response::into_inner).map_err(code)
    }
    Ok(match call {
        Call::Tile(tile) => inner(client.get_tile(with_key(tile, key)).await)?.data,
        Call::Checkpoint(of) => inner(client.get_checkpoint(with_key(of, key)).await)?.checkpoint.into_bytes(),
        Call::Keys(of) => {
            let keys = inner(client.get_public_keys(with_key(of, key)).await)?.public_keys;
            let key = |key: pb::PublicKey| json!({"verifierKey": key.verifier_key, "sequence": key.sequence});
            shown(json!({"publicKeys": keys.into_iter().map(key).collect::<Vec<_>>()}))
        }
        Call::Inclusion(of) => {
            let pb::GetInclusionProofResponse { sequence, size, leaf_hash, hashes, root } =
                inner(client.get_inclusion_proof(with_key(of, key)).await)?;
            let (leaf, root) = (STANDARD.encode(leaf_hash), STANDARD.encode(root));
            shown(
                json!({"sequence": sequence, "size": size, "leafHash": leaf, "hashes": base64(&hashes), "root": root}),
            )
        }
        Call::Consistency(of) => {
            let pb::GetConsistencyProofResponse { second_size, hashes } =
                inner(client.get_consistency_proof(with_key(of, key)).await)?;
            shown(json!({"secondSize": second_size, "hashes": base64(&hashes)}))
        }
    })
}

on_every_database! {
    async fn proofs_are_the_same_on_every_surface(database: &Database) {
        let Log { service, key, .. } = Log::with(database, 400).await;
        let surfaces = Surfaces::start(service).await;
        let mut random = StdRng::seed_from_u64(13);
        let mut codes = std::collections::BTreeMap::<String, usize>::new();
        for _ in 0..300 {
            let Request { path, call } = request(&mut random);
            let response = surfaces.rest(&Ask::get(&path, &key)).await;
            let is_json = response.headers.contains(&("content-type", "application/json".to_owned()));
            match grpc(&surfaces.service, &key, call).await {
                Ok(answer) if is_json => {
                    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                    assert_eq!((response.status, response.body()), (200, answer), "{path}");
                    *codes.entry("ok".to_owned()).or_default() += 1;
                }
                Ok(answer) => assert_eq!((response.status, &response.bytes), (200, &answer), "{path}"),
                Err(code) => {
                    assert_eq!(response.code(), code, "{path}: {}", response.text);
                    *codes.entry(code).or_default() += 1;
                }
            }
        }
        for code in ["ok", "invalid_parameter", "audit_log_not_found", "tile_not_found", "organization_not_found"] {
            assert!(codes.contains_key(code), "no request was answered {code}: {codes:?}");
        }
    }

    async fn a_bad_path_or_parameter_has_its_error(database: &Database) {
        let Log { service, key, .. } = Log::with(database, 10).await;
        let surfaces = Surfaces::start(service).await;
        for (path, status, expected) in [
            ("inclusion-proof", 400, "id: is required, or sequence"),
            ("inclusion-proof?id=log_1&sequence=1", 400, "sequence: must not come together with id"),
            ("inclusion-proof?id=", 400, "id: must not be empty; leave it out"),
            ("inclusion-proof?sequence=+1", 400, "sequence: must be 1 to 9223372036854775807, got \" 1\""),
            ("inclusion-proof?sequence=0", 400, "sequence: must be 1 or more, got 0"),
            ("inclusion-proof?sequence=1&sequence=2", 400, "sequence: must be given once, got 2 times"),
            ("inclusion-proof?sequence=5&size=4", 400, "size: must be 5 to 10, got 4"),
            ("inclusion-proof?sequence=11", 404, "Audit log not found"),
            ("inclusion-proof?seq=1", 400, "\"seq\" is not a parameter of this path; allowed: id, sequence, size"),
            ("consistency-proof", 400, "firstSize: is required"),
            ("consistency-proof?firstSize=11", 400, "firstSize: must be 0 to 10, got 11"),
            ("consistency-proof?firstSize=1&secondSize=11", 400, "secondSize: must be 0 to 10, got 11"),
            ("tile/0/000", 404, "The last checkpoint has no such tile"),
            ("tile/0/1", 400, "path: must be a path of C2SP tlog-tiles such as tile/0/x001/234.p/56, got \"tile/0/1\""),
            ("tile/", 404, "There is no path \"/v1/org_a/log/tile/\""),
            ("tiles", 404, "There is no path \"/v1/org_a/log/tiles\""),
        ] {
            let answer = surfaces.rest(&Ask::get(format!("/v1/{ORGANIZATION}/log/{path}"), &key)).await;
            let message = answer.body()["error"]["message"].as_str().expect("a message").to_owned();
            assert_eq!((answer.status, message.as_str()), (status, expected), "{path}");
        }
        let history = surfaces.rest(&Ask::get("/v1/rules/log/history", &key)).await;
        assert_eq!(history.status, 403, "a resource may be called log: {}", history.text);
    }
}
