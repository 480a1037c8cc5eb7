//! Counts by group over gRPC and REST: their form, and their errors.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use auditlog::access::Scope;
use auditlog::grpc::pb::CountAuditLogsRequest;
use auditlog::rest::counts;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::json::least;
use crate::support::service::with_key;
use crate::support::surfaces::{Ask, Surfaces, code};
use crate::support::trail;
use crate::support::{Backend, Database, Service, on_every_database, run};

const COUNTS: &str = "/v1/org_a/audit-log-counts";
const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];

fn entry(id: &str, timestamp: &str, user: &str, outcome: Option<&str>) -> Value {
    let mut entry = least(id);
    (entry["timestamp"], entry["userId"]) = (json!(timestamp), json!(user));
    if let Some(outcome) = outcome {
        entry["outcome"] = json!(outcome);
    }
    entry
}

/// Three entries, of which the last is about another resource with the same id.
async fn started(database: &Database) -> (Surfaces, String) {
    let service = Service::start(database).await;
    let key = service.key(Some("org_a"), &BOTH).await;
    let mut entries = [
        entry("log_1", "2025-01-20T10:30:00Z", "uid_1", Some("success")),
        entry("log_2", "2025-01-20T23:30:00Z", "uid_2", Some("denied")),
        entry("log_3", "2025-01-22T00:00:00Z", "uid_1", None),
    ];
    entries[2]["resourceType"] = json!("assistant");
    let written = service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": entries})).await;
    assert_eq!(written.status, 201, "{}", written.text);
    (Surfaces::start(service).await, key)
}

/// The counts of each group, for REST's path and for gRPC's request.
async fn counted(surfaces: &Surfaces, key: &str, query: &str, request: CountAuditLogsRequest) -> Value {
    let answer = surfaces.rest(&Ask::get(format!("{COUNTS}?{query}"), key)).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let mut client = surfaces.service.grpc().await;
    let counts = client.count_audit_logs(with_key(request, key)).await.expect("counted").into_inner();
    let body = serde_json::to_string(&counts::body(counts)).expect("JSON");
    assert_eq!(answer.text, body, "{query}");
    answer.body()
}

fn request(by: &[&str]) -> CountAuditLogsRequest {
    let by = by.iter().map(|by| (*by).to_owned()).collect();
    CountAuditLogsRequest { organization_id: "org_a".to_owned(), by, ..Default::default() }
}

