//! Invariant 7: no credential ever sees, counts or infers another organization's rows.

use auditlog::access::Scope;
use auditlog::grpc::pb::plan_rollback_request::Selection;
use auditlog::grpc::pb::{
    CheckContinuityRequest, CompareResourceStatesRequest, CountAuditLogsRequest, EntryIds, FollowAuditLogsRequest,
    GetAuditLogRequest, GetResourceHistoryRequest, GetResourceStateRequest, ListAuditLogsAroundRequest,
    ListAuditLogsRequest, PlanRollbackRequest, WriteAuditLogsRequest,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::json::least;
use crate::support::service::with_key;
use crate::support::{Backend, Database, Process, Service, on_every_database};

const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];
/// A value that only the other organization has.
const SECRET: &str = "only_in_theirs";

/// `ours` has one entry and `theirs` has three. They share a resource and an entry id.
async fn two_organizations(service: &Service) -> (String, String) {
    let (ours, theirs) = (service.key(Some("ours"), &BOTH).await, service.key(Some("theirs"), &BOTH).await);
    let entry = |id: &str, user: &str| {
        let mut entry = least(id);
        entry["userId"] = json!(user);
        entry
    };
    let one = json!({"auditLogs": [entry("log_shared", "uid_ours")]});
    let three = json!({"auditLogs": [entry("log_shared", SECRET), entry(SECRET, SECRET), entry("log_3", SECRET)]});
    assert_eq!(service.post("/v1/ours/audit-logs", &ours, &one).await.status, 201);
    assert_eq!(service.post("/v1/theirs/audit-logs", &theirs, &three).await.status, 201);
    (ours, theirs)
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["auditLogs"].as_array().expect("entries").iter().map(|entry| entry["id"].as_str().expect("an id")).collect()
}

fn shown<T: std::fmt::Debug>(outcome: Result<tonic::Response<T>, Status>) -> Result<String, Status> {
    outcome.map(|response| format!("{:?}", response.into_inner()))
}

