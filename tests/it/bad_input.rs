//! Every parameter and field at and past its limit, of wrong types, twice, malformed: each gets its documented
//! error on each surface, and nothing is stored. The snapshots hold all of the errors.

use auditlog::access::Scope;
use auditlog::domain::{Clock, Timestamp};
use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt;

use crate::rest::least;
use crate::support::service::options;
use crate::support::surfaces::{Ask, Surfaces, Told, code};
use crate::support::{Backend, Database, Service, on_every_database};

const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];
const LIST: &str = "/v1/org_a/audit-logs";
/// The time of the service, so that its errors are the same each time.
const NOW: &str = "2026-01-01T00:00:00Z";

async fn started(database: &Database) -> (Surfaces, String) {
    let now = Timestamp::parse(NOW).expect("a time");
    let service = Service::start_with(database, Clock::from_fn(move || now), options()).await;
    let key = service.key(Some("org_a"), &BOTH).await;
    (Surfaces::start(service).await, key)
}

/// An error as the snapshot has it: what was sent, and the body that came back.
fn shown(name: &str, answer: &Told) -> String {
    format!("{name}\n    {} {}\n", answer.status, answer.text)
}

/// The same of gRPC.
fn shown_status(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map_or("-", |info| info.reason.as_str());
    let fields =
        details.bad_request().map(|bad| bad.field_violations.iter().map(|one| one.field.as_str()).collect::<Vec<_>>());
    format!("    gRPC {:?} {reason} {:?}\n", status.code(), fields.unwrap_or_default())
}

/// An entry with some fields replaced.
fn with(fields: &Value) -> Value {
    let mut entry = least("log_1");
    for (name, value) in fields.as_object().expect("fields") {
        entry[name] = value.clone();
    }
    entry
}

fn body(entries: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({"auditLogs": entries})).expect("JSON")
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