on_every_database! {
    async fn groups_have_one_form_on_every_surface(database: &Database) {
        let (surfaces, key) = started(database).await;
        let names = ["day", "resource_type", "outcome", "user_id", "resource_id"];
        let zoned = CountAuditLogsRequest { time_zone: "Europe/Berlin".to_owned(), ..request(&names) };
        let query = "by=day&by=resourceType&by=outcome&by=userId&by=resourceId&timeZone=Europe/Berlin";
        let day = |value: &str, start: &str, end: &str| json!({"value": value, "start": start, "end": end, "count": 1});
        let expected = json!({
            "total": 3,
            "headSequence": 3,
            "counts": [
                {"by": "day", "buckets": [
                    day("2025-01-20", "2025-01-19T23:00:00Z", "2025-01-20T23:00:00Z"),
                    day("2025-01-21", "2025-01-20T23:00:00Z", "2025-01-21T23:00:00Z"),
                    day("2025-01-22", "2025-01-21T23:00:00Z", "2025-01-22T23:00:00Z")
                ]},
                {"by": "resourceType", "buckets": [{"value": "rule", "count": 2}, {"value": "assistant", "count": 1}]},
                {"by": "outcome", "buckets": [
                    {"value": null, "count": 1}, {"value": "success", "count": 1}, {"value": "denied", "count": 1}
                ]},
                {"by": "userId", "buckets": [{"value": "uid_1", "count": 2}, {"value": "uid_2", "count": 1}], "other": 0},
                {"by": "resourceId", "buckets": [
                    {"value": "rule_1", "resourceType": "rule", "count": 2},
                    {"value": "rule_1", "resourceType": "assistant", "count": 1}
                ], "other": 0}
            ]
        });
        assert_eq!(counted(&surfaces, &key, query, zoned).await, expected);
        let top = CountAuditLogsRequest { top: Some(1), ..request(&["user_id"]) };
        let counts = counted(&surfaces, &key, "by=userId&top=1", top).await;
        assert_eq!(counts["counts"][0], json!({"by": "userId", "buckets": [{"value": "uid_1", "count": 2}], "other": 1}));
        let alone = counted(&surfaces, &key, "", request(&[])).await;
        assert_eq!(alone, json!({"total": 3, "headSequence": 3, "counts": []}));
    }

    async fn the_first_and_the_last_bucket_are_cut_at_the_range(database: &Database) {
        let (surfaces, key) = started(database).await;
        let range = "startDate=2025-01-20T10:15:00Z&endDate=2025-01-20T11:59:59Z";
        let answer = surfaces.rest(&Ask::get(format!("{COUNTS}?by=hour&{range}"), &key)).await.body();
        let buckets = json!([
            {"value": "2025-01-20T10:00Z", "start": "2025-01-20T10:15:00Z", "end": "2025-01-20T11:00:00Z", "count": 1},
            {"value": "2025-01-20T11:00Z", "start": "2025-01-20T11:00:00Z", "end": "2025-01-20T12:00:00Z", "count": 0}
        ]);
        assert_eq!((&answer["total"], &answer["counts"][0]["buckets"]), (&json!(1), &buckets));
        let answer = surfaces.rest(&Ask::get(format!("{COUNTS}?by=week&startDate=2025-01-21"), &key)).await.body();
        let week = json!([
            {"value": "2025-W04", "start": "2025-01-21T00:00:00Z", "end": "2025-01-27T00:00:00Z", "count": 1}
        ]);
        assert_eq!(answer["counts"][0]["buckets"], week);
    }

    async fn an_organization_without_entries_has_counts_of_0(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_empty"), &BOTH).await;
        let path = "/v1/org_empty/audit-log-counts?by=day&by=action&by=userId&by=resourceId";
        let none = json!({"total": 0, "headSequence": 0, "counts": [
            {"by": "day", "buckets": []}, {"by": "action", "buckets": []}, {"by": "userId", "buckets": [], "other": 0},
            {"by": "resourceId", "buckets": [], "other": 0}
        ]});
        assert_eq!(service.get(path, &key).await.body, none);
        assert_eq!(service.get(&format!("{path}&resourceId=r"), &key).await.body, none);
        let ranged = service.get(&format!("{path}&startDate=2025-01-30&endDate=2025-02-01"), &key).await.body;
        let buckets = ranged["counts"][0]["buckets"].as_array().expect("buckets");
        assert!(buckets.len() == 3 && buckets.iter().all(|bucket| bucket["count"] == 0), "{ranged}");
    }

    async fn a_bad_count_is_refused_on_every_surface(database: &Database) {
        let (surfaces, key) = started(database).await;
        let groupings = "minute, hour, day, week, month, action, resourceType, outcome, userId, resourceId";
        let zone = "must be the name of an IANA time zone such as Europe/Berlin or UTC";
        for (query, message) in [
            ("by=months", format!("by: must be one of {groupings}, got \"months\"; did you mean month?")),
            ("by=user_id", format!("by: must be one of {groupings}, got \"user_id\"; did you mean userId?")),
            ("by=", "by: must not be empty; leave it out".to_owned()),
            ("by=day&by=day", "by: must not be given twice".to_owned()),
            ("by=day&by=action&by=week", "by: must have at most one unit of time, got day and week".to_owned()),
            (
                "by=day&by=action&by=outcome&by=userId&by=resourceId&by=resourceType",
                "by: must be given at most 5 times, got 6".to_owned(),
            ),
            ("by=day&timeZone=Mars/Olympus_Mons", format!("timeZone: {zone}, got \"Mars/Olympus_Mons\"")),
            ("by=day&timeZone=UTC&timeZone=UTC", "timeZone: must be given once, got 2 times".to_owned()),
            ("by=action&timeZone=UTC", "timeZone: must not come without a unit of time to group by".to_owned()),
            ("by=day&top=5", "top: must not come without users or resources to group by".to_owned()),
            ("by=userId&top=0", "top: must be 1 to 100, got 0".to_owned()),
            ("by=userId&top=101", "top: must be 1 to 100, got 101".to_owned()),
            (
                "by=action&by=hour&startDate=2025-01-01&endDate=2025-01-09",
                "by: must make at most 200 buckets, got 216 of one hour each from 2025-01-01T00:00:00Z to \
                 2025-01-10T00:00:00Z; give a shorter range of time, or a larger unit such as day"
                    .to_owned(),
            ),
            (
                "by=minute&startDate=2025-01-20T10:00:00Z&endDate=2025-01-20T13:20:00Z",
                "by: must make at most 200 buckets, got 201 of one minute each from 2025-01-20T10:00:00Z to \
                 2025-01-20T13:20:01Z; give a shorter range of time, or a larger unit such as hour"
                    .to_owned(),
            ),
        ] {
            let answer = surfaces.rest(&Ask::get(format!("{COUNTS}?{query}"), &key)).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_parameter"), "{query}: {}", answer.text);
            assert_eq!(answer.body()["error"]["message"], message, "{query}");
        }
        let unknown = surfaces.rest(&Ask::get(format!("{COUNTS}?limit=5"), &key)).await;
        assert_eq!((unknown.status, unknown.code().as_str()), (400, "unknown_parameter"));
        let most = "by=minute&startDate=2025-01-20T10:00:00Z&endDate=2025-01-20T13:19:59Z";
        let answer = surfaces.rest(&Ask::get(format!("{COUNTS}?{most}"), &key)).await.body();
        assert_eq!(answer["counts"][0]["buckets"].as_array().map(Vec::len), Some(200));
        let mut client = surfaces.service.grpc().await;
        let status = client.count_audit_logs(with_key(request(&["day", "resourceType"]), &key)).await.expect_err("REST's name");
        assert!(status.message().starts_with("by[1]: must be one of minute, ") && status.message().ends_with("did you mean resource_type?"), "{}", status.message());
        assert_eq!((status.code(), code(status)), (Code::InvalidArgument, "invalid_parameter".to_owned()));
    }

    async fn access_is_checked_before_parameters(database: &Database) {
        let (surfaces, key) = started(database).await;
        let service = &surfaces.service;
        let (wide, writer) = (service.key(None, &[Scope::Read]).await, service.key(Some("org_a"), &[Scope::Write]).await);
        for (path, key, expected) in [
            ("/v1/org_none/audit-log-counts?by=day", &wide, "organization_not_found"),
            ("/v1/org_none/audit-log-counts?by=months", &wide, "organization_not_found"),
            ("/v1/org_other/audit-log-counts", &key, "organization_not_found"),
            ("/v1/org_a/audit-log-counts?by=months", &writer, "insufficient_permissions"),
            ("/v1/org_a/audit-log-counts?by=day", &"al_wrong".to_owned(), "invalid_api_key"),
        ] {
            assert_eq!(surfaces.rest(&Ask::get(path, key)).await.code(), expected, "{path}");
        }
    }
}

