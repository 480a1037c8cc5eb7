//! The errors of a request, and the name and code of each error on each surface. This module builds no responses:
//! `grpc::status` turns an error into a status, and `rest` turns a status into an HTTP response.

use std::time::Duration;

use crate::domain::{Damaged, Invalid, Seq, Timestamp};

/// The maximum number of violations that one error names. They travel in headers, three times over, and clients refuse
/// headers above 16 KiB.
pub const MAX_VIOLATIONS: usize = 8;
/// Once the violations of an error have this many bytes, no further one is added.
const MAX_VIOLATION_BYTES: usize = 1024;

/// How long a client should wait before it retries a request that was refused as `Overloaded` or `RateLimited`.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request's body may take this long before [`MIN_BODY_RATE`] applies.
pub const BODY_GRACE: Duration = Duration::from_secs(2);
/// After [`BODY_GRACE`], a request's body must arrive at this rate or faster. Bytes per second.
pub const MIN_BODY_RATE: usize = 8 * 1024;
/// The text of `Overloaded` when the byte budget is spent.
pub const BYTES_SPENT: &str = "Requests and responses hold too many bytes";

/// gRPC status codes. Source: google/rpc/code.proto.
mod grpc_code {
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const NOT_FOUND: i32 = 5;
    pub const ALREADY_EXISTS: i32 = 6;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const INTERNAL: i32 = 13;
    pub const UNAVAILABLE: i32 = 14;
    pub const DATA_LOSS: i32 = 15;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// Generates [`Reason`] from a table with one row per reason.
macro_rules! reasons {
    ($($reason:ident $name:literal $grpc_code:ident $http_status:literal $rest_type:literal $rest_code:literal)+) => {
        /// Why a request failed, as the stable names that clients may match on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "docs/grpc.md and docs/rest.md tell when each is sent")]
        pub enum Reason {
            $($reason,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$reason),+];

            /// `google.rpc.ErrorInfo.reason` over gRPC.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)+ }
            }

            /// The number of the gRPC status code.
            pub const fn grpc_code(self) -> i32 {
                match self { $(Self::$reason => grpc_code::$grpc_code,)+ }
            }

            /// The HTTP status over REST.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$reason => $http_status,)+ }
            }

            /// `error.type` over REST.
            pub const fn rest_type(self) -> &'static str {
                match self { $(Self::$reason => $rest_type,)+ }
            }

            /// `error.code` over REST.
            pub const fn rest_code(self) -> &'static str {
                match self { $(Self::$reason => $rest_code,)+ }
            }
        }
    };
}

