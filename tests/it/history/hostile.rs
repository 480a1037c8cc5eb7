//! Histories of hostile shapes: entries with very many changes, deep paths, large values, renames in a circle, too many
//! entries, and the same names in another organization.

use std::time::Duration;

use auditlog::access::Scope;
use auditlog::app::{Options, Serving};
use auditlog::domain::Clock;
use auditlog::grpc::pb::plan_rollback_request::Selection;
use auditlog::grpc::pb::{
    AuditLogInput, Change, CheckContinuityRequest, CheckContinuityResponse, EntryIds, GetResourceStateRequest,
    PlanRollbackResponse, ResourceAtTime, UserWindow, WriteAuditLogsRequest,
};
use auditlog::history::{MAX_ANSWER_BYTES, MAX_FOLDED_ENTRIES};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::{ORG, SCOPES, Started, assistant, at, change, comparison_of, entry, fields, plan_of, state_of, steps};
use crate::support::database::execute;
use crate::support::service::{options, serving, with_key};
use crate::support::{Backend, Database, Service, on_every_database};

const USER: &str = "uid_1";
const RULE: &str = "rule r_1";
/// The entries of one request, which have less than 4 MiB.
const WRITTEN: usize = 10;

/// The maximum number of changes of an entry, in so many entries.
const CHANGES: usize = 1_000;
const WIDE: usize = 20;
/// The levels of the deepest paths, and the entries that write all of them from the top, and then from the bottom.
const LEVELS: usize = 100;
const ROUNDS: usize = 20;
/// The fields with large values: some 35 MB, which is more than a state may hold.
const LARGE: usize = 140;

/// The time of the first entry that is inserted, and of those after it, in microseconds.
const FIRST: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
/// A debug build takes long to read as many entries as a call may read.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

const OTHER: &str = "org_b";
/// A value of the other organization.
const FOREIGN: &str = "\"foreign\"";

/// The time of the entry with this number.
fn time(number: usize) -> String {
    format!("10:{:02}:{:02}", number / 60, number % 60)
}

/// An entry of the rule.
fn written(number: usize, changes: Vec<Change>) -> AuditLogInput {
    entry(&format!("log_{number}"), RULE, "updated", USER, &time(number), changes)
}

/// Selects all entries after the entry with this number.
fn back_to(number: usize) -> Selection {
    let (resource_type, resource_id) = RULE.split_once(' ').expect("a type and an id");
    let (resource_type, resource_id) = (resource_type.to_owned(), resource_id.to_owned());
    Selection::Resource(ResourceAtTime { resource_type, resource_id, at: at(&time(number)) })
}

impl Started {
    /// A service with `entries`, which may be large.
    async fn with_large(database: &Database, entries: Vec<AuditLogInput>) -> Self {
        let started = Self::with(database, Vec::new()).await;
        for entries in entries.chunks(WRITTEN) {
            started.write(entries.to_vec()).await;
        }
        started
    }

    /// The last message of a check of a rule, with the breaks of all messages.
    async fn check_rule(&self, resource_id: &str) -> CheckContinuityResponse {
        let (resource_type, resource_id) = ("rule".to_owned(), resource_id.to_owned());
        let request = CheckContinuityRequest { resource_type, resource_id, ..whole_check() };
        let mut messages = self.checked(request).await;
        let breaks = messages.iter_mut().flat_map(|message| std::mem::take(&mut message.breaks)).collect();
        CheckContinuityResponse { breaks, ..messages.pop().expect("a message") }
    }
}

fn whole_check() -> CheckContinuityRequest {
    CheckContinuityRequest { organization_id: ORG.to_owned(), ..CheckContinuityRequest::default() }
}

/// The numbers of compared and not comparable pairs, and of breaks.
fn numbers(checked: &CheckContinuityResponse) -> (i64, i64, i64) {
    (checked.compared, checked.not_comparable, checked.break_count)
}

