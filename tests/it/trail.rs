//! Compares the sample trail with a model that counts and sorts by brute force.

mod around;
mod counts;
mod entries;
mod history;
mod search;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use auditlog::access::Scope;
use auditlog::domain::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::value::RawValue;

use crate::support::trail::{self, ENTRIES, ORGANIZATION};
use crate::support::{Backend, Service, run, say};
use entries::Line;

/// Random requests on each database.
const REQUESTS: usize = 2_000;

/// The values of an entry that a request can filter by.
pub struct Row {
    id: String,
    /// Microseconds since 1970.
    timestamp: i64,
    pub seq: i64,
    resource_type: String,
    resource_id: String,
    action: String,
    user_id: String,
}

/// All entries, newest first.
pub fn model() -> Vec<Row> {
    let mut rows: Vec<_> = trail::lines().iter().zip(1..).map(|(line, seq)| Row::of(&Line::parse(line), seq)).collect();
    newest_first(&mut rows);
    rows
}

fn newest_first(rows: &mut [Row]) {
    rows.sort_by_key(|row| std::cmp::Reverse((row.timestamp, row.seq)));
}

impl Row {
    fn of(line: &Line, seq: i64) -> Self {
        Self {
            id: line.id.clone(),
            timestamp: Timestamp::parse(&line.timestamp).expect("a time").micros(),
            seq,
            resource_type: line.resource_type.clone(),
            resource_id: line.resource_id.clone(),
            action: line.action.clone(),
            user_id: line.user_id.clone(),
        }
    }
}

/// A request and its meaning, computed without the service's code.
#[derive(Debug, Default)]
pub struct Asked {
    /// For a history, without the parameters that its path implies.
    pub query: Vec<(String, String)>,
    pub resource_types: Vec<String>,
    pub resource_ids: Vec<String>,
    actions: Vec<String>,
    user_ids: Vec<String>,
    /// The start of the range, inclusive, in microseconds.
    from: Option<i64>,
    /// The end of the range, exclusive, in microseconds.
    to: Option<i64>,
    limit: usize,
    offset: usize,
    /// The path of a history; `None` for a list.
    pub history: Option<(String, String)>,
}

const SEGMENTS: [(&str, &str); 5] = [
    ("assistant", "assistants"),
    ("thread", "threads"),
    ("vector_store", "vector-stores"),
    ("rule", "rules"),
    ("mcp_configuration", "mcp-configurations"),
];
const TYPES: [&str; 7] = ["assistant", "thread", "vector_store", "rule", "mcp_configuration", "user", "organization"];
const ACTIONS: [&str; 6] = ["created", "updated", "deleted", "accessed", "shared", "archived"];

impl Asked {
    pub fn random(random: &mut StdRng, rows: &[Row]) -> Self {
        let mut asked = Self { limit: 50, ..Self::default() };
        let some = |random: &mut StdRng| random.random_bool(0.35);
        if random.random_bool(0.15) {
            let row = rows.choose(random).expect("rows");
            if let Some((name, segment)) = SEGMENTS.iter().find(|(name, _)| *name == row.resource_type) {
                asked.history = Some(((*segment).to_owned(), row.resource_id.clone()));
                asked.resource_types = vec![(*name).to_owned()];
                asked.resource_ids = vec![row.resource_id.clone()];
            }
        }
        let mut repeated = |random: &mut StdRng, name: &str, pick: &dyn Fn(&mut StdRng) -> String| {
            let most = *[1, 1, 1, 2, 3, 20, 100].choose(random).expect("counts");
            let values: Vec<_> = (0..random.random_range(1..=most)).map(|_| pick(random)).collect();
            asked.query.extend(values.iter().map(|value| (name.to_owned(), value.clone())));
            values
        };
        if asked.history.is_none() {
            if some(random) {
                asked.resource_types =
                    repeated(random, "resourceType", &|random| TYPES.choose(random).expect("a type").to_string());
            }
            if some(random) {
                asked.resource_ids = repeated(random, "resourceId", &|random| match random.random_bool(0.9) {
                    true => rows.choose(random).expect("rows").resource_id.clone(),
                    false => "nobody & nothing=1+1".to_owned(),
                });
            }
        }
        if some(random) {
            asked.actions =
                repeated(random, "action", &|random| ACTIONS.choose(random).expect("an action").to_string());
        }
        if some(random) {
            asked.user_ids = repeated(random, "userId", &|random| rows.choose(random).expect("rows").user_id.clone());
        }
        // The service refuses more pairs than this.
        let distinct = |values: &[String]| values.iter().collect::<BTreeSet<_>>().len();
        if distinct(&asked.resource_ids) * distinct(&asked.user_ids) > 1_000 {
            asked.user_ids.clear();
            asked.query.retain(|(name, _)| name != "userId");
        }
        asked.times(random, rows);
        if random.random_bool(0.6) {
            asked.limit = *[1, 2, 7, 49, 50, 99, 100].choose(random).expect("limits");
            asked.query.push(("limit".to_owned(), asked.limit.to_string()));
        }
        asked
    }

