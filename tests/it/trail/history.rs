//! Histories of the trail, compared with brute force: states and comparisons at random times, and the check of
//! continuity. A table explains the breaks of a naive check.

mod check;
mod continuity;
mod naive;
mod resources;
mod states;
mod values;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Instant;

use auditlog::access::Scope;
use auditlog::domain::Timestamp;
use auditlog::grpc::pb::history_service_client::HistoryServiceClient;
use auditlog::grpc::pb::{
    CheckContinuityRequest, CompareResourceStatesRequest, CompareResourceStatesResponse, FieldDifference,
    GetResourceStateRequest, GetResourceStateResponse,
};
use auditlog::grpc::wire;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tonic::transport::Channel;

use super::search::DAY;
use super::seed;
use crate::support::service::with_key;
use crate::support::trail::{self, ENTRIES, ORGANIZATION};
use crate::support::{Backend, Service, run, say};
use check::TrailCheck;
use continuity::FoundBreak;
use naive::Fate;
use resources::{PastEntry, Resource, resources};
use states::{Difference, KnownField, KnownState, differences};

/// The resources with the most entries.
const LONGEST: usize = 20;
/// The times of each resource; fewer if its states would read more changes than this in all. A debug build takes long.
const TIMES: usize = 50;
const MIN_TIMES: usize = 10;
const MAX_CHANGES: usize = 100_000;
/// Every so many states, a comparison with another time follows.
const COMPARED: usize = 5;
const WORKERS: usize = 4;
/// The cases that the states must include, each so many times.
const SEEN: [&str; 8] =
    ["exists", "deleted", "unknown", "recorded", "inferred", "partial", "different", "as of a number"];
const MIN_SEEN: usize = 20;

/// The numbers of the check of continuity. docs/undoing-changes.md has them, too.
const COMPARISONS: i64 = 134_441;
const NOT_COMPARABLE: i64 = 90_971;
const BREAKS: usize = 2_720;
const ORDER_BREAKS: usize = 23;
/// Those of a check that compares the new value of a field with the next old value of the very same path, in the order
/// of time, and begins anew after a deletion.
const NAIVE_COMPARISONS: i64 = 170_636;
const NAIVE_BREAKS: [(Fate, i64); 5] = [
    (Fate::SameField, 2_695),
    (Fate::Order, 23),
    (Fate::Overwritten, 202),
    (Fate::NotComparable, 372),
    (Fate::OtherLife, 1),
];

/// The longest resources, and all that were created more than once.
fn asked_resources() -> Vec<(Resource, &'static [PastEntry])> {
    let mut all: Vec<_> = resources().iter().map(|(resource, entries)| (*resource, entries.as_slice())).collect();
    all.sort_by_key(|(_, entries)| Reverse(entries.len()));
    let others = all.split_off(LONGEST);
    let has_lives = |entries: &[PastEntry]| entries.iter().filter(|entry| entry.action == "created").count() > 1;
    all.extend(others.into_iter().filter(|(_, entries)| has_lives(entries)));
    all
}

/// The number of times at which a resource is asked for.
fn times(entries: &[PastEntry]) -> usize {
    let changes: usize = entries.iter().map(|entry| entry.changes.len()).sum();
    (MAX_CHANGES / changes.max(1)).clamp(MIN_TIMES, TIMES)
}

/// A time at an entry, just before or between entries, or before or after all of them. In microseconds.
fn time(random: &mut StdRng, entries: &[PastEntry]) -> i64 {
    let at = entries.choose(random).expect("entries").time;
    let (first, last) = (entries[0].time, entries[entries.len() - 1].time);
    match random.random_range(0..10) {
        0..4 => at,
        4..7 => at - 1,
        _ => random.random_range(first - DAY..=last + DAY),
    }
}

/// A question about a resource.
struct Question {
    resource: Resource,
    /// Those that count, in order.
    entries: Vec<&'static PastEntry>,
    as_of: i64,
    prefixes: Vec<String>,
}

impl Question {
    fn random(random: &mut StdRng, resource: Resource, entries: &'static [PastEntry]) -> Self {
        let as_of = match random.random_bool(0.2) {
            true => entries.choose(random).expect("entries").seq,
            false => ENTRIES as i64,
        };
        let entries: Vec<_> = entries.iter().filter(|entry| entry.seq <= as_of).collect();
        let prefixes = if random.random_bool(0.4) { random.random_range(1..4) } else { 0 };
        let prefixes = (0..prefixes).filter_map(|_| prefix(random, &entries)).collect();
        Self { resource, entries, as_of, prefixes }
    }

    /// For a failure.
    fn at(&self, time: i64) -> String {
        let Self { resource: (resource_type, id), entries: _, as_of, prefixes } = self;
        format!("{resource_type} {id} at {}, as of {as_of}, {prefixes:?}", Timestamp::saturating(time))
    }
}

