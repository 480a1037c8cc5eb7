//! `HistoryService`: states, comparisons and rollback plans of a small log, and what they never show.

mod commands;
mod continuity;
mod hostile;
mod job;
mod refused;
mod rest;

use auditlog::access::Scope;
use auditlog::domain::Timestamp;
use auditlog::grpc::pb::erase_audit_logs_request::Target;
use auditlog::grpc::pb::plan_rollback_request::Selection;
use auditlog::grpc::pb::{
    AuditLogInput, Change, CompareResourceStatesRequest, CompareResourceStatesResponse, EntryIds,
    EraseAuditLogsRequest, FieldDifference, GetResourceStateRequest, GetResourceStateResponse, PlanRollbackRequest,
    PlanRollbackResponse, ResourceAtTime, UserWindow, WriteAuditLogsRequest,
};
use auditlog::grpc::wire;

use crate::support::service::with_key;
use crate::support::{Backend, Database, Service, on_every_database};

const ORG: &str = "org_a";
const SCOPES: [Scope; 3] = [Scope::Read, Scope::Write, Scope::Erase];
/// A value that is erased later.
const SECRET: &str = "\"hunter2\"";

/// A service with a log, and a key for it.
pub struct Started {
    pub service: Service,
    pub key: String,
}

/// A time of the day of the log.
pub fn at(time: &str) -> Option<prost_types::Timestamp> {
    Some(wire::time(Timestamp::parse(&format!("2025-01-20T{time}Z")).expect("a time")))
}

/// A change of a field between two JSON texts.
pub fn change(field: &str, old: &str, new: &str) -> Change {
    let json = |text: &str| Some(text.to_owned());
    Change { field: field.to_owned(), old_value_json: json(old), new_value_json: json(new) }
}

/// An entry about a resource, such as `assistant asst_1`.
pub fn entry(id: &str, resource: &str, action: &str, user: &str, time: &str, changes: Vec<Change>) -> AuditLogInput {
    let (resource_type, resource_id) = resource.split_once(' ').expect("a type and an id");
    AuditLogInput {
        id: id.to_owned(),
        timestamp: at(time),
        resource_type: resource_type.to_owned(),
        resource_id: resource_id.to_owned(),
        action: action.to_owned(),
        user_id: user.to_owned(),
        changes,
        ..Default::default()
    }
}

/// An assistant that two users changed.
pub fn assistant() -> Vec<AuditLogInput> {
    let about = |id, action, user, time, changes| entry(id, "assistant asst_1", action, user, time, changes);
    vec![
        about("log_1", "created", "uid_user123", "09:00:00", Vec::new()),
        about(
            "log_2",
            "updated",
            "uid_user123",
            "10:30:00",
            vec![change("temperature", "0.7", "0.9"), change("tools.webSearch", "false", "true")],
        ),
        about("log_3", "updated", "uid_user456", "11:00:00", vec![change("temperature", "0.9", "1.1")]),
        about("log_4", "updated", "uid_user456", "11:30:00", vec![change("model", "\"gpt-4\"", "\"gpt-5\"")]),
    ]
}

impl Started {
    pub async fn with(database: &Database, entries: Vec<AuditLogInput>) -> Self {
        let service = Service::start(database).await;
        let key = service.key(Some(ORG), &SCOPES).await;
        let started = Self { service, key };
        started.write(entries).await;
        started
    }

    pub async fn write(&self, audit_logs: Vec<AuditLogInput>) {
        let mut client = self.service.grpc().await;
        for entries in audit_logs.chunks(1_000) {
            let request = WriteAuditLogsRequest { organization_id: ORG.to_owned(), audit_logs: entries.to_vec() };
            client.write_audit_logs(with_key(request, &self.key)).await.expect("written");
        }
    }

    async fn state(&self, request: GetResourceStateRequest) -> GetResourceStateResponse {
        let answer = self.service.histories().await.get_resource_state(with_key(request, &self.key)).await;
        answer.expect("a state").into_inner()
    }

    async fn compare(&self, request: CompareResourceStatesRequest) -> CompareResourceStatesResponse {
        let answer = self.service.histories().await.compare_resource_states(with_key(request, &self.key)).await;
        answer.expect("a comparison").into_inner()
    }

