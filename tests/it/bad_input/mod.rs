//! Tests every parameter and field at and beyond its limit, with wrong types, duplicated, and malformed. Each request
//! gets its documented error on each surface, and nothing is stored. The snapshots contain all errors.

mod bodies;
mod queries;

use auditlog::access::Scope;
use auditlog::domain::{CatalogueKind, CatalogueName, Clock, Random, Timestamp};
use tonic::Status;

use crate::support::json::least;
use crate::support::service::options;
use crate::support::surfaces::shown_status;
use crate::support::surfaces::{Ask, RawAnswer, Surfaces, code};
use crate::support::{Backend, Database, Service, on_every_database};

const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];
const LIST: &str = "/v1/org_a/audit-logs";
/// The fixed time of the service, so that its errors are reproducible.
const NOW: &str = "2026-01-01T00:00:00Z";

async fn started(database: &Database) -> (Surfaces, String) {
    let now = Timestamp::parse(NOW).expect("a time");
    let service = Service::start_with(database, Clock::from_fn(move || now), options()).await;
    let key = service.key(Some("org_a"), &BOTH).await;
    (Surfaces::start(service).await, key)
}

/// An error in the form of the snapshot: the name of the request, the status and the body.
fn shown(name: &str, answer: &RawAnswer) -> String {
    format!("{name}\n    {} {}\n", answer.status, answer.text)
}

