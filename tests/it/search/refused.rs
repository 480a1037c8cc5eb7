//! Searches that break a rule, and the messages that say which one.

use std::collections::BTreeMap;

use auditlog::grpc::pb::{AuditLogFilter, ChangeFilter, ListAuditLogsRequest};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tonic::Code;

use super::started::{LIST, Started};
use crate::support::erasure::ORG;
use crate::support::process::ran;
use crate::support::service::with_key;
use crate::support::surfaces::{Ask, Surfaces, code};
use crate::support::{Backend, Database, on_every_database};

const PATH: &str = r"must be a path, or a path and then .* for everything below it, with \* for a star of the path";
const STAR: &str = "must have at least one character before the final *, got \"*\"";
const OUTCOMES: &str = "must be one of success, failure, denied";
const ACTOR_TYPES: &str = "must be one of user, service, system, anonymous";
/// The parameters that may come once.
const SINGLE: [&str; 11] = [
    "recordedAfter",
    "recordedBefore",
    "changes.field",
    "changes.oldValue",
    "changes.newValue",
    "metadata.source",
    "metadata.a b",
    "userName",
    "userEmail",
    "resourceName",
    "text",
];
const ALLOWED: &str = "resourceType, resourceId, action, userId, startDate, endDate, limit, offset, cursor, outcome, \
                       actorType, traceId, recordedAfter, recordedBefore, changes.field, changes.oldValue, \
                       changes.newValue, metadata.KEY, userName, userEmail, resourceName, text";

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

/// Parameters and the message that refuses them.
fn bad_parameters() -> Vec<(String, String)> {
    let (deep, long) = (nested(33), "x".repeat(257));
    let cases: [(&str, &str, String); 21] = [
        ("outcome", "sucess", format!("outcome: {OUTCOMES}, got \"sucess\"; did you mean success?")),
        ("outcome", "Denied", format!("outcome: {OUTCOMES}, got \"Denied\"; did you mean denied?")),
        ("outcome", "none", format!("outcome: {OUTCOMES}, got \"none\"")),
        ("actorType", "robot", format!("actorType: {ACTOR_TYPES}, got \"robot\"")),
        ("traceId", long.as_str(), "traceId: must be 1 to 256 bytes, got 257".to_owned()),
        ("traceId", "a\nb", "traceId: must be printable, got \"a\\nb\"".to_owned()),
        ("changes.field", "*", format!("changes.field: {PATH}, got \"*\"")),
        ("changes.field", "tools*", format!("changes.field: {PATH}, got \"tools*\"")),
        ("changes.field", "*.webSearch", format!("changes.field: {PATH}, got \"*.webSearch\"")),
        ("changes.field", "a\0", "changes.field: must not contain NUL, got \"a\\0\"".to_owned()),
        ("changes.oldValue", deep.as_str(), "changes.oldValue: must nest at most 32 deep, got 33".to_owned()),
        ("changes.newValue", deep.as_str(), "changes.newValue: must nest at most 32 deep, got 33".to_owned()),
        ("metadata.a\0", "x", "metadata: key \"a\\0\": must not contain NUL, got \"a\\0\"".to_owned()),
        ("metadata.a", "x\0", "metadata: key \"a\": value must not contain NUL, got \"x\\0\"".to_owned()),
        ("userName", "*", format!("userName: {STAR}")),
        ("userEmail", "*", format!("userEmail: {STAR}")),
        ("resourceName", "*", format!("resourceName: {STAR}")),
        ("userName", "a\0", "userName: must not contain NUL, got \"a\\0\"".to_owned()),
        ("text", long.as_str(), "text: must be 1 to 256 bytes, got 257".to_owned()),
        ("recordedAfter", "soon", format!("recordedAfter: {}, got \"soon\"", date())),
        ("recordedBefore", "2025-02-30", format!("recordedBefore: {}, got \"2025-02-30\"", date())),
    ];
    let query = |name: &str, value: &str| {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("{}={}", encode(name), encode(value))
    };
    let mut bad: Vec<_> = cases.into_iter().map(|(name, value, message)| (query(name, value), message)).collect();
    for name in SINGLE {
        let value = if name.starts_with("recorded") { "2025-01-01" } else { "x" };
        let (once, empty) = (query(name, value), query(name, ""));
        bad.push((format!("{once}&{once}"), format!("{name}: must be given once, got 2 times")));
        bad.push((empty, format!("{name}: must not be empty; leave it out")));
    }
    let order = "recordedAfter: must not be after the end 2025-01-31T00:00:00Z, got 2025-02-01T00:00:00Z";
    bad.push(("recordedAfter=2025-02-01&recordedBefore=2025-01-31".to_owned(), order.to_owned()));
    bad
}