    /// Adds a time range with ends at or near the times of real entries, in every precision.
    fn times(&mut self, random: &mut StdRng, rows: &[Row]) {
        let mut ends = [0, 0].map(|_: i32| {
            let near = *[0, 1, -1, 1_000_000, -1_000_000].choose(random).expect("steps");
            rows.choose(random).expect("rows").timestamp + near
        });
        ends.sort_unstable();
        if random.random_bool(0.4) {
            let (text, first, _) = written(random, ends[0]);
            self.from = Some(first);
            self.query.push(("startDate".to_owned(), text));
        }
        if random.random_bool(0.4) {
            let (text, _, after) = written(random, ends[1]);
            // The start of the range must be before its end, which the rounded times can violate.
            if self.from.is_none_or(|from| from < after) {
                self.to = Some(after);
                self.query.push(("endDate".to_owned(), text));
            }
        }
    }

    pub fn matches(&self, row: &Row) -> bool {
        let any = |values: &[String], value: &String| values.is_empty() || values.contains(value);
        any(&self.resource_types, &row.resource_type)
            && any(&self.resource_ids, &row.resource_id)
            && any(&self.actions, &row.action)
            && any(&self.user_ids, &row.user_id)
            && self.from.is_none_or(|from| row.timestamp >= from)
            && self.to.is_none_or(|to| row.timestamp < to)
    }

    fn path(&self) -> String {
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let query: Vec<_> = self.query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let path = match &self.history {
            Some((segment, id)) => format!("/v1/{segment}/{}/history", encode(id)),
            None => format!("/v1/{ORGANIZATION}/audit-logs"),
        };
        format!("{path}?{}", query.join("&"))
    }
}

/// Formats an instant in a random precision and offset. Returns the text, the first microsecond that it covers, and the
/// first one after.
fn written(random: &mut StdRng, micros: i64) -> (String, i64, i64) {
    let floor = |span: i64| micros - micros.rem_euclid(span);
    let second = Timestamp::saturating(floor(1_000_000)).to_string().trim_end_matches('Z').to_owned();
    let fraction = format!("{:06}", micros.rem_euclid(1_000_000));
    let spanned = |text: String, span: i64| (text, floor(span), floor(span) + span);
    match random.random_range(0..8) {
        0 => spanned(second[..10].to_owned(), 86_400_000_000),
        1 => spanned(format!("{second}Z"), 1_000_000),
        2 => spanned(second, 1_000_000),
        3 => spanned(format!("{second}.{}Z", &fraction[..1]), 100_000),
        4 => spanned(format!("{second}.{}Z", &fraction[..3]), 1_000),
        5 => spanned(format!("{second}.{fraction}789Z"), 1),
        6 => {
            let moved = Timestamp::saturating(floor(1_000_000) + 5_400_000_000).to_string();
            spanned(format!("{}+01:30", moved.trim_end_matches('Z')), 1_000_000)
        }
        _ => {
            // As the service receives it from a client that did not encode the plus sign.
            let moved = Timestamp::saturating(floor(1_000_000) + 7_200_000_000).to_string();
            spanned(format!("{} 02:00", moved.trim_end_matches('Z')), 1_000_000)
        }
    }
}

/// Sends a request and compares the answer with the model.
async fn ask(service: &Service, key: &str, rows: &[Row], random: &mut StdRng) {
    let asked = Asked::random(random, rows);
    let matching: Vec<_> = rows.iter().filter(|row| asked.matches(row)).collect();
    read_pages(service, key, asked, &matching, random).await;
}

