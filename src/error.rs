//! Everything that can go wrong with a request. Knows neither gRPC nor HTTP; `grpc::status` maps it
//! once, and `rest` from there.

use std::time::Duration;

use crate::domain::{Damaged, Invalid, Seq, Timestamp};

/// The most faults that one answer names, and the bytes after which none is added: they travel in headers, three
/// times over, and clients refuse headers above 16 KiB.
pub const MAX_VIOLATIONS: usize = 8;
const MAX_TOLD: usize = 1024;

/// How long whoever was refused for what others do should wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a request's body may take before its pace counts, and how fast it then has to have come, in bytes a second.
pub const BODY_GRACE: Duration = Duration::from_secs(2);
/// See [`BODY_GRACE`].
pub const MIN_BODY_RATE: usize = 8 * 1024;
/// What `Overloaded` says where no bytes are left.
pub const BYTES_SPENT: &str = "Requests and responses hold too many bytes";

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, by its path in the protobuf message, for example `audit_logs[3].user_id`.
    pub field: String,
    /// What is allowed and what came.
    pub description: String,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that break their rules, at least one.
    #[error("{}", describe(.0))]
    InvalidParameter(Vec<Violation>),
    /// No credential came.
    #[error("Authentication required")]
    MissingAuthentication,
    /// The credential is no key of this service; the text says as much as its sender may know.
    #[error("{0}")]
    InvalidApiKey(&'static str),
    /// The key's time is over.
    #[error("The API key expired at {0}")]
    ExpiredApiKey(Timestamp),
    /// The key lacks the scope; the text says for what.
    #[error("Insufficient permissions to {0} audit logs")]
    InsufficientPermissions(&'static str),
    /// No such organization, or none that the key may know of.
    #[error("Organization not found")]
    OrganizationNotFound,
    /// No such entry in the organization.
    #[error("Audit log not found")]
    AuditLogNotFound,
    /// No checkpoint, or none that has the entry.
    #[error("There is no such checkpoint yet; a service that signs makes one within seconds")]
    CheckpointNotFound,
    /// The last checkpoint's tree has no such tile, or less of it.
    #[error("The last checkpoint has no such tile")]
    TileNotFound,
    /// An entry that nobody has written so.
    #[error("Entry {0} cannot be read: it was changed, and not by this service")]
    EntryDamaged(Seq),
    /// An entry where the log has ended.
    #[error("Entry {0} is after the end of the log: it was added, and not by this service")]
    EntryAfterEnd(Seq),
    /// Some of several entries are not there, at least one.
    #[error("{}", describe(.0))]
    AuditLogsNotFound(Vec<Violation>),
    /// Entries that were changed in the database, at least one, and are not erased.
    #[error("{}", describe(.0))]
    Tampered(Vec<Violation>),
    /// This service cannot erase; the text says why, and who can.
    #[error("{0}")]
    ErasureUnavailable(&'static str),
    /// No resource type has such a path for its histories; the text lists those that there are.
    #[error("There is no such history: {0}")]
    NoSuchHistory(Invalid),
    /// Ids that are taken by entries with other content, at least one.
    #[error("{}", describe(.0))]
    IdConflict(Vec<Violation>),
    /// Entries whose timestamp is too far ahead of the server, at least one. They are not stored; in time, or once the
    /// clocks agree, they are taken.
    #[error("{}", describe(violations))]
    TimestampAhead {
        /// Which entries.
        violations: Vec<Violation>,
        /// Until all of them are allowed, by this server's clock.
        wait: Duration,
    },
    /// The service has more to do than it takes on; the text says of what.
    #[error("{0}; try again after {seconds} s", seconds = RETRY_AFTER.as_secs())]
    Overloaded(&'static str),
    /// The key asks more often than it may.
    #[error("Too many requests with this API key; try again after {} s", RETRY_AFTER.as_secs())]
    RateLimited,
    /// The database did not answer, or could not do it now.
    #[error("Storage is unavailable; try again")]
    StorageUnavailable(#[source] anyhow::Error),
    /// The request's body does not come.
    #[error(
        "The request's body came too slowly: from {} s on it must come at {} KiB a second",
        BODY_GRACE.as_secs(), MIN_BODY_RATE / 1024
    )]
    SlowBody,
    /// The work took longer than the service or the caller allows.
    #[error("The request took longer than it may; what it writes may still be written, and its ids tell")]
    Timeout,
    /// The service ends, and others may take over.
    #[error("The service is shutting down; try again")]
    Draining,
    /// A fault of ours.
    #[error("Internal error")]
    Internal(#[source] anyhow::Error),
}

/// The outcome of a request.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Self::Internal(anyhow::Error::new(damaged).context("`auditlog marks rebuild` makes the counts again"))
    }
}

impl Error {
    /// Several faults at once, as many as an answer may name.
    pub fn told(mut violations: Vec<Violation>, error: impl FnOnce(Vec<Violation>) -> Self) -> Self {
        violations.truncate(MAX_VIOLATIONS);
        let mut bytes = 0;
        violations.retain(|Violation { field, description }| {
            let is_room = bytes < MAX_TOLD;
            bytes += field.len() + description.len();
            is_room
        });
        error(violations)
    }

    /// The error and its causes for a log, without the rows that a database quotes beside them.
    pub fn with_causes(&self) -> String {
        match self {
            Self::StorageUnavailable(cause) | Self::Internal(cause) => format!("{self}: {cause:#}"),
            other => other.to_string(),
        }
    }

    /// The same for another request that waited for the same work, which was `doing` something.
    pub fn again(&self, doing: &str) -> Self {
        match self {
            Self::StorageUnavailable(cause) => Self::StorageUnavailable(anyhow::anyhow!("{doing}: {cause:#}")),
            Self::Overloaded(what) => Self::Overloaded(what),
            Self::Timeout => Self::Timeout,
            cause => Self::Internal(anyhow::anyhow!("{doing}: {}", cause.with_causes())),
        }
    }

    /// One field that breaks its rule.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidParameter(vec![Violation { field: field.into(), description: description.into() }])
    }
}

fn describe(violations: &[Violation]) -> String {
    let lines: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    lines.join("; ")
}

/// Says which field broke its rule.
pub trait AtField<T> {
    /// The error, at `field`.
    fn at(self, field: impl Into<String>) -> Result<T>;
}

impl<T> AtField<T> for std::result::Result<T, Invalid> {
    fn at(self, field: impl Into<String>) -> Result<T> {
        self.map_err(|Invalid(description)| Error::invalid(field, description))
    }
}
