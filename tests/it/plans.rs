//! Checks which index serves each statement of the service, whatever the database's statistics are.

mod data;
mod history;
mod reader;

use std::collections::BTreeSet;

use auditlog::access::Scope;
use auditlog::counts::EntryCounter;
use auditlog::domain::{
    Action, CountKey, EntryId, Filter, Group, Identifier, OrganizationId, Position, ResourceType, TimeRange, Timestamp,
};
use auditlog::integrity::{Integrity, Which};
use auditlog::query::Query;
use auditlog_verify::merkle::TileId;
use sea_orm::{ConnectOptions, Database as Connections};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::ingest;
use crate::support::{Backend, Database, Service, service};
use reader::{Plan, Reader, Scan, planned_again};

const LARGE: &str = "org_large";

/// The state of the tables when the database last updated its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statistics {
    Fresh,
    OfFewEntries,
    BeforeTheHotUser,
}

/// A filter and the indexes that must serve it.
struct Shape {
    filter: &'static str,
    /// The index that counts entries: those that running counts do not cover, or all of them.
    count: &'static str,
    page: &'static str,
    /// The maximum number of rows that a node of a plan may read.
    rows: i64,
}

const TIME: &str = "audit_logs_time";
const USER: &str = "audit_logs_user";
const RESOURCE: &str = "audit_logs_resource";
const KIND: &str = "audit_logs_kind";
const TRACE: &str = "audit_logs_trace";
const ID: &str = "audit_logs_id";
const PRIMARY: &str = "primary";

const fn shape(filter: &'static str, count: &'static str, page: &'static str, rows: i64) -> Shape {
    Shape { filter, count, page, rows }
}

const SHAPES: [Shape; 43] = [
    shape("resourceType=assistant", TIME, TIME, 5_000),
    shape("resourceType=rule", TIME, KIND, 2_000),
    shape("resourceType=organization", TIME, KIND, 2_000),
    shape("action=created", TIME, TIME, 5_000),
    shape("action=deleted", TIME, KIND, 2_000),
    shape("action=archived", TIME, KIND, 2_000),
    shape("outcome=denied", TIME, KIND, 2_000),
    shape("outcome=denied&action=deleted", TIME, KIND, 2_000),
    shape("resourceType=assistant&action=created", TIME, KIND, 5_000),
    shape("resourceType=rule&action=deleted", TIME, KIND, 2_000),
    shape("resourceType=rule&action=archived", TIME, KIND, 2_000),
    shape("resourceType=thread&resourceType=rule&action=updated&action=deleted", TIME, KIND, 2_000),
    shape("resourceType=rule&resourceType=user&action=shared&action=deleted", TIME, KIND, 2_000),
    shape("userId=hot", USER, USER, 5_000),
    shape("userId=rare", USER, USER, 2_000),
    shape("userId=nobody", USER, USER, 2_000),
    shape("userId=hot&resourceType=assistant", USER, USER, 5_000),
    shape("userId=hot&resourceType=rule", USER, USER, 2_000),
    shape("userId=rare&resourceType=rule", USER, USER, 2_000),
    shape("userId=hot&action=created", USER, USER, 5_000),
    shape("userId=hot&action=deleted", USER, USER, 2_000),
    shape("userId=rare&action=deleted", USER, USER, 2_000),
    shape("userId=hot&resourceType=assistant&action=created", USER, USER, 5_000),
    shape("userId=hot&resourceType=rule&action=deleted", USER, USER, 2_000),
    shape("userId=rare&resourceType=rule&action=deleted", USER, USER, 2_000),
    shape("resourceType=assistant&resourceId=hot", RESOURCE, RESOURCE, 5_000),
    shape("resourceType=rule&resourceId=rare", RESOURCE, RESOURCE, 2_000),
    shape("resourceType=rule&resourceId=hot", RESOURCE, RESOURCE, 5_000),
    shape("resourceType=assistant&resourceId=hot&action=created", RESOURCE, RESOURCE, 5_000),
    shape("resourceType=assistant&resourceId=hot&action=deleted", RESOURCE, RESOURCE, 5_000),
    shape("resourceType=rule&resourceId=rare&action=deleted", RESOURCE, RESOURCE, 2_000),
    shape("userId=hot&resourceType=assistant&resourceId=hot", RESOURCE, RESOURCE, 10_000),
    shape("userId=hot&resourceType=rule&resourceId=rare", RESOURCE, RESOURCE, 2_000),
    shape("userId=rare&resourceType=assistant&resourceId=hot", USER, USER, 2_000),
    shape("userId=rare&resourceType=rule&resourceId=rare", USER, USER, 2_000),
    shape("resourceId=hot", RESOURCE, RESOURCE, 5_000),
    shape("resourceId=rare", RESOURCE, RESOURCE, 2_000),
    shape("resourceId=hot&userId=rare", USER, USER, 2_000),
    shape("userId=hot&userId=rare", USER, USER, 2_000),
    shape("userId=rare&userId=u17&userId=u34&userId=u51", USER, USER, 2_000),
    shape("userId=hot&userId=rare&action=deleted", USER, USER, 20_000),
    shape("resourceType=assistant&resourceType=rule&resourceId=hot&resourceId=rare", RESOURCE, RESOURCE, 5_000),
    shape("resourceType=rule&resourceId=rare&resourceId=r31&resourceId=r62", RESOURCE, RESOURCE, 2_000),
];

