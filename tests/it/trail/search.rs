//! Random searches over the sample trail, together with every other filter: their pages, totals and refusals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use auditlog::access::Scope;
use auditlog::domain::Timestamp;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::entries::{Trail, place};
use super::{Asked, Row, read_pages, seed, written};
use crate::search::asked::Asked as Search;
use crate::support::database::numbers;
use crate::support::trail::{self, ENTRIES, ORGANIZATION};
use crate::support::{Backend, Database, Service, run, say};

/// The requests of each worker, and the workers on each database.
const REQUESTS: usize = 200;
const WORKERS: u64 = 2;
/// The entries that a request may test.
pub const MAX_CANDIDATES: usize = 50_000;
/// The users or resources of a name whose entries are the candidates.
const MAX_NAMED: usize = 100;
/// A request with so many candidates is always sent.
const FEW: usize = 1_000;
/// The candidates that the larger requests of a worker may have in all. A debug build takes long to read them.
const BUDGET: usize = 60_000;
pub const DAY: i64 = 86_400_000_000;
/// Parameters that no entry of the trail matches, with values that are valid.
const ABSENT: [(&str, &[&str]); 3] = [
    ("outcome", &["success", "failure", "denied"]),
    ("actorType", &["user", "service", "system", "anonymous"]),
    ("traceId", &["t1", "4bf92f3577b34da6a3ce929d0e0e4736"]),
];
/// The parameters of a search that must have found entries.
const FINDING: [&str; 10] = [
    "recordedAfter",
    "recordedBefore",
    "changes.field",
    "changes.oldValue",
    "changes.newValue",
    "metadata",
    "userName",
    "userEmail",
    "resourceName",
    "text",
];

impl Asked {
    /// A list that has `target`, and mostly few other entries.
    fn around(random: &mut StdRng, target: &Row) -> Self {
        let mut asked = Self { limit: 50, ..Self::default() };
        match random.random_range(0..8) {
            0..=2 => {
                asked.resource_ids = vec![target.resource_id.clone()];
                asked.push("resourceId", &target.resource_id);
            }
            3 => {
                asked.user_ids = vec![target.user_id.clone()];
                asked.push("userId", &target.user_id);
            }
            4..=6 => asked.push_days(random, target),
            _ => {}
        }
        if random.random_bool(0.25) {
            asked.resource_types = vec![target.resource_type.clone()];
            asked.push("resourceType", &target.resource_type);
        }
        if random.random_bool(0.25) {
            asked.actions = vec![target.action.clone()];
            asked.push("action", &target.action);
        }
        if random.random_bool(0.6) {
            asked.limit = *[1, 2, 7, 49, 50, 99, 100].choose(random).expect("limits");
            asked.push("limit", &asked.limit.to_string());
        }
        asked
    }

    /// Asks for a day, a month or half a year with `target`.
    fn push_days(&mut self, random: &mut StdRng, target: &Row) {
        let span = *[DAY, 30 * DAY, 180 * DAY].choose(random).expect("spans");
        let start = target.timestamp - random.random_range(0..span);
        let (from, first, _) = written(random, start);
        let (to, _, after) = written(random, start + span);
        (self.from, self.to) = (Some(first), Some(after));
        self.push("startDate", &from);
        self.push("endDate", &to);
    }

    pub fn push(&mut self, name: &str, value: &str) {
        self.query.push((name.to_owned(), value.to_owned()));
    }
}

/// Resources by type and id, or users with an empty type.
type Named = BTreeSet<(String, String)>;

/// A random filter, and its meaning.
#[derive(Default)]
pub struct Searched {
    /// The filter without the search, but with all parameters.
    pub asked: Asked,
    search: Search,
    /// The parameters of [`ABSENT`] that it has.
    absent: Vec<&'static str>,
}

impl Searched {
    /// A filter without a search.
    pub fn listed(random: &mut StdRng, target: &Row) -> Self {
        let asked = match random.random_bool(0.3) {
            true => Asked::random(random, &Trail::parsed().rows),
            false => Asked::around(random, target),
        };
        Self { asked, ..Self::default() }
    }

