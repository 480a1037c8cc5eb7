//! Searches against plain lists, filters by outcome against filters by action, counts by group, and idle followers. The
//! totals and counts of all measured answers are compared with plain SQL.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use auditlog::grpc::pb::{
    AuditLogBucket, AuditLogFilter, ChangeFilter, CountAuditLogsRequest, CountAuditLogsResponse,
    FollowAuditLogsRequest, ListAuditLogsRequest,
};
use sea_orm::DbBackend;

use super::isolation::{Scene, Work, limit};
use super::lists::{Costs, measure_each};
use super::throughput::lists;
use crate::data::{ACTIONS, BEGIN, OUTCOMES, SPAN, Subject, TYPES, organization_id, random, resource_id, time};
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::proc;
use crate::requests::{condition, largest, list, type_name};
use crate::service::{Counting, Service};

/// The maximum number of entries that a search may test.
const BUDGET: i64 = 50_000;
/// The maximum number of entries of the resource with many entries. It has about as many at each size.
const MANY: i64 = 10_000;
/// The requests of a round: different ones, or the same one again.
const DRAWN: usize = 100;
const REPEATED: usize = 20;
const ROUNDS: usize = 5;
/// The searches of the whole budget.
const SEARCHES: usize = 10;
const WARM_UP: usize = 2;
const COUNTS: usize = 50;
/// Readers of another key, beside a search of the whole budget, and for how long.
const READERS: Work = Work::Lists(16);
const BESIDE: Duration = Duration::from_secs(8);
const FOLLOWERS: u32 = 200;
const IDLE: Duration = Duration::from_secs(20);

const TWICE: Target = Target::AtMost(2.0);
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
const GROUPS: [Group; 4] = [
    Group { by: "day", sql: "timestamp / 86400000000", names: &[] },
    Group { by: "action", sql: "action", names: &ACTIONS },
    Group { by: "resource_type", sql: "resource_type", names: &TYPES },
    Group { by: "outcome", sql: "outcome", names: &OUTCOMES },
];
/// The SQL of no search.
const EVERY: &str = "TRUE";

pub async fn run(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let scene = Scene::start(database)?;
    resources(&scene, report).await?;
    whole_budget(&scene, report).await?;
    outcomes(&scene, report).await?;
    counts(&scene, report).await?;
    drop(scene);
    followers(database, report).await?;
    report.print();
    Ok(())
}

/// A way to group the counted entries.
struct Group {
    by: &'static str,
    /// The number of the group of an entry.
    sql: &'static str,
    /// The names of the groups by number; none for days.
    names: &'static [(&'static str, f64)],
}

/// A search, which is added to a filter.
#[derive(Clone, Copy)]
enum Search {
    /// For a field and its new value, in half of the entries.
    Change,
    /// For a text in a few of the entries, which no database can test.
    Text,
}

impl Search {
    fn name(self) -> &'static str {
        match self {
            Self::Change => "field and value",
            Self::Text => "text",
        }
    }

    fn within(self, filter: AuditLogFilter) -> AuditLogFilter {
        match self {
            Self::Change => {
                let [field, new] = ["tools.webSearch", "true"].map(|text| Some(text.to_owned()));
                let change = ChangeFilter { field, old_value_json: None, new_value_json: new };
                AuditLogFilter { change: Some(change), ..filter }
            }
            Self::Text => AuditLogFilter { text: Some("IN 424".to_owned()), ..filter },
        }
    }

    /// The same in SQL, for the generated changes.
    fn sql(self) -> &'static str {
        match self {
            Self::Change => r#"changes LIKE '%{"field":"tools.webSearch","oldValue":false,"newValue":true}%'"#,
            Self::Text => "changes LIKE '%in 424%'",
        }
    }
}

/// A list with its total according to plain SQL.
#[derive(Clone)]
struct CheckedList {
    request: ListAuditLogsRequest,
    total: i64,
}

impl CheckedList {
    async fn plain(database: &Database, filter: AuditLogFilter) -> anyhow::Result<Self> {
        Self::new(database, filter, EVERY).await
    }

    async fn search(database: &Database, filter: AuditLogFilter, search: Search) -> anyhow::Result<Self> {
        Self::new(database, search.within(filter), search.sql()).await
    }

