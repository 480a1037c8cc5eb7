//! Keys, scopes, and the order of checks, on both surfaces.

use std::time::{Duration, Instant};

use auditlog::access::{NewKey, Scope, create_key};
use auditlog::domain::{Clock, OrganizationId, Random, Timestamp};
use auditlog::grpc::pb;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::json::least;
use crate::support::service::options;
use crate::support::{Backend, Database, Service, on_every_database, until};

const LIST: &str = "/v1/org_a/audit-logs";

fn list(organization_id: &str) -> pb::ListAuditLogsRequest {
    pb::ListAuditLogsRequest { organization_id: organization_id.to_owned(), ..Default::default() }
}

fn reason(status: &tonic::Status) -> (Code, String) {
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.domain, "auditlog");
    (status.code(), info.reason)
}

on_every_database! {
    async fn each_wrong_credential_has_its_error(database: &Database) {
        let service = Service::start(database).await;
        let good = service.key(Some("org_a"), &[Scope::Read]).await;
        let other_end = if good.ends_with('x') { 'y' } else { 'x' };
        let mistyped = format!("{}{other_end}", &good[..good.len() - 1]);
        // A well-formed key of another service.
        let elsewhere = Database::fresh(Backend::Sqlite).await.expect("SQLite is always there");
        let foreign = Service::start(&elsewhere).await.key(Some("org_a"), &[Scope::Read]).await;
        let other_id = Random::seeded(9).base62(12);
        let forged = format!("al_{other_id}{}", &good["al_".len() + 12..]);
        for (header, code) in [
            (None, "missing_authentication"),
            (Some(String::new()), "missing_authentication"),
            (Some("Bearer ".to_owned()), "invalid_api_key"),
            (Some(good.clone()), "invalid_api_key"),
            (Some(format!("Basic {good}")), "invalid_api_key"),
            (Some("Bearer al_".to_owned()), "invalid_api_key"),
            (Some(format!("Bearer {mistyped}")), "invalid_api_key"),
            (Some(format!("Bearer {forged}")), "invalid_api_key"),
            (Some(format!("Bearer {foreign}")), "invalid_api_key"),
        ] {
            let mut request = service.http.get(service.url(LIST));
            let mut call = tonic::Request::new(list("org_a"));
            if let Some(header) = &header {
                request = request.header("authorization", header);
                call.metadata_mut().insert("authorization", header.parse().expect("ASCII"));
            }
            let answer = service.send(request).await;
            assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (401, Some(code)), "{header:?}");
            let status = service.grpc().await.list_audit_logs(call).await.expect_err("refused");
            assert_eq!(reason(&status), (Code::Unauthenticated, code.to_uppercase()), "{header:?}");
        }
        let twice = service.http.get(service.url(LIST)).header("authorization", format!("Bearer {good}")).bearer_auth(&good);
        assert_eq!(service.send(twice).await.status, 401);
        let lower = service.http.get(service.url(LIST)).header("authorization", format!("bearer {good}"));
        assert_eq!(service.send(lower).await.status, 200);
    }

    async fn checks_run_in_the_documented_order(database: &Database) {
        let service = Service::start(database).await;
        let writer = service.key(Some("org_a"), &[Scope::Write]).await;
        let bad = "limit=0&nonsense=1";
        let anonymous = service.send(service.http.get(service.url(&format!("/v1/org_x/audit-logs?{bad}")))).await;
        assert_eq!(anonymous.body["error"]["code"], "missing_authentication");
        let foreign = service.get(&format!("/v1/org_x/audit-logs?{bad}"), &writer).await;
        assert_eq!(foreign.body["error"]["code"], "organization_not_found");
        let scope = service.get(&format!("{LIST}?{bad}"), &writer).await;
        assert_eq!(scope.body["error"]["code"], "insufficient_permissions");
        let reader = service.key(Some("org_a"), &[Scope::Read]).await;
        assert_eq!(service.get(&format!("{LIST}?{bad}"), &reader).await.status, 400);
        let broken = |path: &str, key: &str| {
            service.http.post(service.url(path)).bearer_auth(key).header("content-type", "text/plain").body("{")
        };
        assert_eq!(service.send(service.http.post(service.url(LIST)).body("{")).await.status, 401);
        assert_eq!(service.send(broken("/v1/org_x/audit-logs", &writer)).await.status, 404);
        assert_eq!(service.send(broken(LIST, &reader)).await.body["error"]["message"], "Insufficient permissions to write audit logs");
        assert_eq!(service.send(broken(LIST, &writer)).await.status, 415);
        let history = service.get(&format!("/v1/rules/r/history?{bad}"), &writer).await;
        assert_eq!(history.status, 403);
        let one = service.get(&format!("{LIST}/log_1?{bad}"), &writer).await;
        assert_eq!(one.status, 403);
    }

    async fn a_service_wide_key_names_its_organization(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(None, &[Scope::Read, Scope::Write]).await;
        assert_eq!(service.get("/v1/org_new/audit-logs", &key).await.body["error"]["message"], "Organization not found");
        let written = service.post("/v1/org_new/audit-logs", &key, &json!({"auditLogs": [least("log_1")]})).await;
        assert_eq!(written.status, 201, "the first write makes the organization: {}", written.text);
        assert_eq!(service.get("/v1/org_new/audit-logs", &key).await.status, 200);
        let unnamed = service.get("/v1/rules/rule_1/history", &key).await;
        assert_eq!(unnamed.status, 400);
        assert_eq!(unnamed.body["error"]["message"], "organization_id: is required with a service-wide key: send x-organization-id");
        let history = |organization: &str| {
            service.http.get(service.url("/v1/rules/rule_1/history")).bearer_auth(&key).header("x-organization-id", organization)
        };
        assert_eq!(service.send(history("org_new")).await.body["pagination"]["total"], 1);
        assert_eq!(service.send(history("org_none")).await.status, 404);
        let disagree = service.http.get(service.url("/v1/org_new/audit-logs")).bearer_auth(&key).header("x-organization-id", "org_b");
        assert_eq!(service.send(disagree).await.status, 400);
        let bad_name = service.post("/v1/%00/audit-logs", &key, &json!({"auditLogs": [least("log_1")]})).await;
        assert_eq!((bad_name.status, bad_name.body["error"]["code"].as_str()), (400, Some("invalid_parameter")));
    }

    async fn the_error_of_an_expired_key_names_the_expiry_time(database: &Database) {
        let store = database.store().await;
        let organization = OrganizationId::parse("org_a").expect("an id");
        store.create_organization(&organization, "00", Timestamp::MIN).await.expect("made");
        let then = Clock::system().now().plus(-1);
        let scopes = [Scope::Read].into();
        let new = NewKey { name: None, organization: Some(organization), scopes, expires_at: Some(then) };
        let key = create_key(&store, &Clock::system(), &Random::system(), new).await;
        let service = Service::start(database).await;
        let answer = service.get(LIST, key.expect("made").expose()).await;
        assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (401, Some("expired_api_key")));
        assert_eq!(answer.body["error"]["message"], format!("The API key expired at {then}"));
    }

    async fn a_revoked_key_stops_within_seconds_and_its_use_is_noted(database: &Database) {
        let service = Service::start_with(database, Clock::system(), options()).await;
        let key = service.key(Some("org_a"), &[Scope::Read]).await;
        assert_eq!(service.get(LIST, &key).await.status, 200);
        let id = &key["al_".len()..][..12];
        let noted = async || service.store.key(id).await.expect("an answer").expect("the key").last_used_at.is_some();
        for _ in 0..100 {
            if noted().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(noted().await, "its use is noted");
        assert!(service.store.revoke_key(id, Clock::system().now(), &Random::system()).await.expect("an answer"));
        assert!(!service.store.revoke_key(id, Clock::system().now(), &Random::system()).await.expect("an answer"), "it is revoked already");
        tokio::time::sleep(Duration::from_millis(5_200)).await;
        let answer = service.get(LIST, &key).await;
        assert_eq!(answer.body["error"]["message"], "The API key was revoked");
    }

    async fn a_key_in_use_is_looked_up_before_its_cached_lookup_expires(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read]).await;
        let started = Instant::now();
        assert_eq!(service.get(LIST, &key).await.status, 200);
        assert!(service.store.revoke_key(&key["al_".len()..][..12], Clock::system().now(), &Random::system()).await.expect("an answer"));
        // Requests that do not wait for a lookup notice the revocation after a second, not when the cached lookup
        // expires after five.
        until("the key is refused", async || (service.get(LIST, &key).await.status == 401).then_some(())).await;
        assert!(started.elapsed() < Duration::from_millis(4_900), "{:?}", started.elapsed());
    }

    async fn the_database_keeps_no_secret(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(None, &[Scope::Read]).await;
        let stored = format!("{:?}", service.store.keys().await.expect("keys"));
        assert!(stored.contains(&key[3..15]) && stored.contains("sha256:"));
        assert!(!stored.contains(&key[16..59]));
    }
}
