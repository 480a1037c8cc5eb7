//! The only mapping of errors to gRPC statuses.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::Duration;

use axum::response::Response;
use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::error;

use super::MAX_REQUEST;
use crate::domain::{Random, Seq};
use crate::error::{Error, RETRY_AFTER, Reason, Violation};
use crate::telemetry::LineLimit;

/// `google.rpc.ErrorInfo.domain` of every error.
const DOMAIN: &str = "auditlog";

/// The longest wait that a writer is told: a clock may be corrected at any time.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Ids of failed requests, to find them in the log. Tests need not repeat them.
static REQUEST_IDS: LazyLock<Random> = LazyLock::new(Random::system);

/// Limits log lines about an unavailable database.
static STORAGE_LINES: LineLimit = LineLimit::new(5);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (reason, message) = (error.reason(), error.to_string());
        match error {
            Error::InvalidParameter(violations)
            | Error::TooBroad(violations)
            | Error::AuditLogsNotFound(violations)
            | Error::Tampered(violations)
            | Error::IdConflict(violations) => detailed(reason, message, violations, None),
            Error::TimestampAhead { violations, wait } => {
                detailed(reason, message, violations, Some(wait.clamp(RETRY_AFTER, MAX_RETRY_AFTER)))
            }
            Error::Overloaded(_) | Error::RateLimited => detailed(reason, message, Vec::new(), Some(RETRY_AFTER)),
            Error::EntryDamaged(sequence) => bad_entry(reason, message, sequence, "damaged"),
            Error::EntryAfterEnd(sequence) => bad_entry(reason, message, sequence, "after_end"),
            Error::StorageUnavailable(cause) => {
                let error = format!("{cause:#}");
                // The limit covers all callers, with a key or without.
                if let Some(left_out) = STORAGE_LINES.admit(&error) {
                    error!(error, left_out, "storage is unavailable");
                }
                status(reason, message)
            }
            Error::Internal(cause) => {
                let request_id = REQUEST_IDS.hex::<8>();
                error!(request_id, error = format!("{cause:#}"), "a request failed");
                status(reason, format!("{message}; request id {request_id}"))
            }
            Error::SearchTooBroad { .. }
            | Error::TooManyEntries(_)
            | Error::MissingAuthentication
            | Error::InvalidApiKey(_)
            | Error::ExpiredApiKey(_)
            | Error::InsufficientPermissions(_)
            | Error::ReservedOrganization
            | Error::OrganizationNotFound
            | Error::AuditLogNotFound
            | Error::CheckpointNotFound
            | Error::TileNotFound
            | Error::ErasureUnavailable(_)
            | Error::NoSuchHistory(_)
            | Error::SlowBody
            | Error::Timeout
            | Error::WriteTimeout
            | Error::Draining => status(reason, message),
        }
    }
}

/// The reason in a status of this contract; `None` for a status from a proxy or a library.
pub fn reason(status: &Status) -> Option<Reason> {
    Reason::parse(&status.get_details_error_info()?.reason)
}

/// The status for an entry that this service has not written in this form, with its number and the kind of fault.
fn bad_entry(reason: Reason, message: String, sequence: Seq, fault: &str) -> Status {
    error!(sequence, fault, "an entry was changed or added outside of this service");
    let mut details = ErrorDetails::new();
    let metadata = [("sequence".to_owned(), sequence.to_string()), ("fault".to_owned(), fault.to_owned())];
    details.set_error_info(reason.name(), DOMAIN, HashMap::from(metadata));
    Status::with_error_details(Code::from(reason.grpc_code()), message, details)
}

fn status(reason: Reason, message: impl Into<String>) -> Status {
    detailed(reason, message, Vec::new(), None)
}

fn detailed(
    reason: Reason,
    message: impl Into<String>,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.name(), DOMAIN, HashMap::new());
    for Violation { field, description } in violations {
        details.add_bad_request_violation(field, description);
    }
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(Code::from(reason.grpc_code()), message, details)
}

/// The gRPC response for `error`.
pub fn respond(error: Error) -> Response {
    match error {
        Error::Overloaded(what) => overloaded(what),
        error => Status::from(error).into_http(),
    }
}

/// The response to an overload. It must cost next to nothing, so each text is encoded once.
fn overloaded(what: &'static str) -> Response {
    static MADE: RwLock<BTreeMap<&'static str, HeaderMap>> = RwLock::new(BTreeMap::new());
    let mut response = Response::default();
    if let Some(headers) = MADE.read().unwrap_or_else(PoisonError::into_inner).get(what) {
        *response.headers_mut() = headers.clone();
        return response;
    }
    let headers = Status::from(Error::Overloaded(what)).into_http::<()>().into_parts().0.headers;
    *response.headers_mut() = headers.clone();
    MADE.write().unwrap_or_else(PoisonError::into_inner).insert(what, headers);
    response
}

/// Replaces codes that tonic chooses by itself with those of the contract. tonic reports an oversized message as
/// OUT_OF_RANGE and an undecodable one as INTERNAL.
pub async fn repair(response: Response) -> Response {
    let Some(answered) = Status::from_header_map(response.headers()).filter(|status| status.details().is_empty())
    else {
        return response;
    };
    let repaired = match answered.code() {
        Code::OutOfRange => {
            let message = format!("The request must be at most {MAX_REQUEST} bytes");
            status(Reason::PayloadTooLarge, message)
        }
        Code::Internal => {
            let message = format!("The message could not be decoded: {}", answered.message());
            status(Reason::InvalidBody, message)
        }
        Code::Unimplemented => {
            let message = match answered.message() {
                "" => "There is no such method",
                message => message,
            };
            status(Reason::Unimplemented, message)
        }
        _ => return response,
    };
    repaired.into_http()
}
