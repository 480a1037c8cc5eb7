//! The entries around an entry: those within some minutes that are nearest to it, grouped by trace, user and resource.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;

use super::{Answer, Call, Services, after_access, json, params};
use crate::domain::{ObjectWriter, Timestamp};
use crate::grpc::pb;

pub(super) fn routes<S: Services>() -> Router<Arc<S>> {
    Router::new().route("/v1/{organization_id}/audit-logs/{id}/around", get(around::<S>))
}

async fn around<S: Services>(State(service): State<Arc<S>>, call: Call<(String, String)>) -> Answer {
    let (organization_id, id) = call.path.clone();
    let params = call.params(params::AROUND);
    let message = match params.and_then(|params| params.around(organization_id.clone(), id.clone())) {
        Ok(message) => message,
        Err(fault) => {
            let invalid = pb::ListAuditLogsAroundRequest { organization_id, ..Default::default() };
            return Err(after_access(fault, service.list_audit_logs_around(call.request(invalid))).await);
        }
    };
    let found = service.list_audit_logs_around(call.request(message)).await?.into_inner();
    Ok(json::written_by(StatusCode::OK, |text| body(text, &id, &found)))
}

/// Writes the entries around the entry `id`: a page of a list, the window, and the groups. Errors: none, in practice.
pub fn body(text: &mut Vec<u8>, id: &str, found: &pb::ListAuditLogsAroundResponse) -> serde_json::Result<()> {
    let [start_date, end_date] = dates(found);
    let mut page = ObjectWriter::begin(text);
    json::write_page(&mut page, &found.audit_logs, found.pagination.clone())?;
    page.field("around", &AroundBody { id, start_date, end_date })?;
    page.field("groups", &EntryGroups::of(&found.audit_logs))?;
    page.end();
    Ok(())
}

/// The first and the last instant of the window.
pub fn dates(found: &pb::ListAuditLogsAroundResponse) -> [Option<String>; 2] {
    let instant = |prost_types::Timestamp { seconds, nanos }| Timestamp::from_parts(seconds, nanos).ok();
    let [start, end] = [found.start_time, found.end_time].map(|time| time.and_then(instant));
    [start, end.map(|end| end.plus(-1))].map(|time| time.map(|time| time.to_string()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AroundBody<'e> {
    id: &'e str,
    start_date: Option<String>,
    /// Inclusive.
    end_date: Option<String>,
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