    async fn plan(&self, request: PlanRollbackRequest) -> PlanRollbackResponse {
        let answer = self.service.histories().await.plan_rollback(with_key(request, &self.key)).await;
        answer.expect("a plan").into_inner()
    }

    /// Erases the changes of an entry.
    async fn erase(&self, id: &str) {
        let request = EraseAuditLogsRequest {
            organization_id: ORG.to_owned(),
            target: Some(Target::Entries(EntryIds { ids: vec![id.to_owned()] })),
            groups: vec!["content".to_owned()],
            reason: "Request 4711".to_owned(),
            dry_run: false,
        };
        self.service.erasures().await.erase_audit_logs(with_key(request, &self.key)).await.expect("erased");
    }
}

pub fn state_of(resource: &str) -> GetResourceStateRequest {
    let (resource_type, resource_id) = resource.split_once(' ').expect("a type and an id");
    GetResourceStateRequest {
        organization_id: ORG.to_owned(),
        resource_type: resource_type.to_owned(),
        resource_id: resource_id.to_owned(),
        ..Default::default()
    }
}

pub fn comparison_of(resource: &str, from: &str, to: &str) -> CompareResourceStatesRequest {
    let GetResourceStateRequest { organization_id, resource_type, resource_id, .. } = state_of(resource);
    let (from, to) = (at(from), at(to));
    CompareResourceStatesRequest { organization_id, resource_type, resource_id, from, to, ..Default::default() }
}

pub fn plan_of(selection: Selection) -> PlanRollbackRequest {
    PlanRollbackRequest { organization_id: ORG.to_owned(), selection: Some(selection), as_of_sequence: None }
}

/// Field, value and basis of each field of a state.
fn fields(state: &GetResourceStateResponse) -> Vec<(&str, &str, &str)> {
    let fields = state.fields.iter();
    fields
        .map(|one| (one.field.as_str(), one.value_json.as_deref().unwrap_or("left out"), one.basis.as_str()))
        .collect()
}

/// Action, status and field of each step of a plan.
fn steps(plan: &PlanRollbackResponse) -> Vec<(&str, &str, &str)> {
    let steps = plan.steps.iter();
    steps.map(|step| (step.action.as_str(), step.status.as_str(), step.field.as_deref().unwrap_or_default())).collect()
}

