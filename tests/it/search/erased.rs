//! Erased values are not found again, and walks that began before an erasure end without an error.

use auditlog::domain::{Erased, Group};
use auditlog::grpc::pb::{AuditLogFilter, ExportAuditLogsRequest};
use serde_json::json;

use super::asked::encoded;
use super::started::{Started, entry, ids, next_cursor};
use crate::support::erasure::{ORG, both, of};
use crate::support::service::{all, with_key};
use crate::support::{Backend, Database, on_every_database};

type Condition = (&'static str, &'static str);

/// An entry with a value in each field.
const WHOLE: &str = r#","resourceName":"Support bot","userName":"Jane Doe","userEmail":"jane@example.com","changes":[{"field":"model","oldValue":"m-1","newValue":"m-2"}],"metadata":{"source":"web_ui"},"traceId":"trace_1","outcome":"denied","actorType":"user""#;
/// Conditions that the entry matches, by the group whose values they test.
const OF_FACTS: [Condition; 6] = [
    ("traceId", "trace_1"),
    ("actorType", "user"),
    ("outcome", "denied"),
    ("text", "log_whole"),
    ("text", "uid_1"),
    ("text", "trace_1"),
];
const OF_ACTOR: [Condition; 6] = [
    ("userName", "JANE DOE"),
    ("userName", "jane*"),
    ("userEmail", "jane@example.com"),
    ("metadata.source", "web_ui"),
    ("text", "jane doe"),
    ("text", "web_ui"),
];
const OF_CONTENT: [Condition; 7] = [
    ("resourceName", "support bot"),
    ("changes.field", "model"),
    ("changes.oldValue", "m-1"),
    ("changes.newValue", "m-2"),
    ("text", "support bot"),
    ("text", "model"),
    ("text", "m-2"),
];

/// Entries by Jane with numbers as ids, the newest with the highest number.
fn by_jane(count: usize) -> Vec<String> {
    let members = r#","userName":"Jane Doe","changes":[{"field":"model","newValue":1}]"#;
    (0..count).map(|number| entry(&format!("log_{number}"), members)).collect()
}

fn names(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("log_{number}")).collect()
}

/// The ids of an export of all entries by users with names that begin with `jane`.
async fn exported(started: &Started) -> Vec<String> {
    let filter = Some(AuditLogFilter { user_name: Some("jane*".to_owned()), ..AuditLogFilter::default() });
    let request = ExportAuditLogsRequest { filter, ..all(ORG) };
    let export = started.service.grpc().await.export_audit_logs(with_key(request, &started.key)).await;
    let (mut export, mut ids) = (export.expect("it begins").into_inner(), Vec::new());
    while let Some(piece) = export.message().await.expect("a message") {
        ids.extend(piece.audit_logs.into_iter().map(|entry| entry.id));
    }
    ids
}

on_every_database! {
    async fn an_erased_value_is_not_found_by_any_condition(database: &Database) {
        let started = Started::with(database, &[entry("log_whole", WHOLE), entry("log_other", "")]).await;
        let check = async |erased: Erased| {
            for (group, conditions) in [(Group::Facts, &OF_FACTS[..]), (Group::Actor, &OF_ACTOR), (Group::Content, &OF_CONTENT)] {
                for condition in conditions {
                    // `uid_1` is the user of both entries.
                    let found = started.find(&[*condition, ("traceId", "trace_1")]).await;
                    assert_eq!(found.len(), usize::from(!erased.has(group)), "{condition:?} where {erased:?} is erased");
                }
            }
        };
        check(Erased::default()).await;
        let id = ["log_whole".to_owned()];
        started.erase(&id, of(&[Group::Actor])).await;
        check(of(&[Group::Actor])).await;
        started.erase(&id, of(&[Group::Content])).await;
        check(both()).await;
        for condition in OF_ACTOR.iter().chain(&OF_CONTENT) {
            let page = started.page(&[*condition]).await;
            assert_eq!((ids(&page).len(), &page["pagination"]["total"]), (0, &json!(0)), "{condition:?}");
        }
    }

    async fn the_total_falls_with_an_erasure_and_a_walk_from_before_ends_below_its_own(database: &Database) {
        let started = Started::with(database, &by_jane(30)).await;
        let query = [("userName", "jane doe"), ("changes.field", "model"), ("limit", "10")];
        let first = started.page(&query).await;
        assert_eq!((ids(&first), &first["pagination"]["total"]), (names((20..30).rev()), &json!(30)));
        assert_eq!(exported(&started).await, names(0..30));
        // Two of the last page, five of the one before, and one that the walk has seen.
        let gone = [0, 1, 10, 11, 12, 13, 14, 25];
        started.erase(&names(gone), of(&[Group::Actor])).await;
        let mut walked = ids(&first);
        let mut cursor = next_cursor(&first);
        let mut sizes = Vec::new();
        while let Some(text) = cursor {
            let page = started.page(&[&query[..], &[("cursor", text.as_str())]].concat()).await;
            assert_eq!((&page["pagination"]["total"], &page["pagination"]["offset"]), (&json!(30), &json!(walked.len())));
            sizes.push(ids(&page).len());
            walked.extend(ids(&page));
            cursor = next_cursor(&page);
        }
        let left: Vec<_> = (0..20).rev().filter(|number| !gone.contains(number)).collect();
        assert_eq!((sizes, walked), (vec![10, 3], [names((20..30).rev()), names(left)].concat()), "each that is left comes once");
        let again = started.page(&query).await;
        let left: Vec<_> = (0..30).filter(|number| !gone.contains(number)).collect();
        assert_eq!((ids(&again).len(), &again["pagination"]["total"]), (10, &json!(left.len())));
        assert_eq!(exported(&started).await, names(left));
    }

    async fn an_erasure_of_all_that_a_walk_has_left_ends_it(database: &Database) {
        let started = Started::with(database, &by_jane(20)).await;
        let query = [("text", "JANE DOE"), ("limit", "10")];
        let first = started.page(&query).await;
        let cursor = next_cursor(&first).expect("a second page");
        started.erase(&names(0..20), both()).await;
        let second = started.page(&[&query[..], &[("cursor", cursor.as_str())]].concat()).await;
        let pagination = &second["pagination"];
        assert_eq!((ids(&second).len(), &pagination["total"], &pagination["hasMore"]), (0, &json!(20), &json!(false)));
        assert!(started.find(&query[..1]).await.is_empty());
        assert!(exported(&started).await.is_empty());
        let feed = format!("/v1/org_a/feed?after=0&wait=0s&{}", encoded(&query[..1]));
        let feed = started.service.get(&feed, &started.key).await.body;
        assert!(ids(&feed).is_empty(), "{feed}");
    }
}
