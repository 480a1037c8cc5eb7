//! A search of too many entries is refused with their number, and a walk that has begun goes on.

use auditlog::access::Scope;
use auditlog::app::Options;
use auditlog::counts::EntryCounter;
use auditlog::domain::{Clock, Timestamp};
use auditlog::grpc::pb::{AuditLogFilter, ChangeFilter, ExportAuditLogsRequest, ListAuditLogsRequest};
use serde_json::json;
use tonic::Code;

use super::numbers;
use super::started::next_cursor;
use crate::support::database::execute;
use crate::support::ingest::organization;
use crate::support::process::ran;
use crate::support::service::{all, options, with_key};
use crate::support::surfaces::{Ask, Surfaces, code};
use crate::support::{Backend, Database, Service, on_every_database};

const ORG: &str = "org_large";
/// The entries that a request may test.
const MOST: i64 = 50_000;
/// The entries that come later.
const MORE: i64 = 10;
/// The first of each so many entries is rare; it and the second one have the change that is searched for.
const RARE: i64 = 10_000;
const FIRST: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
const SEARCH: &str = "changes.field=temperature&changes.newValue=0.9";

/// Inserts the entries after the number `after`, up to `to`, a second apart. Nobody verifies them.
async fn fill(database: &Database, after: i64, to: i64) {
    let zeros = |count: u32| match database.backend {
        Backend::Sqlite => format!("zeroblob({count})"),
        Backend::Postgres => format!("decode(repeat('00', {count}), 'hex')"),
    };
    let rare = |value: &str, other: &str| format!("CASE WHEN i % {RARE} = 1 THEN {value} ELSE {other} END");
    let changes = format!(
        "CASE WHEN i % {RARE} IN (1, 2) THEN '[{{\"field\":\"temperature\",\"oldValue\":0.7,\"newValue\":0.9}}]' \
         ELSE '[]' END"
    );
    let values = [
        format!("'{ORG}', i, 'e' || CAST(i AS text), {FIRST} + {SECOND} * i, {FIRST}"),
        [rare("3", "0"), rare("'rare'", "'r'"), rare("2", "0"), rare("'rare'", "'u'"), rare("3", "0")].join(", "),
        [rare("'Jane Doe'", "'Bob'"), rare("'Jane@Example.com'", "NULL"), rare("'Bot'", "'Rule'")].join(", "),
        format!("{}, {changes}, '{{}}', 'w', '', {}", rare("'t1'", "NULL"), zeros(32)),
    ];
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT CAST({after} AS bigint) + 1 UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
         INSERT INTO audit_logs (organization_id, seq, id, timestamp, recorded_at, resource_type, resource_id, action, \
         user_id, outcome, user_name, user_email, resource_name, trace_id, changes, metadata, writer_key_id, salts, leaf_hash) SELECT {} FROM n",
        values.join(", ")
    );
    execute(database, &insert).await;
    // As many hashes as a compact range of this size has; their values do not matter.
    let edge = zeros(32 * to.count_ones());
    execute(database, &format!("UPDATE organizations SET head_seq = {to}, edge = {edge} WHERE id = '{ORG}'")).await;
    execute(database, "ANALYZE").await;
}

/// A service with so many entries, which are not counted yet.
async fn started(database: &Database, entries: i64) -> (Surfaces, String) {
    let options = Options { running_counts: false, ..options() };
    let service = Service::start_with(database, Clock::system(), options).await;
    let key = service.key(Some(ORG), &[Scope::Read]).await;
    fill(database, 0, entries).await;
    (Surfaces::start(service).await, key)
}

fn filter() -> Option<AuditLogFilter> {
    let (field, new_value_json) = (Some("temperature".to_owned()), Some("0.90".to_owned()));
    let change = Some(ChangeFilter { field, new_value_json, ..ChangeFilter::default() });
    Some(AuditLogFilter { change, ..AuditLogFilter::default() })
}

fn refusal(entries: i64) -> String {
    format!(
        "The request would test {entries} entries one by one, and may test at most 50000: narrow it by a time range, \
         users, resources, resource types, actions, outcomes or traces"
    )
}

/// Checks that REST, gRPC and the command line refuse the search of `entries` entries.
async fn check_refused(surfaces: &Surfaces, key: &str, entries: i64) {
    let answer = surfaces.rest(&Ask::get(format!("/v1/{ORG}/audit-logs?{SEARCH}"), key)).await;
    let error = json!({"message": refusal(entries), "type": "invalid_request_error", "code": "too_broad"});
    assert_eq!((answer.status, answer.body()), (400, json!({ "error": error })));
    let request = ListAuditLogsRequest {
        organization_id: ORG.to_owned(),
        filter: filter(),
        offset: Some(7),
        ..Default::default()
    };
    let status = surfaces.service.grpc().await.list_audit_logs(with_key(request, key)).await.expect_err("too broad");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, refusal(entries).as_str()));
    assert_eq!(code(status), "too_broad");
    let arguments = ["list", "--organization", ORG, "--changed", "temperature", "--changed-to", "0.9"];
    let endpoint = surfaces.service.url("");
    let ran = ran(&arguments, &[("AUDITLOG_ENDPOINT", endpoint.as_str()), ("AUDITLOG_API_KEY", key)]);
    assert_eq!(ran, (Some(1), String::new(), format!("error: {}\n", refusal(entries))));
}

