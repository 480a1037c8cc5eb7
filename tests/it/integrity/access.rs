//! Access to `IntegrityService`: its checks in their order, over gRPC and REST.

use auditlog::access::Scope;
use auditlog::grpc::pb;
use auditlog::grpc::pb::get_inclusion_proof_request::Entry;
use tonic::{Code, Status};

use super::{Log, ORGANIZATION, refusal};
use crate::support::log::verifier;
use crate::support::service::with_key;
use crate::support::{Backend, Database, on_every_database};

/// Calls every method on `organization`, with valid or invalid parameters.
async fn call_all(log: &Log, key: Option<&str>, organization: &str, is_bad: bool) -> Vec<Result<(), Status>> {
    let mut client = verifier(&log.service).await;
    let organization_id = || organization.to_owned();
    let (size, path) = if is_bad { (Some(-1), "tile") } else { (None, "tile/0/000.p/1") };
    let entry = Some(Entry::Sequence(1));
    let inclusion = pb::GetInclusionProofRequest { organization_id: organization_id(), entry, size };
    let consistency =
        pb::GetConsistencyProofRequest { organization_id: organization_id(), first_size: 1, second_size: size };
    let tile = pb::GetTileRequest { organization_id: organization_id(), path: path.to_owned() };
    let after_sequence = size.unwrap_or(0);
    let entries = pb::ReadEntriesRequest { organization_id: organization_id(), after_sequence, limit: 1 };
    let one = pb::GetLogEntryRequest { organization_id: organization_id(), sequence: size.unwrap_or(1) };
    macro_rules! call {
        ($method:ident($request:expr)) => {{
            let request = match key {
                Some(key) => with_key($request, key),
                None => tonic::Request::new($request),
            };
            client.$method(request).await.map(drop)
        }};
    }
    let mut outcomes = vec![
        call!(get_inclusion_proof(inclusion)),
        call!(get_consistency_proof(consistency)),
        call!(get_tile(tile)),
        call!(read_entries(entries)),
        call!(get_log_entry(one)),
    ];
    if !is_bad {
        // These methods have no other parameters.
        outcomes.push(call!(get_checkpoint(pb::GetCheckpointRequest { organization_id: organization_id() })));
        outcomes.push(call!(get_public_keys(pb::GetPublicKeysRequest { organization_id: organization_id() })));
    }
    outcomes
}

/// The error codes of every REST path, with valid or invalid parameters.
async fn get_all(log: &Log, key: Option<&str>, organization: &str, is_bad: bool) -> Vec<(u16, String)> {
    let paths = match is_bad {
        false => [
            "checkpoint",
            "keys",
            "tile/0/000.p/1",
            "tile/entries/000.p/1",
            "inclusion-proof?sequence=1",
            "consistency-proof?firstSize=1",
            "entries/1",
        ],
        true => [
            "checkpoint?x=1",
            "keys?x=1",
            "tile/0/0",
            "tile/0/000.p/1?x=1",
            "inclusion-proof?sequence=x",
            "consistency-proof",
            "entries/x",
        ],
    };
    let mut codes = Vec::new();
    for path in paths {
        let mut request = log.service.http.get(log.service.url(&format!("/v1/{organization}/log/{path}")));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = log.service.send(request).await;
        codes.push((answer.status, answer.body["error"]["code"].as_str().unwrap_or("ok").to_owned()));
    }
    codes
}

on_every_database! {
    async fn verification_requires_its_scope_and_checks_run_in_the_documented_order(database: &Database) {
        let log = Log::with(database, 3).await;
        let all_others = [Scope::Read, Scope::Write, Scope::Erase];
        let others = log.service.key(Some(ORGANIZATION), &all_others).await;
        let foreign = log.service.key(Some("org_b"), &[Scope::Verify]).await;
        let wide = log.service.key(None, &[Scope::Verify]).await;
        let wide_others = log.service.key(None, &all_others).await;
        let not_found = (Code::NotFound, 404, "ORGANIZATION_NOT_FOUND");
        let forbidden = (Code::PermissionDenied, 403, "INSUFFICIENT_PERMISSIONS");
        for (key, organization, (code, http, reason)) in [
            (None, ORGANIZATION, (Code::Unauthenticated, 401, "MISSING_AUTHENTICATION")),
            (Some("al_nonsense"), ORGANIZATION, (Code::Unauthenticated, 401, "INVALID_API_KEY")),
            (Some(&*foreign), ORGANIZATION, not_found),
            (Some(&*log.key), "org_b", not_found),
            (Some(&*log.key), "org_none", not_found),
            (Some(&*others), "org_b", not_found),
            (Some(&*others), ORGANIZATION, forbidden),
            (Some(&*wide), "org_none", not_found),
            (Some(&*wide_others), "org_none", not_found),
            (Some(&*wide_others), ORGANIZATION, forbidden),
        ] {
            for is_bad in [false, true] {
                for outcome in call_all(&log, key, organization, is_bad).await {
                    let status = outcome.expect_err("refused");
                    assert_eq!(refusal(&status), (code, reason.to_owned(), String::new()), "{organization}");
                }
                for answer in get_all(&log, key, organization, is_bad).await {
                    assert_eq!(answer, (http, reason.to_lowercase()), "{organization}");
                }
            }
        }
        for key in [&log.key, &wide] {
            assert!(call_all(&log, Some(key), ORGANIZATION, false).await.iter().all(Result::is_ok));
            assert!(get_all(&log, Some(key), ORGANIZATION, false).await.iter().all(|answer| *answer == (200, "ok".to_owned())));
            for outcome in call_all(&log, Some(key), ORGANIZATION, true).await {
                assert_eq!(refusal(&outcome.expect_err("refused")).1, "INVALID_PARAMETER");
            }
            for answer in get_all(&log, Some(key), ORGANIZATION, true).await {
                assert!(answer.0 == 400 && ["invalid_parameter", "unknown_parameter"].contains(&&*answer.1), "{answer:?}");
            }
        }
        let verified = log.service.get(&format!("/v1/{ORGANIZATION}/audit-logs"), &log.key).await;
        assert_eq!(verified.status, 403, "who may verify may not list");
    }

    async fn proofs_of_one_organization_tell_nothing_of_another(database: &Database) {
        let log = Log::with(database, 3).await;
        let foreign = log.service.key(Some("org_b"), &[Scope::Verify]).await;
        let by_id = log.service.get("/v1/org_b/log/inclusion-proof?id=log_1&size=1", &foreign).await;
        assert_eq!((by_id.status, by_id.body["error"]["code"].as_str()), (404, Some("audit_log_not_found")));
        let checkpoint = log.service.get("/v1/org_b/log/checkpoint", &foreign).await;
        assert_eq!((checkpoint.status, checkpoint.body["error"]["code"].as_str()), (404, Some("checkpoint_not_found")));
        let keys = log.service.get("/v1/org_b/log/keys", &foreign).await;
        assert_eq!(keys.text, r#"{"publicKeys":[]}"#);
    }
}