/// The path of a change, or one above it. `None` if an entry without changes is drawn.
fn prefix(random: &mut StdRng, entries: &[&PastEntry]) -> Option<String> {
    let field = &entries.choose(random)?.changes.choose(random)?.field;
    let ends: Vec<_> = field.match_indices('.').map(|(dot, _)| dot).chain([field.len()]).collect();
    Some(field[..*ends.choose(random)?].to_owned())
}

/// The two sides of a difference in an answer.
fn sides(found: &FieldDifference) -> Difference<'_> {
    let FieldDifference { field: _, before, after, explanation: _ } = found;
    (before.as_ref().map(KnownField::answered), after.as_ref().map(KnownField::answered))
}

fn assert_same<T: PartialEq + Debug>(asked: &str, found: &[T], expected: &[T]) {
    let different = found.iter().zip(expected).find(|(found, expected)| found != expected);
    let is_same = different.is_none() && found.len() == expected.len();
    assert!(is_same, "{asked}: {} instead of {}; the first that differs: {different:#?}", found.len(), expected.len());
}

/// Asks for states and comparisons, and counts what they had.
struct Asker<'a> {
    client: HistoryServiceClient<Channel>,
    key: &'a str,
    random: StdRng,
    states: usize,
    seen: BTreeMap<&'static str, usize>,
}

impl Asker<'_> {
    /// Asks for a resource at random times.
    async fn ask(&mut self, resource: Resource, entries: &'static [PastEntry]) {
        for place in 0..times(entries) {
            let question = Question::random(&mut self.random, resource, entries);
            let at = time(&mut self.random, entries);
            self.state(&question, at).await;
            if place % COMPARED == 0 {
                let mut times = [at, time(&mut self.random, entries)];
                times.sort_unstable();
                self.compare(&question, times).await;
            }
            self.see("as of a number", usize::from(question.as_of < ENTRIES as i64));
        }
    }

    fn see(&mut self, what: &'static str, times: usize) {
        *self.seen.entry(what).or_default() += times;
    }

    async fn state(&mut self, question: &Question, at: i64) {
        let Question { resource: (resource_type, resource_id), entries, as_of, prefixes } = question;
        let request = GetResourceStateRequest {
            organization_id: ORGANIZATION.to_owned(),
            resource_type: (*resource_type).to_owned(),
            resource_id: (*resource_id).to_owned(),
            at: Some(wire::time(Timestamp::saturating(at))),
            as_of_sequence: Some(*as_of),
            field_prefixes: prefixes.clone(),
        };
        let answer = self.client.get_resource_state(with_key(request, self.key)).await.expect("a state").into_inner();
        let GetResourceStateResponse { as_of_sequence, entries: read, summary: _, existence, since, fields, anomalies } =
            answer;
        let (asked, expected) = (question.at(at), KnownState::at(entries, at, prefixes));
        // Entries after the end of the life need not be read.
        assert!(read <= entries.len() as i64, "{asked}: {read} entries");
        let facts = (as_of_sequence, existence.as_str(), since.map(|since| since.sequence), anomalies.len());
        // No entry of the trail changes what is deleted.
        assert_eq!(facts, (*as_of, expected.existence, expected.since, 0), "{asked}");
        let found: Vec<_> = fields.iter().map(KnownField::answered).collect();
        self.see(expected.existence, 1);
        let expected: Vec<_> = expected.fields.into_values().collect();
        assert_same(&asked, &found, &expected);
        for field in &expected {
            self.see(field.basis, 1);
            self.see("partial", usize::from(field.is_partial));
        }
        self.states += 1;
    }

    async fn compare(&mut self, question: &Question, [from, to]: [i64; 2]) {
        let Question { resource: (resource_type, resource_id), entries, as_of, prefixes } = question;
        let time = |micros: i64| Some(wire::time(Timestamp::saturating(micros)));
        let request = CompareResourceStatesRequest {
            organization_id: ORGANIZATION.to_owned(),
            resource_type: (*resource_type).to_owned(),
            resource_id: (*resource_id).to_owned(),
            from: time(from),
            to: time(to),
            as_of_sequence: Some(*as_of),
            field_prefixes: prefixes.clone(),
        };
        let answer = self.client.compare_resource_states(with_key(request, self.key)).await.expect("a comparison");
        let CompareResourceStatesResponse {
            as_of_sequence,
            entries: read,
            summary: _,
            existence_before,
            existence_after,
            since,
            differences: found,
            anomalies,
            erased_entries: _,
        } = answer.into_inner();
        let [before, after] = [from, to].map(|time| KnownState::at(entries, time, prefixes));
        let asked = format!("{} and {}", question.at(from), Timestamp::saturating(to));
        let existence = (existence_before.as_str(), existence_after.as_str());
        assert!(read <= entries.len() as i64, "{asked}: {read} entries");
        let facts = (as_of_sequence, existence, since.map(|since| since.sequence), anomalies.len());
        let existence = (before.existence, after.existence);
        assert_eq!(facts, (*as_of, existence, after.since, 0), "{asked}");
        let (found, expected) = (found.iter().map(sides).collect::<Vec<_>>(), differences(&before, &after));
        assert_same(&asked, &found, &expected);
        self.see("different", expected.len());
    }
}

