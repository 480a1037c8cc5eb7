//! The list requests of the benchmark, and the same conditions in SQL.

use auditlog::grpc::pb::{AuditLogFilter, ListAuditLogsRequest};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::data::{
    ACTIONS, BEGIN, ORGANIZATIONS, OUTCOMES, SPAN, Subject, TYPES, organization_id, resource_id, time, user_id,
};

/// The filters of a request.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    user: bool,
    resource_type: bool,
    action: bool,
    resource: bool,
}

const fn shape(name: &'static str, user: bool, resource_type: bool, action: bool, resource: bool) -> Shape {
    Shape { name, user, resource_type, action, resource }
}

/// A resource is selected by its type and id.
pub const SHAPES: [Shape; 10] = [
    shape("no filter", false, false, false, false),
    shape("type", false, true, false, false),
    shape("action", false, false, true, false),
    shape("type + action", false, true, true, false),
    shape("user", true, false, false, false),
    shape("user + type", true, true, false, false),
    shape("user + action", true, false, true, false),
    shape("user + type + action", true, true, true, false),
    shape("resource", false, true, false, true),
    shape("resource + action", false, true, true, true),
];

impl Shape {
    /// A request of this shape. Values are drawn as often as they occur; half of the requests go to the largest
    /// organization.
    pub fn request(&self, with_range: bool, random: &mut StdRng) -> ListAuditLogsRequest {
        let organization = if random.random_bool(0.5) { 0 } else { ORGANIZATIONS.draw(random) };
        let subject = Subject::draw(random);
        let mut filter = AuditLogFilter {
            user_ids: self.user.then(|| subject.user_id()).into_iter().collect(),
            resource_types: self.resource_type.then(|| type_name(subject.resource_type)).into_iter().collect(),
            actions: self.action.then(|| ACTIONS[subject.action].0.to_owned()).into_iter().collect(),
            resource_ids: self.resource.then(|| subject.resource_id()).into_iter().collect(),
            ..AuditLogFilter::default()
        };
        if with_range {
            let length = [1, 7, 30, 180][random.random_range(0..4)] * SPAN / 730;
            let start = BEGIN + random.random_range(0..SPAN - length);
            filter.start_time = Some(time(start));
            filter.end_time = Some(time(start + length));
        }
        ListAuditLogsRequest { organization_id: organization_id(organization), ..list(filter) }
    }
}

pub fn type_name(code: usize) -> String {
    TYPES[code].0.to_owned()
}

/// A list of all entries of the largest organization.
pub fn largest() -> ListAuditLogsRequest {
    ListAuditLogsRequest { organization_id: organization_id(0), ..ListAuditLogsRequest::default() }
}

/// A list of the entries of the largest organization that match `filter`.
pub fn list(filter: AuditLogFilter) -> ListAuditLogsRequest {
    ListAuditLogsRequest {
        organization_id: organization_id(0),
        filter: Some(filter),
        ..ListAuditLogsRequest::default()
    }
}

/// Selects the entries of the hottest user about the hottest resource. No running counts have their number, so they are
/// counted one by one.
pub fn hottest_pair() -> AuditLogFilter {
    AuditLogFilter {
        user_ids: vec![user_id(0)],
        resource_types: vec![type_name(0)],
        resource_ids: vec![resource_id(0, 0)],
        ..AuditLogFilter::default()
    }
}

/// The condition of `request`, written like hand-made SQL.
pub fn condition(request: &ListAuditLogsRequest) -> String {
    let codes = |names: &[(&str, f64)], wanted: &[String]| {
        let code = |name: &String| names.iter().position(|(known, _)| known == name).map(|code| code.to_string());
        wanted.iter().filter_map(code).collect::<Vec<_>>()
    };
    let quoted = |ids: &[String]| ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>();
    let any = |column: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| format!("{column} IN ({})", values.join(", ")))
    };
    let filter = request.filter.clone().unwrap_or_default();
    // A search is no part of it: the section `search` has the SQL of its searches.
    let AuditLogFilter { resource_types, resource_ids, actions, user_ids, start_time, end_time, outcomes, .. } = filter;
    let micros = |time: &prost_types::Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos / 1_000);
    let parts = [
        Some(format!("organization_id = '{}'", request.organization_id)),
        any("resource_type", codes(&TYPES, &resource_types)),
        any("resource_id", quoted(&resource_ids)),
        any("action", codes(&ACTIONS, &actions)),
        any("outcome", codes(&OUTCOMES, &outcomes)),
        any("user_id", quoted(&user_ids)),
        start_time.map(|start| format!("timestamp >= {}", micros(&start))),
        end_time.map(|end| format!("timestamp < {}", micros(&end))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" AND ")
}
