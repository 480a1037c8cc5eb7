//! gRPC answers as the JSON of the public documentation. Source: api/list-audit-logs.md.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Failure;
use crate::domain::Timestamp;
use crate::error::Error;
use crate::grpc::pb;
use tonic::Status;

/// The service answers.
#[derive(Serialize)]
pub(super) struct Alive {
    status: &'static str,
}

pub(super) const ALIVE: Alive = Alive { status: "ok" };

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    audit_logs: Vec<Entry>,
    pagination: Pagination,
}

/// An entry as the public documentation shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    id: String,
    timestamp: Option<String>,
    resource_type: String,
    resource_id: String,
    resource_name: Option<String>,
    action: String,
    user_id: String,
    user_name: Option<String>,
    user_email: Option<String>,
    changes: Vec<Change>,
    metadata: Metadata,
    sequence: i64,
    recorded_at: Option<String>,
    trace_id: Option<String>,
    erased: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    field: String,
    old_value: Option<Box<RawValue>>,
    new_value: Option<Box<RawValue>>,
}

/// The documented keys first, `null` where unknown, then the others.
struct Metadata(BTreeMap<String, String>);

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DOCUMENTED: [&str; 3] = ["ipAddress", "userAgent", "source"];
        let mut map = serializer.serialize_map(None)?;
        for key in DOCUMENTED {
            map.serialize_entry(key, &self.0.get(key))?;
        }
        for (key, value) in self.0.iter().filter(|(key, _)| !DOCUMENTED.contains(&key.as_str())) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    total: i64,
    limit: i32,
    offset: i64,
    has_more: bool,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    audit_logs: Vec<WrittenAuditLog>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAuditLog {
    id: String,
    sequence: i64,
    recorded_at: Option<String>,
    replayed: bool,
    /// Base64.
    leaf_hash: String,
}

pub(super) fn page(audit_logs: Vec<pb::AuditLog>, pagination: Option<pb::Pagination>) -> Result<Response, Failure> {
    let pb::Pagination { total, limit, offset, has_more, next_cursor } = pagination.unwrap_or_default();
    let pagination = Pagination { total, limit, offset, has_more, next_cursor };
    let audit_logs = audit_logs.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(answer(StatusCode::OK, &Page { audit_logs, pagination }))
}

pub(super) fn one(audit_log: Option<pb::AuditLog>) -> Result<Response, Failure> {
    Ok(answer(StatusCode::OK, &entry(audit_log.unwrap_or_default())?))
}

pub(super) fn written(entries: Vec<pb::WrittenAuditLog>) -> Response {
    let one = |written: pb::WrittenAuditLog| {
        let pb::WrittenAuditLog { id, sequence, recorded_at, replayed, leaf_hash } = written;
        let leaf_hash = STANDARD.encode(leaf_hash);
        WrittenAuditLog { id, sequence, recorded_at: time(recorded_at), replayed, leaf_hash }
    };
    answer(StatusCode::CREATED, &Written { audit_logs: entries.into_iter().map(one).collect() })
}

fn entry(audit_log: pb::AuditLog) -> Result<Entry, Failure> {
    Entry::try_from(audit_log).map_err(|damaged| Failure::from(Status::from(Error::Internal(damaged.into()))))
}

impl TryFrom<pb::AuditLog> for Entry {
    /// A value that is no JSON, which no service sends.
    type Error = serde_json::Error;

    fn try_from(audit_log: pb::AuditLog) -> serde_json::Result<Self> {
        let pb::AuditLog {
            id,
            organization_id: _,
            sequence,
            timestamp,
            recorded_at,
            resource_type,
            resource_id,
            resource_name,
            action,
            user_id,
            user_name,
            user_email,
            changes,
            metadata,
            trace_id,
            erased,
        } = audit_log;
        Ok(Self {
            id,
            timestamp: time(timestamp),
            resource_type,
            resource_id,
            resource_name,
            action,
            user_id,
            user_name,
            user_email,
            changes: changes.into_iter().map(change).collect::<Result<_, _>>()?,
            metadata: Metadata(metadata),
            sequence,
            recorded_at: time(recorded_at),
            trace_id,
            erased,
        })
    }
}

/// An entry as a `POST` and an import take it. What is unknown is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    id: String,
    organization_id: String,
    timestamp: Option<String>,
    resource_type: String,
    resource_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
    action: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_email: Option<String>,
    changes: Vec<Change>,
    metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    erased: Vec<String>,
}

impl TryFrom<pb::AuditLog> for Line {
    /// A value that is no JSON, which no service sends.
    type Error = serde_json::Error;

    fn try_from(audit_log: pb::AuditLog) -> serde_json::Result<Self> {
        let pb::AuditLog {
            id,
            organization_id,
            sequence: _,
            timestamp,
            recorded_at: _,
            resource_type,
            resource_id,
            resource_name,
            action,
            user_id,
            user_name,
            user_email,
            changes,
            metadata,
            trace_id,
            erased,
        } = audit_log;
        Ok(Self {
            id,
            organization_id,
            timestamp: time(timestamp),
            resource_type,
            resource_id,
            resource_name,
            action,
            user_id,
            user_name,
            user_email,
            changes: changes.into_iter().map(change).collect::<Result<_, _>>()?,
            metadata: Metadata(metadata),
            trace_id,
            erased,
        })
    }
}

/// Entries as NDJSON: each as `T`, a line of its own.
pub fn lines<T>(entries: Vec<pb::AuditLog>) -> serde_json::Result<Vec<u8>>
where
    T: Serialize + TryFrom<pb::AuditLog, Error = serde_json::Error>,
{
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, &T::try_from(entry)?)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Changes as the JSON of an entry has them.
pub fn changes(changes: Vec<pb::Change>) -> serde_json::Result<String> {
    serde_json::to_string(&changes.into_iter().map(change).collect::<Result<Vec<_>, _>>()?)
}

fn change(change: pb::Change) -> serde_json::Result<Change> {
    let pb::Change { field, old_value_json, new_value_json } = change;
    let raw = |json: Option<String>| json.map(RawValue::from_string).transpose();
    Ok(Change { field, old_value: raw(old_value_json)?, new_value: raw(new_value_json)? })
}

/// An instant as JSON has it.
pub fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    let prost_types::Timestamp { seconds, nanos } = time?;
    Timestamp::from_parts(seconds, nanos).ok().map(|time| time.to_string())
}

/// `body` as an answer that nobody keeps.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (status, headers, bytes).into_response()
        }
        // Strings, numbers and checked JSON always serialize.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