/// The third fifth of the time span.
const RANGE: &str = "&startDate=2023-11-15T08:00:00Z&endDate=2023-11-15T12:00:00Z";

/// The index that must serve the alias `a` in `statement`, by the columns in its condition.
fn stream(statement: &str) -> &'static str {
    let asks = |column: &str| statement.contains(&format!(" AND a.{column} = "));
    match () {
        () if statement.contains(" AND a.seq > ") => PRIMARY,
        () if asks("resource_id") => RESOURCE,
        () if asks("user_id") => USER,
        () if asks("action") => KIND,
        () => TIME,
    }
}

/// Checks that `plan` uses the `expected` index for each table, and starts each scan at the right position.
fn check(plan: &Plan, rows: i64, expected: impl Fn(&Scan) -> &'static str) {
    let Plan { statement, scans, faults, rows: read, text, settings: _ } = plan;
    let shown = || format!("{statement}\n{text}");
    assert!(faults.is_empty(), "{faults:?} in {}", shown());
    assert!(!scans.is_empty(), "no index is read in {}", shown());
    for scan in scans {
        let expected = expected(scan);
        assert_eq!(scan.index, expected, "the index of {} in {}", scan.alias, shown());
        let begins_by = match (expected, scan.alias.as_str()) {
            (ID, _) => "id",
            (PRIMARY, "a" | "l") => "seq",
            (PRIMARY, "m" | "u" | "i") => "key",
            (PRIMARY, "n") => "folded",
            (PRIMARY, _) => "",
            _ => "timestamp",
        };
        assert!(scan.is_ordered || [PRIMARY, ID].contains(&expected), "a bitmap of {} in {}", scan.index, shown());
        // The primary key could serve such a condition too, and might be chosen some day.
        let is_numbered = scan.alias == "a" && expected != PRIMARY && scan.found_by.contains("(seq <= ");
        assert!(!is_numbered, "a stream of {} is asked by numbers in {}", scan.index, shown());
        assert!(scan.found_by.contains(begins_by), "{scan:?} goes by {begins_by} in {}", shown());
    }
    assert!(*read <= rows, "{read} rows are read by a node, where {rows} would do, in {}", shown());
}

/// Whether `statement` reads complete entries.
fn is_page(statement: &str) -> bool {
    ["SELECT l.seq, l.id", "SELECT a.seq, a.id"].iter().any(|begin| statement.starts_with(begin))
}

/// The index that must serve `scan` in a statement of a list.
fn listing(shape: &Shape, statement: &str, scan: &Scan) -> &'static str {
    let is_page = is_page(statement);
    match scan.alias.as_str() {
        "a" if is_page => shape.page,
        "a" if statement.contains(" AND a.seq > ") => PRIMARY,
        "a" => shape.count,
        _ => PRIMARY,
    }
}

