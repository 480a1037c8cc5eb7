//! Bad requests: each has its error, after the access checks, from the service and from a gateway.

use auditlog::access::Scope;
use serde_json::json;

use super::{LOGS, PLANS, RULE, started};
use crate::support::surfaces::{Ask, RawAnswer, Surfaces};
use crate::support::{Backend, Database, on_every_database};

const CHECK: &str = "/v1/org_a/continuity";
const AROUND: &str = "/v1/org_a/audit-logs/log_4/around";
const TYPES: &str = "must be one of assistant, thread, vector_store, rule, mcp_configuration, user, organization";
const DATES: &str = "must be an RFC 3339 date-time such as 2025-01-31T23:59:59Z, or a date such as 2025-01-31";
const NUMBERS: &str = "must be 0 to 9223372036854775807";
const BODY: &str = "The body must have one of entries, resource, user and traceId";

/// Checks the body of an error. A `…` at the end of `message` stands for more text.
fn check_refused(answer: &RawAnswer, status: u16, kind: &str, code: &str, message: &str, about: &str) {
    let body = answer.body();
    let got = body["error"]["message"].as_str().unwrap_or_else(|| panic!("{about}: {}", answer.text));
    match message.strip_suffix('…') {
        Some(begin) => assert!(got.starts_with(begin), "{about}: {got}"),
        None => assert_eq!(got, message, "{about}"),
    }
    let expected = json!({"error": {"message": got, "type": kind, "code": code}});
    assert_eq!((answer.status, &body), (status, &expected), "{about}");
}

