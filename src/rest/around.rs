//! The entries around an entry: everything that happened within some minutes of it, grouped by trace, user and resource.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use anyhow::anyhow;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;
use tonic::Status;

use super::params::{self, AroundParams, Params};
use super::{Answer, Call, Services, after_access, json};
use crate::domain::{Invalid, ObjectWriter, Timestamp};
use crate::error::Error;
use crate::grpc::{pb, wire};

/// Microseconds per minute.
const MINUTE: i64 = 60_000_000;

pub(super) fn routes<S: Services>() -> Router<Arc<S>> {
    Router::new().route("/v1/{organization_id}/audit-logs/{id}/around", get(around::<S>))
}

async fn around<S: Services>(State(service): State<Arc<S>>, call: Call<(String, String)>) -> Answer {
    let (organization_id, id) = call.path.clone();
    let AroundParams { minutes, limit, cursor } = match call.params(params::AROUND).and_then(Params::around) {
        Ok(params) => params,
        Err(fault) => {
            let invalid = pb::GetAuditLogRequest { organization_id, id: String::new() };
            return Err(after_access(fault, service.get_audit_log(call.request(invalid))).await);
        }
    };
    let message = pb::GetAuditLogRequest { organization_id: organization_id.clone(), id };
    let found = service.get_audit_log(call.clone().request(message)).await?.into_inner();
    let entry = found.audit_log.unwrap_or_default();
    let span = AroundSpan::of(&entry, minutes);
    let span = span.map_err(|why| Status::from(Error::Internal(anyhow!("the time of an entry {why}"))))?;
    let filter = Some(span.filter());
    let message = pb::ListAuditLogsRequest { organization_id, filter, limit, offset: None, cursor };
    let page = service.list_audit_logs(call.request(message)).await?.into_inner();
    Ok(json::written_by(StatusCode::OK, |text| body(text, &entry.id, span, &page.audit_logs, page.pagination)))
}

/// The first and the last instant around an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AroundSpan {
    /// The first instant.
    pub start: Timestamp,
    /// The last instant.
    pub last: Timestamp,
}

impl AroundSpan {
    /// So many minutes before and after `entry`. Errors: the entry has no time, which no service sends.
    pub fn of(entry: &pb::AuditLog, minutes: i64) -> Result<Self, Invalid> {
        let prost_types::Timestamp { seconds, nanos } =
            entry.timestamp.ok_or_else(|| Invalid("is missing".to_owned()))?;
        let time = Timestamp::from_parts(seconds, nanos)?;
        Ok(Self { start: time.plus(-minutes * MINUTE), last: time.plus(minutes * MINUTE) })
    }

    /// The filter for the entries in the span.
    pub fn filter(self) -> pb::AuditLogFilter {
        pb::AuditLogFilter {
            start_time: Some(wire::time(self.start)),
            // The filter excludes its end.
            end_time: Some(wire::time(self.last.plus(1))),
            ..Default::default()
        }
    }
}

/// Writes the entries around the entry `id`: a page of a list, the span, and the groups. Errors: none, in practice.
pub fn body(
    text: &mut Vec<u8>,
    id: &str,
    AroundSpan { start, last }: AroundSpan,
    audit_logs: &[pb::AuditLog],
    pagination: Option<pb::Pagination>,
) -> serde_json::Result<()> {
    let around = AroundBody { id, start_date: start.to_string(), end_date: last.to_string() };
    let mut page = ObjectWriter::begin(text);
    json::write_page(&mut page, audit_logs, pagination)?;
    page.field("around", &around)?;
    page.field("groups", &EntryGroups::of(audit_logs))?;
    page.end();
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AroundBody<'e> {
    id: &'e str,
    start_date: String,
    /// Inclusive.
    end_date: String,
}

/// The ids of entries, grouped in three ways. Groups are in the order in which they first appear.
#[derive(Debug, Serialize)]
pub struct EntryGroups<'e> {
    /// Only of entries with a trace.
    pub traces: Vec<TraceEntries<'e>>,
    /// Of all entries.
    pub users: Vec<UserEntries<'e>>,
    /// Of all entries.
    pub resources: Vec<ResourceEntries<'e>>,
}

/// The ids of the entries of a trace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceEntries<'e> {
    /// The id of the trace.
    pub trace_id: &'e str,
    /// The ids of its entries.
    pub ids: Vec<&'e str>,
}

/// The ids of the entries of a user.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserEntries<'e> {
    /// The id of the user.
    pub user_id: &'e str,
    /// The ids of their entries.
    pub ids: Vec<&'e str>,
}

/// The ids of the entries of a resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceEntries<'e> {
    /// The type of the resource.
    pub resource_type: &'e str,
    /// The id of the resource.
    pub resource_id: &'e str,
    /// The ids of its entries.
    pub ids: Vec<&'e str>,
}

impl<'e> EntryGroups<'e> {
    /// Groups `entries`.
    pub fn of(entries: &'e [pb::AuditLog]) -> Self {
        let traces = grouped(entries, |entry| entry.trace_id.as_deref());
        let users = grouped(entries, |entry| Some(entry.user_id.as_str()));
        let resources = grouped(entries, |entry| Some((entry.resource_type.as_str(), entry.resource_id.as_str())));
        let resource = |((resource_type, resource_id), ids)| ResourceEntries { resource_type, resource_id, ids };
        Self {
            traces: traces.into_iter().map(|(trace_id, ids)| TraceEntries { trace_id, ids }).collect(),
            users: users.into_iter().map(|(user_id, ids)| UserEntries { user_id, ids }).collect(),
            resources: resources.into_iter().map(resource).collect(),
        }
    }
}

/// The ids of the entries with each key. Entries without a key are left out.
fn grouped<'e, K: Copy + Eq + Hash>(
    entries: &'e [pb::AuditLog],
    key: impl Fn(&'e pb::AuditLog) -> Option<K>,
) -> Vec<(K, Vec<&'e str>)> {
    let (mut groups, mut places) = (Vec::<(K, Vec<&str>)>::new(), HashMap::new());
    for entry in entries {
        let Some(key) = key(entry) else { continue };
        let place = *places.entry(key).or_insert_with(|| {
            groups.push((key, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(&entry.id);
    }
    groups
}