    async fn new(database: &Database, filter: AuditLogFilter, search: &str) -> anyhow::Result<Self> {
        let request = list(filter);
        let sql = format!("SELECT COUNT(*) FROM audit_logs WHERE {} AND {search}", condition(&request));
        Ok(Self { total: database.value(&sql).await?, request })
    }
}

/// Sends the requests one by one. Errors: a total differs from plain SQL.
async fn measure(scene: &Scene<'_>, requests: Vec<CheckedList>) -> anyhow::Result<Costs> {
    let mut client = scene.service.client().await?;
    let send = async |asked: CheckedList| {
        let CheckedList { request, total } = asked;
        let answer = client.list(request.clone()).await?;
        let found = answer.pagination.unwrap_or_default().total;
        ensure!(found == total, "the total is {found}, and {total} by plain SQL, of {request:?}");
        anyhow::Ok(())
    };
    measure_each(scene.database, &scene.service, requests, send).await
}

/// Measures two sets of requests in alternating rounds, after one to warm up. Returns the ratios of the first to the
/// second: of CPU and of latency.
async fn compare(
    scene: &Scene<'_>,
    report: &mut Report,
    sets: [(String, Vec<CheckedList>); 2],
) -> anyhow::Result<[f64; 2]> {
    let mut all = [Costs::default(), Costs::default()];
    for round in 0..=ROUNDS {
        for (costs, (_, requests)) in all.iter_mut().zip(&sets) {
            let measured = measure(scene, requests.clone()).await?;
            if round > 0 {
                costs.extend(measured);
            }
        }
    }
    for (costs, (name, requests)) in all.iter().zip(&sets) {
        let entries: i64 = requests.iter().map(|asked| asked.total).sum();
        report.add(name, "mean total", entries as f64 / requests.len() as f64, "");
        report.add(name, "CPU p50", costs.cpu().p50(), "ms");
        report.add(name, "latency p50", costs.latency.p50(), "ms");
    }
    let [first, second] = &all;
    Ok([first.cpu().p50() / second.cpu().p50(), first.latency.p50() / second.latency.p50()])
}

/// Compares searches of single resources with lists of the same resources.
async fn resources(scene: &Scene<'_>, report: &mut Report) -> anyhow::Result<()> {
    let resource = |resource_type: usize, rank: u32| AuditLogFilter {
        resource_types: vec![type_name(resource_type)],
        resource_ids: vec![resource_id(resource_type, rank)],
        ..AuditLogFilter::default()
    };
    let mut rank = 0;
    while CheckedList::plain(scene.database, resource(0, rank)).await?.total > MANY {
        rank += 1;
    }
    let (mut random, mut drawn) = (random(5), Vec::with_capacity(DRAWN));
    while drawn.len() < DRAWN {
        let subject = Subject::draw(&mut random);
        let filter = resource(subject.resource_type, subject.resource);
        if CheckedList::plain(scene.database, filter.clone()).await?.total <= BUDGET {
            drawn.push(filter);
        }
    }
    let cases = [
        ("resource with many entries", vec![resource(0, rank); REPEATED]),
        ("resources as often as in the data", drawn),
    ];
    for (name, filters) in cases {
        let (mut searches, mut plain) = (Vec::new(), Vec::new());
        for filter in filters {
            searches.push(CheckedList::search(scene.database, filter.clone(), Search::Change).await?);
            plain.push(CheckedList::plain(scene.database, filter).await?);
        }
        let sets = [(format!("search, {name}"), searches), (format!("list, {name}"), plain)];
        let [cpu, latency] = compare(scene, report, sets).await?;
        let name = format!("search / list, {name}");
        report.add_for(&name, "CPU p50 ratio", cpu, "", TWICE);
        report.add_for(&name, "latency p50 ratio", latency, "", TWICE);
    }
    Ok(())
}

