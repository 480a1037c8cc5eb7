//! Errors as REST answers them: `{"error":{"message","type","code"}}`. Source:
//! api/list-audit-logs.md.

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
use crate::error::Error;
use crate::grpc::MAX_REQUEST;

/// Code, HTTP status and type of every error that gRPC has too.
const CODES: [(&str, StatusCode, &str); 20] = [
    ("invalid_parameter", StatusCode::BAD_REQUEST, INVALID),
    ("invalid_body", StatusCode::BAD_REQUEST, INVALID),
    ("missing_authentication", StatusCode::UNAUTHORIZED, "authentication_error"),
    ("invalid_api_key", StatusCode::UNAUTHORIZED, "authentication_error"),
    ("expired_api_key", StatusCode::UNAUTHORIZED, "authentication_error"),
    ("insufficient_permissions", StatusCode::FORBIDDEN, "permission_error"),
    ("organization_not_found", StatusCode::NOT_FOUND, NOT_FOUND),
    ("audit_log_not_found", StatusCode::NOT_FOUND, NOT_FOUND),
    ("checkpoint_not_found", StatusCode::NOT_FOUND, NOT_FOUND),
    ("tile_not_found", StatusCode::NOT_FOUND, NOT_FOUND),
    ("route_not_found", StatusCode::NOT_FOUND, NOT_FOUND),
    ("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE, INVALID),
    ("id_conflict", StatusCode::CONFLICT, "conflict_error"),
    ("rate_limited", StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
    ("overloaded", StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
    ("timestamp_ahead", StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
    ("storage_unavailable", StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
    ("timeout", StatusCode::GATEWAY_TIMEOUT, UNAVAILABLE),
    ("entry_damaged", StatusCode::INTERNAL_SERVER_ERROR, INTERNAL),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR, INTERNAL),
];
const INVALID: &str = "invalid_request_error";
const NOT_FOUND: &str = "not_found_error";
const INTERNAL: &str = "internal_error";
const UNAVAILABLE: &str = "unavailable_error";

/// The statuses of a refused access.
const REFUSALS: [StatusCode; 3] = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];

/// Why access was refused: left in the extensions of the answer, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The error's code.
    pub code: String,
    /// The error's message.
    pub message: String,
}

/// An answer that is an error.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    error: Body,
    /// Whole seconds.
    retry_after: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Body {
    message: String,
    r#type: &'static str,
    code: String,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, code: &str, message: impl Into<String>) -> Self {
        let error = Body { message: message.into(), r#type: kind, code: code.to_owned() };
        Self { status, error, retry_after: None }
    }

    /// A parameter that breaks its rule.
    pub(super) fn parameter(name: &str, description: impl std::fmt::Display) -> Self {
        let message = format!("{name}: {description}");
        Self::new(StatusCode::BAD_REQUEST, INVALID, "invalid_parameter", message)
    }

    /// A parameter that there is not.
    pub(super) fn unknown_parameter(name: &str, allowed: &[&str]) -> Self {
        let hint = did_you_mean(name, allowed.iter().copied());
        let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
        let message = format!("{} is not a parameter of this path; allowed: {allowed}{hint}", quoted(name));
        Self::new(StatusCode::BAD_REQUEST, INVALID, "unknown_parameter", message)
    }

    /// A body that is not what is asked for.
    pub(super) fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, "invalid_body", message)
    }

    /// A body that could not be read. Where a limit ended it, the cause is the status that says so.
    pub(super) fn unread(error: &axum::Error) -> Self {
        let mut causes = successors(error.source(), |&cause| cause.source());
        let status = causes.find_map(|cause| cause.downcast_ref::<Status>());
        status.cloned().map_or_else(|| Self::body(format!("The body could not be read: {error}")), Self::from)
    }

    pub(super) fn too_large() -> Self {
        let message = format!("The request must be at most {MAX_REQUEST} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, "payload_too_large", message)
    }

    pub(super) fn media_type(sent: Option<&str>) -> Self {
        let sent = sent.map_or("none".to_owned(), quoted);
        let message = format!("Content-Type must be application/json, got {sent}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, "unsupported_media_type", message)
    }

    pub(super) fn no_route(request: &Request) -> Self {
        let message = format!("There is no path {}", quoted(request.uri().path()));
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND, "route_not_found", message)
    }

    pub(super) fn no_method(request: &Request) -> Self {
        let message = format!("{} is not allowed on this path; the Allow header says what is", request.method());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed", message)
    }

    pub(super) fn switched_off() -> Self {
        let message = "This service speaks gRPC alone; its REST surface is switched off";
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND, "route_not_found", message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let code = details.error_info().map_or_else(String::new, |info| info.reason.to_lowercase());
        let known = CODES.iter().find(|(known, ..)| *known == code);
        let (code, http, kind) = *known.unwrap_or(&foreign(status.code()));
        let message = in_rest_names(&details).unwrap_or_else(|| status.message().to_owned());
        let retry_after = details.retry_info().and_then(|retry| retry.retry_delay).map(|delay| delay.as_secs().max(1));
        Self { retry_after, ..Self::new(http, kind, code, message) }
    }
}

/// A status that brings no code of ours.
fn foreign(code: Code) -> (&'static str, StatusCode, &'static str) {
    match code {
        Code::Unavailable => ("storage_unavailable", StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
        Code::DeadlineExceeded | Code::Cancelled => ("timeout", StatusCode::GATEWAY_TIMEOUT, UNAVAILABLE),
        _ => ("internal", StatusCode::INTERNAL_SERVER_ERROR, INTERNAL),
    }
}

/// The message of a status about fields, with the fields called as they are here.
fn in_rest_names(details: &ErrorDetails) -> Option<String> {
    let violations = details.bad_request()?.field_violations.iter();
    let lines: Vec<_> = violations.map(|one| format!("{}: {}", rest_name(&one.field), one.description)).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// `audit_logs[3].changes[0].old_value_json` is `auditLogs[3].changes[0].oldValue` here, and
/// `filter.resource_types[0]` is the parameter `resourceType`.
pub fn rest_name(path: &str) -> String {
    let path = path.strip_prefix("filter.").unwrap_or(path);
    let parameter = match path.split('[').next().unwrap_or(path) {
        "resource_types" | "resource_type" => Some("resourceType"),
        "resource_ids" | "resource_id" => Some("resourceId"),
        "actions" => Some("action"),
        "user_ids" => Some("userId"),
        "start_time" => Some("startDate"),
        "end_time" => Some("endDate"),
        "organization_id" => Some("organization_id"),
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

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Envelope {
            error: Body,
        }
        let Self { status, error, retry_after } = self;
        let refused = Refused { code: error.code.clone(), message: error.message.clone() };
        let mut response = json::answer(status, &Envelope { error });
        if REFUSALS.contains(&status) {
            response.extensions_mut().insert(refused);
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

/// Answers a REST call with `error`.
pub fn respond(error: Error) -> Response {
    Failure::from(Status::from(error)).into_response()
}

#[cfg(test)]
mod tests {
    use super::rest_name;

    #[test]
    fn fields_are_called_as_the_public_documentation_calls_them() {
        for (field, name) in [
            ("filter.resource_types[0]", "resourceType"),
            ("filter.resource_ids", "resourceId"),
            ("filter.start_time", "startDate"),
            ("resource_type", "resourceType"),
            ("limit", "limit"),
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