/// Asks for a page, which must be one of `matching`. Then follows the cursor with other limits.
async fn read_pages(service: &Service, key: &str, mut asked: Asked, matching: &[&Row], random: &mut StdRng) {
    if random.random_bool(0.6) {
        let total = matching.len();
        let edges = [
            0,
            1,
            total.saturating_sub(1),
            total,
            total + 1,
            total / 2,
            total.saturating_sub(asked.limit),
            1_000_000_000,
        ];
        asked.offset = *edges.choose(random).expect("offsets");
        asked.query.push(("offset".to_owned(), asked.offset.to_string()));
    }
    let mut answer = service.get(&asked.path(), key).await;
    let (mut at, mut limit) = (asked.offset, asked.limit);
    asked.query.retain(|(name, _)| name != "offset" && name != "limit");
    for _ in 0..3 {
        let path = asked.path();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let expected: Vec<_> = matching.iter().skip(at).take(limit).map(|row| row.id.as_str()).collect();
        let got: Vec<_> = answer.body["auditLogs"]
            .as_array()
            .expect("entries")
            .iter()
            .map(|entry| entry["id"].as_str().expect("an id"))
            .collect();
        assert_eq!(got, expected, "{path} at {at}");
        let pagination = &answer.body["pagination"];
        let has_more = at + expected.len() < matching.len() && !expected.is_empty();
        assert_eq!(pagination["total"], matching.len(), "{path}");
        assert_eq!(pagination["limit"], limit, "{path}");
        assert_eq!(pagination["offset"], at, "{path}");
        assert_eq!(pagination["hasMore"], has_more, "{path}");
        assert_eq!(pagination["nextCursor"].is_string(), has_more, "{path}");
        let Some(cursor) = pagination["nextCursor"].as_str() else {
            return;
        };
        at += expected.len();
        limit = random.random_range(1..=100);
        answer = service.get(&format!("{path}&limit={limit}&cursor={cursor}"), key).await;
    }
}

fn seed() -> u64 {
    std::env::var("AUDITLOG_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2_026)
}

fn oracle(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else {
            return;
        };
        let seed = seed();
        say(&format!("{backend:?}: {REQUESTS} random requests, AUDITLOG_TEST_SEED={seed}"));
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let rows = model();
        let asking = (0..4).map(|worker| {
            let (service, key, rows) = (&service, &key, &rows);
            async move {
                let mut random = StdRng::seed_from_u64(seed.wrapping_add(worker));
                for _ in 0..REQUESTS / 4 {
                    ask(service, key, rows, &mut random).await;
                }
            }
        });
        futures::future::join_all(asking).await;
    });
}

#[test]
fn random_requests_give_what_brute_force_gives_sqlite() {
    oracle(Backend::Sqlite);
}

#[test]
fn random_requests_give_what_brute_force_gives_postgres() {
    oracle(Backend::Postgres);
}

/// Walks all entries and compares the text of each value with the file.
fn walk(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else {
            return;
        };
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let rows = model();
        let mut walked = 0;
        let mut cursor = String::new();
        let mut seqs = vec![false; ENTRIES + 1];
        loop {
            let page = service.get(&format!("/v1/{ORGANIZATION}/audit-logs?limit=100{cursor}"), &key).await;
            let entries: BTreeMap<&str, Box<RawValue>> = serde_json::from_str(&page.text).expect("a page");
            let entries: Vec<BTreeMap<&str, &RawValue>> =
                serde_json::from_str(entries["auditLogs"].get()).expect("entries");
            for mut entry in entries {
                let row = &rows[walked];
                let seq: usize = entry["sequence"].get().parse().expect("a number");
                assert_eq!(seq as i64, row.seq);
                assert!(!std::mem::replace(&mut seqs[seq], true), "{seq} came twice");
                let sent: BTreeMap<&str, &RawValue> = serde_json::from_str(&trail::lines()[seq - 1]).expect("JSON");
                for added in ["sequence", "recordedAt", "traceId", "outcome", "actorType", "erased"] {
                    assert!(entry.remove(added).is_some());
                }
                for (name, value) in entry {
                    assert_eq!(value.get(), sent[name].get(), "{name} of {}", row.id);
                }
                walked += 1;
            }
            match page.body["pagination"]["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(walked, ENTRIES);
        assert!(seqs[1..].iter().all(|seen| *seen), "numbers 1 to {ENTRIES} without a gap");
    });
}

#[test]
fn a_cursor_walk_gives_each_imported_entry_once_and_unchanged_sqlite() {
    walk(Backend::Sqlite);
}

#[test]
fn a_cursor_walk_gives_each_imported_entry_once_and_unchanged_postgres() {
    walk(Backend::Postgres);
}
