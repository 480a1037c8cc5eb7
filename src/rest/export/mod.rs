//! Exports: all matching entries, in ascending order of `sequence`, as NDJSON or CSV. `auditlog export` writes the same
//! bytes.

pub mod csv;

use std::sync::Arc;

use anyhow::{anyhow, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::future::ready;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Version};
use tonic::Status;

use super::{Answer, Call, ErrorResponse, Services, after_access, json, params};
use crate::domain::quoted;
use crate::error::Error;
use crate::grpc::pb;

/// The header with the number of the last entry of the export. A client compares it with the numbers of entries to see
/// how far it is.
pub const HEAD_SEQUENCE_HEADER: &str = "x-auditlog-head-sequence";

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One line of JSON for each entry, which `auditlog import` accepts.
    Ndjson,
    /// One column for each field, for a spreadsheet.
    Csv,
}

impl ExportFormat {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Ndjson, Self::Csv];

    /// The name, and the end of the names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// Errors: there is no format of that name.
    pub(super) fn parse(name: &str) -> Result<Self, ErrorResponse> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        let names = Self::ALL.map(Self::name).join(" or ");
        found.ok_or_else(|| ErrorResponse::parameter("format", format_args!("must be {names}, got {}", quoted(name))))
    }

    /// The bytes before the first entry: the header line of CSV. Errors: none, in practice.
    pub fn header(self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Ndjson => Ok(Vec::new()),
            Self::Csv => csv::header(),
        }
    }

    /// The lines of `entries`. Errors: NDJSON needs a leaf hash for each entry; a value is not JSON, which no service
    /// sends.
    pub fn lines(self, entries: &[pb::AuditLog], leaf_hashes: &[Vec<u8>]) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Ndjson => {
                let is_complete = leaf_hashes.len() == entries.len();
                ensure!(is_complete, "the service is older than this program, and sends no leaf hashes; upgrade it");
                Ok(json::exported_lines(entries.iter().zip(leaf_hashes.iter().map(Vec::as_slice)))?)
            }
            Self::Csv => csv::lines(entries),
        }
    }

    /// `has_header`: whether the body begins with [`ExportFormat::header`]. Source: RFC 4180, section 3.
    fn content_type(self, has_header: bool) -> &'static str {
        match (self, has_header) {
            (Self::Ndjson, _) => "application/x-ndjson",
            (Self::Csv, true) => "text/csv; charset=utf-8; header=present",
            (Self::Csv, false) => "text/csv; charset=utf-8; header=absent",
        }
    }
}

pub(super) fn routes<S: Services>() -> Router<Arc<S>> {
    Router::new().route("/v1/{organization_id}/export", get(export::<S>))
}

async fn export<S: Services>(State(service): State<Arc<S>>, version: Version, call: Call<String>) -> Answer {
    let organization_id = call.path.clone();
    let params = call.params(params::EXPORT).and_then(|params| params.export(organization_id.clone()));
    let params = params.and_then(|decoded| match version {
        // It has no sign for the end of a body, so that a part would look like the whole.
        Version::HTTP_10 => Err(ErrorResponse::parameter("protocol", "must be HTTP/1.1 or HTTP/2, got HTTP/1.0")),
        _ => Ok(decoded),
    });
    let (format, message) = match params {
        Ok(decoded) => decoded,
        Err(fault) => {
            let filter = Some(pb::AuditLogFilter { user_ids: vec![String::new()], ..Default::default() });
            let invalid = pb::ExportAuditLogsRequest { organization_id, filter, ..Default::default() };
            return Err(after_access(fault, service.export_audit_logs(call.request(invalid))).await);
        }
    };
    // The rest of an interrupted export goes to the end of the first part.
    let has_header = message.after_sequence == 0;
    let mut messages = service.export_audit_logs(call.request(message)).await?.into_inner().boxed();
    // Errors before the first entries have a status. There is at least one message.
    let first = messages.next().await.unwrap_or_else(|| Err(internal(anyhow!("an export without a message"))))?;
    let head_sequence = first.head_sequence;
    let header = if has_header { format.header().map_err(internal)? } else { Vec::new() };
    let begin = [header, lines(format, first)?].concat();
    // The client pulls the messages. An error cuts the body off, so a part is never taken for the whole.
    let rest = messages.map(move |message| lines(format, message?));
    let body = stream::once(ready(Ok(begin))).chain(rest).try_filter(|lines| ready(!lines.is_empty()));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(format.content_type(has_header))),
        (CONTENT_DISPOSITION, disposition(&organization_id, format)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static(HEAD_SEQUENCE_HEADER), HeaderValue::from(head_sequence)),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn lines(format: ExportFormat, message: pb::ExportAuditLogsResponse) -> Result<Vec<u8>, Status> {
    let pb::ExportAuditLogsResponse { audit_logs, sequence: _, head_sequence: _, leaf_hashes } = message;
    format.lines(&audit_logs, &leaf_hashes).map_err(internal)
}

fn internal(error: anyhow::Error) -> Status {
    Error::Internal(error).into()
}

/// The name of the file: that of the organization, with `_` for all characters that a file system may not take.
fn disposition(organization_id: &str, format: ExportFormat) -> HeaderValue {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() || ['-', '.'].contains(&letter) {
        true => letter,
        false => '_',
    };
    let name: String = organization_id.chars().map(plain).collect();
    let value = HeaderValue::from_str(&format!("attachment; filename=\"audit-logs-{name}.{}\"", format.name()));
    // Cannot fail: all characters are plain.
    value.unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_plain_name() {
        for (organization, expected) in [
            ("org_abc123", "attachment; filename=\"audit-logs-org_abc123.csv\""),
            ("../\"ö\";\\", "attachment; filename=\"audit-logs-..______.csv\""),
            ("auditlog:service", "attachment; filename=\"audit-logs-auditlog_service.csv\""),
        ] {
            assert_eq!(disposition(organization, ExportFormat::Csv), expected);
        }
    }
}
