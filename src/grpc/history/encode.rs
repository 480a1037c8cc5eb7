//! Encodes the answers about the history of resources.

use crate::domain::{Catalogue, ResourceKey, Timestamp};
use crate::error::Result;
use crate::grpc::pb;
use crate::grpc::wire::{self, MAX_PIECE, time, unnamed};
use crate::history::{
    Basis, BreakClass, CheckTotals, ComparisonAnswer, ContinuityBreak, ContinuityPiece, EntryRef, Existence,
    FieldDifference, FieldState, FoundBreak, PlanStep, ResourceState, RollbackPlan, ShownValue, StateAnswer,
    StepAction, StepStatus, WrittenValues, explanation,
};

/// A resource with the public name of its type.
#[derive(Debug, Clone)]
pub(super) struct NamedResource {
    pub(super) key: ResourceKey,
    pub(super) resource_type: String,
}

impl NamedResource {
    fn new(key: ResourceKey, catalogue: &Catalogue) -> Result<Self> {
        let resource_type = catalogue.resource_type_name(key.resource_type).ok_or_else(unnamed)?.to_owned();
        Ok(Self { key, resource_type })
    }

    /// The resource in a sentence.
    fn shown(&self) -> String {
        explanation::resource(&self.resource_type, self.key.id.as_str())
    }
}

/// Encodes a count. No count is as large as that.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn entry_reference(entry: &EntryRef) -> pb::EntryReference {
    let EntryRef { seq, id, timestamp, user_id } = entry;
    pb::EntryReference {
        sequence: *seq,
        id: id.to_string(),
        timestamp: Some(time(*timestamp)),
        user_id: user_id.to_string(),
    }
}

/// The JSON text; `None` for a value that is left out.
fn json(value: ShownValue) -> Option<String> {
    match value {
        ShownValue::Known(json) => Some(json.into()),
        ShownValue::LeftOut => None,
    }
}

fn existence(existence: Existence) -> String {
    let name = match existence {
        Existence::Exists => "exists",
        Existence::Deleted => "deleted",
        Existence::Unknown => "unknown",
    };
    name.to_owned()
}

fn resource_field(state: FieldState) -> pb::ResourceField {
    let explanation = explanation::field(&state);
    let FieldState { field, value, basis, source, is_partial } = state;
    let basis = match basis {
        Basis::Recorded => "recorded",
        Basis::Inferred => "inferred",
        Basis::Uncertain => "uncertain",
    };
    pb::ResourceField {
        field,
        left_out: value == ShownValue::LeftOut,
        value_json: json(value),
        basis: basis.to_owned(),
        source: Some(entry_reference(&source)),
        partial: is_partial,
        explanation,
    }
}

/// Encodes the state of `resource` at the time that was asked for.
pub(super) fn state(
    answer: StateAnswer,
    resource: &NamedResource,
    at: Option<Timestamp>,
) -> pb::GetResourceStateResponse {
    let summary = explanation::state(&resource.shown(), at, &answer);
    let StateAnswer { as_of, entries, state } = answer;
    let ResourceState { existence: is_there, since, fields, anomalies, erased: _ } = state;
    pb::GetResourceStateResponse {
        as_of_sequence: as_of,
        entries: number(entries),
        summary,
        existence: existence(is_there),
        since: since.as_deref().map(entry_reference),
        fields: fields.into_iter().map(resource_field).collect(),
        anomalies: anomalies.iter().map(|entry| entry_reference(entry)).collect(),
    }
}

/// Encodes the comparison of `resource` at the times that were asked for.
pub(super) fn comparison(
    answer: ComparisonAnswer,
    resource: &NamedResource,
    times: [Option<Timestamp>; 2],
) -> pb::CompareResourceStatesResponse {
    let summary = explanation::comparison(&resource.shown(), times, &answer);
    let ComparisonAnswer { as_of, entries, existence: [before, after], since, differences, anomalies, erased } = answer;
    pb::CompareResourceStatesResponse {
        as_of_sequence: as_of,
        entries: number(entries),
        summary,
        existence_before: existence(before),
        existence_after: existence(after),
        since: since.as_deref().map(entry_reference),
        differences: differences.into_iter().map(difference).collect(),
        anomalies: anomalies.iter().map(|entry| entry_reference(entry)).collect(),
        erased_entries: number(erased),
    }
}

fn difference(difference: FieldDifference) -> pb::FieldDifference {
    let explanation = explanation::difference(&difference);
    let FieldDifference { field, before, after } = difference;
    let (before, after) = (before.map(resource_field), after.map(resource_field));
    pb::FieldDifference { field, before, after, explanation }
}