/// Lists of all shapes: with and without a range; first pages, deep pages and next pages.
async fn check_lists(service: &Service, reader: &mut Reader, key: &str) {
    for shape in &SHAPES {
        let mut next = None;
        for rest in ["", RANGE, "&offset=1500", "NEXT", &format!("{RANGE}&offset=1024")] {
            let rest = match (rest, &next) {
                ("NEXT", Some(next)) => format!("&cursor={next}"),
                ("NEXT", None) => continue,
                (rest, _) => rest.to_owned(),
            };
            let path = format!("/v1/{LARGE}/audit-logs?{}{rest}", shape.filter);
            let answer = service.get(&path, key).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            if rest.is_empty() {
                next = answer.body["pagination"]["nextCursor"].as_str().map(str::to_owned);
            }
            let plans = reader.plans().await;
            let is_empty = answer.body["auditLogs"].as_array().is_none_or(Vec::is_empty);
            assert_eq!(plans.iter().any(|plan| is_page(&plan.statement)), !is_empty, "{path}");
            for plan in &plans {
                check(plan, shape.rows, |scan| listing(shape, &plan.statement, scan));
            }
        }
    }
}

/// The index that must serve `scan` in a statement of a count by group. Users and resources are read like a page.
fn grouping(shape: &Shape, statement: &str, scan: &Scan) -> &'static str {
    match scan.alias.starts_with('a') {
        true if statement.contains(" AND a.seq > ") => PRIMARY,
        true if statement.contains(" GROUP BY m.") => shape.page,
        // The oldest and the newest entry of the organization.
        true if statement.contains("a.timestamp ASC") => TIME,
        true => shape.count,
        false => PRIMARY,
    }
}

/// Counts by group: of kinds and of time in a range and without one, and of users and resources.
async fn check_groups(service: &Service, reader: &mut Reader, key: &str) {
    let shapes = [
        (shape("", TIME, TIME, 30_000), RANGE),
        (shape("resourceType=rule&action=deleted", TIME, KIND, 30_000), ""),
        (shape("userId=hot", USER, USER, 30_000), RANGE),
        (shape("userId=rare&action=deleted", USER, USER, 30_000), ""),
        (shape("resourceType=assistant&resourceId=hot", RESOURCE, RESOURCE, 30_000), RANGE),
        (shape("resourceId=rare", RESOURCE, RESOURCE, 30_000), ""),
        (shape("userId=hot&resourceType=assistant&resourceId=hot", RESOURCE, RESOURCE, 30_000), ""),
    ];
    for (shape, range) in &shapes {
        for by in ["by=hour&by=action&by=outcome", "by=userId&by=resourceId"] {
            let path = format!("/v1/{LARGE}/audit-log-counts?{by}&{}{range}", shape.filter);
            let answer = service.get(&path, key).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            let plans = reader.plans().await;
            let is_top = |plan: &Plan| plan.statement.contains(" GROUP BY m.");
            let expected = if by.contains("userId") && answer.body["total"] != 0 { 2 } else { 0 };
            assert_eq!(plans.iter().filter(|plan| is_top(plan)).count(), expected, "{path}");
            for plan in &plans {
                check(plan, shape.rows, |scan| grouping(shape, &plan.statement, scan));
            }
        }
    }
}

/// Searches: the candidates come from the index of what the rest of the filter selects, or of what the names or traces
/// select.
async fn check_searches(service: &Service, reader: &mut Reader, key: &str) {
    for (shape, total) in [
        (shape("userId=rare&changes.field=x", USER, USER, 2_000), 0),
        (shape("resourceType=rule&resourceId=rare&text=rare", RESOURCE, RESOURCE, 2_000), 4),
        (shape("outcome=denied&metadata.a=b", TIME, KIND, 2_000), 0),
        (shape("traceId=t100", TRACE, TRACE, 2_000), 10),
        (shape("traceId=t1000&traceId=t1001&userId=hot", TRACE, TRACE, 2_000), 10),
        (shape("userName=rare", USER, USER, 2_000), 8),
        (shape("userName=user%2017", USER, USER, 2_000), 17),
        (shape("userName=RAR*&resourceType=rule", USER, USER, 2_000), 4),
        (shape("userName=nobody", USER, USER, 2_000), 0),
    ] {
        let path = format!("/v1/{LARGE}/audit-logs?limit=3&{}", shape.filter);
        let answer = service.get(&path, key).await;
        assert_eq!(
            (answer.status, &answer.body["pagination"]["total"]),
            (200, &json!(total)),
            "{path}: {}",
            answer.text
        );
        let cursor = answer.body["pagination"]["nextCursor"].as_str();
        if let Some(cursor) = cursor {
            let next = service.get(&format!("{path}&cursor={cursor}"), key).await;
            assert_eq!(next.status, 200, "{path}: {}", next.text);
        }
        for plan in &reader.plans().await {
            check(plan, shape.rows, |scan| listing(&shape, &plan.statement, scan));
        }
    }
}