on_every_database! {
    async fn a_state_has_the_fields_and_says_where_they_come_from(database: &Database) {
        let started = Started::with(database, assistant()).await;
        let before = started.state(GetResourceStateRequest { at: at("10:29:59.999999"), ..state_of("assistant asst_1") }).await;
        assert_eq!(fields(&before), [
            ("model", "\"gpt-4\"", "inferred"), ("temperature", "0.7", "inferred"), ("tools.webSearch", "false", "inferred"),
        ]);
        // An entry at exactly this microsecond counts.
        let state = started.state(GetResourceStateRequest { at: at("10:30:00"), ..state_of("assistant asst_1") }).await;
        assert_eq!(fields(&state), [
            ("model", "\"gpt-4\"", "inferred"), ("temperature", "0.9", "recorded"), ("tools.webSearch", "true", "recorded"),
        ]);
        assert_eq!((state.as_of_sequence, state.entries, state.existence.as_str()), (4, 4, "exists"));
        assert_eq!(state.since.map(|since| since.id), Some("log_1".to_owned()));
        let summary = "At 2025-01-20T10:30:00Z, assistant asst_1 exists: uid_user123 created it at 2025-01-20T09:00:00Z. \
                       3 fields are known, 1 inferred from later changes.";
        assert_eq!(state.summary, summary);
        let explained: Vec<_> = state.fields.iter().map(|field| field.explanation.as_str()).collect();
        assert_eq!(explained, [
            "model was \"gpt-4\": uid_user456 changed it from that value at 2025-01-20T11:30:00Z.",
            "temperature was set to 0.9 by uid_user123 at 2025-01-20T10:30:00Z.",
            "tools.webSearch was set to true by uid_user123 at 2025-01-20T10:30:00Z.",
        ]);
        let field_prefixes = vec!["tools".to_owned(), "none".to_owned()];
        let tools = started.state(GetResourceStateRequest { field_prefixes, ..state_of("assistant asst_1") }).await;
        assert_eq!(fields(&tools), [("tools.webSearch", "true", "recorded")]);
        let unknown = started.state(state_of("assistant asst_2")).await;
        assert_eq!((unknown.entries, unknown.existence.as_str(), unknown.fields.len()), (0, "unknown", 0));
        assert_eq!(unknown.summary, "As of sequence 4, no entry says whether assistant asst_2 exists. 0 fields are known.");
        started.service.stop().await;
    }

    async fn a_comparison_has_the_fields_that_differ(database: &Database) {
        let started = Started::with(database, assistant()).await;
        let answer = started.compare(comparison_of("assistant asst_1", "10:00:00", "11:00:00")).await;
        let shown: Vec<_> = answer.differences.iter().map(|found| (found.field.as_str(), found.explanation.as_str())).collect();
        assert_eq!(shown, [
            ("temperature", "temperature changed from 0.7 to 1.1: uid_user456 set it at 2025-01-20T11:00:00Z."),
            ("tools.webSearch", "tools.webSearch changed from false to true: uid_user123 set it at 2025-01-20T10:30:00Z."),
        ]);
        let sides = |found: &FieldDifference| {
            [&found.before, &found.after].map(|side| side.as_ref()?.source.as_ref().map(|source| source.sequence))
        };
        assert_eq!(answer.differences.iter().map(sides).collect::<Vec<_>>(), [[Some(2), Some(3)], [Some(2), Some(2)]]);
        assert_eq!((answer.existence_before.as_str(), answer.existence_after.as_str(), answer.entries), ("exists", "exists", 4));
        let summary = "Between 2025-01-20T10:00:00Z and 2025-01-20T11:00:00Z, 2 fields of assistant asst_1 differ.";
        assert_eq!(answer.summary, summary);
        let none = started.compare(comparison_of("assistant asst_1", "11:30:00", "12:00:00")).await;
        assert!(none.differences.is_empty(), "{none:?}");
        started.service.stop().await;
    }

    async fn a_plan_names_the_changes_that_it_would_undo_too(database: &Database) {
        let started = Started::with(database, assistant()).await;
        let user = UserWindow { user_id: "uid_user123".to_owned(), start_time: at("10:00:00"), end_time: at("11:00:00") };
        let plan = started.plan(plan_of(Selection::User(user))).await;
        assert_eq!(steps(&plan), [("restore", "ready", "tools.webSearch"), ("restore", "conflict", "temperature")]);
        assert_eq!((plan.entries, plan.selected_entries, plan.resources), (4, 1, 1));
        let summary = "To undo 1 entry of 1 resource as of sequence 4, there are 2 steps: 1 ready, 1 in conflict with later \
                       changes.";
        assert_eq!(plan.summary, summary);
        let [ready, conflict] = &plan.steps[..] else { panic!("two steps") };
        let explained = "Set tools.webSearch from true back to false. This undoes 1 change, the last one by uid_user123 at \
                         2025-01-20T10:30:00Z.";
        assert_eq!((ready.restore_json.as_deref(), ready.expected_json.as_deref()), (Some("false"), Some("true")));
        assert_eq!((ready.explanation.as_str(), &ready.cause), (explained, &None));
        let explained = "temperature was set to 0.9 by uid_user123 at 2025-01-20T10:30:00Z; uid_user456 set it to 1.1 at \
                         2025-01-20T11:00:00Z. Restoring 0.7 would undo that too.";
        assert_eq!(conflict.explanation, explained);
        assert_eq!((conflict.restore_json.as_deref(), conflict.expected_json.as_deref()), (Some("0.7"), Some("1.1")));
        let cause = conflict.cause.as_ref().map(|cause| cause.id.as_str());
        assert_eq!((cause, conflict.cause_field.as_deref(), conflict.cause_entries), (Some("log_3"), Some("temperature"), 1));
        started.service.stop().await;
    }

    async fn each_selection_has_its_plan(database: &Database) {
        let mut entries = assistant();
        entries[3].trace_id = "trace_1".to_owned();
        let started = Started::with(database, entries).await;
        let ids = EntryIds { ids: vec!["log_2".to_owned(), "log_3".to_owned()] };
        let plan = started.plan(plan_of(Selection::Entries(ids))).await;
        assert_eq!(steps(&plan), [("restore", "ready", "tools.webSearch"), ("restore", "ready", "temperature")]);
        let back = ResourceAtTime { resource_type: "assistant".to_owned(), resource_id: "asst_1".to_owned(), at: at("10:30:00") };
        let plan = started.plan(plan_of(Selection::Resource(back))).await;
        assert_eq!(steps(&plan), [("restore", "ready", "model"), ("restore", "ready", "temperature")]);
        let plan = started.plan(plan_of(Selection::TraceId("trace_1".to_owned()))).await;
        assert_eq!(steps(&plan), [("restore", "ready", "model")]);
        let plan = started.plan(plan_of(Selection::Entries(EntryIds { ids: vec!["log_1".to_owned()] }))).await;
        assert_eq!(steps(&plan), [("delete", "conflict", "")]);
        let plan = started.plan(plan_of(Selection::TraceId("trace_2".to_owned()))).await;
        assert_eq!((plan.steps.len(), plan.entries, plan.resources), (0, 0, 0));
        assert_eq!(plan.summary, "No entry up to sequence 4 is selected: there is nothing to undo.");
        started.service.stop().await;
    }

    async fn answers_of_one_sequence_stay_the_same(database: &Database) {
        let started = Started::with(database, assistant()).await;
        let state = GetResourceStateRequest { as_of_sequence: Some(4), ..state_of("assistant asst_1") };
        let compare = CompareResourceStatesRequest { as_of_sequence: Some(4), ..comparison_of("assistant asst_1", "09:00:00", "12:00:00") };
        let ids = EntryIds { ids: vec!["log_2".to_owned()] };
        let plan = PlanRollbackRequest { as_of_sequence: Some(4), ..plan_of(Selection::Entries(ids)) };
        let first = (started.state(state.clone()).await, started.compare(compare.clone()).await, started.plan(plan.clone()).await);
        // One of them comes late, before all others.
        started.write(vec![
            entry("log_5", "assistant asst_1", "updated", "uid_3", "08:00:00", vec![change("temperature", "1", "2")]),
            entry("log_6", "assistant asst_1", "deleted", "uid_3", "12:00:00", Vec::new()),
        ]).await;
        let again = (started.state(state.clone()).await, started.compare(compare.clone()).await, started.plan(plan.clone()).await);
        assert_eq!(first, again);
        let now = started.state(state_of("assistant asst_1")).await;
        assert_eq!((now.existence.as_str(), now.fields.len(), now.as_of_sequence), ("deleted", 0, 6));
        started.service.stop().await;
    }

    async fn erased_values_are_never_shown(database: &Database) {
        let mut entries = assistant();
        entries[1].changes.push(change("password", SECRET, SECRET));
        let started = Started::with(database, entries).await;
        let every = async || {
            let state = started.state(GetResourceStateRequest { at: at("09:30:00"), ..state_of("assistant asst_1") }).await;
            let now = started.state(state_of("assistant asst_1")).await;
            let compared = started.compare(comparison_of("assistant asst_1", "08:00:00", "10:30:00")).await;
            let plan = started.plan(plan_of(Selection::Entries(EntryIds { ids: vec!["log_2".to_owned()] }))).await;
            format!("{state:?}{now:?}{compared:?}{plan:?}")
        };
        assert!(every().await.contains("hunter2"));
        started.erase("log_2").await;
        assert!(!every().await.contains("hunter2"));
        let state = started.state(GetResourceStateRequest { at: at("09:30:00"), ..state_of("assistant asst_1") }).await;
        assert_eq!(fields(&state), [("model", "\"gpt-4\"", "uncertain"), ("temperature", "0.9", "uncertain")]);
        let plan = started.plan(plan_of(Selection::Entries(EntryIds { ids: vec!["log_2".to_owned()] }))).await;
        assert_eq!(steps(&plan), [("nothing", "uncertain", "")]);
        started.service.stop().await;
    }
}
