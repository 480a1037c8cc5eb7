//! REST errors: `{"error":{"message","type","code"}}`. Source: api/list-audit-logs.md.

use std::error::Error as _;
use std::iter::successors;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::json;
use crate::domain::{did_you_mean, quoted};
use crate::error::{Error, Reason};
use crate::grpc::MAX_REQUEST;

/// Statuses of refused access.
const REFUSALS: [StatusCode; 3] = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];

/// Why access was refused. Stored in the extensions of the response, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRefusal {
    /// The error's reason.
    pub reason: Reason,
    /// The error's message.
    pub message: String,
}

/// An error response.
#[derive(Debug)]
pub struct ErrorResponse {
    reason: Reason,
    message: String,
    /// In whole seconds.
    retry_after: Option<u64>,
}

impl ErrorResponse {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    /// A parameter that breaks its rule.
    pub(super) fn parameter(name: &str, description: impl std::fmt::Display) -> Self {
        Self::new(Reason::InvalidParameter, format!("{name}: {description}"))
    }

    /// A parameter that does not exist.
    pub(super) fn unknown_parameter(name: &str, allowed: &[&str]) -> Self {
        let hint = did_you_mean(name, allowed.iter().copied());
        let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
        let message = format!("{} is not a parameter of this path; allowed: {allowed}{hint}", quoted(name));
        Self::new(Reason::UnknownParameter, message)
    }

    /// The error for `status`. `name` returns the name of a gRPC field that the message has.
    pub fn named(status: &Status, name: impl Fn(&str) -> String) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().and_then(|info| Reason::parse(&info.reason));
        let message = in_rest_names(&details, name).unwrap_or_else(|| status.message().to_owned());
        let retry_after = details.retry_info().and_then(|retry| retry.retry_delay).map(|delay| delay.as_secs().max(1));
        Self { reason: reason.unwrap_or_else(|| foreign(status.code())), message, retry_after }
    }

    /// A body with the wrong form.
    pub(super) fn body(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidBody, message)
    }

    /// A body that could not be read. If a limit stopped the read, the source chain of `error` contains the status to
    /// return.
    pub(super) fn unread(error: &axum::Error) -> Self {
        let mut causes = successors(error.source(), |&cause| cause.source());
        let status = causes.find_map(|cause| cause.downcast_ref::<Status>());
        status.cloned().map_or_else(|| Self::body(format!("The body could not be read: {error}")), Self::from)
    }

    pub(super) fn too_large() -> Self {
        Self::new(Reason::PayloadTooLarge, format!("The request must be at most {MAX_REQUEST} bytes"))
    }

    pub(super) fn media_type(sent: Option<&str>) -> Self {
        let sent = sent.map_or("none".to_owned(), quoted);
        Self::new(Reason::UnsupportedMediaType, format!("Content-Type must be application/json, got {sent}"))
    }

    /// The path of `request` does not exist.
    pub fn no_route(request: &Request) -> Self {
        Self::new(Reason::RouteNotFound, format!("There is no path {}", quoted(request.uri().path())))
    }

    pub(super) fn no_method(request: &Request) -> Self {
        let message = format!("{} is not allowed on this path; the Allow header says what is", request.method());
        Self::new(Reason::MethodNotAllowed, message)
    }

    pub(super) fn switched_off() -> Self {
        Self::new(Reason::RouteNotFound, "This service speaks gRPC alone; its REST surface is switched off")
    }
}

impl std::fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Status> for ErrorResponse {
    fn from(status: Status) -> Self {
        Self::named(&status, rest_name)
    }
}

/// The reason for a status that has none of this contract.
fn foreign(code: Code) -> Reason {
    match code {
        Code::Unavailable => Reason::StorageUnavailable,
        Code::DeadlineExceeded | Code::Cancelled => Reason::Timeout,
        _ => Reason::Internal,
    }
}