fn date() -> &'static str {
    "must be an RFC 3339 date-time such as 2025-01-31T23:59:59Z, or a date such as 2025-01-31"
}

/// Filters of gRPC that break a rule, and the message of the error.
fn bad_filters() -> Vec<(AuditLogFilter, String)> {
    let every = AuditLogFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let change = |field: Option<&str>, old: Option<&str>, new: Option<&str>| {
        let [field, old_value_json, new_value_json] = [field, old, new].map(|text| text.map(str::to_owned));
        AuditLogFilter { change: Some(ChangeFilter { field, old_value_json, new_value_json }), ..every() }
    };
    let metadata = |key: &str| BTreeMap::from([(key.to_owned(), "x".to_owned())]);
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let outcomes = vec!["denied".to_owned(), "sucess".to_owned()];
    let rule = format!("filter.outcomes[1]: {OUTCOMES}, got \"sucess\"; did you mean success?");
    let empty = "filter.metadata: key \"\": must be 1 to 64 bytes, got 0";
    let order = "filter.recorded_start_time: must not be after the end 1970-01-01T00:00:01Z, got 1970-01-01T00:00:02Z";
    let traces = vec!["t".to_owned(); 101];
    vec![
        (AuditLogFilter { outcomes, ..every() }, rule),
        (
            AuditLogFilter { actor_types: vec![String::new()], ..every() },
            format!("filter.actor_types[0]: {ACTOR_TYPES}, got \"\""),
        ),
        (
            AuditLogFilter { trace_ids: traces, ..every() },
            "filter.trace_ids: must be given at most 100 times, got 101".to_owned(),
        ),
        (AuditLogFilter { recorded_start_time: time(2), recorded_end_time: time(1), ..every() }, order.to_owned()),
        (change(Some("tools.**"), None, None), format!("filter.change.field: {PATH}, got \"tools.**\"")),
        (
            change(None, Some(nested(33).as_str()), None),
            "filter.change.old_value_json: must nest at most 32 deep, got 33".to_owned(),
        ),
        (change(None, None, Some("admin")), "filter.change.new_value_json: must be one JSON value".to_owned()),
        (AuditLogFilter { metadata: metadata(""), ..every() }, empty.to_owned()),
        (AuditLogFilter { user_name: text("*"), ..every() }, format!("filter.user_name: {STAR}")),
        (
            AuditLogFilter { user_email: text(""), ..every() },
            "filter.user_email: must be 1 to 512 bytes, got 0".to_owned(),
        ),
        (AuditLogFilter { resource_name: text("*"), ..every() }, format!("filter.resource_name: {STAR}")),
        (AuditLogFilter { text: text(""), ..every() }, "filter.text: must be 1 to 256 bytes, got 0".to_owned()),
    ]
}

#[test]
fn wrong_usage_of_the_search_options_exits_2() {
    let pair = "must be KEY=VALUE, such as ipAddress=10.0.0.1";
    let of_metadata = "invalid value 'novalue' for '--metadata <KEY=VALUE>'";
    let cases: [(&[&str], String); 7] = [
        (&["--metadata", "novalue"], format!("{of_metadata}: {pair}, got \"novalue\"")),
        (&["--metadata", "=x"], format!("invalid value '=x' for '--metadata <KEY=VALUE>': {pair}, got \"=x\"")),
        (&["--metadata", "a=1", "--metadata", "a=2"], "--metadata must be given once for each key".to_owned()),
        (
            &["--changed", "a", "--changed", "b"],
            "the argument '--changed <FIELD>' cannot be used multiple times".to_owned(),
        ),
        (&["--text", "a", "--text", "b"], "the argument '--text <TEXT>' cannot be used multiple times".to_owned()),
        (
            &["--user-name", "a", "--user-name", "b"],
            "the argument '--user-name <NAME>' cannot be used multiple times".to_owned(),
        ),
        (
            &["--recorded-after", "soon"],
            format!("invalid value 'soon' for '--recorded-after <DATE>': {}, got \"soon\"", date()),
        ),
    ];
    for command in ["list", "export"] {
        for (options, message) in &cases {
            let arguments = [&[command, "--organization", ORG, "--api-key", "x"][..], *options].concat();
            let (code, stdout, stderr) = ran(&arguments, &[]);
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
            assert_eq!(stderr.lines().next(), Some(format!("error: {message}").as_str()), "{arguments:?}");
        }
    }
}

