//! Encodes gRPC responses as the JSON of the public documentation. Source: api/list-audit-logs.md.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::entry::{FieldValue, METADATA_KEYS, fields};
use crate::domain::{ObjectWriter, Timestamp, write_array, write_changes};
use crate::grpc::pb;

/// The body of a successful health check.
#[derive(Serialize)]
pub(super) struct Alive {
    status: &'static str,
}

pub(super) const ALIVE: Alive = Alive { status: "ok" };

/// Metadata with the documented keys first, `null` if absent, and then the others.
struct OrderedMetadata<'e>(&'e BTreeMap<String, String>);

impl Serialize for OrderedMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for key in METADATA_KEYS {
            map.serialize_entry(key, &self.0.get(key))?;
        }
        for (key, value) in self.0.iter().filter(|(key, _)| !METADATA_KEYS.contains(&key.as_str())) {
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

pub(super) fn page(audit_logs: &[pb::AuditLog], pagination: Option<pb::Pagination>) -> Response {
    written_by(StatusCode::OK, |text| {
        let mut page = ObjectWriter::begin(text);
        write_page(&mut page, audit_logs, pagination)?;
        page.end();
        Ok(())
    })
}

/// Writes the members of a page of a list.
pub(super) fn write_page(
    page: &mut ObjectWriter<'_>,
    audit_logs: &[pb::AuditLog],
    pagination: Option<pb::Pagination>,
) -> serde_json::Result<()> {
    let pb::Pagination { total, limit, offset, has_more, next_cursor } = pagination.unwrap_or_default();
    let pagination = Pagination { total, limit, offset, has_more, next_cursor };
    write_array(page.name("auditLogs"), audit_logs, |text, entry| write_entry(text, entry, Form::Documented))?;
    page.field("pagination", &pagination)
}

pub(super) fn feed(audit_logs: &[pb::AuditLog], sequence: i64, head_sequence: i64) -> Response {
    written_by(StatusCode::OK, |text| {
        let mut feed = ObjectWriter::begin(text);
        write_array(feed.name("auditLogs"), audit_logs, |text, entry| write_entry(text, entry, Form::Documented))?;
        feed.field("sequence", &sequence)?;
        feed.field("headSequence", &head_sequence)?;
        feed.end();
        Ok(())
    })
}

pub(super) fn one(audit_log: Option<pb::AuditLog>) -> Response {
    let entry = audit_log.unwrap_or_default();
    written_by(StatusCode::OK, |text| write_entry(text, &entry, Form::Documented))
}

/// The purpose of a written entry.
#[derive(Debug, Clone, Copy)]
enum Form<'e> {
    /// For readers: as in the public documentation, with `null` for absent values.
    Documented,
    /// For a file: with the organization and the leaf hash, and without absent values.
    Exported { leaf_hash: &'e [u8] },
}

impl Form<'_> {
    /// Whether this form has the field.
    fn has(self, name: &str, value: FieldValue<'_>) -> bool {
        match self {
            Self::Documented => name != "organizationId",
            Self::Exported { leaf_hash: _ } => !matches!(value, FieldValue::Absent | FieldValue::Groups([])),
        }
    }
}

/// Writes an entry. JSON values of changes are copied without a check, so they must come from a trusted service.
fn write_entry(text: &mut Vec<u8>, audit_log: &pb::AuditLog, form: Form<'_>) -> serde_json::Result<()> {
    let mut entry = ObjectWriter::begin(text);
    for (name, value) in fields(audit_log).into_iter().filter(|(name, value)| form.has(name, *value)) {
        match value {
            FieldValue::Absent => entry.json(name, None),
            FieldValue::Text(text) => entry.field(name, text)?,
            FieldValue::Number(number) => entry.field(name, &number)?,
            FieldValue::Time(instant) => entry.field(name, &time(instant))?,
            FieldValue::Changes(changes) => write_changes(entry.name(name), changes.iter().map(change_parts))?,
            FieldValue::Metadata(pairs) => entry.field(name, &OrderedMetadata(pairs))?,
            FieldValue::Groups(groups) => entry.field(name, groups)?,
        }
    }
    if let Form::Exported { leaf_hash } = form {
        entry.field("leafHash", &STANDARD.encode(leaf_hash))?;
    }
    entry.end();
    Ok(())
}

fn change_parts(change: &pb::Change) -> (&str, Option<&str>, Option<&str>) {
    let pb::Change { field, old_value_json, new_value_json } = change;
    (field, old_value_json.as_deref(), new_value_json.as_deref())
}

/// Encodes entries from another service as NDJSON, one line each, as REST returns them. Errors: a value is not JSON,
/// which no service sends.
pub fn lines(entries: &[pb::AuditLog]) -> serde_json::Result<Vec<u8>> {
    lines_in(entries.iter().map(|entry| (entry, Form::Documented)))
}

/// Like [`lines`], for entries of an export, each with its leaf hash.
pub fn exported_lines<'e>(entries: impl Iterator<Item = (&'e pb::AuditLog, &'e [u8])>) -> serde_json::Result<Vec<u8>> {
    lines_in(entries.map(|(entry, leaf_hash)| (entry, Form::Exported { leaf_hash })))
}

fn lines_in<'e>(entries: impl Iterator<Item = (&'e pb::AuditLog, Form<'e>)>) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for (entry, form) in entries {
        check_values(&entry.changes)?;
        write_entry(&mut lines, entry, form)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Encodes changes from another service as in the JSON of an entry. Errors: those of [`lines`].
pub fn changes(changes: &[pb::Change]) -> serde_json::Result<Vec<u8>> {
    check_values(changes)?;
    let mut text = Vec::new();
    write_changes(&mut text, changes.iter().map(change_parts))?;
    Ok(text)
}

fn check_values(changes: &[pb::Change]) -> serde_json::Result<()> {
    let values = changes.iter().flat_map(|change| [&change.old_value_json, &change.new_value_json]).flatten();
    values.map(|value| serde_json::from_str::<&RawValue>(value)).try_for_each(|value| value.map(drop))
}

/// The JSON text of an instant; `None` if it is absent or out of range.
pub fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    let prost_types::Timestamp { seconds, nanos } = time?;
    Timestamp::from_parts(seconds, nanos).ok().map(|time| time.to_string())
}

/// A response with `body` as JSON, which caches must not store.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    written_by(status, |text| serde_json::to_writer(text, body))
}

/// A JSON response whose body `write` writes, which caches must not store.
pub(super) fn written_by(status: StatusCode, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> Response {
    let mut text = Vec::new();
    match write(&mut text) {
        Ok(()) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (status, headers, text).into_response()
        }
        // Cannot happen: strings and numbers always serialize.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
