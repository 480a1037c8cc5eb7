//! `GET /v1/{org}/log/entries/{sequence}`: the input of a leaf in the shape of the golden vectors, which makes the leaf.

use auditlog::access::Scope;
use auditlog::domain::Group;
use auditlog::grpc::pb;
use serde_json::{Value, json};
use tonic::Code;

use super::entries::erase;
use super::{Log, ORGANIZATION, refusal};
use crate::leaf::leaf_hash;
use crate::support::database::execute;
use crate::support::json::least;
use crate::support::log::verifier;
use crate::support::service::with_key;
use crate::support::surfaces::{Ask, RawAnswer, Surfaces};
use crate::support::{Backend, Database, Service, on_every_database};

async fn input(surfaces: &Surfaces, key: &str, organization: &str, sequence: i64) -> RawAnswer {
    surfaces.rest(&Ask::get(format!("/v1/{organization}/log/entries/{sequence}"), key)).await
}

/// Checks that the answer makes the leaf that the log of `size` entries has. Returns the answer.
async fn proven(surfaces: &Surfaces, key: &str, organization: &str, (sequence, size): (i64, i64)) -> Value {
    let answer = input(surfaces, key, organization, sequence).await;
    let headers = [("content-type", "application/json".to_owned()), ("cache-control", "no-store".to_owned())].to_vec();
    assert_eq!((answer.status, &answer.headers), (200, &headers), "salts must not be stored: {}", answer.text);
    let proof = format!("/v1/{organization}/log/inclusion-proof?sequence={sequence}&size={size}");
    let proof = surfaces.rest(&Ask::get(proof, key)).await.body();
    assert_eq!(leaf_hash(&answer.text), proof["leafHash"], "{}", answer.text);
    assert_eq!(answer.body()["sequence"], sequence);
    answer.body()
}

