//! Encodes the answers about histories as JSON. Values of fields are copied without a check, so they must come from a
//! trusted service. Members without a value are absent, but a missing entry or state is `null`.

use serde::Serialize;

use crate::domain::{ObjectWriter, write_array};
use crate::grpc::pb;
use crate::rest::{json, rest_name};

/// An entry that a fact comes from.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryReferenceBody<'e> {
    sequence: i64,
    id: &'e str,
    timestamp: Option<String>,
    user_id: &'e str,
}

fn reference(entry: &pb::EntryReference) -> EntryReferenceBody<'_> {
    let pb::EntryReference { sequence, id, timestamp, user_id } = entry;
    EntryReferenceBody { sequence: *sequence, id, timestamp: json::time(*timestamp), user_id }
}

fn optional_reference(entry: &Option<pb::EntryReference>) -> Option<EntryReferenceBody<'_>> {
    entry.as_ref().map(reference)
}

fn references(entries: &[pb::EntryReference]) -> Vec<EntryReferenceBody<'_>> {
    entries.iter().map(reference).collect()
}

/// Writes a value, if it is there.
fn write_value(object: &mut ObjectWriter<'_>, name: &str, value_json: &Option<String>) {
    if value_json.is_some() {
        object.json(name, value_json.as_deref());
    }
}

/// Writes the names of the values that are left out, if there are any.
fn write_left_out(object: &mut ObjectWriter<'_>, names: &[String]) -> serde_json::Result<()> {
    let names: Vec<_> = names.iter().map(|name| rest_name(name)).collect();
    if names.is_empty() { Ok(()) } else { object.field("leftOut", &names) }
}

/// Writes the state of a resource. Errors: none, in practice.
pub fn state(text: &mut Vec<u8>, state: &pb::GetResourceStateResponse) -> serde_json::Result<()> {
    let pb::GetResourceStateResponse { as_of_sequence, entries, summary, existence, since, fields, anomalies } = state;
    let mut body = ObjectWriter::begin(text);
    body.field("asOfSequence", as_of_sequence)?;
    body.field("entries", entries)?;
    body.field("summary", summary)?;
    body.field("existence", existence)?;
    body.field("since", &optional_reference(since))?;
    write_array(body.name("fields"), fields, write_resource_field)?;
    body.field("anomalies", &references(anomalies))?;
    body.end();
    Ok(())
}

fn write_resource_field(text: &mut Vec<u8>, field: &pb::ResourceField) -> serde_json::Result<()> {
    let pb::ResourceField { field, value_json, left_out, basis, source, partial, explanation } = field;
    let mut object = ObjectWriter::begin(text);
    object.field("field", field)?;
    write_field_value(&mut object, value_json, *left_out)?;
    object.field("basis", basis)?;
    object.field("source", &optional_reference(source))?;
    object.field("partial", partial)?;
    object.field("explanation", explanation)?;
    object.end();
    Ok(())
}

/// Writes the value of a field, or that it is left out.
fn write_field_value(
    object: &mut ObjectWriter<'_>,
    value_json: &Option<String>,
    left_out: bool,
) -> serde_json::Result<()> {
    write_value(object, "value", value_json);
    if left_out { object.field("leftOut", &left_out) } else { Ok(()) }
}

/// Writes a comparison of two states. Errors: none, in practice.
pub fn comparison(text: &mut Vec<u8>, comparison: &pb::CompareResourceStatesResponse) -> serde_json::Result<()> {
    let pb::CompareResourceStatesResponse {
        as_of_sequence,
        entries,
        summary,
        existence_before,
        existence_after,
        since,
        differences,
        anomalies,
        erased_entries,
    } = comparison;
    let mut body = ObjectWriter::begin(text);
    body.field("asOfSequence", as_of_sequence)?;
    body.field("entries", entries)?;
    body.field("summary", summary)?;
    body.field("existenceBefore", existence_before)?;
    body.field("existenceAfter", existence_after)?;
    body.field("since", &optional_reference(since))?;
    write_array(body.name("differences"), differences, write_difference)?;
    body.field("anomalies", &references(anomalies))?;
    body.field("erasedEntries", erased_entries)?;
    body.end();
    Ok(())
}

fn write_difference(text: &mut Vec<u8>, difference: &pb::FieldDifference) -> serde_json::Result<()> {
    let pb::FieldDifference { field, before, after, explanation } = difference;
    let mut object = ObjectWriter::begin(text);
    object.field("field", field)?;
    for (name, side) in [("before", before), ("after", after)] {
        match side {
            Some(side) => write_resource_field(object.name(name), side)?,
            None => object.json(name, None),
        }
    }
    object.field("explanation", explanation)?;
    object.end();
    Ok(())
}

