//! Messages of the history service as the JSON of REST, written another time.

use auditlog::grpc::pb;
use auditlog::rest::json::time;
use serde_json::{Map, Value, json};

fn entry(entry: pb::EntryReference) -> Value {
    json!({"sequence": entry.sequence, "id": entry.id, "timestamp": time(entry.timestamp), "userId": entry.user_id})
}

fn entries(entries: Vec<pb::EntryReference>) -> Value {
    entries.into_iter().map(entry).collect()
}

/// Adds a value, which is absent if the message has none.
fn add(object: &mut Value, name: &str, value_json: Option<&str>) {
    if let Some(value) = value_json {
        object[name] = serde_json::from_str(value).expect("JSON");
    }
}

fn field(field: pb::ResourceField) -> Value {
    let mut shown = json!({
        "field": field.field,
        "basis": field.basis,
        "source": field.source.map(entry),
        "partial": field.partial,
        "explanation": field.explanation,
    });
    add(&mut shown, "value", field.value_json.as_deref());
    assert!(!field.left_out, "all values are small");
    shown
}

pub fn state(state: pb::GetResourceStateResponse) -> Value {
    json!({
        "asOfSequence": state.as_of_sequence,
        "entries": state.entries,
        "summary": state.summary,
        "existence": state.existence,
        "since": state.since.map(entry),
        "fields": state.fields.into_iter().map(field).collect::<Value>(),
        "anomalies": entries(state.anomalies),
    })
}

pub fn comparison(comparison: pb::CompareResourceStatesResponse) -> Value {
    let difference = |one: pb::FieldDifference| {
        json!({
            "field": one.field,
            "before": one.before.map(field),
            "after": one.after.map(field),
            "explanation": one.explanation,
        })
    };
    json!({
        "asOfSequence": comparison.as_of_sequence,
        "entries": comparison.entries,
        "summary": comparison.summary,
        "existenceBefore": comparison.existence_before,
        "existenceAfter": comparison.existence_after,
        "since": comparison.since.map(entry),
        "differences": comparison.differences.into_iter().map(difference).collect::<Value>(),
        "anomalies": entries(comparison.anomalies),
        "erasedEntries": comparison.erased_entries,
    })
}

/// A check, from all of its messages.
pub fn continuity(messages: Vec<pb::CheckContinuityResponse>) -> Value {
    let last = messages.last().expect("a message").clone();
    assert!(last.complete);
    let breaks = messages.into_iter().flat_map(|message| message.breaks).map(|found| {
        let mut shown = json!({
            "resourceType": found.resource_type,
            "resourceId": found.resource_id,
            "field": found.field,
            "earlierField": found.earlier_field,
            "earlier": found.earlier.map(entry),
            "later": found.later.map(entry),
            "class": found.class,
            "explanation": found.explanation,
        });
        add(&mut shown, "written", found.written_json.as_deref());
        add(&mut shown, "found", found.found_json.as_deref());
        shown
    });
    json!({
        "breaks": breaks.collect::<Value>(),
        "asOfSequence": last.as_of_sequence,
        "resources": last.resources,
        "entries": last.entries,
        "compared": last.compared,
        "notComparable": last.not_comparable,
        "breakCount": last.break_count,
        "orderBreakCount": last.order_break_count,
        "uncheckedResources": last.unchecked_resources,
        "complete": true,
        "summary": last.summary,
    })
}

fn step(step: pb::RollbackStep) -> Value {
    let mut shown = json!({
        "resourceType": step.resource_type,
        "resourceId": step.resource_id,
        "action": step.action,
        "status": step.status,
        "explanation": step.explanation,
        "entries": step.entries,
        "oldest": step.oldest.map(entry),
        "newest": step.newest.map(entry),
    });
    add(&mut shown, "restore", step.restore_json.as_deref());
    add(&mut shown, "expected", step.expected_json.as_deref());
    let mut members = Map::new();
    members.extend(step.field.map(|field| ("field".to_owned(), field.into())));
    members.extend(step.cause.map(|cause| ("cause".to_owned(), entry(cause))));
    members.extend(step.cause_field.map(|field| ("causeField".to_owned(), field.into())));
    if step.cause_entries > 0 {
        members.insert("causeEntries".to_owned(), step.cause_entries.into());
    }
    if step.action == "delete" || step.action == "recreate" {
        let fields = step.fields.into_iter().map(|one| {
            let mut shown = json!({"field": one.field});
            add(&mut shown, "value", one.value_json.as_deref());
            shown
        });
        members.insert("fields".to_owned(), fields.collect());
    }
    if step.action == "recreate" {
        members.insert("unknownFields".to_owned(), step.unknown_fields.into());
    }
    shown.as_object_mut().expect("an object").append(&mut members);
    shown
}

pub fn plan(plan: pb::PlanRollbackResponse) -> Value {
    json!({
        "asOfSequence": plan.as_of_sequence,
        "entries": plan.entries,
        "selectedEntries": plan.selected_entries,
        "resources": plan.resources,
        "summary": plan.summary,
        "steps": plan.steps.into_iter().map(step).collect::<Value>(),
    })
}