/// Measures searches that test as many entries as they may, alone and beside readers of another key.
async fn whole_budget(scene: &Scene<'_>, report: &mut Report) -> anyhow::Result<()> {
    let range = largest_range(scene).await?;
    let candidates = CheckedList::plain(scene.database, range.clone()).await?.total;
    let name = "entries that a search of the whole budget tests";
    report.add_for(name, "", candidates as f64, "", Target::AtLeast(0.9 * BUDGET as f64));
    let alone = scene.alone(READERS, report).await?;
    for search in [Search::Change, Search::Text] {
        let name = format!("search of the whole budget, {}", search.name());
        let asked = CheckedList::search(scene.database, range.clone(), search).await?;
        measure(scene, vec![asked.clone(); WARM_UP]).await?;
        let costs = measure(scene, vec![asked.clone(); SEARCHES]).await?;
        report.add(&name, "mean total", asked.total as f64, "");
        report.add(&name, "CPU p50", costs.cpu().p50(), "ms");
        report.add_for(&name, "latency p50", costs.latency.p50(), "ms", Target::AtMost(600.0));
        let requests = [asked.request];
        let searches = lists(&scene.service, &requests, 1, BESIDE);
        let (searches, readers) = tokio::join!(searches, scene.measure(READERS, BESIDE));
        let beside = format!("{name}, beside {}", READERS.name());
        report.add(&beside, "latency p50", searches?.times.p50(), "ms");
        READERS.report(report, &format!("beside a {name}"), &readers?, Some(limit(3.0, alone)));
    }
    Ok(())
}

/// The longest range from the beginning of the data in which the largest organization has no more entries than a search
/// may test.
async fn largest_range(scene: &Scene<'_>) -> anyhow::Result<AuditLogFilter> {
    let mut client = scene.service.client().await?;
    let range = |length: i64| AuditLogFilter {
        start_time: Some(time(BEGIN)),
        end_time: Some(time(BEGIN + length)),
        ..AuditLogFilter::default()
    };
    let (mut fitting, mut too_long) = (0, SPAN);
    while too_long - fitting > MINUTE {
        let middle = (fitting + too_long) / 2;
        let answer = client.list(list(range(middle))).await?;
        if answer.pagination.unwrap_or_default().total <= BUDGET {
            fitting = middle;
        } else {
            too_long = middle;
        }
    }
    Ok(range(fitting))
}

/// Compares filters by outcome with filters by an action that occurs about as often.
async fn outcomes(scene: &Scene<'_>, report: &mut Report) -> anyhow::Result<()> {
    for (outcome, action) in [("success", "updated"), ("denied", "archived")] {
        let of_outcome = AuditLogFilter { outcomes: vec![outcome.to_owned()], ..AuditLogFilter::default() };
        let of_action = AuditLogFilter { actions: vec![action.to_owned()], ..AuditLogFilter::default() };
        let of_outcome = CheckedList::plain(scene.database, of_outcome).await?;
        let of_action = CheckedList::plain(scene.database, of_action).await?;
        let sets = [
            (format!("list, outcome {outcome}"), vec![of_outcome; REPEATED]),
            (format!("list, action {action}"), vec![of_action; REPEATED]),
        ];
        let [cpu, latency] = compare(scene, report, sets).await?;
        let name = format!("list, outcome {outcome} / action {action}");
        report.add_for(&name, "CPU p50 ratio", cpu, "", Target::AtMost(1.2));
        report.add(&name, "latency p50 ratio", latency, "");
    }
    Ok(())
}

/// Counts the last 60 days of the largest organization by day, action, type and outcome.
async fn counts(scene: &Scene<'_>, report: &mut Report) -> anyhow::Result<()> {
    let end = BEGIN + SPAN;
    let filter = AuditLogFilter {
        start_time: Some(time(end - 60 * DAY)),
        end_time: Some(time(end)),
        ..AuditLogFilter::default()
    };
    let request = CountAuditLogsRequest {
        organization_id: organization_id(0),
        filter: Some(filter.clone()),
        by: GROUPS.map(|group| group.by.to_owned()).into(),
        ..CountAuditLogsRequest::default()
    };
    let mut client = scene.service.client().await?;
    let expected = client.count(request.clone()).await?;
    check_counts(scene.database, filter, &expected).await?;
    let send = async |request: CountAuditLogsRequest| {
        let found = client.count(request).await?;
        ensure!(found == expected, "counts differ without a write: {found:?} and {expected:?}");
        anyhow::Ok(())
    };
    let costs = measure_each(scene.database, &scene.service, vec![request; COUNTS], send).await?;
    let (name, most) = ("60 daily counts and three facets", Target::AtMost(25.0));
    report.add(name, "mean total", expected.total as f64, "");
    report.add(name, "CPU p50", costs.cpu().p50(), "ms");
    if scene.database.backend() == DbBackend::Postgres {
        report.add_for(name, "database CPU p50", costs.database.p50(), "ms", most);
        report.add(name, "latency p50", costs.latency.p50(), "ms");
    } else {
        report.add_for(name, "latency p50", costs.latency.p50(), "ms", most);
    }
    Ok(())
}