/// Encodes a piece of a check of `checked`, or of all resources. Only the last message has the token and the summary.
pub(super) fn continuity(
    piece: ContinuityPiece,
    checked: Option<&NamedResource>,
    catalogue: &Catalogue,
) -> Result<Vec<pb::CheckContinuityResponse>> {
    let ContinuityPiece { breaks, totals, as_of, after, resume_token, is_last } = piece;
    let CheckTotals { resources, entries, compared, not_comparable, breaks: found, order_breaks, unchecked } = totals;
    let breaks = breaks.into_iter().map(|found| continuity_break(found, catalogue)).collect::<Result<Vec<_>>>()?;
    let message = |breaks| pb::CheckContinuityResponse {
        breaks,
        as_of_sequence: as_of,
        resources: number(resources),
        entries: number(entries),
        compared: number(compared),
        not_comparable: number(not_comparable),
        break_count: number(found),
        order_break_count: number(order_breaks),
        unchecked_resources: number(unchecked),
        ..pb::CheckContinuityResponse::default()
    };
    let mut messages: Vec<_> = wire::portions(breaks, MAX_PIECE).map(message).collect();
    if let Some(last) = messages.last_mut() {
        last.resume_token = resume_token.unwrap_or_default();
        last.complete = is_last;
        if is_last {
            let checked = checked.map(NamedResource::shown);
            last.summary = explanation::check(checked.as_deref(), after, as_of, &totals);
        }
    }
    Ok(messages)
}

fn continuity_break(found: FoundBreak, catalogue: &Catalogue) -> Result<pb::ContinuityBreak> {
    let explanation = explanation::continuity_break(&found);
    let FoundBreak { resource, found, is_classified: _ } = found;
    let ContinuityBreak { field, earlier_field, earlier, later, written, found, class } = found;
    let class = match class {
        BreakClass::Order => "order",
        BreakClass::Unexplained => "unexplained",
    };
    let (written_json, found_json) = (json(written), json(found));
    let left_out = [("written_json", &written_json), ("found_json", &found_json)];
    let left_out = left_out.into_iter().filter(|(_, json)| json.is_none()).map(|(name, _)| name.to_owned()).collect();
    Ok(pb::ContinuityBreak {
        resource_type: catalogue.resource_type_name(resource.resource_type).ok_or_else(unnamed)?.to_owned(),
        resource_id: resource.id.to_string(),
        field,
        earlier_field,
        earlier: Some(entry_reference(&earlier)),
        later: Some(entry_reference(&later)),
        written_json,
        found_json,
        left_out,
        class: class.to_owned(),
        explanation,
    })
}

/// Encodes a plan.
pub(super) fn plan(plan: RollbackPlan, catalogue: &Catalogue) -> Result<pb::PlanRollbackResponse> {
    let summary = explanation::plan(&plan);
    let RollbackPlan { as_of, entries, selected, resources, steps, written } = plan;
    let step = |(resource, step): (ResourceKey, PlanStep)| {
        Ok(rollback_step(&NamedResource::new(resource, catalogue)?, step, &written))
    };
    Ok(pb::PlanRollbackResponse {
        as_of_sequence: as_of,
        entries: number(entries),
        selected_entries: number(selected),
        resources: number(resources),
        summary,
        steps: steps.into_iter().map(step).collect::<Result<_>>()?,
    })
}

fn rollback_step(resource: &NamedResource, step: PlanStep, written: &WrittenValues) -> pb::RollbackStep {
    let explanation = explanation::step(&resource.shown(), &step, written);
    let PlanStep { action, status, undoes: (oldest, newest), entries } = step;
    let (status, cause, cause_field, cause_entries) = match status {
        StepStatus::Ready => ("ready", None, None, 0),
        StepStatus::Noop => ("noop", None, None, 0),
        StepStatus::Conflict { by, field, entries } => ("conflict", Some(by), field, entries),
        StepStatus::Uncertain { erased } => ("uncertain", Some(erased), None, 0),
        StepStatus::Broken { by } => ("broken", Some(by), None, 0),
        StepStatus::Impossible => ("impossible", None, None, 0),
    };
    let step = pb::RollbackStep {
        resource_type: resource.resource_type.clone(),
        resource_id: resource.key.id.to_string(),
        status: status.to_owned(),
        explanation,
        entries: number(entries),
        oldest: Some(entry_reference(&oldest)),
        newest: Some(entry_reference(&newest)),
        cause: cause.as_deref().map(entry_reference),
        cause_field,
        cause_entries: number(cause_entries),
        ..pb::RollbackStep::default()
    };
    with_action(step, action)
}

fn with_action(step: pb::RollbackStep, action: StepAction) -> pb::RollbackStep {
    match action {
        StepAction::Restore { field, restore, expected } => {
            let is_out = |value: &ShownValue| *value == ShownValue::LeftOut;
            let out = [("restore_json", is_out(&restore)), ("expected_json", expected.as_ref().is_some_and(is_out))];
            pb::RollbackStep {
                action: "restore".to_owned(),
                field: Some(field),
                restore_json: json(restore),
                expected_json: expected.and_then(json),
                left_out: out.into_iter().filter(|(_, is_out)| *is_out).map(|(name, _)| name.to_owned()).collect(),
                ..step
            }
        }
        StepAction::Delete { fields } => {
            pb::RollbackStep { action: "delete".to_owned(), fields: known_fields(fields), ..step }
        }
        StepAction::Recreate { fields, unknown } => {
            let fields = known_fields(fields);
            pb::RollbackStep { action: "recreate".to_owned(), fields, unknown_fields: unknown, ..step }
        }
        StepAction::Nothing => pb::RollbackStep { action: "nothing".to_owned(), ..step },
    }
}

fn known_fields(fields: Vec<(String, ShownValue)>) -> Vec<pb::StepField> {
    let field = |(field, value): (String, ShownValue)| {
        let left_out = value == ShownValue::LeftOut;
        pb::StepField { field, value_json: json(value), left_out }
    };
    fields.into_iter().map(field).collect()
}