/// Calls every method of the history service on `organization`.
async fn call_histories(
    service: &Service,
    key: &str,
    organization: &str,
) -> [(&'static str, Result<String, Status>); 4] {
    let mut client = service.histories().await;
    let organization_id = organization.to_owned();
    let (resource_type, resource_id) = ("rule".to_owned(), "rule_1".to_owned());
    let state = GetResourceStateRequest {
        organization_id: organization_id.clone(),
        resource_type: resource_type.clone(),
        resource_id: resource_id.clone(),
        ..Default::default()
    };
    let compare = CompareResourceStatesRequest {
        organization_id: organization_id.clone(),
        resource_type,
        resource_id,
        from: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let check = CheckContinuityRequest { organization_id: organization_id.clone(), ..Default::default() };
    let selection = Some(Selection::Entries(EntryIds { ids: vec!["log_shared".to_owned()] }));
    let plan = PlanRollbackRequest { organization_id, selection, ..Default::default() };
    let checked = match client.check_continuity(with_key(check, key)).await {
        Ok(messages) => messages.into_inner().message().await.map(|first| format!("{first:?}")),
        Err(status) => Err(status),
    };
    [
        ("state", shown(client.get_resource_state(with_key(state, key)).await)),
        ("compare", shown(client.compare_resource_states(with_key(compare, key)).await)),
        ("check", checked),
        ("plan", shown(client.plan_rollback(with_key(plan, key)).await)),
    ]
}

/// Calls every method that reads or writes `organization` for a reader and writer.
async fn call_all(service: &Service, key: &str, organization: &str) -> Vec<(&'static str, Result<String, Status>)> {
    let histories = call_histories(service, key, organization).await;
    call_entries(service, key, organization).await.into_iter().chain(histories).collect()
}

/// Calls every method of the audit log service on `organization`.
async fn call_entries(service: &Service, key: &str, organization: &str) -> [(&'static str, Result<String, Status>); 7] {
    let mut client = service.grpc().await;
    let organization_id = organization.to_owned();
    let (resource_type, resource_id) = ("rule".to_owned(), "rule_1".to_owned());
    let input = auditlog::grpc::pb::AuditLogInput {
        id: "log_shared".to_owned(),
        resource_type: resource_type.clone(),
        resource_id: resource_id.clone(),
        action: "created".to_owned(),
        user_id: "uid_ours".to_owned(),
        ..Default::default()
    };
    let list = ListAuditLogsRequest { organization_id: organization_id.clone(), ..Default::default() };
    let history = GetResourceHistoryRequest {
        organization_id: organization_id.clone(),
        resource_type,
        resource_id,
        ..Default::default()
    };
    let get = GetAuditLogRequest { organization_id: organization_id.clone(), id: "log_shared".to_owned() };
    let around = ListAuditLogsAroundRequest {
        organization_id: organization_id.clone(),
        id: "log_shared".to_owned(),
        ..Default::default()
    };
    let follow = FollowAuditLogsRequest {
        organization_id: organization_id.clone(),
        after_sequence: Some(0),
        ..Default::default()
    };
    let by = ["day", "user_id", "resource_id"].map(str::to_owned).to_vec();
    let count = CountAuditLogsRequest { organization_id: organization_id.clone(), by, ..Default::default() };
    let write = WriteAuditLogsRequest { organization_id, audit_logs: vec![input] };
    let followed = match client.follow_audit_logs(with_key(follow, key)).await {
        Ok(messages) => messages.into_inner().message().await.map(|first| format!("{first:?}")),
        Err(status) => Err(status),
    };
    [
        ("follow", followed),
        ("list", shown(client.list_audit_logs(with_key(list, key)).await)),
        ("history", shown(client.get_resource_history(with_key(history, key)).await)),
        ("get", shown(client.get_audit_log(with_key(get, key)).await)),
        ("around", shown(client.list_audit_logs_around(with_key(around, key)).await)),
        ("count", shown(client.count_audit_logs(with_key(count, key)).await)),
        ("write", shown(client.write_audit_logs(with_key(write, key)).await)),
    ]
}

on_every_database! {
    async fn a_key_of_one_organization_sees_only_its_entries(database: &Database) {
        let service = Service::start(database).await;
        let (ours, _) = two_organizations(&service).await;
        for path in ["/v1/ours/audit-logs", "/v1/rules/rule_1/history", "/v1/ours/audit-logs?resourceId=rule_1"] {
            let answer = service.get(path, &ours).await;
            assert_eq!(ids(&answer.body), ["log_shared"], "{path}");
            assert_eq!(answer.body["pagination"]["total"], 1, "{path}");
            assert!(!answer.text.contains(SECRET));
        }
        let none = service.get(&format!("/v1/ours/audit-logs?userId={SECRET}"), &ours).await;
        assert_eq!(none.body["pagination"]["total"], 0);
        assert_eq!(service.get(&format!("/v1/ours/audit-logs/{SECRET}"), &ours).await.status, 404);
        assert_eq!(service.get("/v1/ours/audit-logs/log_shared", &ours).await.body["userId"], "uid_ours");
        for (method, outcome) in call_all(&service, &ours, "ours").await {
            assert!(!outcome.expect(method).contains(SECRET), "{method}");
        }
    }

    async fn a_foreign_and_an_unknown_organization_look_the_same(database: &Database) {
        let service = Service::start(database).await;
        let (ours, _) = two_organizations(&service).await;
        let nothing = service.key(Some("ours"), &[]).await;
        let reader = service.key(Some("ours"), &[Scope::Read]).await;
        for key in [&ours, &reader, &nothing] {
            for path in ["audit-logs", "audit-logs?limit=0", "audit-logs/log_shared", "audit-logs?cursor=x", "feed", "feed?wait=x", "export", "export?format=x"] {
                let foreign = service.get(&format!("/v1/theirs/{path}"), key).await;
                let unknown = service.get(&format!("/v1/unknown/{path}"), key).await;
                assert_eq!(foreign, unknown, "{path}");
                let documented = json!({"error": {"message": "Organization not found", "type": "not_found_error", "code": "organization_not_found"}});
                assert_eq!((foreign.status, foreign.body), (404, documented), "{path}");
            }
            let body = json!({"auditLogs": [least("log_new")]});
            let foreign = service.post("/v1/theirs/audit-logs", key, &body).await;
            assert_eq!(foreign, service.post("/v1/unknown/audit-logs", key, &body).await);
            assert_eq!(foreign.status, 404);
            let foreign = call_all(&service, key, "theirs").await;
            let unknown = call_all(&service, key, "unknown").await;
            for ((method, foreign), (_, unknown)) in foreign.into_iter().zip(unknown) {
                let (foreign, unknown) = (foreign.expect_err(method), unknown.expect_err(method));
                assert_eq!(foreign.code(), Code::NotFound, "{method}");
                assert_eq!((foreign.message(), foreign.details()), (unknown.message(), unknown.details()), "{method}");
            }
            for header in ["theirs", "unknown"] {
                let request = service.http.get(service.url("/v1/rules/rule_1/history")).bearer_auth(key);
                assert_eq!(service.send(request.header("x-organization-id", header)).await.status, 404);
            }
        }
    }

    async fn a_cursor_is_refused_in_another_organization(database: &Database) {
        let service = Service::start(database).await;
        let (ours, theirs) = two_organizations(&service).await;
        let page = service.get("/v1/theirs/audit-logs?limit=1", &theirs).await;
        let cursor = page.body["pagination"]["nextCursor"].as_str().expect("a cursor");
        let crossed = service.get(&format!("/v1/ours/audit-logs?cursor={cursor}"), &ours).await;
        assert_eq!((crossed.status, crossed.body["error"]["code"].as_str()), (400, Some("invalid_parameter")));
        let both = service.key(None, &BOTH).await;
        assert_eq!(service.get(&format!("/v1/ours/audit-logs?cursor={cursor}"), &both).await.status, 400);
        assert_eq!(service.get(&format!("/v1/theirs/audit-logs?cursor={cursor}"), &both).await.status, 200);
    }

    async fn a_cursor_is_good_on_every_replica_and_a_forged_one_on_none(database: &Database) {
        let service = Service::start(database).await;
        let (_, theirs) = two_organizations(&service).await;
        let page = service.get("/v1/theirs/audit-logs?limit=1", &theirs).await;
        let cursor = page.body["pagination"]["nextCursor"].as_str().expect("a cursor").to_owned();
        // The numbers after the version and the key id: head, total, walked entries, and the last entry.
        let forged: Vec<_> = [(0, 1i64), (0, 2), (1, 7), (2, 0), (3, i64::MAX), (4, 1)]
            .map(|(place, number)| {
                let mut bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("base64");
                bytes[2 + place * 8..][..8].copy_from_slice(&number.to_be_bytes());
                URL_SAFE_NO_PAD.encode(bytes)
            })
            .into_iter()
            .filter(|forged| *forged != cursor)
            .collect();
        assert!(forged.len() >= 5);
        let replica = Service::start(database).await;
        service.stop().await;
        let gateway = Process::gateway(&replica.url(""), &[]);
        let http = reqwest::Client::new();
        for url in [replica.url(""), gateway.url("")] {
            let list = async |cursor: &str| {
                let list = http.get(format!("{url}/v1/theirs/audit-logs?limit=1&cursor={cursor}")).bearer_auth(&theirs);
                let answer = list.send().await.expect("an answer");
                (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
            };
            let (status, page) = list(&cursor).await;
            assert_eq!((status, &page["pagination"]["total"], &page["pagination"]["offset"]), (200, &json!(3), &json!(1)));
            for forged in &forged {
                let (status, refused) = list(forged).await;
                assert_eq!((status, refused["error"]["code"].as_str()), (400, Some("invalid_parameter")), "{refused}");
            }
        }
        replica.stop().await;
    }

    async fn entry_ids_are_unique_per_organization(database: &Database) {
        let service = Service::start(database).await;
        let (ours, _) = two_organizations(&service).await;
        let mut theirs_id = least(SECRET);
        theirs_id["userId"] = json!("uid_ours");
        let written = service.post("/v1/ours/audit-logs", &ours, &json!({"auditLogs": [theirs_id]})).await;
        assert_eq!((written.status, &written.body["auditLogs"][0]["sequence"]), (201, &json!(2)), "{}", written.text);
        assert_eq!(written.body["auditLogs"][0]["replayed"], false);
    }

    async fn a_service_wide_key_sees_what_it_names(database: &Database) {
        let service = Service::start(database).await;
        two_organizations(&service).await;
        let key = service.key(None, &BOTH).await;
        assert_eq!(service.get("/v1/ours/audit-logs", &key).await.body["pagination"]["total"], 1);
        assert_eq!(service.get("/v1/theirs/audit-logs", &key).await.body["pagination"]["total"], 3);
        assert_eq!(service.get("/v1/unknown/audit-logs", &key).await.status, 404);
        for (method, outcome) in call_all(&service, &key, "ours").await {
            let shown = outcome.expect(method);
            let own = match method {
                "count" => "uid_ours",
                "check" => "1 entry of 1 resource",
                _ => "log_shared",
            };
            assert!(shown.contains(own) && !shown.contains(SECRET), "{method}: {shown}");
        }
        let mut client = service.grpc().await;
        let unnamed = client.list_audit_logs(with_key(ListAuditLogsRequest::default(), &key)).await.expect_err("unnamed");
        assert_eq!(unnamed.code(), Code::InvalidArgument);
        let mut torn = with_key(ListAuditLogsRequest { organization_id: "ours".to_owned(), ..Default::default() }, &key);
        torn.metadata_mut().insert("x-organization-id", "theirs".parse().expect("ASCII"));
        assert_eq!(client.list_audit_logs(torn).await.expect_err("torn").code(), Code::InvalidArgument);
        let history = || GetResourceHistoryRequest { resource_type: "rule".to_owned(), resource_id: "rule_1".to_owned(), limit: Some(1), ..Default::default() };
        let mut named = with_key(history(), &key);
        named.metadata_mut().insert("x-organization-id", "theirs".parse().expect("ASCII"));
        let page = client.get_resource_history(named).await.expect("a history").into_inner().pagination.expect("pagination");
        assert_eq!(page.total, 3);
        let mut crossed = with_key(GetResourceHistoryRequest { cursor: page.next_cursor, ..history() }, &key);
        crossed.metadata_mut().insert("x-organization-id", "ours".parse().expect("ASCII"));
        assert_eq!(client.get_resource_history(crossed).await.expect_err("another's cursor").code(), Code::InvalidArgument);
    }
}