/// The message of a status about fields, with their REST names.
fn in_rest_names(details: &ErrorDetails, name: impl Fn(&str) -> String) -> Option<String> {
    let violations = details.bad_request()?.field_violations.iter();
    let lines: Vec<_> = violations.map(|one| format!("{}: {}", name(&one.field), one.description)).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// The REST name of a gRPC field. `audit_logs[3].changes[0].old_value_json` becomes `auditLogs[3].changes[0].oldValue`,
/// and `filter.resource_types[0]` becomes the parameter `resourceType`.
pub fn rest_name(path: &str) -> String {
    let path = path.strip_prefix("filter.").unwrap_or(path);
    let parameter = match path.split('[').next().unwrap_or(path) {
        "resource_types" | "resource_type" => Some("resourceType"),
        "resource_ids" | "resource_id" => Some("resourceId"),
        "actions" => Some("action"),
        "user_ids" => Some("userId"),
        "outcomes" => Some("outcome"),
        "actor_types" => Some("actorType"),
        "trace_ids" => Some("traceId"),
        "recorded_start_time" => Some("recordedAfter"),
        "recorded_end_time" => Some("recordedBefore"),
        "change.field" => Some("changes.field"),
        "change.old_value_json" => Some("changes.oldValue"),
        "change.new_value_json" => Some("changes.newValue"),
        "start_time" => Some("startDate"),
        "end_time" => Some("endDate"),
        "after_sequence" => Some("after"),
        "through_sequence" => Some("through"),
        "as_of_sequence" => Some("asOf"),
        "field_prefixes" => Some("field"),
        "resume_token" => Some("resume"),
        "organization_id" => Some("organization_id"),
        "by" => Some("by"),
        _ => None,
    };
    if let Some(parameter) = parameter {
        return parameter.to_owned();
    }
    let mut name = String::with_capacity(path.len());
    for (place, word) in path.replace("_json", "").split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if place > 0 => name.extend(first.to_uppercase().chain(letters)),
            Some(first) => name.extend(std::iter::once(first).chain(letters)),
            None => {}
        }
    }
    name
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: ErrorBody<'a>,
        }
        #[derive(Serialize)]
        struct ErrorBody<'a> {
            message: &'a str,
            r#type: &'static str,
            code: &'static str,
        }
        let Self { reason, message, retry_after } = self;
        let status = StatusCode::from_u16(reason.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = ErrorBody { message: &message, r#type: reason.rest_type(), code: reason.rest_code() };
        let mut response = json::answer(status, &Envelope { error });
        if REFUSALS.contains(&status) {
            response.extensions_mut().insert(AccessRefusal { reason, message });
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The REST response for `error`.
pub fn respond(error: Error) -> Response {
    ErrorResponse::from(Status::from(error)).into_response()
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::error::Violation;
    use crate::grpc::pb;
    use crate::rest::params::{COUNT, EXPORT, FEED, LIST, METADATA};

    #[test]
    fn every_field_of_a_filter_is_a_parameter() {
        let files = FileDescriptorSet::decode(pb::DESCRIPTORS).expect("descriptors");
        let fields = |message: &str| {
            let mut messages = files.file.iter().flat_map(|file| &file.message_type);
            let found = messages.find(|one| one.name() == message).expect("it is there");
            found.field.iter().map(|field| field.name().to_owned()).collect::<Vec<_>>()
        };
        let of_change = fields("ChangeFilter").into_iter().map(|field| format!("change.{field}"));
        let names = fields("AuditLogFilter").into_iter().filter(|field| field != "change").chain(of_change);
        let names: Vec<_> = names.collect();
        assert!(names.len() >= 19);
        for field in names {
            let name = if field == "metadata" { METADATA.to_owned() } else { rest_name(&format!("filter.{field}")) };
            for parameters in [LIST, FEED, EXPORT, COUNT] {
                assert!(parameters.concat().contains(&name.as_str()), "{field} is {name}");
            }
        }
    }

    #[test]
    fn errors_of_an_erasure_have_codes_of_their_own() {
        let violation = Violation { field: "entries.ids[0]".to_owned(), description: "was changed".to_owned() };
        for (error, reason) in [
            (Error::Tampered(vec![violation]), Reason::TamperedAuditLog),
            (Error::ErasureUnavailable("no key"), Reason::ErasureUnavailable),
        ] {
            let failure = ErrorResponse::from(Status::from(error));
            assert_eq!((failure.reason, failure.into_response().status()), (reason, StatusCode::CONFLICT));
        }
    }

    #[test]
    fn fields_are_called_as_the_public_documentation_calls_them() {
        for (field, name) in [
            ("filter.resource_types[0]", "resourceType"),
            ("filter.resource_ids", "resourceId"),
            ("filter.start_time", "startDate"),
            ("after_sequence", "after"),
            ("through_sequence", "through"),
            ("as_of_sequence", "asOf"),
            ("field_prefixes[3]", "field"),
            ("resume_token", "resume"),
            ("resource_type", "resourceType"),
            ("limit", "limit"),
            ("by[1]", "by"),
            ("time_zone", "timeZone"),
            ("id", "id"),
            ("organization_id", "organization_id"),
            ("audit_logs", "auditLogs"),
            ("audit_logs[3].user_id", "auditLogs[3].userId"),
            ("audit_logs[3].changes[0].old_value_json", "auditLogs[3].changes[0].oldValue"),
        ] {
            assert_eq!(rest_name(field), name);
        }
    }
}