/// Compares counts with plain SQL. Errors: they differ.
async fn check_counts(
    database: &Database,
    filter: AuditLogFilter,
    answer: &CountAuditLogsResponse,
) -> anyhow::Result<()> {
    let CheckedList { request, total } = CheckedList::plain(database, filter).await?;
    ensure!(answer.total == total, "the total of the counts is {}, and {total} by plain SQL", answer.total);
    ensure!(answer.counts.len() == GROUPS.len(), "there are {} counts", answer.counts.len());
    let condition = condition(&request);
    for (Group { by, sql, names }, counts) in GROUPS.iter().zip(&answer.counts) {
        let sql = format!("SELECT CAST({sql} AS BIGINT), COUNT(*) FROM audit_logs WHERE {condition} GROUP BY 1");
        let mut expected = BTreeMap::new();
        for row in database.rows(&sql).await? {
            let (code, count): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let name = names.get(usize::try_from(code)?).map(|(name, _)| (*name).to_owned());
            expected.insert(name.unwrap_or_else(|| code.to_string()), count);
        }
        let found = counts.buckets.iter().filter(|bucket| bucket.count > 0);
        let found: BTreeMap<_, _> = found.map(|bucket| (key(bucket), bucket.count)).collect();
        ensure!(found == expected, "the counts by {by} are {found:?}, and {expected:?} by plain SQL");
    }
    Ok(())
}

/// The number of the day since 1970, or the value, which is empty without an outcome.
fn key(bucket: &AuditLogBucket) -> String {
    match &bucket.start_time {
        Some(start) => (start.seconds / 86_400).to_string(),
        None => bucket.value.clone().unwrap_or_default(),
    }
}

/// Measures a service before and while idle followers are connected, each with its own connection and organization.
async fn followers(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let service = Service::start(database, Counting::On)?;
    service.client().await?.list(largest()).await?;
    let [memory_before, cpu_before] = idle(&service).await?;
    let mut followers = Vec::new();
    for rank in 0..FOLLOWERS {
        let mut client = service.client().await?;
        let organization_id = organization_id(rank);
        let request = FollowAuditLogsRequest { organization_id, ..FollowAuditLogsRequest::default() };
        let mut messages = client.follow(request).await?;
        messages.message().await?.context("a follower's stream ended at once")?;
        followers.push((client, messages));
    }
    let [memory, cpu] = idle(&service).await?;
    for (_, messages) in &mut followers {
        let heartbeat = messages.message().await?.context("a follower's stream ended")?;
        ensure!(heartbeat.audit_logs.is_empty(), "a follower got entries, though none were written");
    }
    report.add("without followers", "VmRSS", memory_before, "MB");
    report.add("without followers", "CPU of a core", cpu_before, "%");
    let name = format!("{FOLLOWERS} idle followers");
    report.add(&name, "VmRSS", memory, "MB");
    report.add_for(&name, "more VmRSS", memory - memory_before, "MB", Target::AtMost(10.0));
    report.add_for(&name, "CPU of a core", cpu, "%", Target::AtMost(1.0));
    Ok(())
}

/// The resident memory of an idle service in MB, and its CPU in percent of a core.
async fn idle(service: &Service) -> anyhow::Result<[f64; 2]> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, begun) = (proc::process(service.id())?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let (used, elapsed) = (proc::process(service.id())?.saturating_sub(before), begun.elapsed());
    Ok([proc::memory(service.id(), "VmRSS")?, 100.0 * used.as_secs_f64() / elapsed.as_secs_f64()])
}