/// The number of lines of the trail with each value of `field`, the highest first, and equal ones by value.
fn terms(lines: &[Value], field: &str) -> Vec<(String, usize)> {
    let mut terms: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        *terms.entry(line[field].as_str().expect("a string").to_owned()).or_default() += 1;
    }
    let mut terms: Vec<_> = terms.into_iter().collect();
    terms.sort_by_key(|(_, count)| Reverse(*count));
    terms
}

fn of_the_trail(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else { return };
        let service = Service::start(database).await;
        let key = service.key(Some(trail::ORGANIZATION), &[Scope::Read]).await;
        let lines: Vec<Value> = trail::lines().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let path = format!("/v1/{}/audit-log-counts", trail::ORGANIZATION);
        let refused = service.get(&format!("{path}?by=action&by=userId"), &key).await;
        let message = format!(
            "by: must have at most 50000 entries to read, got {}; narrow the filter with a range of time, a user, a \
             resource, a type or an action",
            trail::ENTRIES
        );
        let error = json!({"error": {"message": message, "type": "invalid_request_error", "code": "too_broad"}});
        assert_eq!((refused.status, refused.body), (400, error));
        let request =
            CountAuditLogsRequest { organization_id: trail::ORGANIZATION.to_owned(), ..request(&["user_id"]) };
        let status = service.grpc().await.count_audit_logs(with_key(request, &key)).await.expect_err("too broad");
        assert_eq!((status.code(), code(status)), (Code::InvalidArgument, "too_broad".to_owned()));

        let counts = service.get(&format!("{path}?by=month&by=action"), &key).await.body;
        assert_eq!(counts["total"], trail::ENTRIES);
        let months = counts["counts"][0]["buckets"].as_array().expect("months");
        let sum: u64 = months.iter().map(|month| month["count"].as_u64().expect("a number")).sum();
        assert_eq!(sum as usize, trail::ENTRIES);
        let shown = |buckets: &Value| -> Vec<(String, usize)> {
            let one = |bucket: &Value| {
                let value = bucket["value"].as_str().expect("a string").to_owned();
                (value, bucket["count"].as_u64().expect("a number") as usize)
            };
            buckets.as_array().expect("buckets").iter().map(one).collect()
        };
        let mut actions = shown(&counts["counts"][1]["buckets"]);
        actions.sort_by_key(|(action, count)| (Reverse(*count), action.clone()));
        assert_eq!(actions, terms(&lines, "action"));

        let (action, _) = actions.iter().find(|(_, count)| *count <= 50_000).expect("a rarer action");
        let own: Vec<_> = lines.into_iter().filter(|line| line["action"] == action.as_str()).collect();
        let narrowed = service.get(&format!("{path}?by=userId&top=7&action={action}"), &key).await.body;
        let mut users = terms(&own, "userId");
        let other: usize = users.drain(users.len().min(7)..).map(|(_, count)| count).sum();
        assert_eq!(shown(&narrowed["counts"][0]["buckets"]), users);
        assert_eq!((&narrowed["total"], &narrowed["counts"][0]["other"]), (&json!(own.len()), &json!(other)));
        service.stop().await;
    });
}

#[test]
fn counts_of_the_trail_are_those_of_its_lines_sqlite() {
    of_the_trail(Backend::Sqlite);
}

#[test]
fn counts_of_the_trail_are_those_of_its_lines_postgres() {
    of_the_trail(Backend::Postgres);
}
