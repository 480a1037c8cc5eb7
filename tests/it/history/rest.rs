//! REST of the history service, on a small log: the answers of gRPC, with their values verbatim, and the same from a
//! gateway.

mod around;
mod checked;
mod refused;
mod shown;

use auditlog::access::Scope;
use auditlog::domain::Timestamp;
use auditlog::grpc::pb::plan_rollback_request::Selection;
use auditlog::grpc::{pb, wire};

use crate::support::service::with_key;
use crate::support::surfaces::{Ask, RawAnswer, Surfaces};
use crate::support::{Backend, Database, Service, on_every_database};

const LOGS: &str = "/v1/org_a/audit-logs";
const RULE: &str = "/v1/org_a/resources/rule/r1";
const PLANS: &str = "/v1/org_a/rollback-plans";

/// The entries. Their sequences are 1 to 7. The old value of `name` in the fourth is not what the first has written.
const ENTRIES: &str = r#"{"auditLogs":[
    {"id":"log_1","timestamp":"2025-01-19T10:00:00Z","resourceType":"rule","resourceId":"r1","action":"created",
     "userId":"alice","changes":[{"field":"limit","newValue":1.0},{"field":"name","newValue":"a"}]},
    {"id":"log_2","timestamp":"2025-01-20T10:00:00.5Z","resourceType":"rule","resourceId":"r1","action":"updated",
     "userId":"bob","traceId":"t1","changes":[{"field":"limit","oldValue":1.0,"newValue":9007199254740993}]},
    {"id":"log_3","timestamp":"2025-01-20T23:59:59.999999Z","resourceType":"rule","resourceId":"r1","action":"updated",
     "userId":"bob","traceId":"t1","changes":[{"field":"tools","newValue":{"b":1e0,"a":"\u0041"}}]},
    {"id":"log_4","timestamp":"2025-01-22T08:00:00Z","resourceType":"rule","resourceId":"r1","action":"updated",
     "userId":"alice","changes":[{"field":"name","oldValue":"x","newValue":"b"}]},
    {"id":"log_5","timestamp":"2025-01-22T08:05:00Z","resourceType":"rule","resourceId":"r2","action":"created",
     "userId":"carol","traceId":"t2"},
    {"id":"log_6","timestamp":"2025-01-22T08:10:00Z","resourceType":"rule","resourceId":"r2","action":"deleted",
     "userId":"carol","traceId":"t2"},
    {"id":"log_7","timestamp":"2025-01-22T08:10:00.000001Z","resourceType":"rule","resourceId":"r3","action":"shared",
     "userId":"bob"}
]}"#;

/// A service with these entries, a gateway in front of it, and a key.
async fn started(database: &Database) -> (Surfaces, String) {
    let surfaces = Surfaces::start(Service::start(database).await).await;
    let key = surfaces.service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
    write(&surfaces.service, &key, ENTRIES.to_owned()).await;
    (surfaces, key)
}

/// Writes entries through the service alone, since the second answer would be that of a replay.
async fn write(service: &Service, key: &str, body: String) {
    let request = service.http.post(service.url(LOGS)).bearer_auth(key).header("content-type", "application/json");
    let written = service.send(request.body(body)).await;
    assert_eq!(written.status, 201, "{}", written.text);
}

/// The answer of the service and of the gateway.
async fn asked(surfaces: &Surfaces, ask: Ask) -> RawAnswer {
    let answer = surfaces.rest(&ask).await;
    assert_eq!(answer.status, 200, "{} {}: {}", ask.method, ask.path, answer.text);
    let headers = [("content-type", "application/json".to_owned()), ("cache-control", "no-store".to_owned())];
    assert_eq!(answer.headers, headers, "{} {}", ask.method, ask.path);
    answer
}

async fn got(surfaces: &Surfaces, key: &str, path: &str) -> RawAnswer {
    asked(surfaces, Ask::get(path, key)).await
}

async fn planned(surfaces: &Surfaces, key: &str, body: &str) -> RawAnswer {
    asked(surfaces, Ask::post(PLANS, key, body)).await
}

fn time(text: &str) -> prost_types::Timestamp {
    wire::time(Timestamp::parse(text).expect("a time"))
}

fn contains(answer: &RawAnswer, parts: &[&str]) {
    for part in parts {
        assert!(answer.text.contains(part), "{part} is in {}", answer.text);
    }
}

