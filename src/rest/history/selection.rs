//! Decodes the body of a rollback plan: the entries to undo.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{Invalid, Seq, Timestamp, end_of_span, last_of_span, quoted, start_of_span};
use crate::grpc::pb::plan_rollback_request::Selection;
use crate::grpc::{pb, wire};
use crate::rest::entry::{EntryFault, object, utf8};
use crate::rest::{ErrorResponse, rest_name};

const SELECTIONS: &str = "The body must have one of entries, resource, user and traceId";

/// The body of a `POST`: one of the first four. `null` means absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlanBody<'a> {
    entries: Option<Vec<String>>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    trace_id: Option<String>,
    as_of: Option<Seq>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceAtTimeBody {
    resource_type: String,
    resource_id: String,
    at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UserWindowBody {
    user_id: String,
    start_date: String,
    end_date: String,
}

/// Decodes a plan for `organization_id`. Errors: the body is not a selection; too many ids; an invalid date. The service
/// checks the other values.
pub(super) fn request(body: &[u8], organization_id: &str) -> Result<pb::PlanRollbackRequest, ErrorResponse> {
    let PlanBody { entries, resource, user, trace_id, as_of } =
        object(utf8(body)?).map_err(|fault| fault.or_of("The body"))?;
    let given = [
        ("entries", entries.is_some()),
        ("resource", resource.is_some()),
        ("user", user.is_some()),
        ("traceId", trace_id.is_some()),
    ];
    let selection = match (entries, resource, user, trace_id) {
        (Some(ids), None, None, None) => Selection::Entries(entry_ids(ids)?),
        (None, Some(raw), None, None) => {
            Selection::Resource(resource_at_time(raw).map_err(|fault| fault.within("resource"))?)
        }
        (None, None, Some(raw), None) => Selection::User(user_window(raw).map_err(|fault| fault.within("user"))?),
        (None, None, None, Some(id)) => Selection::TraceId(id),
        _ => {
            let given = given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name);
            let given = given.collect::<Vec<_>>().join(" and ");
            let got = if given.is_empty() { "none" } else { &given };
            return Err(ErrorResponse::body(format!("{SELECTIONS}, got {got}")));
        }
    };
    let organization_id = organization_id.to_owned();
    Ok(pb::PlanRollbackRequest { organization_id, selection: Some(selection), as_of_sequence: as_of })
}

/// A gateway could not pass on much longer lists, so their length is checked here, too.
fn entry_ids(ids: Vec<String>) -> Result<pb::EntryIds, ErrorResponse> {
    wire::check_ids(ids.len()).map_err(|why| ErrorResponse::parameter("entries", why))?;
    Ok(pb::EntryIds { ids })
}

fn resource_at_time(raw: &RawValue) -> Result<pb::ResourceAtTime, EntryFault> {
    let ResourceAtTimeBody { resource_type, resource_id, at } = object(raw.get())?;
    let at = Some(wire::time(date("at", &at, last_of_span)?));
    Ok(pb::ResourceAtTime { resource_type, resource_id, at })
}

/// Decodes a user and a half-open window. Both dates are inclusive at the precision they were written in.
fn user_window(raw: &RawValue) -> Result<pb::UserWindow, EntryFault> {
    let UserWindowBody { user_id, start_date, end_date } = object(raw.get())?;
    let start = date("startDate", &start_date, start_of_span)?;
    let end = date("endDate", &end_date, end_of_span)?;
    if start >= end {
        let why = format!("must not be after endDate {}, got {start}", quoted(&end_date));
        return Err(EntryFault::rule("startDate", why));
    }
    Ok(pb::UserWindow { user_id, start_time: Some(wire::time(start)), end_time: Some(wire::time(end)) })
}

fn date(field: &str, text: &str, parse: fn(&str) -> Result<Timestamp, Invalid>) -> Result<Timestamp, EntryFault> {
    parse(text).map_err(|why| EntryFault::rule(field, why.to_string()))
}

/// The member of the body for a gRPC field, such as `user.startDate` for `user.start_time`.
pub(super) fn member(field: &str) -> String {
    match field.split_once('.') {
        Some(("entries", ids)) => format!("entries{}", ids.trim_start_matches("ids")),
        Some((selection, field)) => format!("{selection}.{}", rest_name(field)),
        None => rest_name(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(body: &str) -> pb::PlanRollbackRequest {
        request(body.as_bytes(), "org_a").unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    fn time(text: &str) -> Option<prost_types::Timestamp> {
        Some(wire::time(Timestamp::parse(text).expect("a time")))
    }

    #[test]
    fn each_selection_is_decoded_with_the_spans_of_its_dates() {
        let ids = vec!["log_1".to_owned(), "log_2".to_owned()];
        let plan = decoded(r#"{"entries":["log_1","log_2"],"asOf":7,"user":null}"#);
        assert_eq!((plan.organization_id.as_str(), plan.as_of_sequence), ("org_a", Some(7)));
        assert_eq!(plan.selection, Some(Selection::Entries(pb::EntryIds { ids })));
        let plan = decoded(r#"{"resource":{"resourceType":"rule","resourceId":"r","at":"2025-01-20"}}"#);
        let at = time("2025-01-20T23:59:59.999999Z");
        let resource = pb::ResourceAtTime { resource_type: "rule".to_owned(), resource_id: "r".to_owned(), at };
        assert_eq!((plan.selection, plan.as_of_sequence), (Some(Selection::Resource(resource)), None));
        let plan = decoded(r#"{"user":{"userId":"u","startDate":"2025-01-20","endDate":"2025-01-20T10:00:00Z"}}"#);
        let (start_time, end_time) = (time("2025-01-20T00:00:00Z"), time("2025-01-20T10:00:01Z"));
        let user = pb::UserWindow { user_id: "u".to_owned(), start_time, end_time };
        assert_eq!(plan.selection, Some(Selection::User(user)));
        assert_eq!(decoded(r#"{"traceId":"t"}"#).selection, Some(Selection::TraceId("t".to_owned())));
    }

    #[test]
    fn fields_are_named_as_in_the_body() {
        for (field, name) in [
            ("entries.ids", "entries"),
            ("entries.ids[3]", "entries[3]"),
            ("resource.resource_type", "resource.resourceType"),
            ("resource.resource_id", "resource.resourceId"),
            ("resource.at", "resource.at"),
            ("user.user_id", "user.userId"),
            ("user.start_time", "user.startDate"),
            ("user.end_time", "user.endDate"),
            ("trace_id", "traceId"),
            ("as_of_sequence", "asOf"),
            ("organization_id", "organization_id"),
        ] {
            assert_eq!(member(field), name);
        }
    }
}
