//! The REST surface: the documented shapes, and the error envelope.

use auditlog::access::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::hold_head;
use crate::support::json::{documented, least};
use crate::support::service::{Answer, options};
use crate::support::{Backend, Database, Service, on_every_database};
use auditlog::domain::{Clock, Timestamp};
use auditlog::ingest::QueueLimits;

const LIST: &str = "/v1/org_abc123/audit-logs";
const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];

fn code(answer: &Answer) -> (u16, String) {
    let error = &answer.body["error"];
    let keys: Vec<_> = answer.body.as_object().map(|body| body.keys().cloned().collect()).unwrap_or_default();
    assert_eq!(keys, ["error"], "{}", answer.text);
    assert_eq!(error.as_object().map(|error| error.len()), Some(3), "{}", answer.text);
    (answer.status, format!("{} {}", error["type"].as_str().expect("type"), error["code"].as_str().expect("code")))
}

async fn started(database: &Database) -> (Service, String) {
    let service = Service::start(database).await;
    let key = service.key(Some("org_abc123"), &BOTH).await;
    (service, key)
}

on_every_database! {
    async fn a_written_entry_is_listed_as_documented(database: &Database) {
        let (service, key) = started(database).await;
        let written = service.post(LIST, &key, &json!({"auditLogs": [documented(), least("log_2")]})).await;
        assert_eq!(written.status, 201, "{}", written.text);
        assert_eq!(written.body["auditLogs"][0]["id"], "log_abc123");
        assert_eq!(written.body["auditLogs"][1]["sequence"], 2);
        assert_eq!(written.body["auditLogs"][1]["replayed"], false);
        let listed = service.get(&format!("{LIST}?resourceType=assistant"), &key).await;
        let mut expected = documented();
        expected["sequence"] = json!(1);
        expected["recordedAt"] = written.body["auditLogs"][0]["recordedAt"].clone();
        for absent in ["traceId", "outcome", "actorType"] {
            expected[absent] = Value::Null;
        }
        expected["erased"] = json!([]);
        assert_eq!(listed.body["auditLogs"], json!([expected]));
        let pagination = json!({"total": 1, "limit": 50, "offset": 0, "hasMore": false, "nextCursor": null});
        assert_eq!(listed.body["pagination"], pagination);
        assert_eq!(service.get(&format!("{LIST}/log_abc123"), &key).await.body, expected);
        let history = service.get("/v1/assistants/asst_abc123/history", &key).await;
        assert_eq!(history.body, listed.body);
        let least = service.get(&format!("{LIST}/log_2"), &key).await.body;
        assert_eq!(least["metadata"], json!({"ipAddress": null, "userAgent": null, "source": null}));
        assert_eq!((&least["resourceName"], &least["userEmail"], &least["changes"]), (&Value::Null, &Value::Null, &json!([])));
        assert_eq!(least["timestamp"], least["recordedAt"]);
    }

    async fn values_come_back_byte_for_byte(database: &Database) {
        let (service, key) = started(database).await;
        let value = r#"{ "b" : 9007199254740993, "a":1.0, "b": [1E400, -0, "\u00e9\/\ud83d\ude00\u0000"] }"#;
        let entry = least("log_1").to_string().replace('}', &format!(r#","changes":[{{"field":"\u0041","newValue":{value}}}]}}"#));
        let request = service.http.post(service.url(LIST)).bearer_auth(&key).header("content-type", "application/json");
        let written = service.send(request.body(format!(r#"{{"auditLogs":[{entry}]}}"#))).await;
        assert_eq!(written.status, 201, "{}", written.text);
        let read = service.get(&format!("{LIST}/log_1"), &key).await;
        let kept = r#""changes":[{"field":"A","oldValue":null,"newValue":{"b":9007199254740993,"a":1.0,"b":[1E400,-0,"\u00e9\/\ud83d\ude00\u0000"]}}]"#;
        assert!(read.text.contains(kept), "{}", read.text);
    }

    async fn a_bad_query_is_refused_with_the_name_of_the_parameter(database: &Database) {
        let (service, key) = started(database).await;
        let many = "&userId=u".repeat(101);
        for (query, code_expected, message) in [
            ("limit=0", "invalid_parameter", "limit: must be 1 to 100, got 0"),
            ("limit=101", "invalid_parameter", "limit: must be 1 to 100, got 101"),
            ("limit=ten", "invalid_parameter", "limit: must be 1 to 100, got \"ten\""),
            ("limit=%2B5", "invalid_parameter", "limit: must be 1 to 100, got \"+5\""),
            ("limit=5&limit=5", "invalid_parameter", "limit: must be given once, got 2 times"),
            ("limit=", "invalid_parameter", "limit: must not be empty; leave it out"),
            ("offset=-1", "invalid_parameter", "offset: must be 0 or more, got -1"),
            ("offset=9223372036854775808", "invalid_parameter", "offset: must be 0 to 9223372036854775807, got \"9223372036854775808\""),
            ("resourcetype=rule", "unknown_parameter", "\"resourcetype\" is not a parameter of this path; allowed: resourceType, resourceId, action, userId, startDate, endDate, limit, offset, cursor, outcome, actorType, traceId, recordedAfter, recordedBefore, changes.field, changes.oldValue, changes.newValue, metadata.KEY, userName, userEmail, resourceName, text; did you mean resourceType?"),
            ("resourceType=rules", "invalid_parameter", "resourceType: must be one of assistant, thread, vector_store, rule, mcp_configuration, user, organization, got \"rules\"; did you mean rule?"),
            ("action=create", "invalid_parameter", "action: must be one of created, updated, deleted, accessed, shared, archived, got \"create\"; did you mean created?"),
            ("userId=%00", "invalid_parameter", "userId: must be printable, got \"\\0\""),
            ("userId=%ff", "invalid_parameter", "userId: must be UTF-8, got \"%ff\""),
            ("startDate=yesterday", "invalid_parameter", "startDate: must be an RFC 3339 date-time such as 2025-01-31T23:59:59Z, or a date such as 2025-01-31, got \"yesterday\""),
            ("startDate=2025-02-01&endDate=2025-01-31", "invalid_parameter", "startDate: must not be after endDate \"2025-01-31\", got 2025-02-01T00:00:00Z"),
            ("cursor=abc", "invalid_parameter", "cursor: must be nextCursor of an earlier page with the same organization and filter, got \"abc\""),
            ("cursor=abc&offset=1", "invalid_parameter", "cursor: must not come together with offset"),
            (&many, "invalid_parameter", "userId: must be given at most 100 times, got 101"),
        ] {
            let answer = service.get(&format!("{LIST}?{query}"), &key).await;
            assert_eq!(code(&answer), (400, format!("invalid_request_error {code_expected}")), "{query}");
            assert_eq!(answer.body["error"]["message"], message, "{query}");
        }
        let answer = service.get("/v1/rules/r/history?resourceType=rule", &key).await;
        assert_eq!(code(&answer), (400, "invalid_request_error unknown_parameter".to_owned()));
        let answer = service.get(&format!("{LIST}/log_1?x=1"), &key).await;
        assert_eq!(answer.body["error"]["message"], "\"x\" is not a parameter of this path; allowed: none");
    }

    async fn a_bad_body_is_refused_and_nothing_of_it_is_stored(database: &Database) {
        let (service, key) = started(database).await;
        let entry = |more: &str| format!(r#"{{"auditLogs":[{{"resourceType":"rule","resourceId":"r","action":"created","userId":"u"{more}}}]}}"#);
        let deep = format!(r#","changes":[{{"field":"f","newValue":{}1{}}}]"#, "[".repeat(33), "]".repeat(33));
        for (body, code_expected, message) in [
            ("".to_owned(), "invalid_body", "must be an object"),
            ("[]".to_owned(), "invalid_body", "The body must be {\"auditLogs\":[…]}"),
            (r#"{"auditLogs":[]}"#.to_owned(), "invalid_parameter", "auditLogs: must have 1 to 1000 entries, got 0"),
            (r#"{"auditLogs":[{}]}"#.to_owned(), "invalid_parameter", "auditLogs[0].resourceType: is required"),
            (r#"{"auditLogs":[],"auditLogs":[]}"#.to_owned(), "invalid_body", "duplicate field"),
            (entry(r#","userid":"u""#), "invalid_body", "auditLogs[0]: unknown field `userid`"),
            (entry(r#","userId":"u""#), "invalid_body", "duplicate field `userId`"),
            (entry(r#","sequence":0"#), "invalid_body", "auditLogs[0].sequence: is only in responses; leave it out of a new entry"),
            (entry(r#","recordedAt":"now""#), "invalid_body", "auditLogs[0].recordedAt: is only in responses"),
            (entry(r#","leafHash":"x""#), "invalid_body", "auditLogs[0].leafHash: is only in responses"),
            (entry(r#","id":7"#), "invalid_body", "invalid type: integer `7`, expected a string"),
            (entry(r#","id":"a b""#), "invalid_parameter", "auditLogs[0].id: must be of A-Z a-z 0-9 _ . : -"),
            (entry(r#","id":"auditlog:x""#), "invalid_parameter", "auditLogs[0].id: must not start with auditlog:"),
            (entry(r#","metadata":{"a":"1","a":"2"}"#), "invalid_body", "duplicate key \"a\""),
            (entry(r#","metadata":{"a":1}"#), "invalid_body", "invalid type"),
            (entry(r#","userName":"\ud800""#), "invalid_body", "hex escape"),
            (entry(r#","userName":"\u0000""#), "invalid_parameter", "auditLogs[0].userName: must not contain NUL"),
            (entry(r#","timestamp":"2025-01-20""#), "invalid_parameter", "auditLogs[0].timestamp: must be an RFC 3339 date-time"),
            (entry(r#","organizationId":"org_other""#), "invalid_parameter", "auditLogs[0].organizationId: must be that of the path"),
            (entry(r#","changes":[{"newValue":1}]"#), "invalid_body", "missing field `field`"),
            (entry(&deep), "invalid_parameter", "auditLogs[0].changes[0].newValue: must nest at most 32 deep, got 33"),
            (entry(&format!(r#","resourceName":"{}""#, "x".repeat(513))), "invalid_parameter", "auditLogs[0].resourceName: must be at most 512 bytes, got 513"),
            (entry(&format!(r#","changes":[{{"field":"{}"}}]"#, "x".repeat(262_144))), "invalid_parameter", "auditLogs[0]: must be at most 262144 bytes"),
        ] {
            let request = service.http.post(service.url(LIST)).bearer_auth(&key).header("content-type", "application/json");
            let answer = service.send(request.body(body.clone())).await;
            let shown: String = body.chars().take(200).collect();
            assert_eq!(code(&answer), (400, format!("invalid_request_error {code_expected}")), "{shown}: {}", answer.text);
            let got = answer.body["error"]["message"].as_str().expect("a message");
            assert!(got.contains(message), "{shown}: {got}");
        }
        let large = service.http.post(service.url(LIST)).bearer_auth(&key).header("content-type", "application/json").body(" ".repeat(4 * 1024 * 1024 + 1));
        assert_eq!(code(&service.send(large).await), (413, "invalid_request_error payload_too_large".to_owned()));
        let form = service.http.post(service.url(LIST)).bearer_auth(&key).header("content-type", "text/plain").body(entry(""));
        assert_eq!(code(&service.send(form).await), (415, "invalid_request_error unsupported_media_type".to_owned()));
        assert_eq!(service.get(LIST, &key).await.body["pagination"]["total"], 0);
    }

    async fn a_timestamp_too_far_ahead_is_refused_with_retry_after(database: &Database) {
        let service = Service::start_with(database, Clock::from_fn(|| Timestamp::saturating(0)), options()).await;
        let key = service.key(Some("org_abc123"), &[Scope::Read, Scope::Write]).await;
        for (timestamp, wait) in [("1970-01-01T00:05:00.5Z", "1"), ("1970-01-01T00:05:30Z", "30"), ("9000-01-01T00:00:00Z", "60")] {
            let mut entry = least("log_early");
            entry["timestamp"] = json!(timestamp);
            let write = service.http.post(service.url(LIST)).bearer_auth(&key).json(&json!({"auditLogs": [entry]}));
            let answer = write.send().await.expect("an answer");
            assert_eq!(answer.headers()["retry-after"], wait, "{timestamp}");
            let answer = (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"));
            assert_eq!((answer.0, &answer.1["error"]["code"]), (429, &json!("timestamp_ahead")), "{}", answer.1);
        }
        assert_eq!(service.get(LIST, &key).await.body["pagination"]["total"], 0);
    }

    async fn unknown_paths_and_methods_get_the_error_envelope(database: &Database) {
        let (service, key) = started(database).await;
        for path in ["/", "/v1", "/v1/org_abc123", "/v1/users/u/history", "/v1/org_abc123/audit-logs/", "/v1/org_abc123/audit-logs/a/b", "/auditlog.v1.AuditLogService/ListAuditLogs"] {
            assert_eq!(code(&service.get(path, &key).await), (404, "not_found_error route_not_found".to_owned()), "{path}");
        }
        for (method, path) in [(Method::DELETE, LIST), (Method::PUT, LIST), (Method::POST, "/v1/rules/r/history"), (Method::POST, "/livez")] {
            let request = service.http.request(method, service.url(path)).bearer_auth(&key);
            assert_eq!(code(&service.send(request).await), (405, "invalid_request_error method_not_allowed".to_owned()), "{path}");
        }
        let response = service.http.delete(service.url(LIST)).send().await.expect("an answer");
        assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
        let not_utf8 = service.get("/v1/%ff/audit-logs", &key).await;
        assert_eq!(code(&not_utf8), (400, "invalid_request_error invalid_parameter".to_owned()));
    }

    async fn a_cursor_belongs_to_its_filter_and_its_limit_may_change(database: &Database) {
        let (service, key) = started(database).await;
        let entries: Vec<_> = (0..10).map(|number| least(&format!("log_{number}"))).collect();
        service.post(LIST, &key, &json!({"auditLogs": entries})).await;
        let first = service.get(&format!("{LIST}?action=created&action=created&limit=3&offset=2"), &key).await;
        assert_eq!(first.body["pagination"]["offset"], 2);
        let cursor = first.body["pagination"]["nextCursor"].as_str().expect("a cursor").to_owned();
        let later: Vec<_> = (10..12).map(|number| least(&format!("log_{number}"))).collect();
        service.post(LIST, &key, &json!({"auditLogs": later})).await;
        let next = service.get(&format!("{LIST}?limit=100&cursor={cursor}&action=created"), &key).await;
        let ids: Vec<_> = next.body["auditLogs"].as_array().expect("entries").iter().map(|one| one["id"].clone()).collect();
        assert_eq!(ids, ["log_4", "log_3", "log_2", "log_1", "log_0"]);
        assert_eq!(next.body["pagination"], json!({"total": 10, "limit": 100, "offset": 5, "hasMore": false, "nextCursor": null}));
        for other in ["", "&action=updated", "&action=created&userId=uid_1", "&action=created&startDate=2020-01-01"] {
            let refused = service.get(&format!("{LIST}?cursor={cursor}{other}"), &key).await;
            assert_eq!(code(&refused), (400, "invalid_request_error invalid_parameter".to_owned()), "{other}");
        }
        let mut damaged = cursor.into_bytes();
        damaged[20] = if damaged[20] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged).expect("ASCII");
        assert_eq!(service.get(&format!("{LIST}?action=created&cursor={damaged}"), &key).await.status, 400);
    }

    async fn an_overloaded_service_sends_retry_after(database: &Database) {
        let small = auditlog::app::Options { queue: QueueLimits { entries: 1, ..QueueLimits::default() }, ..options() };
        let service = Service::start_with(database, Clock::system(), small).await;
        let key = service.key(Some("org_abc123"), &BOTH).await;
        let blocker = hold_head(&database.store().await, "org_abc123").await;
        let body = |id: &str| json!({"auditLogs": [least(id)]});
        let (http, url) = (service.http.clone(), service.url(LIST));
        let waiting = http.post(&url).bearer_auth(&key).json(&body("log_1")).send();
        let waiting = tokio::spawn(waiting);
        crate::support::metrics::comes_to(&service, "auditlog_queue_entries", |entries| entries == 1.0).await;
        let refused = http.post(&url).bearer_auth(&key).json(&body("log_2")).send().await.expect("an answer");
        assert_eq!(refused.status().as_u16(), 429);
        assert_eq!(refused.headers()["retry-after"], "1");
        let error: Value = refused.json().await.expect("JSON");
        assert_eq!(error["error"]["code"], "overloaded");
        blocker.roll_back().await.expect("the lock is given back");
        assert_eq!(waiting.await.expect("no panic").expect("an answer").status().as_u16(), 201);
    }

    async fn an_internal_error_shows_a_request_id_and_not_its_cause(database: &Database) {
        let (service, key) = started(database).await;
        crate::support::database::poison(database).await;
        let mut entry = least("log_1");
        entry["userName"] = json!("poison");
        let answer = service.post(LIST, &key, &json!({"auditLogs": [entry]})).await;
        assert_eq!(code(&answer), (500, "internal_error internal".to_owned()));
        let message = answer.body["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with("Internal error; request id ") && !answer.text.contains("bitter"), "{message}");
    }

    async fn liveness_and_readiness_need_no_key(database: &Database) {
        let service = Service::start(database).await;
        for path in ["/livez", "/readyz"] {
            let answer = service.send(service.http.get(service.url(path))).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"status":"ok"}"#));
        }
    }

    async fn rest_can_be_switched_off(database: &Database) {
        let off = auditlog::app::Options { rest: false, ..options() };
        let service = Service::start_with(database, Clock::system(), off).await;
        let key = service.key(Some("org_abc123"), &BOTH).await;
        assert_eq!(code(&service.get(LIST, &key).await), (404, "not_found_error route_not_found".to_owned()));
        let list = auditlog::grpc::pb::ListAuditLogsRequest { organization_id: "org_abc123".to_owned(), ..Default::default() };
        let mut client = service.grpc().await;
        client.list_audit_logs(crate::support::service::with_key(list, &key)).await.expect("gRPC is served");
    }
}