// REST has no erasures yet, and gRPC never sends the last three reasons. Their columns for the other surface are what
// it would send.
reasons! {
    InvalidParameter        "INVALID_PARAMETER"        INVALID_ARGUMENT    400 "invalid_request_error" "invalid_parameter"
    TooBroad                "TOO_BROAD"                INVALID_ARGUMENT    400 "invalid_request_error" "too_broad"
    InvalidBody             "INVALID_BODY"             INVALID_ARGUMENT    400 "invalid_request_error" "invalid_body"
    MissingAuthentication   "MISSING_AUTHENTICATION"   UNAUTHENTICATED     401 "authentication_error"  "missing_authentication"
    InvalidApiKey           "INVALID_API_KEY"          UNAUTHENTICATED     401 "authentication_error"  "invalid_api_key"
    ExpiredApiKey           "EXPIRED_API_KEY"          UNAUTHENTICATED     401 "authentication_error"  "expired_api_key"
    InsufficientPermissions "INSUFFICIENT_PERMISSIONS" PERMISSION_DENIED   403 "permission_error"      "insufficient_permissions"
    OrganizationNotFound    "ORGANIZATION_NOT_FOUND"   NOT_FOUND           404 "not_found_error"       "organization_not_found"
    AuditLogNotFound        "AUDIT_LOG_NOT_FOUND"      NOT_FOUND           404 "not_found_error"       "audit_log_not_found"
    CheckpointNotFound      "CHECKPOINT_NOT_FOUND"     NOT_FOUND           404 "not_found_error"       "checkpoint_not_found"
    TileNotFound            "TILE_NOT_FOUND"           NOT_FOUND           404 "not_found_error"       "tile_not_found"
    RouteNotFound           "ROUTE_NOT_FOUND"          NOT_FOUND           404 "not_found_error"       "route_not_found"
    Unimplemented           "UNIMPLEMENTED"            UNIMPLEMENTED       404 "not_found_error"       "unimplemented"
    IdConflict              "ID_CONFLICT"              ALREADY_EXISTS      409 "conflict_error"        "id_conflict"
    TamperedAuditLog        "TAMPERED_AUDIT_LOG"       FAILED_PRECONDITION 409 "conflict_error"        "tampered_audit_log"
    ErasureUnavailable      "ERASURE_UNAVAILABLE"      FAILED_PRECONDITION 409 "conflict_error"        "erasure_unavailable"
    PayloadTooLarge         "PAYLOAD_TOO_LARGE"        RESOURCE_EXHAUSTED  413 "invalid_request_error" "payload_too_large"
    TooManyEntries          "TOO_MANY_ENTRIES"         RESOURCE_EXHAUSTED  413 "invalid_request_error" "too_many_entries"
    RateLimited             "RATE_LIMITED"             RESOURCE_EXHAUSTED  429 "rate_limit_error"      "rate_limited"
    Overloaded              "OVERLOADED"               RESOURCE_EXHAUSTED  429 "rate_limit_error"      "overloaded"
    TimestampAhead          "TIMESTAMP_AHEAD"          RESOURCE_EXHAUSTED  429 "rate_limit_error"      "timestamp_ahead"
    EntryDamaged            "ENTRY_DAMAGED"            DATA_LOSS           500 "internal_error"        "entry_damaged"
    Internal                "INTERNAL"                 INTERNAL            500 "internal_error"        "internal"
    StorageUnavailable      "STORAGE_UNAVAILABLE"      UNAVAILABLE         503 "unavailable_error"     "storage_unavailable"
    Timeout                 "TIMEOUT"                  DEADLINE_EXCEEDED   504 "unavailable_error"     "timeout"
    UnknownParameter        "UNKNOWN_PARAMETER"        INVALID_ARGUMENT    400 "invalid_request_error" "unknown_parameter"
    MethodNotAllowed        "METHOD_NOT_ALLOWED"       UNIMPLEMENTED       405 "invalid_request_error" "method_not_allowed"
    UnsupportedMediaType    "UNSUPPORTED_MEDIA_TYPE"   INVALID_ARGUMENT    415 "invalid_request_error" "unsupported_media_type"
}