on_every_database! {
    async fn a_state_is_that_of_grpc_with_its_values_verbatim(database: &Database) {
        let (surfaces, key) = started(database).await;
        let now = got(&surfaces, &key, &format!("{RULE}/state")).await;
        contains(&now, &[
            r#"{"asOfSequence":7,"entries":4,"summary":""#,
            r#""existence":"exists","since":{"sequence":1,"id":"log_1","timestamp":"2025-01-19T10:00:00Z","userId":"alice"},"fields":[{"#,
            r#"{"field":"limit","value":9007199254740993,"basis":"recorded","source":{"sequence":2,"id":"log_2","timestamp":"2025-01-20T10:00:00.500000Z","userId":"bob"},"partial":false,"explanation":""#,
            r#"{"field":"name","value":"b","basis":"recorded","#,
            r#"{"field":"tools","value":{"b":1e0,"a":"\u0041"},"basis":"recorded","#,
            r#"],"anomalies":[]}"#,
        ]);
        let mut client = surfaces.service.histories().await;
        for (query, at, as_of_sequence, fields) in [
            ("", None, None, vec![]),
            ("?at=2025-01-20T10:00:00Z", Some("2025-01-20T10:00:00.999999Z"), None, vec![]),
            ("?at=2025-01-18&asOf=3", Some("2025-01-18T23:59:59.999999Z"), Some(3), vec![]),
            ("?asOf=4&field=limit&field=tools.x", None, Some(4), vec!["limit", "tools.x"]),
        ] {
            let request = pb::GetResourceStateRequest {
                organization_id: "org_a".to_owned(),
                resource_type: "rule".to_owned(),
                resource_id: "r1".to_owned(),
                at: at.map(time),
                as_of_sequence,
                field_prefixes: fields.into_iter().map(str::to_owned).collect(),
            };
            let state = client.get_resource_state(with_key(request, &key)).await.expect(query).into_inner();
            let answer = got(&surfaces, &key, &format!("{RULE}/state{query}")).await;
            assert_eq!(answer.body(), shown::state(state), "{query}");
        }
    }

    async fn a_time_includes_its_whole_span(database: &Database) {
        let (surfaces, key) = started(database).await;
        let (before, after, none, tools) = ("1.0", "9007199254740993", "null", r#"{"b":1e0,"a":"\u0041"}"#);
        for (at, limit, tools) in [
            ("2025-01-19", before, none),
            ("2025-01-20", after, tools),
            ("2025-01-20T10:00:00Z", after, none),
            ("2025-01-20T10:00:00", after, none),
            ("2025-01-20T12:00:00%2B02:00", after, none),
            ("2025-01-20T12:00:00+02:00", after, none),
            ("2025-01-20T09:59:59Z", before, none),
            ("2025-01-20T10:00:00.4Z", before, none),
            ("2025-01-20T10:00:00.5Z", after, none),
            ("2025-01-20T10:00:00.499999Z", before, none),
            ("2025-01-20T23:59:59.999998Z", after, none),
            ("2025-01-20T23:59:59.99999Z", after, tools),
        ] {
            let limit = format!(r#""field":"limit","value":{limit},"#);
            let tools = format!(r#""field":"tools","value":{tools},"#);
            let state = got(&surfaces, &key, &format!("{RULE}/state?at={at}")).await;
            contains(&state, &[&limit, &tools]);
            // The later time of a comparison has the same span.
            let changes = got(&surfaces, &key, &format!("{RULE}/compare?from=2025-01-18&to={at}")).await;
            contains(&changes, &[&limit, &tools]);
        }
    }

    async fn a_comparison_is_that_of_grpc_with_its_values_verbatim(database: &Database) {
        let (surfaces, key) = started(database).await;
        let changed = got(&surfaces, &key, &format!("{RULE}/compare?from=2025-01-19&to=2025-01-20")).await;
        contains(&changed, &[
            r#"{"asOfSequence":7,"entries":4,"summary":""#,
            r#""existenceBefore":"exists","existenceAfter":"exists","since":{"sequence":1,"#,
            r#"{"field":"limit","before":{"field":"limit","value":1.0,"basis":"recorded","#,
            r#""after":{"field":"limit","value":9007199254740993,"basis":"recorded","#,
            r#"{"field":"tools","before":{"field":"tools","value":null,"basis":"inferred","source":{"sequence":3,"#,
        ]);
        let same = got(&surfaces, &key, &format!("{RULE}/compare?from=2025-01-20T12:00:00Z&to=2025-01-20T12:00:00Z")).await;
        contains(&same, &[r#""differences":[],"anomalies":[],"erasedEntries":0}"#]);
        let mut client = surfaces.service.histories().await;
        for (query, from, to, as_of_sequence, fields) in [
            ("from=2025-01-19", "2025-01-19T23:59:59.999999Z", None, None, vec![]),
            ("from=2025-01-18&to=2025-01-22&asOf=3", "2025-01-18T23:59:59.999999Z", Some("2025-01-22T23:59:59.999999Z"), Some(3), vec![]),
            ("from=2025-01-19&field=name", "2025-01-19T23:59:59.999999Z", None, None, vec!["name"]),
        ] {
            let request = pb::CompareResourceStatesRequest {
                organization_id: "org_a".to_owned(),
                resource_type: "rule".to_owned(),
                resource_id: "r1".to_owned(),
                from: Some(time(from)),
                to: to.map(time),
                as_of_sequence,
                field_prefixes: fields.into_iter().map(str::to_owned).collect(),
            };
            let compared = client.compare_resource_states(with_key(request, &key)).await.expect(query).into_inner();
            let answer = got(&surfaces, &key, &format!("{RULE}/compare?{query}")).await;
            assert_eq!(answer.body(), shown::comparison(compared), "{query}");
        }
    }

    async fn a_plan_is_that_of_grpc_with_its_values_verbatim(database: &Database) {
        let (surfaces, key) = started(database).await;
        let plan = planned(&surfaces, &key, r#"{"entries":["log_2"]}"#).await;
        contains(&plan, &[
            r#"{"asOfSequence":7,"entries":4,"selectedEntries":1,"resources":1,"summary":""#,
            r#""steps":[{"resourceType":"rule","resourceId":"r1","action":"restore","status":"ready","explanation":""#,
            r#""field":"limit","restore":1.0,"expected":9007199254740993,"entries":1,"oldest":{"sequence":2,"#,
        ]);
        let recreated = planned(&surfaces, &key, r#"{"entries":["log_6"]}"#).await;
        contains(&recreated, &[r#""action":"recreate","status":"ready","#, r#""fields":[],"unknownFields":[],"entries":1,"#]);
        let ids = |ids: &[&str]| Selection::Entries(pb::EntryIds { ids: ids.iter().map(|id| (*id).to_owned()).collect() });
        let resource = pb::ResourceAtTime {
            resource_type: "rule".to_owned(),
            resource_id: "r1".to_owned(),
            at: Some(time("2025-01-20T10:00:00.999999Z")),
        };
        let user = pb::UserWindow {
            user_id: "bob".to_owned(),
            start_time: Some(time("2025-01-20T10:00:00.500000Z")),
            end_time: Some(time("2025-01-21T00:00:00Z")),
        };
        let mut client = surfaces.service.histories().await;
        for (body, selection, as_of_sequence, selected) in [
            (r#"{"entries":["log_2","log_4","log_7"]}"#, ids(&["log_2", "log_4", "log_7"]), None, 3),
            (r#"{"entries":["log_5"],"asOf":5}"#, ids(&["log_5"]), Some(5), 1),
            (r#"{"entries":["log_1"],"resource":null,"asOf":null}"#, ids(&["log_1"]), None, 1),
            (r#"{"resource":{"resourceType":"rule","resourceId":"r1","at":"2025-01-20T10:00:00Z"}}"#, Selection::Resource(resource), None, 2),
            (r#"{"user":{"userId":"bob","startDate":"2025-01-20T10:00:00.5Z","endDate":"2025-01-20"}}"#, Selection::User(user), None, 2),
            (r#"{"traceId":"t2"}"#, Selection::TraceId("t2".to_owned()), None, 2),
            (r#"{"traceId":"t3"}"#, Selection::TraceId("t3".to_owned()), None, 0),
        ] {
            let request =
                pb::PlanRollbackRequest { organization_id: "org_a".to_owned(), selection: Some(selection), as_of_sequence };
            let plan = client.plan_rollback(with_key(request, &key)).await.expect(body).into_inner();
            assert_eq!(plan.selected_entries, selected, "{body}");
            assert_eq!(planned(&surfaces, &key, body).await.body(), shown::plan(plan), "{body}");
        }
    }
}