/// The values to restore and to expect of each step.
fn values(plan: &PlanRollbackResponse) -> Vec<(Option<&str>, Option<&str>)> {
    plan.steps.iter().map(|step| (step.restore_json.as_deref(), step.expected_json.as_deref())).collect()
}

/// The path of a field at the deepest level.
fn deep(field: usize) -> String {
    format!("{}f{field:03}", "a.".repeat(LEVELS - 1))
}

/// Entry `number` sets each of these fields to its number.
fn wide(number: usize) -> AuditLogInput {
    let (old, new) = ((number - 1).to_string(), number.to_string());
    written(number, (0..CHANGES).map(|field| change(&deep(field), &old, &new)).collect())
}

/// The paths of a chain, from the top.
fn chain() -> Vec<String> {
    (1..=LEVELS).map(|levels| vec!["a"; levels].join(".")).collect()
}

/// Entries that make an object of each path of the chain, from the top, and others that remove them, from the bottom.
fn chained() -> Vec<AuditLogInput> {
    let made = || chain().iter().map(|path| change(path, "null", "{}")).collect();
    let removed = || chain().iter().rev().map(|path| change(path, "{}", "null")).collect();
    let rounds = (0..ROUNDS).map(|round| [written(2 * round + 1, made()), written(2 * round + 2, removed())]);
    rounds.flatten().collect()
}

/// Entries that each move a value from one of three fields to the next.
fn circle(names: [&str; 3], entries: usize) -> Vec<AuditLogInput> {
    let moved = |number: usize| {
        let (from, to) = (names[(number - 1) % 3], names[number % 3]);
        written(number, vec![change(from, "1", "null"), change(to, "null", "1")])
    };
    (1..=entries).map(moved).collect()
}

/// A value close to the maximum size of an entry. Each is a byte shorter than the one before.
fn large(number: usize) -> String {
    format!("\"{}\"", "x".repeat(250 * 1024 - number))
}

/// The names of the fields whose values an answer leaves out: the largest ones.
fn left_out() -> Vec<String> {
    let sizes: Vec<_> = (0..LARGE).map(|number| large(number).len()).collect();
    let fits = |count: &usize| sizes[*count..].iter().sum::<usize>() <= MAX_ANSWER_BYTES;
    let count = (0..LARGE).find(fits).expect("some fit");
    (0..count).map(|number| format!("f{number:03}")).collect()
}

/// Inserts entries of the rule `huge` that set a field to their numbers. Nobody verifies them.
async fn fill(database: &Database, entries: u64) {
    let zeros = |count: u32| match database.backend {
        Backend::Sqlite => format!("zeroblob({count})"),
        Backend::Postgres => format!("decode(repeat('00', {count}), 'hex')"),
    };
    let changes =
        "'[{\"field\":\"n\",\"oldValue\":' || CAST(i - 1 AS text) || ',\"newValue\":' || CAST(i AS text) || '}]'";
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT i + 1 FROM n WHERE i < {entries}) \
         INSERT INTO audit_logs (organization_id, seq, id, timestamp, recorded_at, resource_type, resource_id, action, \
         user_id, changes, metadata, writer_key_id, salts, leaf_hash) \
         SELECT '{ORG}', i, 'e' || CAST(i AS text), {FIRST} + {SECOND} * i, {FIRST}, 3, 'huge', 1, '{USER}', {changes}, \
         '{{}}', 'w', '', {} FROM n",
        zeros(32)
    );
    execute(database, &insert).await;
    // As many hashes as a compact range of this size has; their values do not matter.
    let edge = zeros(32 * entries.count_ones());
    let head = format!("UPDATE organizations SET head_seq = {entries}, edge = {edge} WHERE id = '{ORG}'");
    execute(database, &head).await;
    execute(database, "ANALYZE").await;
}

fn check_refused<T>(answer: Result<Response<T>, Status>, message: &str) {
    let status = answer.map(|_| ()).expect_err("it reads too many entries");
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, message));
    let details = status.get_error_details();
    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("TOO_MANY_ENTRIES"));
}