on_every_database! {
    async fn an_entry_has_the_shape_of_the_vectors(database: &Database) {
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let key = surfaces.service.key(Some(ORGANIZATION), &[Scope::Write, Scope::Read, Scope::Verify]).await;
        let whole = json!({
            "id": "log_1", "timestamp": "1969-12-31T23:59:59.5Z", "resourceType": "mcp_configuration",
            "resourceId": "größe/😀 +%", "resourceName": "Zeile 1\nline 2", "action": "updated", "userId": "key:none",
            "userName": "Zoë 🐍", "userEmail": "zoe@example.com", "traceId": "4bf92f35", "outcome": "denied",
            "actorType": "service", "metadata": {"source": "web_ui", "Z": "before a", "userAgent": "", "\u{ffff}": "x", "𐀀": "last"}
        });
        let changes = r#"[{"field":"","oldValue":{"b":9007199254740993,"a":1e400,"a":"\u00e9é\u0000"}},{"field":"f\n","oldValue":-0.0,"newValue":[ ]}]"#;
        let text = whole.to_string().replacen('{', &format!("{{\"changes\":{changes},"), 1);
        let path = format!("/v1/{ORGANIZATION}/audit-logs");
        let body = format!(r#"{{"auditLogs":[{text},{}]}}"#, least("log_2"));
        let written = surfaces.service.send(surfaces.service.http.post(surfaces.service.url(&path)).bearer_auth(&key).header("content-type", "application/json").body(body)).await;
        assert_eq!(written.status, 201, "{}", written.text);
        let mut input = proven(&surfaces, &key, ORGANIZATION, (1, 2)).await;
        let salts = input["salts"].take();
        for group in Group::ALL {
            let salt = salts[group.name()].as_str().expect("a salt");
            assert!(salt.len() == 32 && salt.bytes().all(|digit| b"0123456789abcdef".contains(&digit)), "{salt}");
        }
        assert_eq!(salts.as_object().map(|salts| salts.len()), Some(3));
        let head = surfaces.service.store.log_head(&crate::support::ingest::organization(ORGANIZATION)).await.expect("read").expect("a log");
        let mut expected = whole;
        expected["timestamp"] = json!("1969-12-31T23:59:59.500000Z");
        expected["changes"] = json!([
            {"field": "", "oldValueJson": r#"{"b":9007199254740993,"a":1e400,"a":"\u00e9é\u0000"}"#, "newValueJson": "null"},
            {"field": "f\n", "oldValueJson": "-0.0", "newValueJson": "[]"}
        ]);
        expected["logId"] = json!(head.log_id);
        expected["sequence"] = json!(1);
        expected["recordedAt"] = written.body["auditLogs"][0]["recordedAt"].clone();
        expected["writer"] = json!(key[3..15]);
        expected["salts"] = Value::Null;
        expected["erased"] = json!({});
        assert_eq!(input, expected);
        let least = proven(&surfaces, &key, ORGANIZATION, (2, 2)).await;
        for absent in ["resourceName", "userName", "userEmail", "traceId", "outcome", "actorType"] {
            assert_eq!(least[absent], Value::Null, "{absent}");
        }
        assert_eq!((&least["changes"], &least["metadata"]), (&json!([]), &json!({})));
    }

    async fn entries_of_the_service_and_erased_groups_make_their_leaves_too(database: &Database) {
        let log = Log::with(database, 10).await;
        let before = log.entries(0, 0).await.expect("they are read");
        erase(database, &before[6], Group::Actor).await;
        erase(database, &before[8], Group::Actor).await;
        erase(database, &before[8], Group::Content).await;
        let Log { service, key, .. } = log;
        let wide = service.key(None, &[Scope::Verify]).await;
        let surfaces = Surfaces::start(service).await;
        for sequence in 1..=10 {
            let input = proven(&surfaces, &key, ORGANIZATION, (sequence, 10)).await;
            let groups = |name: &str| input[name].as_object().expect("groups").keys().cloned().collect::<Vec<_>>();
            let erased = match sequence {
                7 => vec!["actor"],
                9 => vec!["actor", "content"],
                _ => Vec::new(),
            };
            assert_eq!(groups("erased"), erased, "{sequence}");
            assert_eq!(groups("salts").len(), 3 - erased.len(), "{sequence}");
            assert_eq!(input["resourceName"].is_null(), erased.contains(&"content"), "{sequence}");
        }
        // The keys of this test are entries of the service's own log.
        let created = proven(&surfaces, &wide, "auditlog:service", (1, 2)).await;
        assert_eq!((&created["writer"], &created["userId"]), (&json!("-"), &json!("system")));
        assert_eq!(created["changes"][0], json!({"field": "id", "oldValueJson": "null", "newValueJson": format!("{:?}", &key[3..15])}));
        execute(database, "DELETE FROM erasures WHERE seq = 7").await;
        let lost = input(&surfaces, &key, ORGANIZATION, 7).await.body();
        assert_eq!((lost["erased"].clone(), &lost["salts"]["actor"]), (json!({}), &Value::Null), "no record says that it was erased");
    }

    async fn a_number_that_the_log_does_not_have_has_its_error(database: &Database) {
        let log = Log::with(database, 10).await;
        execute(database, "DELETE FROM audit_logs WHERE seq = 3").await;
        execute(database, "UPDATE audit_logs SET changes = 'no JSON' WHERE seq = 4").await;
        execute(database, "UPDATE audit_logs SET resource_type = 999 WHERE seq = 5").await;
        let mut client = verifier(&log.service).await;
        for (sequence, code, reason) in [
            (0, Code::InvalidArgument, "INVALID_PARAMETER"),
            (i64::MIN, Code::InvalidArgument, "INVALID_PARAMETER"),
            (11, Code::NotFound, "AUDIT_LOG_NOT_FOUND"),
            (3, Code::NotFound, "AUDIT_LOG_NOT_FOUND"),
            (4, Code::DataLoss, "ENTRY_DAMAGED"),
        ] {
            let request = pb::GetLogEntryRequest { organization_id: ORGANIZATION.to_owned(), sequence };
            let status = client.get_log_entry(with_key(request, &log.key)).await.expect_err("refused");
            assert_eq!((status.code(), refusal(&status).1.as_str()), (code, reason), "{sequence}");
        }
        let Log { service, key, .. } = log;
        let surfaces = Surfaces::start(service).await;
        for (path, status, message) in [
            ("entries/0", 400, "sequence: must be 1 or more, got 0"),
            ("entries/-1", 400, "sequence: must be 1 or more, got -1"),
            ("entries/x", 400, "sequence: must be 1 to 9223372036854775807, got \"x\""),
            ("entries/%2B1", 400, "sequence: must be 1 to 9223372036854775807, got \"+1\""),
            ("entries/1.0", 400, "sequence: must be 1 to 9223372036854775807, got \"1.0\""),
            ("entries/9223372036854775808", 400, "sequence: must be 1 to 9223372036854775807, got \"9223372036854775808\""),
            ("entries/1?size=1", 400, "\"size\" is not a parameter of this path; allowed: none"),
            ("entries/11", 404, "Audit log not found"),
            ("entries/9223372036854775807", 404, "Audit log not found"),
            ("entries/3", 404, "Audit log not found"),
            ("entries/4", 500, "Entry 4 cannot be read: it was changed, and not by this service"),
            ("entries/", 404, "There is no path \"/v1/org_a/log/entries/\""),
            ("entries", 404, "There is no path \"/v1/org_a/log/entries\""),
        ] {
            let answer = surfaces.rest(&Ask::get(format!("/v1/{ORGANIZATION}/log/{path}"), &key)).await;
            assert_eq!((answer.status, answer.body()["error"]["message"].as_str()), (status, Some(message)), "{path}");
        }
        let unnamed = input(&surfaces, &key, ORGANIZATION, 5).await;
        assert_eq!((unnamed.status, &unnamed.body()["resourceType"], &unnamed.body()["salts"]["facts"]), (200, &Value::Null, &Value::Null));
    }
}