/// Entries are found by id, in a write and in a single read.
async fn check_ids(service: &Service, reader: &mut Reader, key: &str) {
    let path = format!("/v1/{LARGE}/audit-logs");
    assert_eq!(service.get(&format!("{path}/e40000"), key).await.status, 200);
    let entry =
        |id: &str| json!({"id": id, "resourceType": "thread", "resourceId": "r", "action": "created", "userId": "u"});
    let answer = service.post(&path, key, &json!({ "auditLogs": [entry("new_1"), entry("new_2")] })).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text);
    let plans = reader.plans().await;
    let plans: Vec<_> = plans.iter().filter(|plan| plan.statement.contains("audit_logs")).collect();
    assert_eq!(plans.len(), 2, "a look-up each: {plans:?}");
    plans.iter().for_each(|plan| check(plan, 2, |_| ID));
}

/// Exports read by sequence number, whatever their filter is.
async fn check_exports(service: &Service, reader: &mut Reader) {
    let text = |text: &str| Identifier::parse(text).expect("an id");
    let filters = [
        Filter::default(),
        Filter { user_ids: vec![text("rare")], ..Filter::default() },
        Filter { resource_types: vec![ResourceType(3)], resource_ids: vec![text("rare")], ..Filter::default() },
        Filter {
            user_ids: vec![text("rare"), text("u1")],
            actions: vec![Action(0), Action(1)],
            time: TimeRange::parse(Some(Timestamp::saturating(0)), Some(Timestamp::saturating(1 << 60)))
                .expect("in order"),
            ..Filter::default()
        },
    ];
    for filter in filters {
        let organization = OrganizationId::parse(LARGE).expect("an id");
        let query = Query::new(service.store.clone());
        let mut export = query.export("key", organization, filter, 30_000, None).await.expect("it begins");
        for _ in 0..6 {
            export.next().await.expect("a piece");
        }
        let plans = reader.plans().await;
        assert_eq!(plans.len(), 6);
        plans.iter().for_each(|plan| check(plan, 16_000, |_| PRIMARY));
    }
}

/// Leaves and tiles are found by sequence number and id. The stored entries have no salts and no tiles, so some answers are
/// errors; only their plans matter.
async fn check_proofs(service: &Service, reader: &mut Reader) {
    let (organization, store) = (OrganizationId::parse(LARGE).expect("an id"), &service.store);
    let tiles = [(0, 0), (0, 156), (1, 0)].map(|(level, index)| TileId { level, index });
    let id = EntryId::parse("e40000").expect("an id");
    store.leaf_of_id(&organization, &id).await.expect("read");
    store.leaf_of_seq(&organization, 40_000).await.expect("read");
    drop(store.tiles(&organization, &tiles.into(), 40_000).await);
    assert!(store.hashed_entries(&organization, 40_000, 40_256, 256).await.is_err());
    assert!(store.erased(&organization, 40_000, 40_256).await.expect("read").is_empty());
    let plans = reader.plans().await;
    assert_eq!(plans.len(), 7, "the tiles take three: {plans:?}");
    for (place, plan) in plans.iter().enumerate() {
        check(plan, 256, |_| if place == 0 { ID } else { PRIMARY });
    }
}