/// Entries of the other organization with the ids, the resource, the user and the trace of others, and one more.
fn foreign() -> Vec<AuditLogInput> {
    let of = |number: usize, resource: &str| {
        let changes = vec![change("temperature", FOREIGN, FOREIGN), change("model", FOREIGN, FOREIGN)];
        let entry = entry(&format!("log_{number}"), resource, "updated", "uid_user123", &time(number), changes);
        AuditLogInput { trace_id: "trace_1".to_owned(), ..entry }
    };
    (1..=5).map(|number| of(number, "assistant asst_1")).chain([of(6, "assistant asst_b")]).collect()
}

/// All that the histories of the organization show of the assistant, the user and the trace that both organizations
/// have.
async fn shown(started: &Started) -> String {
    let before = GetResourceStateRequest { at: at("08:00:00"), ..state_of("assistant asst_1") };
    let states = [started.state(before).await, started.state(state_of("assistant asst_1")).await];
    let compared = started.compare(comparison_of("assistant asst_1", "08:00:00", "12:00:00")).await;
    let (start_time, end_time) = (at("08:00:00"), at("12:00:00"));
    let user = Selection::User(UserWindow { user_id: "uid_user123".to_owned(), start_time, end_time });
    let ids = EntryIds { ids: ["log_1", "log_2", "log_3"].map(str::to_owned).to_vec() };
    let mut plans = Vec::new();
    for selection in [user, Selection::TraceId("trace_1".to_owned()), Selection::Entries(ids)] {
        plans.push(started.plan(plan_of(selection)).await);
    }
    let selected: Vec<_> = plans.iter().map(|plan| (plan.selected_entries, plan.resources)).collect();
    assert_eq!(selected, [(2, 1), (1, 1), (3, 1)]);
    let checked = started.checked(whole_check()).await;
    let last = checked.last().expect("a message");
    assert_eq!((last.resources, last.entries, states[1].entries), (1, 4, 4));
    let unknown = started.state(state_of("assistant asst_b")).await;
    assert_eq!((unknown.existence.as_str(), unknown.entries), ("unknown", 0));
    format!("{states:?}{compared:?}{plans:?}{checked:?}{unknown:?}")
}