fn states(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else { return };
        let (begun, seed, resources) = (Instant::now(), seed(), asked_resources());
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let asking = (0..WORKERS).map(|worker| {
            let (service, key, resources) = (&service, key.as_str(), &resources);
            async move {
                let random = StdRng::seed_from_u64(seed.wrapping_add(worker as u64));
                let client = service.histories().await;
                let mut asker = Asker { client, key, random, states: 0, seen: BTreeMap::new() };
                for &(resource, entries) in resources.iter().skip(worker).step_by(WORKERS) {
                    asker.ask(resource, entries).await;
                }
                (asker.states, asker.seen)
            }
        });
        let (mut states, mut seen) = (0, BTreeMap::<_, usize>::new());
        for (asked, had) in join_all(asking).await {
            states += asked;
            had.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times);
        }
        say(&format!(
            "{backend:?}: {states} states of {} resources in {:?}, AUDITLOG_TEST_SEED={seed}",
            resources.len(),
            begun.elapsed()
        ));
        for what in SEEN {
            assert!(seen.get(what).is_some_and(|times| *times >= MIN_SEEN), "{what}: {seen:?}");
        }
        service.stop().await;
    });
}

/// A table of the verdicts on the naive breaks, for people.
fn table(check: &TrailCheck) -> String {
    let fates = check.naive.breaks.iter().map(|(fate, breaks)| format!("\n{breaks:>8}  {}", fate.name()));
    let (breaks, compared) = (check.naive.breaks.values().sum::<i64>(), check.naive.compared);
    format!("{breaks} breaks in {compared} comparisons of the very same path are:{}", fates.collect::<String>())
}

fn continuity(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else { return };
        let begun = Instant::now();
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let request = CheckContinuityRequest {
            organization_id: ORGANIZATION.to_owned(),
            as_of_sequence: Some(ENTRIES as i64),
            ..CheckContinuityRequest::default()
        };
        let stream = service.histories().await.check_continuity(with_key(request, &key)).await;
        let (mut stream, mut messages) = (stream.expect("it begins").into_inner(), Vec::new());
        while let Some(message) = stream.message().await.expect("a message") {
            messages.push(message);
        }
        let last = messages.last().expect("a message");
        let (took, check) = (begun.elapsed(), TrailCheck::of_trail());
        say(&format!("{backend:?}: {} Read in {took:?}. {}", last.summary, table(check)));
        let read = (last.resources, last.entries, last.unchecked_resources, last.complete);
        assert_eq!(read, (resources().len() as i64, ENTRIES as i64, 0, true));
        let totals = (last.compared, last.not_comparable, last.break_count, last.order_break_count);
        let expected = (check.compared, check.not_comparable, check.breaks.len() as i64, check.order as i64);
        assert_eq!(totals, expected);
        let breaks = messages.iter().flat_map(|message| &message.breaks);
        let mut breaks: Vec<_> = breaks.map(FoundBreak::answered).collect();
        breaks.sort_unstable();
        assert_same("the breaks of the trail", &breaks, &check.breaks);
        service.stop().await;
    });
}

#[test]
fn the_breaks_of_a_naive_check_are_explained() {
    let check = TrailCheck::of_trail();
    let found = (check.compared, check.not_comparable, check.breaks.len(), check.order);
    assert_eq!(found, (COMPARISONS, NOT_COMPARABLE, BREAKS, ORDER_BREAKS));
    assert_eq!(check.naive.compared, NAIVE_COMPARISONS);
    assert_eq!(check.naive.breaks, BTreeMap::from(NAIVE_BREAKS));
}

#[test]
fn states_of_the_longest_resources_are_what_brute_force_gives_sqlite() {
    states(Backend::Sqlite);
}

#[test]
fn states_of_the_longest_resources_are_what_brute_force_gives_postgres() {
    states(Backend::Postgres);
}

#[test]
fn the_check_of_the_trail_is_that_of_brute_force_sqlite() {
    continuity(Backend::Sqlite);
}

#[test]
fn the_check_of_the_trail_is_that_of_brute_force_postgres() {
    continuity(Backend::Postgres);
}