on_every_database! {
    async fn a_bad_parameter_has_its_message(database: &Database) {
        let Started { service, key } = Started::with(database, &[]).await;
        let surfaces = Surfaces::start(service).await;
        for (query, message) in bad_parameters() {
            for path in [LIST, "/v1/rules/rule_1/history", "/v1/org_a/feed"] {
                let path = format!("{path}?{query}");
                let answer = surfaces.rest(&Ask::get(&path, &key)).await;
                let error = json!({"message": message, "type": "invalid_request_error", "code": "invalid_parameter"});
                assert_eq!((answer.status, answer.body()), (400, json!({ "error": error })), "{path}");
                if let Some(outcome) = surfaces.grpc(&path, &key).await {
                    assert_eq!(outcome, Err("invalid_parameter".to_owned()), "{path}");
                }
            }
        }
        for (query, name, hint) in [
            ("metadata.=x", "metadata.", "; did you mean metadata.KEY?"),
            ("metadata=x", "metadata", "; did you mean metadata.KEY?"),
            ("changes.Field=x", "changes.Field", "; did you mean changes.field?"),
            ("change.field=x", "change.field", "; did you mean changes.field?"),
            ("actortype=user", "actortype", "; did you mean actorType?"),
            ("q=x", "q", ""),
        ] {
            let answer = surfaces.rest(&Ask::get(format!("{LIST}?{query}"), &key)).await;
            let message = format!("\"{name}\" is not a parameter of this path; allowed: {ALLOWED}{hint}");
            let error = json!({"message": message, "type": "invalid_request_error", "code": "unknown_parameter"});
            assert_eq!((answer.status, answer.body()), (400, json!({ "error": error })), "{query}");
        }
    }

    async fn a_bad_filter_has_its_message(database: &Database) {
        let started = Started::with(database, &[]).await;
        let mut client = started.service.grpc().await;
        for (filter, message) in bad_filters() {
            let request = ListAuditLogsRequest { organization_id: ORG.to_owned(), filter: Some(filter), ..Default::default() };
            let status = client.list_audit_logs(with_key(request, &started.key)).await.expect_err(&message);
            // That of JSON goes on with the position of the error.
            assert!(status.message().starts_with(&message), "{message}: {}", status.message());
            assert_eq!((status.code(), code(status)), (Code::InvalidArgument, "invalid_parameter".to_owned()), "{message}");
        }
    }

    async fn a_search_that_the_service_refuses_ends_the_command(database: &Database) {
        let started = Started::with(database, &[]).await;
        let (deep, endpoint) = (nested(33), started.service.url(""));
        for (options, message) in [
            (["--outcome", "sucess"], format!("outcome: {OUTCOMES}, got \"sucess\"; did you mean success?")),
            (["--changed", "*"], format!("changes.field: {PATH}, got \"*\"")),
            (["--changed-from", deep.as_str()], "changes.oldValue: must nest at most 32 deep, got 33".to_owned()),
            (["--user-email", "*"], format!("userEmail: {STAR}")),
            (["--text", ""], "text: must be 1 to 256 bytes, got 0".to_owned()),
        ] {
            for command in ["list", "export"] {
                let arguments = [&[command, "--organization", ORG][..], &options].concat();
                let environment = [("AUDITLOG_ENDPOINT", endpoint.as_str()), ("AUDITLOG_API_KEY", started.key.as_str())];
                let (code, stdout, stderr) = ran(&arguments, &environment);
                assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}: {stderr}");
                assert_eq!(stderr.lines().last(), Some(format!("error: {message}").as_str()), "{arguments:?}");
            }
        }
    }
}