/// Checks that the search is answered if one parameter makes it narrow enough.
async fn check_narrowed(surfaces: &Surfaces, key: &str) {
    let time = |number: i64| Timestamp::saturating(FIRST + SECOND * number);
    let range = format!("startDate={}&endDate={}", time(RARE), time(2 * RARE - 1));
    for (narrow, found) in [
        (range.as_str(), &[10_002_i64, 10_001][..]),
        ("resourceType=rule", &[50_001, 40_001, 30_001, 20_001, 10_001, 1]),
        ("resourceId=rare", &[50_001, 40_001, 30_001, 20_001, 10_001, 1]),
        ("action=deleted", &[50_001, 40_001, 30_001, 20_001, 10_001, 1]),
        ("userId=rare", &[50_001, 40_001, 30_001, 20_001, 10_001, 1]),
        ("outcome=denied", &[50_001, 40_001, 30_001, 20_001, 10_001, 1]),
        ("traceId=t1", &[50_001, 40_001, 30_001, 20_001, 10_001, 1]),
        ("userId=nobody", &[]),
        ("traceId=t2", &[]),
    ] {
        let page = surfaces.rest(&Ask::get(format!("/v1/{ORG}/audit-logs?{SEARCH}&{narrow}"), key)).await.body();
        assert_eq!(numbers(&page), found, "{narrow}: {page}");
        assert_eq!(page["pagination"]["total"], found.len(), "{narrow}");
    }
}

/// Checks that a name is answered if the entries are counted, however many there are. A name of too many users or
/// entries does not help.
async fn check_named(surfaces: &Surfaces, key: &str, is_counted: bool) {
    for (search, is_found) in [
        ("userEmail=jane@example.com", true),
        ("userName=JANE*", true),
        ("resourceName=bot", true),
        ("userName=bob", false),
        ("text=jane", false),
    ] {
        let answer = surfaces.rest(&Ask::get(format!("/v1/{ORG}/audit-logs?{search}"), key)).await;
        let page = answer.body();
        match is_found && is_counted {
            true => assert_eq!(numbers(&page), [50_001, 40_001, 30_001, 20_001, 10_001, 1], "{search}: {page}"),
            false => assert_eq!(page["error"]["code"], "too_broad", "{search}: {page}"),
        }
    }
}

on_every_database! {
    async fn a_search_of_too_many_entries_is_refused_until_it_is_narrowed(database: &Database) {
        let (surfaces, key) = started(database, MOST + MORE).await;
        check_refused(&surfaces, &key, MOST + MORE).await;
        check_narrowed(&surfaces, &key).await;
        check_named(&surfaces, &key, false).await;
        let counter = EntryCounter::new(surfaces.service.store.clone());
        counter.count_all(&organization(ORG), |_| ()).await.expect("counted");
        check_refused(&surfaces, &key, MOST + MORE).await;
        check_narrowed(&surfaces, &key).await;
        check_named(&surfaces, &key, true).await;
        // An export tests any number of entries.
        let request = ExportAuditLogsRequest { filter: filter(), ..all(ORG) };
        let mut export = surfaces.service.grpc().await.export_audit_logs(with_key(request, &key)).await.expect("it begins").into_inner();
        let mut exported = Vec::new();
        while let Some(piece) = export.message().await.expect("a message") {
            exported.extend(piece.audit_logs.iter().map(|entry| entry.sequence));
        }
        let expected: Vec<_> = (0..=5).flat_map(|place| [place * RARE + 1, place * RARE + 2]).collect();
        assert_eq!(exported, expected);
    }

    async fn a_walk_goes_on_after_the_log_has_grown_beyond_the_most_that_a_search_may_test(database: &Database) {
        let (surfaces, key) = started(database, MOST).await;
        let path = format!("/v1/{ORG}/audit-logs?{SEARCH}&limit=4");
        let first = surfaces.rest(&Ask::get(&path, &key)).await.body();
        assert_eq!((numbers(&first), &first["pagination"]["total"]), (vec![40_002, 40_001, 30_002, 30_001], &json!(10)));
        // The database cannot tell which entries have this text.
        let text = surfaces.service.get(&format!("/v1/{ORG}/audit-logs?text=RARE&limit=1&offset=4"), &key).await.body;
        assert_eq!((numbers(&text), &text["pagination"]["total"]), (vec![1], &json!(5)));
        fill(database, MOST, MOST + MORE).await;
        check_refused(&surfaces, &key, MOST + MORE).await;
        let cursor = next_cursor(&first).expect("a second page");
        let second = surfaces.rest(&Ask::get(format!("{path}&cursor={cursor}"), &key)).await.body();
        assert_eq!((numbers(&second), &second["pagination"]["total"]), (vec![20_002, 20_001, 10_002, 10_001], &json!(10)));
        let cursor = next_cursor(&second).expect("a third page");
        let third = surfaces.rest(&Ask::get(format!("{path}&cursor={cursor}"), &key)).await.body();
        assert_eq!((numbers(&third), next_cursor(&third)), (vec![2, 1], None), "the new entries are not in the walk");
    }
}