/// Sends a request that is bad, and also without a key, with a key for writing, and to another organization.
async fn refused(surfaces: &Surfaces, keys: [&str; 2], ask: &Ask, code: &str, message: &str) {
    let [key, writer] = keys;
    let about: String = format!("{} {} {}", ask.method, ask.path, String::from_utf8_lossy(&ask.body));
    let about: String = about.chars().take(300).collect();
    let with = |key: &str| [("authorization", format!("Bearer {key}").into_bytes())];
    let rest: Vec<_> = ask.headers.iter().filter(|(name, _)| *name != "authorization").cloned().collect();
    let asked = |headers: &[(&'static str, Vec<u8>)]| Ask { headers: [&rest[..], headers].concat(), ..ask.clone() };
    let answer = surfaces.rest(&asked(&with(key))).await;
    check_refused(&answer, 400, "invalid_request_error", code, message, &about);
    let answer = surfaces.rest(&asked(&[])).await;
    check_refused(&answer, 401, "authentication_error", "missing_authentication", "Authentication required", &about);
    let answer = surfaces.rest(&asked(&with(writer))).await;
    let insufficient = "Insufficient permissions to view audit logs";
    check_refused(&answer, 403, "permission_error", "insufficient_permissions", insufficient, &about);
    let elsewhere = Ask { path: ask.path.replace("/v1/org_a/", "/v1/org_none/"), ..asked(&with(key)) };
    let answer = surfaces.rest(&elsewhere).await;
    check_refused(&answer, 404, "not_found_error", "organization_not_found", "Organization not found", &about);
}

/// A bad request with the code and the message of its error.
type Bad = (String, &'static str, String);

fn invalid(path: impl Into<String>, message: impl Into<String>) -> Bad {
    (path.into(), "invalid_parameter", message.into())
}

fn bad_times() -> Vec<Bad> {
    let (state, compare) = (format!("{RULE}/state"), format!("{RULE}/compare"));
    let mut queries = vec![invalid(&compare, "from: is required")];
    for (path, name) in [
        (format!("{state}?at="), "at"),
        (format!("{compare}?from="), "from"),
        (format!("{compare}?from=2025-01-19&to="), "to"),
    ] {
        queries.extend([
            invalid(&path, format!("{name}: must not be empty; leave it out")),
            invalid(format!("{path}yesterday"), format!("{name}: {DATES}, got \"yesterday\"")),
            invalid(format!("{path}2025-02-30"), format!("{name}: {DATES}, got \"2025-02-30\"")),
            invalid(format!("{path}%ff"), format!("{name}: must be UTF-8, got \"%ff\"")),
            invalid(format!("{path}2025-01-20&{name}=2025-01-20"), format!("{name}: must be given once, got 2 times")),
        ]);
    }
    for (from, to) in [("2025-01-21", "2025-01-20"), ("2025-01-20", "2025-01-20T12:00:00Z")] {
        let message = format!("from: must not be after to \"{to}\", got \"{from}\"");
        queries.push(invalid(format!("{compare}?from={from}&to={to}"), message));
    }
    queries
}

fn bad_numbers_and_fields() -> Vec<Bad> {
    let paths = ["state?", "compare?from=2025-01-19&", "continuity?"].map(|path| format!("{RULE}/{path}"));
    let mut queries = vec![invalid(format!("{CHECK}?resume=x"), "resume: must be …")];
    for path in &paths[..2] {
        let fields = vec!["field=limit"; 101].join("&");
        queries.extend([
            invalid(format!("{path}{fields}"), "field: must be given at most 100 times, got 101"),
            invalid(format!("{path}field="), "field: must not be empty; leave it out"),
            invalid(format!("{path}field=%00"), "field: must not contain NUL, got \"\\0\""),
        ]);
    }
    let check = format!("{CHECK}?");
    for path in paths.iter().chain([&check]) {
        let beyond = "asOf: must be 0 to 7, the organization's last number, got";
        queries.extend([
            invalid(format!("{path}asOf=8"), format!("{beyond} 8")),
            invalid(format!("{path}asOf=-1"), format!("{beyond} -1")),
            invalid(format!("{path}asOf=x"), format!("asOf: {NUMBERS}, got \"x\"")),
            invalid(format!("{path}asOf=1&asOf=1"), "asOf: must be given once, got 2 times"),
        ]);
    }
    for path in [&paths[2], &check] {
        queries.extend([
            invalid(format!("{path}after=8"), "after: must be 0 to 7, …"),
            invalid(format!("{path}after=4&asOf=3"), "after: must be 0 to 3, …"),
            invalid(format!("{path}after=-1"), "after: must be 0 to 7, …"),
            invalid(format!("{path}after=1.5"), format!("after: {NUMBERS}, got \"1.5\"")),
        ]);
    }
    queries
}

/// Resources that cannot be, and parameters that do not exist.
fn bad_paths_and_names() -> Vec<Bad> {
    let mut queries = Vec::new();
    for state in ["state", "compare?from=2025-01-19", "continuity"] {
        let path = |resource: &str| format!("/v1/org_a/resources/{resource}/{state}");
        let long = "x".repeat(257);
        queries.extend([
            invalid(path("rules/r1"), format!("resourceType: {TYPES}, got \"rules\"; did you mean rule?")),
            invalid(path(&format!("rule/{long}")), "resourceId: must be 1 to 256 bytes, got 257"),
            invalid(path("rule/%00"), "resourceId: must be printable, got \"\\0\""),
        ]);
    }
    for (path, allowed) in [
        (format!("{RULE}/state"), "at, asOf, field"),
        (format!("{RULE}/compare"), "from, to, asOf, field"),
        (format!("{RULE}/continuity"), "after, asOf"),
        (CHECK.to_owned(), "after, asOf, resume"),
        (AROUND.to_owned(), "minutes, limit, cursor"),
    ] {
        let message = format!("\"x\" is not a parameter of this path; allowed: {allowed}");
        queries.push((format!("{path}?x=1"), "unknown_parameter", message));
    }
    queries
}

fn bad_surroundings() -> Vec<Bad> {
    let cursor = "cursor: must be nextCursor of an earlier page with the same organization and filter, got \"x\"";
    [
        ("minutes=0", "minutes: must be 1 to 1440, got 0"),
        ("minutes=1441", "minutes: must be 1 to 1440, got 1441"),
        ("minutes=-5", "minutes: must be 1 to 1440, got -5"),
        ("minutes=ten", "minutes: must be 1 to 1440, got \"ten\""),
        ("minutes=", "minutes: must not be empty; leave it out"),
        ("minutes=5&minutes=5", "minutes: must be given once, got 2 times"),
        ("limit=0", "limit: must be 1 to 100, got 0"),
        ("limit=101", "limit: must be 1 to 100, got 101"),
        ("cursor=x", cursor),
    ]
    .map(|(query, message)| invalid(format!("{AROUND}?{query}"), message))
    .into()
}

/// Bad bodies of plans.
fn bad_bodies() -> Vec<Bad> {
    let ids = |count: usize| format!(r#"{{"entries":[{}]}}"#, vec![r#""log_1""#; count].join(","));
    let shape = |body: &str, message: String| (body.to_owned(), "invalid_body", message);
    let resource =
        |kind: &str, at: &str| format!(r#"{{"resource":{{"resourceType":"{kind}","resourceId":"r1","at":"{at}"}}}}"#);
    let user = |id: &str, start: &str, end: &str| {
        format!(r#"{{"user":{{"userId":"{id}","startDate":"{start}","endDate":"{end}"}}}}"#)
    };
    vec![
        shape("", "The body: must be an object, got \"\"".to_owned()),
        shape("[]", "The body: must be an object, got \"[]\"".to_owned()),
        shape("{}", format!("{BODY}, got none")),
        shape("{\"asOf\":7}", format!("{BODY}, got none")),
        shape(r#"{"entries":["log_1"],"traceId":"t1"}"#, format!("{BODY}, got entries and traceId")),
        shape(r#"{"entries":[7]}"#, "entries[0]: invalid type: integer `7`, expected a string".to_owned()),
        shape(r#"{"entries":"log_1"}"#, "entries: invalid type: string \"log_1\", expected a sequence".to_owned()),
        shape(r#"{"traceId":"t1","traceId":"t2"}"#, "The body: duplicate field `traceId`".to_owned()),
        shape(
            r#"{"trace":"t1"}"#,
            "The body: unknown field `trace`, expected one of `entries`, `resource`, `user`, `traceId`, `asOf`; did \
             you mean traceId?"
                .to_owned(),
        ),
        shape(r#"{"traceId":"t1","asOf":"7"}"#, "asOf: invalid type: string \"7\", expected an integer".to_owned()),
        shape(
            r#"{"traceId":"t1","asOf":7.5}"#,
            "asOf: invalid type: floating point `7.5`, expected an integer".to_owned(),
        ),
        shape(r#"{"resource":["r1"]}"#, "resource: must be an object, got \"[\\\"r1\\\"]\"".to_owned()),
        shape(r#"{"resource":{"resourceType":"rule","resourceId":"r1"}}"#, "resource: missing field `at`".to_owned()),
        shape(
            r#"{"user":{"userID":"bob"}}"#,
            "user: unknown field `userID`, expected one of `userId`, `startDate`, `endDate`; did you mean userId?"
                .to_owned(),
        ),
        invalid(r#"{"entries":[]}"#, "entries: must have 1 to 1000 ids, got 0"),
        invalid(ids(1_001), "entries: must have 1 to 1000 ids, got 1001"),
        invalid(ids(10_001), "entries: must have 1 to 1000 ids, got 10001"),
        invalid(r#"{"entries":["log_1","a b"]}"#, "entries[1]: must be of A-Z a-z 0-9 _ . : -, got \"a b\""),
        invalid(resource("rule", "today"), format!("resource.at: {DATES}, got \"today\"")),
        invalid(
            resource("rules", "2025-01-20"),
            format!("resource.resourceType: {TYPES}, got \"rules\"; did you mean rule?"),
        ),
        invalid(user("", "2025-01-20", "2025-01-20"), "user.userId: must be 1 to 256 bytes, got 0"),
        invalid(user("bob", "x", "2025-01-20"), format!("user.startDate: {DATES}, got \"x\"")),
        invalid(user("bob", "2025-01-20", ""), format!("user.endDate: {DATES}, got \"\"")),
        invalid(
            user("bob", "2025-01-21", "2025-01-20"),
            "user.startDate: must not be after endDate \"2025-01-20\", got 2025-01-21T00:00:00Z",
        ),
        invalid(r#"{"traceId":""}"#, "traceId: must be 1 to 256 bytes, got 0"),
        invalid(r#"{"traceId":"t1","asOf":8}"#, "asOf: must be 0 to 7, the organization's last number, got 8"),
    ]
}

on_every_database! {
    async fn a_bad_parameter_has_its_error_after_the_access_checks(database: &Database) {
        let (surfaces, key) = started(database).await;
        let writer = surfaces.service.key(Some("org_a"), &[Scope::Write]).await;
        let queries = [bad_times(), bad_numbers_and_fields(), bad_paths_and_names(), bad_surroundings()];
        for (path, code, message) in queries.concat() {
            refused(&surfaces, [&key, &writer], &Ask::get(path, &key), code, &message).await;
        }
    }

    async fn a_bad_plan_has_its_error_after_the_access_checks(database: &Database) {
        let (surfaces, key) = started(database).await;
        let writer = surfaces.service.key(Some("org_a"), &[Scope::Write]).await;
        for (body, code, message) in bad_bodies() {
            refused(&surfaces, [&key, &writer], &Ask::post(PLANS, &key, body), code, &message).await;
        }
        let query = Ask::post(format!("{PLANS}?asOf=7"), &key, r#"{"traceId":"t1"}"#);
        let message = "\"asOf\" is not a parameter of this path; allowed: none";
        refused(&surfaces, [&key, &writer], &query, "unknown_parameter", message).await;
        let bytes = Ask::post(PLANS, &key, &b"{\"traceId\":\"\xff\"}"[..]);
        refused(&surfaces, [&key, &writer], &bytes, "invalid_body", "The body must be UTF-8: …").await;
    }

    async fn entries_that_do_not_exist_are_named(database: &Database) {
        let (surfaces, key) = started(database).await;
        let plan = Ask::post(PLANS, &key, r#"{"entries":["log_none","log_1","log_no"]}"#);
        let message = "entries[0]: there is no entry log_none; entries[2]: there is no entry log_no";
        let answer = surfaces.rest(&plan).await;
        check_refused(&answer, 404, "not_found_error", "audit_log_not_found", message, "a plan");
        let around = surfaces.rest(&Ask::get(format!("{LOGS}/log_none/around"), &key)).await;
        let message = "id: there is no entry log_none";
        check_refused(&around, 404, "not_found_error", "audit_log_not_found", message, "around");
        let invalid = surfaces.rest(&Ask::get(format!("{LOGS}/a%20b/around"), &key)).await;
        let message = "id: must be of A-Z a-z 0-9 _ . : -, got \"a b\"";
        check_refused(&invalid, 400, "invalid_request_error", "invalid_parameter", message, "around");
        let ask = Ask::get("/v1/org_a/resources/rule/%ff/state", &key);
        let message = "path: must be UTF-8, percent-encoded";
        check_refused(&surfaces.rest(&ask).await, 400, "invalid_request_error", "invalid_parameter", message, "a path");
        let unknown = surfaces.rest(&Ask::get("/v1/org_a/resources/user/nobody/state", &key)).await;
        assert_eq!((unknown.status, &unknown.body()["existence"]), (200, &json!("unknown")), "{}", unknown.text);
    }

    async fn other_methods_media_types_and_sizes_are_refused(database: &Database) {
        let (surfaces, key) = started(database).await;
        let states = ["state", "compare", "continuity"].map(|name| format!("{RULE}/{name}"));
        let gets = states.into_iter().chain([CHECK, AROUND].map(str::to_owned)).map(|path| (path, "GET,HEAD", "POST"));
        for (path, allowed, method) in gets.chain([(PLANS.to_owned(), "POST", "GET")]) {
            let ask = Ask { method: method.parse().expect("a method"), ..Ask::get(path, &key) };
            let answer = surfaces.rest(&ask).await;
            let message = format!("{method} is not allowed on this path; the Allow header says what is");
            check_refused(&answer, 405, "invalid_request_error", "method_not_allowed", &message, &ask.path);
            assert!(answer.headers.contains(&("allow", allowed.to_owned())), "{}: {:?}", ask.path, answer.headers);
        }
        let untyped = Ask { headers: Ask::get(PLANS, &key).headers, ..Ask::post(PLANS, &key, r#"{"traceId":"t1"}"#) };
        let answer = surfaces.rest(&untyped).await;
        let message = "Content-Type must be application/json, got none";
        check_refused(&answer, 415, "invalid_request_error", "unsupported_media_type", message, "no type");
        let answer = surfaces.rest(&Ask::post(PLANS, &key, " ".repeat(4 * 1024 * 1024 + 1))).await;
        let message = "The request must be at most 4194304 bytes";
        check_refused(&answer, 413, "invalid_request_error", "payload_too_large", message, "a large body");
        for path in ["/v1/org_a/resources/rule/r1", "/v1/org_a/resources/rule/r1/state/", "/v1/org_a/rollback-plans/x"] {
            assert_eq!(surfaces.rest(&Ask::get(path, &key)).await.code(), "route_not_found", "{path}");
        }
    }
}