on_every_database! {
    async fn a_thousand_changes_an_entry_at_a_hundred_levels_are_all_seen(database: &Database) {
        let started = Started::with_large(database, (1..=WIDE).map(wide).collect()).await;
        let (state, last) = (started.state(state_of(RULE)).await, WIDE.to_string());
        let expected: Vec<_> = (0..CHANGES).map(deep).collect();
        assert_eq!(fields(&state), expected.iter().map(|field| (field.as_str(), last.as_str(), "recorded")).collect::<Vec<_>>());
        assert!(state.fields.iter().all(|field| !field.partial));
        assert_eq!(numbers(&started.check_rule("r_1").await), (((WIDE - 1) * CHANGES) as i64, 0, 0));
        let plan = started.plan(plan_of(back_to(WIDE / 2))).await;
        assert_eq!((plan.selected_entries, plan.steps.len()), ((WIDE / 2) as i64, CHANGES));
        assert!(steps(&plan).iter().all(|(action, status, _)| (*action, *status) == ("restore", "ready")));
        assert!(values(&plan).iter().all(|values| *values == (Some("10"), Some("20"))));
        started.service.stop().await;
    }

    async fn a_chain_of_a_hundred_levels_is_undone_from_the_top(database: &Database) {
        let started = Started::with(database, chained()).await;
        let state = async |number: usize| started.state(GetResourceStateRequest { at: at(&time(number)), ..state_of(RULE) }).await;
        let (before, made, removed) = (state(0).await, state(1).await, state(2).await);
        assert_eq!(fields(&before), [("a", "null", "inferred")]);
        let paths = chain();
        assert_eq!(fields(&made), paths.iter().map(|path| (path.as_str(), "{}", "recorded")).collect::<Vec<_>>());
        assert_eq!(made.fields.iter().filter(|field| !field.partial).count(), 1);
        assert_eq!(fields(&removed), [("a", "null", "recorded")]);
        // Only the first change of the top is not compared.
        assert_eq!(numbers(&started.check_rule("r_1").await), ((2 * ROUNDS * LEVELS - 1) as i64, 0, 0));
        let plan = started.plan(plan_of(back_to(1))).await;
        assert_eq!(steps(&plan), paths.iter().map(|path| ("restore", "ready", path.as_str())).collect::<Vec<_>>());
        assert!(values(&plan).iter().all(|values| *values == (Some("{}"), Some("null"))));
        started.service.stop().await;
    }

    async fn renames_in_a_circle_are_undone_to_the_first_name(database: &Database) {
        let started = Started::with(database, circle(["a", "b", "c"], 301)).await;
        assert_eq!(fields(&started.state(state_of(RULE)).await), [("a", "null", "recorded"), ("b", "1", "recorded"), ("c", "null", "recorded")]);
        // The first change of each field is not compared.
        assert_eq!(numbers(&started.check_rule("r_1").await), (2 * 301 - 3, 0, 0));
        let plan = started.plan(plan_of(back_to(0))).await;
        assert_eq!(steps(&plan), [("restore", "noop", "c"), ("restore", "ready", "b"), ("restore", "ready", "a")]);
        assert_eq!(values(&plan), [(Some("null"), Some("null")), (Some("null"), Some("1")), (Some("1"), Some("null"))]);
        started.service.stop().await;
    }

    async fn renames_to_names_below_are_undone_to_the_first_name(database: &Database) {
        let started = Started::with(database, circle(["x", "x.y", "x.y.z"], 300)).await;
        assert_eq!(fields(&started.state(state_of(RULE)).await), [("x", "1", "recorded")]);
        assert_eq!(numbers(&started.check_rule("r_1").await), (2 * 300 - 1, 0, 0));
        // While `x` is a number, nothing can be set below it. Its own step undoes all.
        let plan = started.plan(plan_of(back_to(0))).await;
        assert_eq!(steps(&plan), [("restore", "noop", "x.y.z"), ("restore", "noop", "x.y"), ("restore", "ready", "x")]);
        assert_eq!(values(&plan), [(Some("null"), None), (Some("null"), None), (Some("1"), Some("1"))]);
        started.service.stop().await;
    }

    async fn the_largest_values_are_left_out_and_still_compared(database: &Database) {
        let set = |number: usize| written(number, vec![change(&format!("f{number:03}"), "null", &large(number))]);
        let started = Started::with_large(database, (0..LARGE).map(set).collect()).await;
        let (state, expected) = (started.state(state_of(RULE)).await, left_out());
        assert_eq!(state.fields.len(), LARGE);
        let found: Vec<_> = state.fields.iter().filter(|field| field.left_out).map(|field| field.field.as_str()).collect();
        assert_eq!(found, expected);
        for (number, field) in state.fields.iter().enumerate() {
            let value = (!field.left_out).then(|| large(number));
            assert!(field.value_json == value && field.source.is_some() && field.basis == "recorded", "{}", field.field);
        }
        let midnight = ResourceAtTime { resource_type: "rule".to_owned(), resource_id: "r_1".to_owned(), at: at("00:00:00") };
        let plan = started.plan(plan_of(Selection::Resource(midnight))).await;
        assert!(steps(&plan).iter().all(|(action, status, _)| (*action, *status) == ("restore", "ready")));
        let has_left_out = plan.steps.iter().rev().filter(|step| step.left_out == ["expected_json"]);
        assert_eq!(has_left_out.map(|step| step.field.as_deref().unwrap_or_default()).collect::<Vec<_>>(), expected);
        // The first fields were left out by the check, too, which still tells an equal value from another one.
        started.write(vec![
            written(LARGE, vec![change("f000", &large(0), "null")]),
            written(LARGE + 1, vec![change("f001", &large(2), "null")]),
        ]).await;
        let checked = started.check_rule("r_1").await;
        assert_eq!(numbers(&checked), (2, 0, 1));
        let [found] = &checked.breaks[..] else { panic!("one break") };
        assert_eq!((found.field.as_str(), found.written_json.as_deref(), &found.left_out[..]), ("f001", None, &["written_json".to_owned()][..]));
        assert!(found.found_json == Some(large(2)));
        started.service.stop().await;
    }

    async fn too_many_entries_are_refused_with_advice(database: &Database) {
        let serving = Serving { request_timeout: REQUEST_TIMEOUT, ..serving() };
        let service = Service::start_with(database, Clock::system(), Options { serving, running_counts: false, ..options() }).await;
        let key = service.key(Some(ORG), &SCOPES).await;
        let started = Started { service, key };
        fill(database, MAX_FOLDED_ENTRIES + 1).await;
        let (state, plan) = (state_of("rule huge"), |selection| with_key(plan_of(selection), &started.key));
        let mut client = started.service.histories().await;
        let refused = client.get_resource_state(with_key(state.clone(), &started.key)).await;
        check_refused(refused, "The call would read more than 100000 entries: ask for the state as of a lower sequence");
        let start_time = Some(prost_types::Timestamp { seconds: FIRST / SECOND, nanos: 0 });
        let resource = ResourceAtTime { resource_type: "rule".to_owned(), resource_id: "huge".to_owned(), at: start_time };
        let refused = client.plan_rollback(plan(Selection::Resource(resource))).await;
        check_refused(refused, "The call would read more than 100000 entries: select entries of fewer resources");
        let user = UserWindow { user_id: USER.to_owned(), start_time, end_time: at("00:00:00") };
        let refused = client.plan_rollback(plan(Selection::User(user))).await;
        let advice = "select fewer, by a shorter time window, a single resource, or the ids of entries";
        check_refused(refused, &format!("The selection has more than 100000 entries: {advice}"));
        // As many entries are allowed, and a check reads any number.
        let most = started.state(GetResourceStateRequest { as_of_sequence: Some(MAX_FOLDED_ENTRIES as i64), ..state }).await;
        assert_eq!((most.entries, fields(&most)), (MAX_FOLDED_ENTRIES as i64, vec![("n", "100000", "recorded")]));
        let checked = started.check_rule("huge").await;
        assert_eq!((checked.entries, numbers(&checked)), (MAX_FOLDED_ENTRIES as i64 + 1, (MAX_FOLDED_ENTRIES as i64, 0, 0)));
        started.service.stop().await;
    }

    async fn the_same_names_in_another_organization_are_never_shown(database: &Database) {
        let mut own = assistant();
        own[3].trace_id = "trace_1".to_owned();
        let mut started = Started::with(database, own).await;
        let other = started.service.key(Some(OTHER), &SCOPES).await;
        let request = WriteAuditLogsRequest { organization_id: OTHER.to_owned(), audit_logs: foreign() };
        started.service.grpc().await.write_audit_logs(with_key(request, &other)).await.expect("written");
        let of_other = GetResourceStateRequest { organization_id: OTHER.to_owned(), ..state_of("assistant asst_1") };
        let state = started.service.histories().await.get_resource_state(with_key(of_other, &other)).await;
        assert_eq!(fields(state.expect("a state").get_ref()), [("model", FOREIGN, "recorded"), ("temperature", FOREIGN, "recorded")]);
        let only_own = shown(&started).await;
        assert!(!only_own.contains("foreign"), "{only_own}");
        // A key of the whole service sees one organization at a time, too.
        started.key = started.service.key(None, &[Scope::Read]).await;
        assert_eq!(shown(&started).await, only_own);
        let ids = Selection::Entries(EntryIds { ids: vec!["log_6".to_owned()] });
        let missing = started.service.histories().await.plan_rollback(with_key(plan_of(ids), &started.key)).await;
        let missing = missing.map(|_| ()).expect_err("of the other organization");
        assert_eq!((missing.code(), missing.message()), (Code::NotFound, "entries.ids[0]: there is no entry log_6"));
        started.service.stop().await;
    }
}