/// Erasure finds a user's remaining values through the indexes of users and resources, and reads and changes them by
/// sequence number.
async fn check_erasing(service: &Service, reader: &mut Reader) {
    let organization = OrganizationId::parse(LARGE).expect("an id");
    let [rare, hot] = ["rare", "hot"].map(|id| Identifier::parse(id).expect("an id"));
    let rule = ResourceType(3);
    for (key, index) in
        [(CountKey::User(rare.clone()), USER), (CountKey::User(hot), USER), (CountKey::Resource(rule, rare), RESOURCE)]
    {
        service.store.unerased(&organization, &key, Group::Actor, Position::START, 100).await.expect("read");
        let [plan] = &reader.plans().await[..] else { panic!("one statement") };
        check(plan, 2_000, |_| index);
        service.store.count_unerased(&organization, &key, &[Group::Actor], Some("rare")).await.expect("read");
        let [plan] = &reader.plans().await[..] else { panic!("one statement") };
        assert!(plan.faults.is_empty() && plan.scans.len() == 1 && plan.scans[0].index == index, "{}", plan.text);
    }
    let ids: Vec<_> = [1, 2].map(|number| EntryId::parse(format!("e{number}")).expect("an id")).into();
    service.store.erasable(&organization, &ids).await.expect("read");
    let [plan] = &reader.plans().await[..] else { panic!("one statement") };
    check(plan, 2, |_| ID);
    let transaction = service.store.erase().await.expect("a transaction");
    let seqs: Vec<_> = (1..=100).map(|number| number * 300).collect();
    // The entries that the test inserted with SQL have no salts.
    let numbered = transaction.numbered(&organization, &seqs).await.expect("read");
    assert!(numbered.len() == seqs.len() && numbered.iter().all(Result::is_err), "they are not understood");
    transaction.erased_hashes(&organization, &seqs).await.expect("read");
    transaction
        .erase_values(&organization, [Group::Actor, Group::Content].into_iter().collect(), &seqs)
        .await
        .expect("changed");
    transaction.roll_back().await.expect("it ends");
    let plans = reader.plans().await;
    assert_eq!(plans.len(), 3);
    for plan in &plans {
        assert!(
            plan.faults.is_empty()
                && plan.scans.iter().all(|scan| scan.index == PRIMARY && scan.found_by.contains("seq")),
            "{}",
            plan.text
        );
        assert!(plan.rows <= 100, "{}", plan.text);
    }
}

/// Counting reads entries by the primary key, and the entries of each count key by its own index.
async fn check_counting(service: &Service, reader: &mut Reader) {
    let organization = OrganizationId::parse(LARGE).expect("an id");
    let counted = EntryCounter::new(service.store.clone()).count_all(&organization, |_| ()).await;
    assert_eq!(counted.expect("it is counted"), data::COUNTED);
    let plans = reader.plans().await;
    for plan in &plans {
        check(plan, 20_000, |scan| if scan.alias == "a" { stream(&plan.statement) } else { PRIMARY });
    }
    for index in [USER, RESOURCE, PRIMARY] {
        let is_read = plans.iter().flat_map(|plan| &plan.scans).any(|scan| scan.index == index);
        assert!(is_read, "counting reads {index}");
    }
}

async fn check_all(database: &Database, statistics: Statistics) {
    database.store().await.close().await;
    let connection = data::connect(database).await;
    data::fill(&connection, database.backend, statistics).await;
    let mut reader = Reader::new(database, connection.clone()).await;
    let subscriber = tracing_subscriber::registry().with(reader.statements.clone());
    let _traced = tracing::subscriber::set_default(subscriber);
    let options = auditlog::app::Options { running_counts: false, ..service::options() };
    let service = Service::start_with(database, auditlog::domain::Clock::system(), options).await;
    let key = service.key(Some(LARGE), &[Scope::Read, Scope::Write]).await;
    reader.plans().await;
    check_counting(&service, &mut reader).await;
    data::add_uncounted(&connection, database.backend, statistics).await;
    check_lists(&service, &mut reader, &key).await;
    check_groups(&service, &mut reader, &key).await;
    check_searches(&service, &mut reader, &key).await;
    check_exports(&service, &mut reader).await;
    check_proofs(&service, &mut reader).await;
    check_erasing(&service, &mut reader).await;
    history::check_histories(&service, &mut reader).await;
    check_ids(&service, &mut reader, &key).await;
    service.stop().await;
    if database.backend == Backend::Postgres && statistics == Statistics::Fresh {
        check_young(&reader).await;
    }
}