/// Writes the result of a check of continuity, or of its first part. Errors: none, in practice.
pub fn continuity(text: &mut Vec<u8>, check: &pb::CheckContinuityResponse) -> serde_json::Result<()> {
    let pb::CheckContinuityResponse {
        breaks,
        as_of_sequence,
        resources,
        entries,
        compared,
        not_comparable,
        break_count,
        order_break_count,
        complete,
        summary,
        resume_token,
        unchecked_resources,
    } = check;
    let mut body = ObjectWriter::begin(text);
    write_array(body.name("breaks"), breaks, write_break)?;
    for (name, number) in [
        ("asOfSequence", as_of_sequence),
        ("resources", resources),
        ("entries", entries),
        ("compared", compared),
        ("notComparable", not_comparable),
        ("breakCount", break_count),
        ("orderBreakCount", order_break_count),
        ("uncheckedResources", unchecked_resources),
    ] {
        body.field(name, number)?;
    }
    body.field("complete", complete)?;
    for (name, text) in [("summary", summary), ("resumeToken", resume_token)] {
        if !text.is_empty() {
            body.field(name, text)?;
        }
    }
    body.end();
    Ok(())
}

fn write_break(text: &mut Vec<u8>, found: &pb::ContinuityBreak) -> serde_json::Result<()> {
    let pb::ContinuityBreak {
        resource_type,
        resource_id,
        field,
        earlier_field,
        earlier,
        later,
        written_json,
        found_json,
        left_out,
        class,
        explanation,
    } = found;
    let mut object = ObjectWriter::begin(text);
    object.field("resourceType", resource_type)?;
    object.field("resourceId", resource_id)?;
    object.field("field", field)?;
    object.field("earlierField", earlier_field)?;
    object.field("earlier", &optional_reference(earlier))?;
    object.field("later", &optional_reference(later))?;
    write_value(&mut object, "written", written_json);
    write_value(&mut object, "found", found_json);
    write_left_out(&mut object, left_out)?;
    object.field("class", class)?;
    object.field("explanation", explanation)?;
    object.end();
    Ok(())
}

/// Writes a rollback plan. Errors: none, in practice.
pub fn plan(text: &mut Vec<u8>, plan: &pb::PlanRollbackResponse) -> serde_json::Result<()> {
    let pb::PlanRollbackResponse { as_of_sequence, entries, selected_entries, resources, summary, steps } = plan;
    let mut body = ObjectWriter::begin(text);
    body.field("asOfSequence", as_of_sequence)?;
    body.field("entries", entries)?;
    body.field("selectedEntries", selected_entries)?;
    body.field("resources", resources)?;
    body.field("summary", summary)?;
    write_array(body.name("steps"), steps, write_step)?;
    body.end();
    Ok(())
}

/// Writes a step, with the members that its action and its status have.
fn write_step(text: &mut Vec<u8>, step: &pb::RollbackStep) -> serde_json::Result<()> {
    let pb::RollbackStep {
        resource_type,
        resource_id,
        action,
        status,
        explanation,
        field,
        restore_json,
        expected_json,
        left_out,
        fields,
        unknown_fields,
        entries,
        oldest,
        newest,
        cause,
        cause_field,
        cause_entries,
    } = step;
    let mut object = ObjectWriter::begin(text);
    object.field("resourceType", resource_type)?;
    object.field("resourceId", resource_id)?;
    object.field("action", action)?;
    object.field("status", status)?;
    object.field("explanation", explanation)?;
    if let Some(field) = field {
        object.field("field", field)?;
    }
    write_value(&mut object, "restore", restore_json);
    write_value(&mut object, "expected", expected_json);
    write_left_out(&mut object, left_out)?;
    if action == "delete" || action == "recreate" {
        write_array(object.name("fields"), fields, write_step_field)?;
    }
    if action == "recreate" {
        object.field("unknownFields", unknown_fields)?;
    }
    object.field("entries", entries)?;
    object.field("oldest", &optional_reference(oldest))?;
    object.field("newest", &optional_reference(newest))?;
    if let Some(cause) = cause {
        object.field("cause", &reference(cause))?;
    }
    if let Some(field) = cause_field {
        object.field("causeField", field)?;
    }
    if *cause_entries > 0 {
        object.field("causeEntries", cause_entries)?;
    }
    object.end();
    Ok(())
}