    /// A filter that mostly has a search. `recorded` has the times at which the entries were recorded, by number.
    pub fn random(random: &mut StdRng, recorded: &[i64]) -> Self {
        let trail = Trail::parsed();
        let target = trail.rows.choose(random).expect("rows");
        let mut searched = Self::listed(random, target);
        searched.search.ask_search(random, &trail.contents, trail.content(target), recorded[place(target)]);
        searched.asked.query.extend(searched.search.query.iter().cloned());
        for (name, values) in ABSENT {
            if random.random_bool(0.02) {
                let value = *values.choose(random).expect("values");
                searched.asked.push(name, value);
                searched.absent.push(name);
            }
        }
        searched
    }

    /// Whether the service tests entries one by one.
    fn is_search(&self) -> bool {
        !self.search.query.is_empty() || self.absent.iter().any(|name| *name != "outcome")
    }

    /// The entries that match all but the search, newest first.
    pub fn candidates(&self) -> Vec<&'static Row> {
        if self.absent.iter().any(|name| *name != "actorType") {
            return Vec::new();
        }
        let named = self.named();
        let is_named = |row: &Row| {
            let users_or_resources = |(name, keys): (&&'static str, &Named)| match *name {
                "resourceName" => {
                    keys.iter().any(|(code, _)| *code == row.resource_type)
                        && keys.iter().any(|(_, id)| *id == row.resource_id)
                }
                _ => keys.contains(&(String::new(), row.user_id.clone())),
            };
            named.iter().filter(|(_, keys)| keys.len() <= MAX_NAMED).all(users_or_resources)
        };
        Trail::parsed().rows.iter().filter(|row| self.asked.matches(row) && is_named(row)).collect()
    }

    /// By parameter: the users or resources with a name that matches, without regard to other parameters. Their entries
    /// are the candidates, unless they are many.
    fn named(&self) -> BTreeMap<&'static str, Named> {
        let (trail, mut named) = (Trail::parsed(), BTreeMap::<_, Named>::new());
        for row in &trail.rows {
            for (name, is_match) in self.search.named(trail.content(row)) {
                let keys = named.entry(name).or_default();
                let key = match name {
                    "resourceName" => (row.resource_type.clone(), row.resource_id.clone()),
                    _ => (String::new(), row.user_id.clone()),
                };
                if is_match {
                    keys.insert(key);
                }
            }
        }
        named
    }

    /// The message of the refusal if the service would have to test too many of `candidates`.
    pub fn refusal(&self, candidates: &[&Row]) -> Option<String> {
        let count = candidates.len();
        (self.is_search() && count > MAX_CANDIDATES).then(|| {
            format!("The request would test {count} entries one by one, and may test at most {MAX_CANDIDATES}: ")
        })
    }

    /// Whether the service reads few of `candidates`, or no more than `budget` allows.
    pub fn is_affordable(&self, candidates: &[&Row], budget: &mut Budget) -> bool {
        !self.is_search() || candidates.len() > MAX_CANDIDATES || budget.spend(candidates.len())
    }

    /// The `candidates` that match.
    pub fn matching(&self, candidates: &[&'static Row], recorded: &[i64]) -> Vec<&'static Row> {
        let trail = Trail::parsed();
        let is_possible = !self.absent.contains(&"actorType");
        let matches = |row: &Row| {
            is_possible
                && self.search.is_recorded(recorded[place(row)])
                && self.search.has_content(trail.content(row), [false; 2])
        };
        candidates.iter().copied().filter(|row| matches(row)).collect()
    }
}

/// The candidates that requests may have, beside those of requests with few.
pub struct Budget(pub usize);

impl Budget {
    /// Whether a request with so many candidates may be sent.
    fn spend(&mut self, candidates: usize) -> bool {
        if candidates <= FEW {
            return true;
        }
        let left = self.0.checked_sub(candidates);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// When the entries were recorded, in microseconds, by number.
pub async fn recorded(database: &Database) -> Vec<i64> {
    let query = format!("SELECT recorded_at FROM audit_logs WHERE organization_id = '{ORGANIZATION}' ORDER BY seq");
    let recorded = numbers(database, &query).await;
    assert_eq!(recorded.len(), ENTRIES);
    recorded
}

/// Checks that the answer to `path` is an error with `code`, and that its message begins with `message`.
pub async fn check_refused(service: &Service, key: &str, path: &str, (code, message): (&str, &str)) {
    let answer = service.get(path, key).await;
    let error = &answer.body["error"];
    let is_refused = error["code"] == code && error["message"].as_str().is_some_and(|own| own.starts_with(message));
    assert!(answer.status == 400 && is_refused, "{path}: {} instead of {code}: {message}", answer.text);
}

/// The number of requests, of those that were refused, and of those that found entries.
#[derive(Default)]
struct Tally {
    asked: usize,
    refused: usize,
    found: usize,
    /// The parameters of searches that found entries.
    finding: BTreeSet<String>,
}

impl Tally {
    fn plus(mut self, other: Self) -> Self {
        let Self { asked, refused, found, finding } = other;
        self.asked += asked;
        self.refused += refused;
        self.found += found;
        self.finding.extend(finding);
        self
    }
}

struct Searcher<'a> {
    service: &'a Service,
    key: &'a str,
    recorded: &'a [i64],
    random: StdRng,
    budget: Budget,
    tally: Tally,
}

impl Searcher<'_> {
    /// Sends a random request, unless the service would have to read too much.
    async fn ask(&mut self) {
        let searched = Searched::random(&mut self.random, self.recorded);
        let candidates = searched.candidates();
        if searched.is_affordable(&candidates, &mut self.budget) {
            self.compare(searched, &candidates).await;
        }
    }

    /// Sends a request and compares the answer with what brute force finds.
    async fn compare(&mut self, searched: Searched, candidates: &[&'static Row]) {
        self.tally.asked += 1;
        if let Some(message) = searched.refusal(candidates) {
            self.tally.refused += 1;
            check_refused(self.service, self.key, &searched.asked.path(), ("too_broad", message.as_str())).await;
            return;
        }
        let matching = searched.matching(candidates, self.recorded);
        if !matching.is_empty() {
            self.tally.found += 1;
            self.tally.finding.extend(searched.search.parameters());
        }
        read_pages(self.service, self.key, searched.asked, &matching, &mut self.random).await;
    }

    /// Searches the entries since a time that make a few too many, and then those after it, which are just few enough.
    async fn compare_at_the_limit(&mut self) {
        let time = Trail::parsed().rows[MAX_CANDIDATES - 1].timestamp;
        for (from, count) in [(time, MAX_CANDIDATES + 4), (time + 1, MAX_CANDIDATES - 1)] {
            let mut searched = Searched::default();
            searched.search.ask_path("version", false);
            searched.asked = Asked { limit: 50, from: Some(from), ..Asked::default() };
            searched.asked.query.clone_from(&searched.search.query);
            searched.asked.push("startDate", &Timestamp::saturating(from).to_string());
            let candidates = searched.candidates();
            assert_eq!(candidates.len(), count);
            self.compare(searched, &candidates).await;
        }
    }
}

fn searches(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else { return };
        let (begun, seed) = (Instant::now(), seed());
        let recorded = recorded(database).await;
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let searching = (0..WORKERS).map(|worker| {
            let (service, key, recorded) = (&service, key.as_str(), recorded.as_slice());
            async move {
                let random = StdRng::seed_from_u64(seed.wrapping_add(worker));
                let (budget, tally) = (Budget(BUDGET), Tally::default());
                let mut searcher = Searcher { service, key, recorded, random, budget, tally };
                if worker == 0 {
                    searcher.compare_at_the_limit().await;
                }
                while searcher.tally.asked < REQUESTS {
                    searcher.ask().await;
                }
                searcher.tally
            }
        });
        let Tally { asked, refused, found, finding } =
            join_all(searching).await.into_iter().fold(Tally::default(), Tally::plus);
        say(&format!(
            "{backend:?}: {asked} random searches of the trail in {:?}, {found} with matches, {refused} refused, \
             AUDITLOG_TEST_SEED={seed}",
            begun.elapsed()
        ));
        for parameter in FINDING {
            assert!(finding.contains(parameter), "no search by {parameter} found an entry");
        }
        assert!(refused > 1 && found > asked / 5, "{found} of {asked} with matches, {refused} refused");
        service.stop().await;
    });
}

#[test]
fn random_searches_give_what_brute_force_gives_sqlite() {
    searches(Backend::Sqlite);
}

#[test]
fn random_searches_give_what_brute_force_gives_postgres() {
    searches(Backend::Postgres);
}