/// The service keeps its generic plans. A plan that was made when the table was just large enough for an index must use
/// the same indexes.
async fn check_young(reader: &Reader) {
    let database = Database::fresh(Backend::Postgres).await.expect("another database");
    database.store().await.close().await;
    // A single connection keeps its settings and prepared statements.
    let mut options = ConnectOptions::new(&database.url);
    let connection = Connections::connect(options.max_connections(1).to_owned()).await.expect("the database opens");
    data::fill_young(&connection).await;
    let scans = |plan: &Plan| -> BTreeSet<_> {
        plan.scans.iter().map(|Scan { alias, index, .. }| (alias.clone(), index.clone())).collect()
    };
    let mut others = Vec::new();
    // All but the schema check, which reads any row.
    for plan in reader.seen.values().filter(|plan| plan.statement.contains(" WHERE ")) {
        assert_eq!(plan.settings["plan_cache_mode"], "force_generic_plan");
        let young = planned_again(&connection, plan).await;
        if !young.faults.is_empty() || scans(&young) != scans(plan) {
            let Plan { statement, scans, faults, .. } = young;
            others.push(format!("{faults:?}, {scans:?} in {statement}"));
        }
    }
    assert!(others.is_empty(), "{} statements are planned otherwise:\n{}", others.len(), others.join("\n"));
}

/// Runs on one thread, because traces are captured per thread.
fn hold(backend: Backend, statistics: Statistics) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        if let Some(database) = Database::fresh(backend).await {
            check_all(&database, statistics).await;
        }
    });
}

#[test]
fn each_statement_is_served_by_its_index_sqlite() {
    hold(Backend::Sqlite, Statistics::Fresh);
}

#[test]
fn each_statement_is_served_by_its_index_sqlite_with_statistics_of_few_entries() {
    hold(Backend::Sqlite, Statistics::OfFewEntries);
}

#[test]
fn each_statement_is_served_by_its_index_postgres() {
    hold(Backend::Postgres, Statistics::Fresh);
}

#[test]
fn each_statement_is_served_by_its_index_postgres_with_statistics_of_few_entries() {
    hold(Backend::Postgres, Statistics::OfFewEntries);
}

#[test]
fn each_statement_is_served_by_its_index_postgres_with_statistics_from_before_the_hot_user() {
    hold(Backend::Postgres, Statistics::BeforeTheHotUser);
}

/// Runs all proofs of a log of `size` entries. Returns the number of statements, and the most rows that one of them
/// read.
async fn read_for_proofs(backend: Backend, size: u64) -> Option<(usize, i64)> {
    let database = Database::fresh(backend).await?;
    database.store().await.close().await;
    let mut reader = Reader::new(&database, data::connect(&database).await).await;
    let subscriber = tracing_subscriber::registry().with(reader.statements.clone());
    let _traced = tracing::subscriber::set_default(subscriber);
    let store = database.store().await;
    let ingest = ingest::start(&store, auditlog::domain::Clock::system());
    for first in (0..size).step_by(500) {
        let entries = (first..size.min(first + 500)).map(|number| ingest::entry(&format!("log_{number}"), number));
        ingest::write(&ingest, LARGE, entries.collect()).await.expect("written");
    }
    reader.plans().await;
    let (integrity, organization) = (Integrity::new(store, None), OrganizationId::parse(LARGE).expect("an id"));
    let size = size as i64;
    integrity.inclusion("key", &organization, &Which::Seq(size / 3), Some(size)).await.expect("a proof");
    integrity.consistency("key", &organization, size / 3, Some(size)).await.expect("a proof");
    let plans = reader.plans().await;
    Some((plans.len(), plans.iter().map(|plan| plan.rows).max().expect("statements")))
}

fn hold_proofs(backend: Backend) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let Some(few) = read_for_proofs(backend, 600).await else { return };
        let many = read_for_proofs(backend, 9_000).await.expect("a database");
        // A leaf, some tiles, and the leaves of a tile that is not full. Then the same without the leaf.
        assert_eq!((few.0, many.0), (5, 5));
        assert!(few.1 < 256 && many.1 < 256, "{few:?}, {many:?} rows at most");
    });
}

#[test]
fn a_proof_of_a_large_log_reads_no_more_than_that_of_a_small_one_sqlite() {
    hold_proofs(Backend::Sqlite);
}

#[test]
fn a_proof_of_a_large_log_reads_no_more_than_that_of_a_small_one_postgres() {
    hold_proofs(Backend::Postgres);
}
