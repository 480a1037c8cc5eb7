//! Each part of a filter changes a total that running counts answer.

use auditlog::counts::EntryCounter;
use auditlog::domain::{
    Action, ActorType, CountKey, Filter, Identifier, Limit, Offset, Outcome, PositionRange, ResourceType, Search, Seq,
    TimeRange, Timestamp,
};
use auditlog::query::{Query, Start};
use auditlog::store::{CountUncounted, Store};

use super::model::{Log, ORGANIZATION, Row, actor_type};
use crate::support::{Backend, Database, on_every_database};

/// A second apart: so many that each user and each resource of a type has counts of its own.
const ENTRIES: Seq = 16_000;
const SECOND: i64 = 1_000_000;

/// Each part of a filter divides the entries by two, apart from the others.
fn row(seq: Seq) -> Row {
    let bit = |place: u32| ((seq >> place) & 1) as u8;
    let outcome = (bit(4) == 1).then_some(Outcome::Success);
    Row { time: seq * SECOND, seq, user: bit(0), resource: bit(1), kind: bit(2), action: bit(3), outcome }
}

/// A filter with all parts.
fn full() -> Filter {
    let id = |text: &str| Identifier::parse(text).expect("an id");
    let [start, end] = [4_321, 12_345].map(|second| Some(Timestamp::saturating(second * SECOND)));
    Filter {
        resource_types: vec![ResourceType(1)],
        resource_ids: vec![id("r1")],
        actions: vec![Action(1)],
        outcomes: vec![Outcome::Success],
        user_ids: vec![id("u1")],
        time: TimeRange::parse(start, end).expect("in order"),
        search: Search { actor_types: vec![ActorType::User], ..Search::default() },
    }
}

/// Each part of [`full`] by its name: the filter of that part alone, and that of all others.
fn parts() -> Vec<(&'static str, Filter, Filter)> {
    let Filter { resource_types, resource_ids, actions, outcomes, user_ids, time, search } = full();
    let none = Filter::default;
    vec![
        ("resource_types", Filter { resource_types, ..none() }, Filter { resource_types: Vec::new(), ..full() }),
        ("resource_ids", Filter { resource_ids, ..none() }, Filter { resource_ids: Vec::new(), ..full() }),
        ("actions", Filter { actions, ..none() }, Filter { actions: Vec::new(), ..full() }),
        ("outcomes", Filter { outcomes, ..none() }, Filter { outcomes: Vec::new(), ..full() }),
        ("user_ids", Filter { user_ids, ..none() }, Filter { user_ids: Vec::new(), ..full() }),
        ("search", Filter { search, ..none() }, Filter { search: Search::default(), ..full() }),
        ("time", Filter { time, ..none() }, Filter { time: TimeRange::default(), ..full() }),
    ]
}

fn matches(filter: &Filter, row: &Row) -> bool {
    fn any<T: PartialEq>(values: &[T], value: T) -> bool {
        values.is_empty() || values.contains(&value)
    }
    let id = |text: String| Identifier::parse(text).expect("an id");
    let Row { time: at, seq, user, resource, kind, action, outcome } = *row;
    let Filter { resource_types, resource_ids, actions, outcomes, user_ids, time, search } = filter;
    any(resource_types, ResourceType(kind.into()))
        && any(resource_ids, id(format!("r{resource}")))
        && any(actions, Action(action.into()))
        && (outcomes.is_empty() || outcome.is_some_and(|outcome| outcomes.contains(&outcome)))
        && any(user_ids, id(format!("u{user}")))
        && (search.is_empty() || actor_type(seq) == Some(ActorType::User))
        && time.start().is_none_or(|start| start.micros() <= at)
        && time.end().is_none_or(|end| at < end.micros())
}

/// The total of `filter`, which is that of brute force.
async fn total(store: &Store, log: &Log, filter: &Filter) -> i64 {
    let (start, limit) = (Start::Offset(Offset::default()), Limit::parse(Some(1)).expect("a limit"));
    let page = Query::new(store.clone()).list("key", &log.organization, filter, start, limit).await.expect("a page");
    let matching = log.rows_after(0).iter().filter(|row| matches(filter, row)).count();
    assert_eq!(page.total, matching as i64, "{filter:?}");
    page.total
}

on_every_database! {
    async fn each_part_of_a_filter_changes_a_total_that_counts_answer(database: &Database) {
        let (store, log) = (database.store().await, Log::of(ORGANIZATION));
        for first in (1..=ENTRIES).step_by(2_000) {
            log.write_rows(&store, 2_000, |_| (first..first + 2_000).map(row).collect()).await;
        }
        EntryCounter::new(store.clone()).count_all(&log.organization, |_| ()).await.expect("counted");
        let Filter { resource_types, resource_ids, user_ids, actions: _, outcomes: _, time: _, search: _ } = full();
        let user = CountKey::User(user_ids[0].clone());
        let keys = [CountKey::Organization, user, CountKey::Resource(resource_types[0], resource_ids[0].clone())];
        let state = store.snapshot().state(&log.organization, CountUncounted::No, &keys, PositionRange::ALL).await.expect("read").expect("a log");
        assert!(state.counted == ENTRIES && state.keys.iter().all(|key| key.total.is_some()), "counts answer: {state:?}");
        let (all, least) = (total(&store, &log, &Filter::default()).await, total(&store, &log, &full()).await);
        for (part, alone, others) in parts() {
            assert!(total(&store, &log, &alone).await < all, "{part} alone");
            assert!(total(&store, &log, &others).await > least, "all but {part}");
        }
    }
}
