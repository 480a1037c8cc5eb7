//! Calls of the history service that are refused, each with its message.

use auditlog::access::Scope;
use auditlog::grpc::pb::plan_rollback_request::Selection;
use auditlog::grpc::pb::{
    CheckContinuityRequest, CompareResourceStatesRequest, EntryIds, GetResourceStateRequest, PlanRollbackRequest,
    ResourceAtTime, UserWindow,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{ORG, Started, assistant, at, change, comparison_of, entry, plan_of, state_of};
use crate::support::service::with_key;
use crate::support::{Backend, Database, Service, on_every_database};

const ASSISTANT: &str = "assistant asst_1";

/// A call of one of the methods.
#[derive(Debug, Clone)]
enum Asked {
    State(GetResourceStateRequest),
    Compare(CompareResourceStatesRequest),
    Check(CheckContinuityRequest),
    Plan(PlanRollbackRequest),
}

impl Asked {
    async fn refused(self, service: &Service, key: &str) -> Status {
        let mut client = service.histories().await;
        let outcome = match self.clone() {
            Self::State(request) => client.get_resource_state(with_key(request, key)).await.map(|_| ()),
            Self::Compare(request) => client.compare_resource_states(with_key(request, key)).await.map(|_| ()),
            Self::Check(request) => client.check_continuity(with_key(request, key)).await.map(|_| ()),
            Self::Plan(request) => client.plan_rollback(with_key(request, key)).await.map(|_| ()),
        };
        let Err(status) = outcome else { panic!("{self:?} is not refused") };
        status
    }
}

fn bad_states() -> Vec<(Asked, &'static str)> {
    let state = || state_of(ASSISTANT);
    let prefixes = vec!["a".to_owned(); 101];
    let backwards = comparison_of(ASSISTANT, "11:00:00", "10:00:00");
    vec![
        (Asked::State(state_of("robot r")), "resource_type: must be one of assistant, thread,"),
        (Asked::State(state_of("assistant ")), "resource_id: must be 1 to 256 bytes, got 0"),
        (
            Asked::State(GetResourceStateRequest { as_of_sequence: Some(5), ..state() }),
            "as_of_sequence: must be 0 to 4, the organization's last number, got 5",
        ),
        (
            Asked::State(GetResourceStateRequest { as_of_sequence: Some(-1), ..state() }),
            "as_of_sequence: must be 0 to 4, the organization's last number, got -1",
        ),
        (
            Asked::State(GetResourceStateRequest { field_prefixes: prefixes, ..state() }),
            "field_prefixes: must be given at most 100 times, got 101",
        ),
        (
            Asked::State(GetResourceStateRequest {
                at: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
                ..state()
            }),
            "at: nanos must be 0 to 999999999, got -1",
        ),
        (Asked::Compare(backwards), "from: must not be after the end 2025-01-20T10:00:00Z, got 2025-01-20T11:00:00Z"),
        (
            Asked::Compare(CompareResourceStatesRequest {
                from: None,
                ..comparison_of(ASSISTANT, "11:00:00", "12:00:00")
            }),
            "from: is required",
        ),
    ]
}

fn bad_checks() -> Vec<(Asked, &'static str)> {
    let check = || CheckContinuityRequest { organization_id: ORG.to_owned(), ..Default::default() };
    vec![
        (
            Asked::Check(CheckContinuityRequest { resource_id: "asst_1".to_owned(), ..check() }),
            "resource_id: must not come without resource_type",
        ),
        (
            Asked::Check(CheckContinuityRequest { resource_type: "robot".to_owned(), ..check() }),
            "resource_type: must be one of assistant, thread,",
        ),
        (
            Asked::Check(CheckContinuityRequest { as_of_sequence: Some(5), ..check() }),
            "as_of_sequence: must be 0 to 4, the organization's last number, got 5",
        ),
        (
            Asked::Check(CheckContinuityRequest { as_of_sequence: Some(3), after_sequence: 4, ..check() }),
            "after_sequence: must be 0 to 3, where the check ends, got 4",
        ),
        (
            Asked::Check(CheckContinuityRequest { resume_token: "x".to_owned(), ..check() }),
            "resume_token: must be the resume token of an earlier answer of the same check, got \"x\"",
        ),
    ]
}

fn bad_plans() -> Vec<(Asked, &'static str)> {
    let plan = |selection| Asked::Plan(plan_of(selection));
    let ids = |ids: &[&str]| Selection::Entries(EntryIds { ids: ids.iter().map(|id| (*id).to_owned()).collect() });
    let user =
        |start_time, end_time| Selection::User(UserWindow { user_id: "uid_user123".to_owned(), start_time, end_time });
    let none = PlanRollbackRequest { selection: None, ..plan_of(ids(&[])) };
    let back = ResourceAtTime { resource_type: "assistant".to_owned(), resource_id: "asst_1".to_owned(), at: None };
    let early = PlanRollbackRequest { as_of_sequence: Some(2), ..plan_of(ids(&["log_2", "log_3"])) };
    vec![
        (Asked::Plan(none), "selection: is required: entries, resource, user or trace_id"),
        (plan(ids(&[])), "entries.ids: must have 1 to 1000 ids, got 0"),
        (plan(ids(&["log_1", "log 2"])), "entries.ids[1]: must be of A-Z a-z 0-9 _ . : -, got \"log 2\""),
        (Asked::Plan(early), "entries.ids[1]: must be an entry up to sequence 2, got one with sequence 3"),
        (plan(Selection::Resource(back)), "resource.at: is required"),
        (plan(user(at("10:00:00"), None)), "user.end_time: is required"),
        (plan(user(None, at("10:00:00"))), "user.start_time: is required"),
        (
            plan(user(at("11:00:00"), at("10:00:00"))),
            "user.start_time: must not be after the end 2025-01-20T10:00:00Z, got 2025-01-20T11:00:00Z",
        ),
        (plan(Selection::TraceId(String::new())), "trace_id: must be 1 to 256 bytes, got 0"),
    ]
}

on_every_database! {
    async fn a_bad_parameter_has_its_message(database: &Database) {
        let started = Started::with(database, assistant()).await;
        for (asked, message) in bad_states().into_iter().chain(bad_checks()).chain(bad_plans()) {
            let status = asked.clone().refused(&started.service, &started.key).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{asked:?}: {status:?}");
            // That of a type goes on with all types.
            assert!(status.message().starts_with(message), "{message}: {}", status.message());
        }
        let ids = EntryIds { ids: vec!["log_1".to_owned(), "log_none".to_owned()] };
        let missing = Asked::Plan(plan_of(Selection::Entries(ids))).refused(&started.service, &started.key).await;
        assert_eq!((missing.code(), missing.message()), (Code::NotFound, "entries.ids[1]: there is no entry log_none"));
        started.service.stop().await;
    }

    async fn access_is_checked_before_parameters(database: &Database) {
        let started = Started::with(database, assistant()).await;
        let service = &started.service;
        let foreign = service.key(Some("org_b"), &[Scope::Read]).await;
        let writer = service.key(Some(ORG), &[Scope::Write, Scope::Verify]).await;
        for (asked, _) in bad_states().into_iter().chain(bad_checks()).chain(bad_plans()) {
            let status = asked.clone().refused(service, &foreign).await;
            assert_eq!((status.code(), status.message()), (Code::NotFound, "Organization not found"), "{asked:?}");
            let status = asked.clone().refused(service, &writer).await;
            let refusal = (Code::PermissionDenied, "Insufficient permissions to view audit logs");
            assert_eq!((status.code(), status.message()), refusal, "{asked:?}");
            let status = asked.refused(service, "al_nonsense").await;
            assert_eq!(status.code(), Code::Unauthenticated);
        }
        started.service.stop().await;
    }

    async fn too_many_resources_and_fields_are_refused_with_advice(database: &Database) {
        let many = (0..1_001).map(|number| {
            entry(&format!("many_{number}"), &format!("rule r_{number}"), "updated", "uid_many", "10:00:00", vec![change("a", "1", "2")])
        });
        let wide = (0..11).map(|number| {
            let changes = (0..1_000).map(|field| change(&format!("f{number}.{field}"), "1", "2")).collect();
            entry(&format!("wide_{number}"), "rule wide", "updated", "uid_wide", "10:00:00", changes)
        });
        let started = Started::with(database, many.chain(wide).collect()).await;
        let user = |user: &str| {
            let window = UserWindow { user_id: user.to_owned(), start_time: at("10:00:00"), end_time: at("11:00:00") };
            Asked::Plan(plan_of(Selection::User(window)))
        };
        for (asked, message) in [
            (user("uid_many"), "The selection has more than 1000 resources: select fewer, by a shorter time window, a single resource, or the ids of entries"),
            (user("uid_wide"), "The plan would have more than 10000 fields, or more than 16777216 bytes of their names: select fewer entries"),
            (Asked::State(state_of("rule wide")), "The answer would have 11000 fields, and may have at most 10000: ask for some of them"),
        ] {
            let status = asked.refused(&started.service, &started.key).await;
            assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, message));
            let details = status.get_error_details();
            assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("TOO_MANY_ENTRIES"));
            assert!(details.retry_info().is_none(), "a retry does not help");
        }
        let narrowed = GetResourceStateRequest { field_prefixes: vec!["f3".to_owned()], ..state_of("rule wide") };
        let state = started.state(narrowed).await;
        assert_eq!((state.fields.len(), state.entries), (1_000, 11));
        started.service.stop().await;
    }
}