fn write_step_field(text: &mut Vec<u8>, field: &pb::StepField) -> serde_json::Result<()> {
    let pb::StepField { field, value_json, left_out } = field;
    let mut object = ObjectWriter::begin(text);
    object.field("field", field)?;
    write_field_value(&mut object, value_json, *left_out)?;
    object.end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T>(message: &T, write: fn(&mut Vec<u8>, &T) -> serde_json::Result<()>) -> String {
        let mut text = Vec::new();
        write(&mut text, message).expect("written");
        String::from_utf8(text).expect("UTF-8")
    }

    fn entry(sequence: i64) -> pb::EntryReference {
        let timestamp = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
        pb::EntryReference { sequence, id: format!("log_{sequence}"), timestamp, user_id: "u".to_owned() }
    }

    #[test]
    fn values_are_written_unchanged_and_those_left_out_are_named() {
        let known = pb::ResourceField {
            field: "a".to_owned(),
            value_json: Some("1.0".to_owned()),
            basis: "recorded".to_owned(),
            source: Some(entry(1)),
            ..Default::default()
        };
        let left_out = pb::ResourceField { value_json: None, left_out: true, source: None, ..known.clone() };
        let known_text = r#"{"field":"a","value":1.0,"basis":"recorded","source":{"sequence":1,"id":"log_1","timestamp":"1970-01-01T00:00:00Z","userId":"u"},"partial":false,"explanation":""}"#;
        assert_eq!(written(&known, write_resource_field), known_text);
        let left_out_text =
            r#"{"field":"a","leftOut":true,"basis":"recorded","source":null,"partial":false,"explanation":""}"#;
        assert_eq!(written(&left_out, write_resource_field), left_out_text);
        let difference = pb::FieldDifference { field: "a".to_owned(), after: Some(known), ..Default::default() };
        let expected = format!(r#"{{"field":"a","before":null,"after":{known_text},"explanation":""}}"#);
        assert_eq!(written(&difference, write_difference), expected);
        let found = pb::ContinuityBreak {
            written_json: Some("1E400".to_owned()),
            left_out: vec!["found_json".to_owned()],
            ..Default::default()
        };
        let text = written(&found, write_break);
        assert!(text.contains(r#""later":null,"written":1E400,"leftOut":["found"],"class":"""#), "{text}");
    }

    #[test]
    fn a_step_has_the_members_of_its_action_and_status() {
        let reference = |sequence: i64| serde_json::to_string(&reference(&entry(sequence))).expect("JSON");
        let ends = format!(r#""entries":2,"oldest":{},"newest":{}"#, reference(1), reference(2));
        let step =
            pb::RollbackStep { entries: 2, oldest: Some(entry(1)), newest: Some(entry(2)), ..Default::default() };
        let begin = |action: &str, status: &str| {
            format!(r#"{{"resourceType":"","resourceId":"","action":"{action}","status":"{status}","explanation":"","#)
        };
        let restore = pb::RollbackStep {
            action: "restore".to_owned(),
            status: "conflict".to_owned(),
            field: Some(String::new()),
            restore_json: Some("null".to_owned()),
            left_out: vec!["expected_json".to_owned()],
            cause: Some(entry(3)),
            cause_field: Some("a".to_owned()),
            cause_entries: 1,
            ..step.clone()
        };
        let conflict = format!(r#""cause":{},"causeField":"a","causeEntries":1}}"#, reference(3));
        let begun = begin("restore", "conflict");
        let expected = format!(r#"{begun}"field":"","restore":null,"leftOut":["expected"],{ends},{conflict}"#);
        assert_eq!(written(&restore, write_step), expected);
        let fields = vec![pb::StepField { field: "f".to_owned(), value_json: None, left_out: true }];
        let recreate = pb::RollbackStep {
            action: "recreate".to_owned(),
            status: "ready".to_owned(),
            fields,
            unknown_fields: vec!["g".to_owned()],
            ..step.clone()
        };
        let begun = begin("recreate", "ready");
        let expected = format!(r#"{begun}"fields":[{{"field":"f","leftOut":true}}],"unknownFields":["g"],{ends}}}"#);
        assert_eq!(written(&recreate, write_step), expected);
        let delete = pb::RollbackStep { action: "delete".to_owned(), status: "noop".to_owned(), ..step };
        assert_eq!(written(&delete, write_step), format!(r#"{}"fields":[],{ends}}}"#, begin("delete", "noop")));
    }

    #[test]
    fn a_part_of_a_check_has_a_token_and_no_summary() {
        let check = pb::CheckContinuityResponse { resume_token: "t".to_owned(), resources: 2, ..Default::default() };
        let expected = r#"{"breaks":[],"asOfSequence":0,"resources":2,"entries":0,"compared":0,"notComparable":0,"breakCount":0,"orderBreakCount":0,"uncheckedResources":0,"complete":false,"resumeToken":"t"}"#;
        assert_eq!(written(&check, continuity), expected);
    }
}
