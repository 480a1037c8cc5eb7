//! Outcomes and actor types: every surface shows them as they were written, and other values are refused.

use auditlog::access::Scope;
use auditlog::grpc::pb::{AuditLogInput, GetAuditLogRequest, WriteAuditLogsRequest};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::check_log::check_log;
use crate::support::json::least;
use crate::support::service::{all, with_key};
use crate::support::{Backend, Database, Service, on_every_database};

const LIST: &str = "/v1/org_a/audit-logs";
const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];
const OUTCOMES: [Option<&str>; 4] = [Some("success"), Some("failure"), Some("denied"), None];
const ACTOR_TYPES: [Option<&str>; 5] = [Some("user"), Some("service"), Some("system"), Some("anonymous"), None];

/// Each outcome with each actor type.
fn pairs() -> Vec<(Option<&'static str>, Option<&'static str>)> {
    OUTCOMES.into_iter().flat_map(|outcome| ACTOR_TYPES.map(|actor_type| (outcome, actor_type))).collect()
}

/// An entry for REST.
fn body(id: &str, outcome: Option<&str>, actor_type: Option<&str>) -> Value {
    let mut entry = least(id);
    entry["outcome"] = json!(outcome);
    entry["actorType"] = json!(actor_type);
    entry
}

/// The same entry for gRPC.
fn input(id: &str, outcome: Option<&str>, actor_type: Option<&str>) -> AuditLogInput {
    AuditLogInput {
        id: id.to_owned(),
        resource_type: "rule".to_owned(),
        resource_id: "rule_1".to_owned(),
        action: "created".to_owned(),
        user_id: "uid_1".to_owned(),
        outcome: outcome.unwrap_or_default().to_owned(),
        actor_type: actor_type.unwrap_or_default().to_owned(),
        ..Default::default()
    }
}

fn write(audit_logs: Vec<AuditLogInput>) -> WriteAuditLogsRequest {
    WriteAuditLogsRequest { organization_id: "org_a".to_owned(), audit_logs }
}

on_every_database! {
    async fn each_pair_is_read_on_every_surface_as_it_was_written(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let mut client = service.grpc().await;
        let id = |place: usize| format!("log_{place}");
        let pairs = pairs();
        let bodies: Vec<_> = pairs.iter().enumerate().map(|(place, pair)| body(&id(place), pair.0, pair.1)).collect();
        let inputs: Vec<_> = pairs.iter().enumerate().map(|(place, pair)| input(&id(place), pair.0, pair.1)).collect();
        // The first half is written over REST, the second over gRPC. Both surfaces then find all entries there.
        let half = service.post(LIST, &key, &json!({"auditLogs": &bodies[..10]})).await;
        assert_eq!(half.status, 201, "{}", half.text);
        let written = client.write_audit_logs(with_key(write(inputs), &key)).await.expect("written").into_inner();
        let replayed: Vec<_> = written.audit_logs.iter().map(|one| one.replayed).collect();
        assert_eq!(replayed, [[true; 10], [false; 10]].concat());
        let again = service.post(LIST, &key, &json!({"auditLogs": bodies})).await;
        let again = again.body["auditLogs"].as_array().expect("entries").clone();
        assert!(again.len() == 20 && again.iter().all(|one| one["replayed"] == true), "{again:?}");
        let page = service.get(&format!("{LIST}?limit=100"), &key).await.body;
        let listed = page["auditLogs"].as_array().expect("entries");
        let history = service.get("/v1/rules/rule_1/history?limit=100", &key).await.body;
        assert_eq!(history["auditLogs"], page["auditLogs"]);
        let mut export = client.export_audit_logs(with_key(all("org_a"), &key)).await.expect("it begins").into_inner();
        let mut exported = Vec::new();
        while let Some(piece) = export.message().await.expect("a message") {
            exported.extend(piece.audit_logs);
        }
        for (place, (outcome, actor_type)) in pairs.into_iter().enumerate() {
            let one = service.get(&format!("{LIST}/log_{place}"), &key).await.body;
            assert_eq!((&one["outcome"], &one["actorType"]), (&json!(outcome), &json!(actor_type)));
            assert_eq!(listed.iter().find(|entry| entry["id"] == one["id"]), Some(&one));
            let get = GetAuditLogRequest { organization_id: "org_a".to_owned(), id: id(place) };
            let read = client.get_audit_log(with_key(get, &key)).await.expect("read").into_inner().audit_log.expect("an entry");
            assert_eq!((read.outcome.as_deref(), read.actor_type.as_deref()), (outcome, actor_type));
            assert_eq!(exported[place], read);
        }
        assert_eq!(check_log(&service.store, "org_a").await, 20);
    }

    async fn another_value_is_refused_with_the_values_that_exist(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let mut client = service.grpc().await;
        let (outcomes, actor_types) = ("must be one of success, failure, denied", "must be one of user, service, system, anonymous");
        for (outcome, actor_type, [grpc, rest], allowed, got) in [
            ("sucess", "", ["outcome"; 2], outcomes, "\"sucess\"; did you mean success?"),
            ("Failure", "user", ["outcome"; 2], outcomes, "\"Failure\"; did you mean failure?"),
            ("ok", "users", ["outcome"; 2], outcomes, "\"ok\""),
            ("denied", "users", ["actor_type", "actorType"], actor_types, "\"users\"; did you mean user?"),
            ("", " ", ["actor_type", "actorType"], actor_types, "\" \""),
        ] {
            let (outcome, actor_type) = (Some(outcome), Some(actor_type));
            let request = write(vec![input("log_1", outcome, actor_type)]);
            let status = client.write_audit_logs(with_key(request, &key)).await.expect_err(got);
            let message = format!("audit_logs[0].{grpc}: {allowed}, got {got}");
            assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message.as_str()));
            let answer = service.post(LIST, &key, &json!({"auditLogs": [body("log_1", outcome, actor_type)]})).await;
            let message = format!("auditLogs[0].{rest}: {allowed}, got {got}");
            assert_eq!((answer.status, &answer.body["error"]["message"]), (400, &json!(message)));
        }
        assert_eq!(service.get(LIST, &key).await.body["pagination"]["total"], 0, "nothing is stored");
    }

    async fn null_and_the_empty_string_mean_that_a_value_is_absent(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let write = async |entry: Value| service.post(LIST, &key, &json!({"auditLogs": [entry]})).await;
        for (entry, replayed) in [(least("log_1"), false), (body("log_1", None, None), true), (body("log_1", Some(""), Some("")), true)] {
            let answer = write(entry).await;
            assert_eq!((answer.status, &answer.body["auditLogs"][0]["replayed"]), (201, &json!(replayed)), "{}", answer.text);
        }
        for other in [body("log_1", Some("success"), None), body("log_1", None, Some("user"))] {
            assert_eq!(write(other).await.body["error"]["code"], "id_conflict");
        }
    }
}