/// An entry with these JSON members added as they are.
fn raw(members: &str) -> Vec<u8> {
    format!(r#"{{"auditLogs":[{{"id":"log_1","resourceType":"rule","resourceId":"r","action":"created","userId":"u",{members}}}]}}"#).into_bytes()
}

/// Queries that are wrong.
fn queries() -> Vec<String> {
    let mut queries = Vec::new();
    for name in ["resourceType", "resourceId", "action", "userId"] {
        let long = "x".repeat(257);
        let many = vec![format!("{name}=rule"); 101].join("&");
        queries.extend(["", "%ff", "%00", "%0a", &long].map(|value| format!("{name}={value}")));
        queries.extend([many, name.to_owned()]);
    }
    for name in ["startDate", "endDate"] {
        let dates = [
            "",
            "today",
            "2025",
            "2025-02-30",
            "2025-01-31T25:00:00Z",
            "2025-01-31T23:59",
            "1738368000",
            "0000-01-01",
            "10000-01-01",
            "2025-01-31%20",
            "%ff",
            "2025-01-31T23:59:59ZZ",
            "9999-12-31T23:59:59-01:00",
        ];
        queries.extend(dates.map(|date| format!("{name}={date}")));
        queries.push(format!("{name}=2025-01-01&{name}=2025-01-01"));
    }
    queries.push("startDate=2025-02-01&endDate=2025-01-31".to_owned());
    for (name, values) in [
        ("limit", &["", "0", "101", "-1", "1.5", "ten", "%2B5", "1e2", " 5", "2147483648", "99999999999999999999"][..]),
        ("offset", &["", "-1", "1.5", "x", "%2B5", "9223372036854775808"]),
        (
            "cursor",
            &["", "x", "AQ", "%ff", "AQAAAAAAAAABAAAAAAAAAAEAAAAAAAAAAQAAAAAAAAABAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAA"],
        ),
    ] {
        queries.extend(values.iter().map(|value| format!("{name}={value}")));
        queries.push(format!("{name}=1&{name}=1"));
    }
    for odd in [
        "cursor=x&offset=0",
        "resourcetype=rule",
        "resource_type=rule",
        "resourceType[]=rule",
        "user=u",
        "userid=u",
        "from=2025-01-01",
        "startdate=2025-01-01",
        "page=2",
        "=x",
        "%ff=x",
        "resourceType=Rule",
        "resourceType=vectorstore",
        "action=create",
        "action=DELETE",
    ] {
        queries.push(odd.to_owned());
    }
    queries
}

/// Bodies that are wrong, by name.
fn bodies() -> Vec<(String, Vec<u8>)> {
    let mut bodies: Vec<(String, Vec<u8>)> = Vec::new();
    for text in [
        "",
        "nonsense",
        "null",
        "[]",
        "{}",
        "7",
        r#"{"auditLogs":{}}"#,
        r#"{"auditLogs":null}"#,
        r#"{"auditLogs":[]}"#,
        r#"{"auditLogs":[1]}"#,
        r#"{"auditLogs":[{}]}"#,
        r#"{"auditLogs":[["log_1","org_a",null,"rule","r",null,"created","u",null,null,null,null,null]]}"#,
        r#"[[]]"#,
        r#"{"auditLogs":[]}x"#,
        r#"{"auditLogs":[],"auditLogs":[]}"#,
        r#"{"auditlogs":[]}"#,
        r#"{"auditLogs":[],"more":1}"#,
        "\u{feff}{\"auditLogs\":[]}",
        r#"{"auditLogs":[{"id":"#,
        "{'auditLogs':[]}",
        r#"{"auditLogs":[{}],}"#,
    ] {
        bodies.push((text.to_owned(), text.into()));
    }
    bodies.push(("a byte that is no UTF-8".to_owned(), b"{\"auditLogs\":[\xff]}".to_vec()));
    bodies.push(("200,000 brackets".to_owned(), "[".repeat(200_000).into_bytes()));
    bodies.push(("200,000 brackets within".to_owned(), format!(r#"{{"auditLogs":{}}}"#, nested(200_000)).into_bytes()));
    bodies.push((
        "1,001 entries".to_owned(),
        body(&(0..1_001).map(|id| least(&format!("log_{id}"))).collect::<Vec<_>>()),
    ));
    for name in ["resourceType", "resourceId", "action", "userId"] {
        let mut entry = least("log_1");
        entry.as_object_mut().expect("an object").remove(name);
        bodies.push((format!("without {name}"), body(&[entry])));
        for value in [json!(null), json!(""), json!(7), json!(["x"])] {
            bodies.push((format!("{name} {value}"), body(&[with(&json!({name: value}))])));
        }
    }
    for name in ["id", "timestamp", "resourceName", "userName", "userEmail", "traceId", "organizationId"] {
        for value in [json!(7), json!(true), json!({})] {
            bodies.push((format!("{name} {value}"), body(&[with(&json!({name: value}))])));
        }
    }
    for (name, length) in [
        ("id", 129),
        ("resourceId", 257),
        ("userId", 257),
        ("traceId", 257),
        ("resourceName", 513),
        ("userName", 513),
        ("userEmail", 513),
        ("organizationId", 257),
    ] {
        bodies.push((format!("{name} of {length} bytes"), body(&[with(&json!({name: "x".repeat(length)}))])));
    }
    for name in ["id", "resourceId", "userId", "traceId", "resourceName", "userName", "userEmail"] {
        bodies.push((format!("{name} with NUL"), body(&[with(&json!({name: "a\0b"}))])));
        let half = body(&[with(&json!({name: "HALF"}))]);
        let half = String::from_utf8(half).expect("UTF-8").replace("HALF", r"\ud800");
        bodies.push((format!("{name} with half a surrogate"), half.into_bytes()));
    }
    for (name, fields) in [
        ("an id with a blank", json!({"id": "a b"})),
        ("an id of the service", json!({"id": "auditlog:erasure:1"})),
        ("a control character in an id", json!({"resourceId": "a\u{7}b"})),
        ("a misspelt type", json!({"resourceType": "rules"})),
        ("a misspelt action", json!({"action": "create"})),
        ("another organization", json!({"organizationId": "org_b"})),
        ("a date without time", json!({"timestamp": "2025-01-20"})),
        ("a time without offset", json!({"timestamp": "2025-01-20T10:30:00"})),
        ("the year 0", json!({"timestamp": "0000-01-20T10:30:00Z"})),
        ("the year 10000", json!({"timestamp": "10000-01-20T10:30:00Z"})),
        ("five minutes and a microsecond ahead", json!({"timestamp": "2026-01-01T00:05:00.000001Z"})),
        ("changes that are no array", json!({"changes": {}})),
        ("a change that is no object", json!({"changes": [7]})),
        ("a change that is an array", json!({"changes": [["f", 1, 2]]})),
        ("a change without field", json!({"changes": [{"newValue": 1}]})),
        ("a field that is no string", json!({"changes": [{"field": 7}]})),
        ("a field with NUL", json!({"changes": [{"field": "a\0b"}]})),
        ("a change with more", json!({"changes": [{"field": "f", "newvalue": 1}]})),
        ("1,001 changes", json!({"changes": vec![json!({"field": "f"}); 1_001]})),
        ("metadata that is no object", json!({"metadata": []})),
        ("a metadata value that is no string", json!({"metadata": {"a": 1}})),
        (
            "51 metadata keys",
            json!({"metadata": (0..51).map(|key| (format!("k{key}"), json!(""))).collect::<serde_json::Map<_, _>>()}),
        ),
        ("an empty metadata key", json!({"metadata": {"": "x"}})),
        ("a metadata key of 65 bytes", json!({"metadata": {"k".repeat(65): "x"}})),
        ("a metadata value of 1,025 bytes", json!({"metadata": {"k": "x".repeat(1_025)}})),
        ("NUL in a metadata key", json!({"metadata": {"a\0b": "x"}})),
        ("NUL in a metadata value", json!({"metadata": {"k": "a\0b"}})),
        ("an entry of more than 256 KiB", json!({"changes": [{"field": "x".repeat(256 * 1024)}]})),
        ("an unknown field", json!({"userid": "u"})),
    ] {
        bodies.push((name.to_owned(), body(&[with(&fields)])));
    }
    for (name, members) in [
        ("a field twice", r#""userId":"u""#),
        ("an optional field twice", r#""userName":"a","userName":"b""#),
        ("a metadata key twice", r#""metadata":{"a":"1","a":"2"}"#),
        ("a change's field twice", r#""changes":[{"field":"f","field":"g"}]"#),
        ("half a surrogate in a metadata value", r#""metadata":{"a":"\udc00"}"#),
        ("half a surrogate in a field", r#""changes":[{"field":"\ud800"}]"#),
        ("a value that is no JSON", r#""changes":[{"field":"f","newValue":01}]"#),
        ("a value with a NUL byte", "\"changes\":[{\"field\":\"f\",\"newValue\":\"a\0b\"}]"),
    ] {
        bodies.push((name.to_owned(), raw(members)));
    }
    let deep = format!(r#""changes":[{{"field":"f","newValue":{}}}]"#, nested(33));
    bodies.push(("a value 33 deep".to_owned(), raw(&deep)));
    bodies.push((
        "a good entry before a bad one".to_owned(),
        body(&[least("log_1"), with(&json!({"id": "log_2", "action": "made"}))]),
    ));
    bodies.push((
        "ten bad entries, of which eight are told".to_owned(),
        body(&vec![with(&json!({"action": "made"})); 10]),
    ));
    bodies.push((
        "one id twice with other content".to_owned(),
        body(&[least("log_1"), with(&json!({"userName": "else"}))]),
    ));
    bodies
}

/// Entries at their limits, which are taken.
fn good() -> Vec<Vec<u8>> {
    let fields = json!({
        "id": "i".repeat(128), "resourceId": "r".repeat(256), "userId": "é".repeat(128), "traceId": "t".repeat(256),
        "resourceName": "n".repeat(512), "userName": "\u{1b}\n", "userEmail": "", "timestamp": "2026-01-01T00:05:00Z", "organizationId": "org_a",
        "metadata": (0..50).map(|key| (format!("{key:064}"), json!("v".repeat(1_024)))).collect::<serde_json::Map<_, _>>(),
        "changes": vec![json!({"field": "", "oldValue": null}); 1_000],
    });
    let id =
        |id: &str, members: &str| String::from_utf8(raw(members)).expect("UTF-8").replace("log_1", id).into_bytes();
    // Its strings and two values of four bytes are the rest.
    let largest = 256 * 1024 - "log_large".len() - "rule_1".len() - "uid_1".len() - 2 * "null".len();
    let mut whole = body(&[least("log_padded")]);
    whole.resize(4 * 1024 * 1024, b' ');
    vec![
        body(&[with(&fields)]),
        body(&[with(&json!({"id": "log_large", "changes": [{"field": "x".repeat(largest)}]}))]),
        body(&(0..1_000).map(|id| least(&format!("log_many_{id}"))).collect::<Vec<_>>()),
        id("log_deep", &format!(r#""changes":[{{"field":"f","newValue":{}}}]"#, nested(32))),
        id("log_kept", r#""changes":[{"field":"f","oldValue":{"a":1,"a":2},"newValue":"\ud800\u0000"}]"#),
        id("log_null", r#""userName":null,"metadata":{"a":null},"changes":null,"timestamp":"0001-01-01T00:00:00Z""#),
        whole,
    ]
}

on_every_database! {
    async fn a_bad_query_has_its_error_on_every_surface(database: &Database) {
        let (surfaces, key) = started(database).await;
        let mut told = String::new();
        for query in queries() {
            let path = format!("{LIST}?{query}");
            let answer = surfaces.rest(&Ask::get(&path, &key)).await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text);
            let name: String = query.chars().take(80).collect();
            told += &shown(&name, &answer);
            if let Some(outcome) = surfaces.grpc(&path, &key).await {
                assert_eq!(outcome.expect_err(&query), answer.code(), "{query}");
            }
        }
        for (path, allowed) in [("/v1/rules/r/history?resourceType=rule", "a history"), ("/v1/org_a/audit-logs/log_1?x=1", "one entry")] {
            let answer = surfaces.rest(&Ask::get(path, &key)).await;
            told += &shown(allowed, &answer);
        }
        insta::assert_snapshot!("queries", told);
    }

    async fn a_bad_body_has_its_error_on_every_surface_and_stores_nothing(database: &Database) {
        let (surfaces, key) = started(database).await;
        let mut told = String::new();
        for (name, body) in bodies() {
            let answer = surfaces.rest(&Ask::post(LIST, &key, body.clone())).await;
            assert!([400, 409].contains(&answer.status), "{name}: {}", answer.text);
            let name: String = name.chars().take(80).collect();
            told += &shown(&name, &answer);
            // The organization of a line is REST's; gRPC has none.
            if !name.contains("rganization")
                && let Some(outcome) = surfaces.grpc_write("org_a", &key, &body).await
            {
                let status = outcome.expect_err(&name);
                told += &shown_status(&status);
                assert_eq!(code(status), answer.code(), "{name}");
            }
        }
        let page = surfaces.rest(&Ask::get(LIST, &key)).await;
        assert_eq!(page.body()["pagination"]["total"], 0, "nothing is stored");
        insta::assert_snapshot!("bodies", told);
    }

    async fn a_bad_write_makes_no_organization(database: &Database) {
        let (surfaces, _) = started(database).await;
        let key = surfaces.service.key(None, &BOTH).await;
        for (_, body) in bodies().into_iter().filter(|(name, _)| !name.contains("rganization")) {
            surfaces.rest(&Ask::post("/v1/org_new/audit-logs", &key, body.clone())).await;
            let _ = surfaces.grpc_write("org_new", &key, &body).await;
        }
        let known: Vec<_> = surfaces.service.store.organizations().await.expect("a list").into_iter().map(|one| one.id).collect();
        assert_eq!(known, ["org_a"]);
    }

    async fn a_bad_request_has_its_error(database: &Database) {
        let (surfaces, key) = started(database).await;
        let header = |name: &'static str, value: &[u8]| (name, value.to_vec());
        let (get, post) = (Ask::get(LIST, &key), Ask::post(LIST, &key, body(&[least("log_1")])));
        let authorized = |values: &[&[u8]]| {
            let headers = values.iter().map(|value| ("authorization", value.to_vec())).collect();
            Ask { headers, ..get.clone() }
        };
        let more = |ask: &Ask, headers: Vec<(&'static str, Vec<u8>)>| Ask { headers: [ask.headers.clone(), headers].concat(), ..ask.clone() };
        let typed = |content_type: &[u8]| Ask { headers: vec![post.headers[0].clone(), header("content-type", content_type)], ..post.clone() };
        let method = |method: &str, path: &str| Ask { method: method.parse().expect("a method"), path: path.to_owned(), ..get.clone() };
        let bearer = format!("Bearer {key}").into_bytes();
        let large = Ask { body: vec![b' '; 4 * 1024 * 1024 + 1], ..post.clone() };
        let mut told = String::new();
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
            told += &shown(name, &answer);
        }
        let page = surfaces.rest(&get).await;
        assert_eq!(page.body()["pagination"]["total"], 0, "nothing is stored");
        insta::assert_snapshot!("requests", told);
    }

    async fn a_bad_message_has_its_error(database: &Database) {
        let (surfaces, key) = started(database).await;
        let service = &surfaces.service;
        let framed = |bytes: &[u8]| [&[0, 0, 0, 0, u8::try_from(bytes.len()).expect("short")][..], bytes].concat();
        let mut told = String::new();
        for (name, method, content_type, bytes) in [
            ("no message at all", "ListAuditLogs", "application/grpc", Vec::new()),
            ("half a frame", "ListAuditLogs", "application/grpc", vec![0, 0, 0]),
            ("a frame that ends early", "ListAuditLogs", "application/grpc", vec![0, 0, 0, 0, 9, 10]),
            ("a field number 0", "ListAuditLogs", "application/grpc", framed(b"\x00\x01")),
            ("a varint that does not end", "ListAuditLogs", "application/grpc", framed(b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
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
            told += &format!("{name}\n{}", shown_status(&status));
            told += &format!("    {}\n", status.message());
        }
        insta::assert_snapshot!("messages", told);
    }

    async fn what_is_at_its_limit_is_taken(database: &Database) {
        let (surfaces, key) = started(database).await;
        for body in good() {
            let written = surfaces.grpc_write("org_a", &key, &body).await.expect("a request").expect("gRPC takes it");
            let answer = surfaces.rest(&Ask::post(LIST, &key, body)).await;
            assert_eq!((answer.status, answer.body()["auditLogs"].as_array().map(Vec::len)), (201, written["auditLogs"].as_array().map(Vec::len)));
        }
        let ids = format!("resourceId={}", "r".repeat(256));
        let users = (0..100).map(|user| format!("userId={user:0256}")).collect::<Vec<_>>().join("&");
        for query in ["limit=1&offset=9223372036854775807", "limit=100&startDate=0001-01-01&endDate=9999-12-31", &ids, &users] {
            let path = format!("{LIST}?{query}");
            let answer = surfaces.rest(&Ask::get(&path, &key)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(surfaces.grpc(&path, &key).await.expect("a request").expect("a page"), answer.text);
        }
        assert!(surfaces.rest(&Ask::get(LIST, &key)).await.text.contains(r#""total":1006,"#));
    }
}