impl Reason {
    /// The reason with this [`Self::name`]; `None` if there is no such reason.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

/// One rule that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, by its path in the protobuf message, for example `audit_logs[3].user_id`.
    pub field: String,
    /// The allowed values, and the value received.
    pub description: String,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that break their rules. At least one.
    #[error("{}", describe(.0))]
    InvalidParameter(Vec<Violation>),
    /// Fields for which more entries would be read than a request may read. At least one.
    #[error("{}", describe(.0))]
    TooBroad(Vec<Violation>),
    /// A search would test more entries than a request may test.
    #[error(
        "The request would test {candidates} entries one by one, and may test at most {most}: narrow it by a time range, \
         users, resources, resource types, actions, outcomes or traces"
    )]
    SearchTooBroad {
        /// The number of entries that it would test.
        candidates: i64,
        /// The maximum.
        most: i64,
    },
    /// An answer would take more entries than one call reads, or be larger than one answer may be. A retry does not
    /// help. The text has the limit and says how to narrow the call.
    #[error("{0}")]
    TooManyEntries(String),
    /// The request has no credential.
    #[error("Authentication required")]
    MissingAuthentication,
    /// The credential is not a valid key of this service. The text reveals only what the sender is allowed to know.
    #[error("{0}")]
    InvalidApiKey(&'static str),
    /// The key has expired.
    #[error("The API key expired at {0}")]
    ExpiredApiKey(Timestamp),
    /// The key lacks the scope. The text is the verb for the scope.
    #[error("Insufficient permissions to {0} audit logs")]
    InsufficientPermissions(&'static str),
    /// The organization is one of the service itself.
    #[error("Only the service itself writes to organizations whose id begins with auditlog:")]
    ReservedOrganization,
    /// The organization does not exist, or the key has no access to it.
    #[error("Organization not found")]
    OrganizationNotFound,
    /// The organization has no such entry.
    #[error("Audit log not found")]
    AuditLogNotFound,
    /// There is no checkpoint yet, or no checkpoint covers the entry.
    #[error("There is no such checkpoint yet; a service that signs makes one within seconds")]
    CheckpointNotFound,
    /// The last checkpoint's tree does not have this tile, or has less of it.
    #[error("The last checkpoint has no such tile")]
    TileNotFound,
    /// A stored entry that this service cannot have written in this form.
    #[error("Entry {0} cannot be read: it was changed, and not by this service")]
    EntryDamaged(Seq),
    /// A stored entry with a number after the end of the log.
    #[error("Entry {0} is after the end of the log: it was added, and not by this service")]
    EntryAfterEnd(Seq),
    /// Entries of a request that do not exist. At least one.
    #[error("{}", describe(.0))]
    AuditLogsNotFound(Vec<Violation>),
    /// Entries that were changed in the database and are not erased. At least one.
    #[error("{}", describe(.0))]
    Tampered(Vec<Violation>),
    /// This service cannot erase. The text says why, and which service can.
    #[error("{0}")]
    ErasureUnavailable(&'static str),
    /// No resource type has this path segment for its histories. The text lists the segments that exist.
    #[error("There is no such history: {0}")]
    NoSuchHistory(Invalid),
    /// Ids that other entries with different content already have. At least one.
    #[error("{}", describe(.0))]
    IdConflict(Vec<Violation>),
    /// Entries whose timestamp is too far ahead of the server's clock. At least one. They are not stored. A retry
    /// succeeds after `wait`, or once the clocks agree.
    #[error("{}", describe(violations))]
    TimestampAhead {
        /// The entries, by field path.
        violations: Vec<Violation>,
        /// Time until all of them are allowed, by this server's clock.
        wait: Duration,
    },
    /// The service is at a limit; the text says which.
    #[error("{0}; try again after {seconds} s", seconds = RETRY_AFTER.as_secs())]
    Overloaded(&'static str),
    /// The key is over its rate limit.
    #[error("Too many requests with this API key; try again after {} s", RETRY_AFTER.as_secs())]
    RateLimited,
    /// The database did not answer, or cannot do this now.
    #[error("Storage is unavailable; try again")]
    StorageUnavailable(#[source] anyhow::Error),
    /// The request's body arrives slower than [`MIN_BODY_RATE`].
    #[error(
        "The request's body came too slowly: from {} s on it must come at {} KiB a second",
        BODY_GRACE.as_secs(), MIN_BODY_RATE / 1024
    )]
    SlowBody,
    /// A read took longer than the service or the caller allows.
    #[error("The request took longer than it may; ask for less, or give it more time")]
    Timeout,
    /// A write or an erasure took longer than the service or the caller allows.
    #[error("The request took longer than it may; what it writes may still be written, and its ids tell")]
    WriteTimeout,
    /// The service is shutting down; another instance may answer.
    #[error("The service is shutting down; try again")]
    Draining,
    /// A bug in this service, or a damaged database.
    #[error("Internal error")]
    Internal(#[source] anyhow::Error),
}

/// The outcome of a request.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Self::Internal(
            anyhow::Error::new(damaged).context("`auditlog running-counts rebuild` rebuilds the running counts"),
        )
    }
}

