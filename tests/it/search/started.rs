//! A service with a few entries, and searches of them over REST.

use auditlog::access::Scope;
use auditlog::domain::{EntryId, Erased};
use auditlog::ingest::Target;
use serde_json::Value;

use super::asked::encoded;
use crate::support::erasure::{ORG, eraser, erasure};
use crate::support::{Database, Service};

pub const LIST: &str = "/v1/org_a/audit-logs";
pub const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];
/// The entries of one request. A request has at most 4 MiB.
const BATCH: usize = 50;

/// The JSON of an entry with these other members, which begin with a comma unless there are none. Numbers keep their
/// spelling.
pub fn entry(id: &str, members: &str) -> String {
    format!(
        r#"{{"id":"{id}","resourceType":"rule","resourceId":"rule_1","action":"created","userId":"uid_1"{members}}}"#
    )
}

/// An entry with one change, of which only the new value is given.
pub fn changed(id: &str, field: &str, new_value: &str) -> String {
    let field = Value::from(field);
    entry(id, &format!(r#","changes":[{{"field":{field},"newValue":{new_value}}}]"#))
}

pub struct Started {
    pub service: Service,
    pub key: String,
}

impl Started {
    pub async fn with(database: &Database, entries: &[String]) -> Self {
        let service = Service::start(database).await;
        let key = service.key(Some(ORG), &BOTH).await;
        let started = Self { service, key };
        started.write(entries).await;
        started
    }

    pub async fn write(&self, entries: &[String]) {
        for entries in entries.chunks(BATCH) {
            let body = format!(r#"{{"auditLogs":[{}]}}"#, entries.join(","));
            let request = self.service.http.post(self.service.url(LIST)).bearer_auth(&self.key);
            let request = request.header("content-type", "application/json").body(body);
            let written = self.service.send(request).await;
            assert_eq!(written.status, 201, "{}", written.text);
        }
    }

    pub async fn page(&self, query: &[(&str, &str)]) -> Value {
        let answer = self.service.get(&format!("{LIST}?{}", encoded(query)), &self.key).await;
        assert_eq!(answer.status, 200, "{query:?}: {}", answer.text);
        answer.body
    }

    /// The ids of all entries that match, which are at most 100. Newest first.
    pub async fn find(&self, query: &[(&str, &str)]) -> Vec<String> {
        let page = self.page(&[&[("limit", "100")][..], query].concat()).await;
        let ids = ids(&page);
        assert_eq!(page["pagination"]["total"], ids.len(), "{query:?}");
        ids
    }

    /// The same in the order of the ids.
    pub async fn find_sorted(&self, query: &[(&str, &str)]) -> Vec<String> {
        let mut ids = self.find(query).await;
        ids.sort_unstable();
        ids
    }

    /// The pages of a walk, each after the first with its own limit. The first page has `limit`.
    pub async fn walk(&self, query: &[(&str, &str)], limit: &str, others: &[&str]) -> Vec<Value> {
        let mut pages = vec![self.page(&[&[("limit", limit)][..], query].concat()).await];
        for limit in others.iter().cycle() {
            let Some(cursor) = pages.last().and_then(next_cursor) else { break };
            pages.push(self.page(&[&[("limit", *limit), ("cursor", cursor.as_str())][..], query].concat()).await);
        }
        pages
    }

    /// Erases `groups` of the entries with these ids.
    pub async fn erase(&self, ids: &[String], groups: Erased) {
        let ids = ids.iter().map(|id| EntryId::parse(id.as_str()).expect("an id")).collect();
        let erased = eraser(&self.service.store).erase(erasure(Target::Entries(ids), groups)).await;
        assert!(erased.expect("erased").is_complete);
    }
}

/// The ids of a page or a feed.
pub fn ids(page: &Value) -> Vec<String> {
    let entries = page["auditLogs"].as_array().unwrap_or_else(|| panic!("entries: {page}"));
    entries.iter().map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
}

pub fn next_cursor(page: &Value) -> Option<String> {
    page["pagination"]["nextCursor"].as_str().map(str::to_owned)
}
