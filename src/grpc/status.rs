//! The one mapping of errors to gRPC statuses.

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

/// The longest that a writer is told to wait: a clock may be set right at any time.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Numbers of failed requests, to find them in the log. They need not repeat themselves in a test.
static REQUEST_IDS: LazyLock<Random> = LazyLock::new(Random::system);

/// Lines about a database that is away.
static STORAGE_LINES: LineLimit = LineLimit::new(5);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (reason, message) = (error.reason(), error.to_string());
        match error {
            Error::InvalidParameter(violations)
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
                // Whoever asks while the database is away, with a key or without.
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
            Error::MissingAuthentication
            | Error::InvalidApiKey(_)
            | Error::ExpiredApiKey(_)
            | Error::InsufficientPermissions(_)
            | Error::OrganizationNotFound
            | Error::AuditLogNotFound
            | Error::CheckpointNotFound
            | Error::TileNotFound
            | Error::ErasureUnavailable(_)
            | Error::NoSuchHistory(_)
            | Error::SlowBody
            | Error::Timeout
            | Error::Draining => status(reason, message),
        }
    }
}

/// The reason that a status of this contract has; `None` for one that a proxy or a library made.
pub fn reason(status: &Status) -> Option<Reason> {
    Reason::parse(&status.get_details_error_info()?.reason)
}

/// An entry that this service has not written so, with its number and what is wrong with it.
fn bad_entry(reason: Reason, message: String, sequence: Seq, fault: &str) -> Status {
    error!(sequence, fault, "an entry is not as this service writes them");
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

/// Answers a gRPC call with `error`.
pub fn respond(error: Error) -> Response {
    match error {
        Error::Overloaded(what) => overloaded(what),
        error => Status::from(error).into_http(),
    }
}

/// The answer where there is too much, which must cost next to nothing: each is made once.
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

/// Gives the answers that tonic makes by itself the codes of the contract, of which it knows nothing: it calls an
/// oversized message OUT_OF_RANGE and an undecodable one INTERNAL.
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