impl Error {
    /// The stable name of the error.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidParameter(_) => Reason::InvalidParameter,
            Self::TooBroad(_) | Self::SearchTooBroad { .. } => Reason::TooBroad,
            Self::TooManyEntries(_) => Reason::TooManyEntries,
            Self::MissingAuthentication => Reason::MissingAuthentication,
            Self::InvalidApiKey(_) => Reason::InvalidApiKey,
            Self::ExpiredApiKey(_) => Reason::ExpiredApiKey,
            Self::InsufficientPermissions(_) | Self::ReservedOrganization => Reason::InsufficientPermissions,
            Self::OrganizationNotFound => Reason::OrganizationNotFound,
            Self::AuditLogNotFound | Self::AuditLogsNotFound(_) => Reason::AuditLogNotFound,
            Self::CheckpointNotFound => Reason::CheckpointNotFound,
            Self::TileNotFound => Reason::TileNotFound,
            Self::EntryDamaged(_) | Self::EntryAfterEnd(_) => Reason::EntryDamaged,
            Self::Tampered(_) => Reason::TamperedAuditLog,
            Self::ErasureUnavailable(_) => Reason::ErasureUnavailable,
            Self::NoSuchHistory(_) => Reason::RouteNotFound,
            Self::IdConflict(_) => Reason::IdConflict,
            // This is a temporary refusal: clients wait and retry. With UNAVAILABLE (503), one writer's wrong clock
            // would make the service look down, and proxies would take it out of rotation.
            Self::TimestampAhead { .. } => Reason::TimestampAhead,
            Self::Overloaded(_) => Reason::Overloaded,
            Self::RateLimited => Reason::RateLimited,
            Self::StorageUnavailable(_) | Self::Draining => Reason::StorageUnavailable,
            Self::Timeout | Self::WriteTimeout | Self::SlowBody => Reason::Timeout,
            Self::Internal(_) => Reason::Internal,
        }
    }

    /// Makes one error of several violations. Drops those beyond the number and the bytes that an error may have.
    pub fn from_violations(mut violations: Vec<Violation>, error: impl FnOnce(Vec<Violation>) -> Self) -> Self {
        violations.truncate(MAX_VIOLATIONS);
        let mut bytes = 0;
        violations.retain(|Violation { field, description }| {
            let is_room = bytes < MAX_VIOLATION_BYTES;
            bytes += field.len() + description.len();
            is_room
        });
        error(violations)
    }

    /// The error and its causes, for the log, without the rows that a database quotes in its errors.
    pub fn with_causes(&self) -> String {
        match self {
            Self::StorageUnavailable(cause) | Self::Internal(cause) => format!("{self}: {cause:#}"),
            other => other.to_string(),
        }
    }

    /// The same error for another request that shared the work; `doing` says what the work was.
    pub fn clone_with_context(&self, doing: &str) -> Self {
        match self {
            Self::StorageUnavailable(cause) => Self::StorageUnavailable(anyhow::anyhow!("{doing}: {cause:#}")),
            Self::Overloaded(message) => Self::Overloaded(message),
            Self::Timeout => Self::Timeout,
            Self::WriteTimeout => Self::WriteTimeout,
            cause => Self::Internal(anyhow::anyhow!("{doing}: {}", cause.with_causes())),
        }
    }

    /// An `InvalidParameter` error for one field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidParameter(vec![Violation { field: field.into(), description: description.into() }])
    }
}

fn describe(violations: &[Violation]) -> String {
    let lines: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    lines.join("; ")
}

/// Converts [`Invalid`] into an error that names the field.
pub trait AtField<T> {
    /// Turns the error into `InvalidParameter` for `field`.
    fn at(self, field: impl Into<String>) -> Result<T>;
}

impl<T> AtField<T> for std::result::Result<T, Invalid> {
    fn at(self, field: impl Into<String>) -> Result<T> {
        self.map_err(|Invalid(description)| Error::invalid(field, description))
    }
}