on_every_database! {
    async fn a_bad_query_has_its_error_on_every_surface(database: &Database) {
        let (surfaces, key) = started(database).await;
        let mut errors = String::new();
        for query in queries::bad() {
            let path = format!("{LIST}?{query}");
            let answer = surfaces.rest(&Ask::get(&path, &key)).await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text);
            let name: String = query.chars().take(80).collect();
            errors += &shown(&name, &answer);
            if let Some(outcome) = surfaces.grpc(&path, &key).await {
                assert_eq!(outcome.expect_err(&query), answer.code(), "{query}");
            }
        }
        for (path, allowed) in [("/v1/rules/r/history?resourceType=rule", "a history"), ("/v1/org_a/audit-logs/log_1?x=1", "one entry")] {
            let answer = surfaces.rest(&Ask::get(path, &key)).await;
            errors += &shown(allowed, &answer);
        }
        insta::assert_snapshot!("queries", errors);
    }

    async fn a_bad_body_has_its_error_on_every_surface_and_stores_nothing(database: &Database) {
        let (surfaces, key) = started(database).await;
        let mut errors = String::new();
        for (name, body) in bodies::bad() {
            let answer = surfaces.rest(&Ask::post(LIST, &key, body.clone())).await;
            assert!([400, 409, 429].contains(&answer.status), "{name}: {}", answer.text);
            let name: String = name.chars().take(80).collect();
            errors += &shown(&name, &answer);
            // Only REST has the organization in each line; gRPC does not.
            if !name.contains("rganization")
                && let Some(outcome) = surfaces.grpc_write("org_a", &key, &body).await
            {
                let status = outcome.expect_err(&name);
                errors += &shown_status(&status);
                assert_eq!(code(status), answer.code(), "{name}");
            }
        }
        let page = surfaces.rest(&Ask::get(LIST, &key)).await;
        assert_eq!(page.body()["pagination"]["total"], 0, "nothing is stored");
        insta::assert_snapshot!("bodies", errors);
    }

    async fn a_bad_write_makes_no_organization(database: &Database) {
        let (surfaces, _) = started(database).await;
        let key = surfaces.service.key(None, &BOTH).await;
        for (_, body) in bodies::bad().into_iter().filter(|(name, _)| !name.contains("rganization")) {
            surfaces.rest(&Ask::post("/v1/org_new/audit-logs", &key, body.clone())).await;
            let _ = surfaces.grpc_write("org_new", &key, &body).await;
        }
        let known: Vec<_> = surfaces.service.store.organizations().await.expect("a list").into_iter().map(|one| one.id).collect();
        assert_eq!(known, ["auditlog:service", "org_a"]);
    }

    async fn a_bad_request_has_its_error(database: &Database) {
        let (surfaces, key) = started(database).await;
        let header = |name: &'static str, value: &[u8]| (name, value.to_vec());
        let (get, post) = (Ask::get(LIST, &key), Ask::post(LIST, &key, bodies::body(&[least("log_1")])));
        let authorized = |values: &[&[u8]]| {
            let headers = values.iter().map(|value| ("authorization", value.to_vec())).collect();
            Ask { headers, ..get.clone() }
        };
        let more = |ask: &Ask, headers: Vec<(&'static str, Vec<u8>)>| Ask { headers: [ask.headers.clone(), headers].concat(), ..ask.clone() };
        let typed = |content_type: &[u8]| Ask { headers: vec![post.headers[0].clone(), header("content-type", content_type)], ..post.clone() };
        let method = |method: &str, path: &str| Ask { method: method.parse().expect("a method"), path: path.to_owned(), ..get.clone() };
        let bearer = format!("Bearer {key}").into_bytes();
        let large = Ask { body: vec![b' '; 4 * 1024 * 1024 + 1], ..post.clone() };
        let mut errors = String::new();
        for (name, ask) in [
            ("no credential", authorized(&[])),
            ("an empty credential", authorized(&[b""])),
            ("another scheme", authorized(&[b"Basic dXNlcjpwYXNz"])),
            ("no scheme", authorized(&[key.as_bytes()])),
            ("bytes that are no text", authorized(&[b"Bearer \xff"])),
            ("a key that is none", authorized(&[b"Bearer al_x"])),
            ("two credentials", authorized(&[&bearer, &bearer])),
            ("a bad body without a credential", Ask { body: b"x".to_vec(), headers: vec![post.headers[1].clone()], ..post.clone() }),
            ("another organization in the header", more(&get, vec![header("x-organization-id", b"org_b")])),
            ("two organizations in the header", more(&get, vec![header("x-organization-id", b"org_a"), header("x-organization-id", b"org_a")])),
            ("an organization that is no UTF-8", more(&get, vec![header("x-organization-id", b"\xff")])),
            ("no content type", Ask { headers: post.headers[..1].to_vec(), ..post.clone() }),
            ("plain text", typed(b"text/plain")),
            ("a form", typed(b"application/x-www-form-urlencoded")),
            ("nearly JSON", typed(b"application/jsonl")),
            ("a query at a write", Ask { path: format!("{LIST}?limit=5"), ..post.clone() }),
            ("a byte more than 4 MiB", large),
            ("DELETE", method("DELETE", LIST)),
            ("PUT", method("PUT", LIST)),
            ("PATCH of an entry", method("PATCH", "/v1/org_a/audit-logs/log_1")),
            ("POST to a history", method("POST", "/v1/rules/r/history")),
            ("a path that there is not", method("GET", "/v1/org_a/audit_logs")),
            ("a slash too many", method("GET", "/v1/org_a/audit-logs/")),
            ("another version", method("GET", "/v2/org_a/audit-logs")),
            ("a history that there is not", method("GET", "/v1/ruls/r/history")),
            ("an organization in the path that is no UTF-8", method("GET", "/v1/%ff/audit-logs")),
            ("the same without a credential", Ask { path: "/v1/%ff/audit-logs".to_owned(), ..authorized(&[]) }),
            ("an id that cannot be", method("GET", "/v1/org_a/audit-logs/a%20b")),
            ("an id that is not there", method("GET", "/v1/org_a/audit-logs/log_none")),
            ("another organization", method("GET", "/v1/org_b/audit-logs")),
            ("a resource's id of 257 bytes", method("GET", &format!("/v1/rules/{}/history", "x".repeat(257)))),
        ] {
            let answer = surfaces.rest(&ask).await;
            assert!(answer.status >= 400, "{name}: {}", answer.text);
            errors += &shown(name, &answer);
        }
        let page = surfaces.rest(&get).await;
        assert_eq!(page.body()["pagination"]["total"], 0, "nothing is stored");
        insta::assert_snapshot!("requests", errors);
    }

    async fn a_bad_message_has_its_error(database: &Database) {
        let (surfaces, key) = started(database).await;
        let service = &surfaces.service;
        let framed = |bytes: &[u8]| [&[0, 0, 0, 0, u8::try_from(bytes.len()).expect("short")][..], bytes].concat();
        let mut errors = String::new();
        for (name, method, content_type, bytes) in [
            ("no message at all", "ListAuditLogs", "application/grpc", Vec::new()),
            ("half a frame", "ListAuditLogs", "application/grpc", vec![0, 0, 0]),
            ("a frame that ends early", "ListAuditLogs", "application/grpc", vec![0, 0, 0, 0, 9, 10]),
            ("a field number 0", "ListAuditLogs", "application/grpc", framed(b"\x00\x01")),
            ("a varint that does not end", "ListAuditLogs", "application/grpc", framed(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
            ("a number for a string", "ListAuditLogs", "application/grpc", framed(b"\x08\x01")),
            ("a string that is no UTF-8", "ListAuditLogs", "application/grpc", framed(b"\x0a\x01\xff")),
            ("a string beyond the message", "ListAuditLogs", "application/grpc", framed(b"\x0a\x7fx")),
            ("compression that was not said", "ListAuditLogs", "application/grpc", vec![1, 0, 0, 0, 1, 0]),
            ("a method that there is not", "Nothing", "application/grpc", framed(b"")),
            ("JSON for protobuf", "ListAuditLogs", "application/grpc", b"{\"organization_id\":\"org_a\"}".to_vec()),
            ("an entry within an entry", "WriteAuditLogs", "application/grpc", framed(b"\x12\x02\x12\x7f")),
        ] {
            let request = service.http.post(service.url(&format!("/auditlog.v1.AuditLogService/{method}"))).bearer_auth(&key);
            let answer = request.header("content-type", content_type).header("te", "trailers").body(bytes).send().await;
            let answer = answer.expect("an answer");
            let status = Status::from_header_map(answer.headers()).unwrap_or_else(|| panic!("{name}: {answer:?}"));
            errors += &format!("{name}\n{}", shown_status(&status));
            errors += &format!("    {}\n", status.message());
        }
        insta::assert_snapshot!("messages", errors);
    }

    async fn values_at_their_limits_are_accepted(database: &Database) {
        let (surfaces, key) = started(database).await;
        for body in bodies::good() {
            let written = surfaces.grpc_write("org_a", &key, &body).await.expect("a request").expect("gRPC takes it");
            let answer = surfaces.rest(&Ask::post(LIST, &key, body)).await;
            assert_eq!((answer.status, answer.body()["auditLogs"].as_array().map(Vec::len)), (201, written["auditLogs"].as_array().map(Vec::len)));
        }
        let ids = format!("resourceId={}", "r".repeat(256));
        let users = (0..100).map(|user| format!("userId={user:0256}")).collect::<Vec<_>>().join("&");
        // 10 users with 100 resources. Duplicates count once.
        let pairs = (0..100).map(|id| format!("userId=u{}&resourceId=r{id}", id % 10)).collect::<Vec<_>>().join("&");
        let plain = ["limit=1&offset=9223372036854775807", "limit=100&startDate=0001-01-01&endDate=9999-12-31", &ids, &users, &pairs];
        for query in plain.map(str::to_owned).into_iter().chain(queries::searches_at_their_limits()) {
            let path = format!("{LIST}?{query}");
            let answer = surfaces.rest(&Ask::get(&path, &key)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(surfaces.grpc(&path, &key).await.expect("a request").expect("a page"), answer.text);
        }
        assert!(surfaces.rest(&Ask::get(LIST, &key)).await.text.contains(r#""total":1006,"#));
    }

    async fn error_messages_always_fit_into_headers(database: &Database) {
        let (surfaces, key) = started(database).await;
        for number in 0..249 {
            let name = format!("{}{number:04}", "x".repeat(60));
            let name = CatalogueName::parse(name).expect("a name");
            let (kind, now, random) = (CatalogueKind::ResourceType, Clock::system().now(), Random::system());
            surfaces.service.store.add_to_catalogue(kind, &name, None, now, &random).await.expect("it is added");
        }
        let odd = "\u{e0001}".repeat(60);
        let entry = |_| serde_json::json!({"id": "log_1", "resourceType": odd, "resourceId": "r", "action": odd, "userId": "u"});
        let body = bodies::body(&(0..8).map(entry).collect::<Vec<_>>());
        let answer = surfaces.rest(&Ask::post(LIST, &key, body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_parameter"), "{}", answer.text);
        assert!(answer.text.contains("auditLogs[0].resourceType: must be one of assistant, ") && answer.text.contains(" and 236 more"), "{}", answer.text);
    }
}
