//! Named cases, each of which a plausible mistake would answer otherwise.

use auditlog::grpc::pb::{AuditLogFilter, ChangeFilter, ListAuditLogsRequest};
use serde_json::{Value, json};

use super::asked::encoded;
use super::started::{LIST, Started, changed, entry, ids, next_cursor};
use crate::support::service::with_key;
use crate::support::{Backend, Database, on_every_database};

/// Changes of two fields, from 1 to 2 and from 3 to 4.
const TWO: &str = r#","changes":[{"field":"a","oldValue":1,"newValue":2},{"field":"b","oldValue":3,"newValue":4}]"#;

/// New values of a field, by the ids of their entries.
const VALUES: [(&str, &str); 18] = [
    ("one", "1"),
    ("one.point", "1.0"),
    ("one.exponent", "10e-1"),
    ("one.text", "\"1\""),
    ("yes", "true"),
    ("yes.text", "\"true\""),
    ("none", "null"),
    ("none.text", "\"null\""),
    ("large", "9007199254740993"),
    ("large.less", "9007199254740992"),
    ("object", r#"{"a":1,"b":[true]}"#),
    ("object.turned", r#"{"b":[true],"a":1.0}"#),
    ("object.other", r#"{"a":1,"b":[false]}"#),
    ("list", "[1,2]"),
    ("list.turned", "[2,1]"),
    ("admin", "\"admin\""),
    ("admin.escaped", r#""\u0061dmin""#),
    ("admin.large", "\"Admin\""),
];

/// The ids of [`VALUES`] that a new value selects, in their order.
const SELECTED: [(&str, &[&str]); 19] = [
    ("1", &["one", "one.exponent", "one.point"]),
    ("1.0", &["one", "one.exponent", "one.point"]),
    ("0.1E1", &["one", "one.exponent", "one.point"]),
    ("\"1\"", &["one.text"]),
    ("true", &["yes"]),
    ("\"true\"", &["yes.text"]),
    ("TRUE", &[]),
    ("null", &["none"]),
    ("\"null\"", &["none.text"]),
    ("9007199254740993", &["large"]),
    ("9007199254740993.0", &["large"]),
    ("9007199254740992", &["large.less"]),
    (r#"{ "b": [true], "a": 1 }"#, &["object", "object.turned"]),
    ("{}", &[]),
    ("[1,2]", &["list"]),
    ("admin", &["admin", "admin.escaped"]),
    ("\"admin\"", &["admin", "admin.escaped"]),
    ("Admin", &["admin.large"]),
    ("adm*", &[]),
];

/// Fields by the ids of their entries.
const FIELDS: [(&str, &str); 9] = [
    ("above", "tools"),
    ("below", "tools.webSearch"),
    ("deep", "tools.webSearch.limit"),
    ("dot", "tools."),
    ("beside", "toolsX"),
    ("beside.deep", "toolsX.webSearch"),
    ("large", "Tools.webSearch"),
    ("elsewhere", "a.tools.webSearch"),
    ("star", "tools.*"),
];

const NAMES: [(&str, &str); 12] = [
    ("jane", "Jane Doe"),
    ("jane.large", "JANE DOE"),
    ("jane.more", "Jane Doering"),
    ("elodie", "élodie"),
    ("elodie.large", "ÉLODIE"),
    ("elodie.plain", "Elodie"),
    ("street", "Straße"),
    ("street.large", "STRASSE"),
    ("masked", "J***@example.com"),
    ("dotted", "İz"),
    ("percent", "100%_\\"),
    ("spaces", " Jane Doe "),
];

/// The ids of [`NAMES`] that a name selects, in their order.
const NAMED: [(&str, &[&str]); 17] = [
    ("jane doe", &["jane", "jane.large"]),
    ("JANE*", &["jane", "jane.large", "jane.more"]),
    ("jane doe*", &["jane", "jane.large", "jane.more"]),
    ("jane", &[]),
    ("doe", &[]),
    ("ÉLODIE", &["elodie", "elodie.large"]),
    ("é*", &["elodie", "elodie.large"]),
    ("elodie", &["elodie.plain"]),
    ("strasse", &["street", "street.large"]),
    ("STRAS*", &["street", "street.large"]),
    ("straß*", &["street", "street.large"]),
    ("j***@EXAMPLE.com", &["masked"]),
    ("j**", &["masked"]),
    ("i\u{307}z", &["dotted"]),
    ("100%*", &["percent"]),
    ("100__*", &[]),
    (" jane doe ", &["spaces"]),
];

on_every_database! {
    async fn the_field_of_one_change_does_not_match_with_a_value_of_another(database: &Database) {
        let started = Started::with(database, &[entry("log_1", TWO)]).await;
        for (field, old, new, is_found) in [
            (Some("a"), None, Some("2"), true),
            (Some("b"), Some("3"), Some("4"), true),
            (None, Some("1"), Some("2"), true),
            (Some("a"), None, Some("4"), false),
            (Some("b"), Some("1"), None, false),
            (None, Some("1"), Some("4"), false),
            (None, Some("3"), Some("2"), false),
        ] {
            let query = [("changes.field", field), ("changes.oldValue", old), ("changes.newValue", new)];
            let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            assert_eq!(started.find(&query).await.len(), usize::from(is_found), "{query:?}");
        }
    }

    async fn values_are_compared_as_json_and_not_as_text(database: &Database) {
        let started = Started::with(database, &VALUES.map(|(id, json)| changed(id, "f", json))).await;
        for (text, expected) in SELECTED {
            assert_eq!(started.find_sorted(&[("changes.newValue", text)]).await, expected, "{text}");
        }
        // The old values are absent, which is the same as null.
        assert_eq!(started.find(&[("changes.oldValue", "null")]).await.len(), VALUES.len());
        assert_eq!(started.find(&[("changes.oldValue", "null"), ("changes.newValue", "null")]).await, ["none"]);
    }

    async fn a_star_after_a_dot_means_the_fields_below_and_no_others(database: &Database) {
        let started = Started::with(database, &FIELDS.map(|(id, field)| changed(id, field, "1"))).await;
        for (field, expected) in [
            ("tools.*", &["below", "deep", "dot", "star"][..]),
            ("tools.webSearch.*", &["deep"]),
            ("tools", &["above"]),
            ("tools.", &["dot"]),
            (r"tools.\*", &["star"]),
            ("toolsX", &["beside"]),
            ("toolsX.*", &["beside.deep"]),
            ("Tools.*", &["large"]),
            ("tool", &[]),
            ("tool.*", &[]),
        ] {
            assert_eq!(started.find_sorted(&[("changes.field", field)]).await, expected, "{field}");
        }
    }

    async fn an_empty_field_is_a_field(database: &Database) {
        let started = Started::with(database, &[changed("empty", "", "1"), changed("dot", ".", "1")]).await;
        let mut client = started.service.grpc().await;
        for (field, expected) in [("", "empty"), (".*", "dot")] {
            let change = Some(ChangeFilter { field: Some(field.to_owned()), ..ChangeFilter::default() });
            let filter = Some(AuditLogFilter { change, ..AuditLogFilter::default() });
            let request = ListAuditLogsRequest { organization_id: "org_a".to_owned(), filter, ..Default::default() };
            let page = client.list_audit_logs(with_key(request, &started.key)).await.expect("a page").into_inner();
            assert_eq!(page.audit_logs.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), [expected]);
        }
    }

    async fn names_are_found_in_any_letter_case_whole_or_by_their_beginning(database: &Database) {
        let named = |(id, name): (&str, &str)| {
            let name = Value::from(name);
            entry(id, &format!(r#","userName":{name},"userEmail":{name},"resourceName":{name}"#))
        };
        let started = Started::with(database, &NAMES.map(named)).await;
        for (name, expected) in NAMED {
            for parameter in ["userName", "userEmail", "resourceName"] {
                assert_eq!(started.find_sorted(&[(parameter, name)]).await, expected, "{parameter}={name}");
            }
        }
        let nobody = [("userName", "jane*"), ("userEmail", "élodie")];
        assert!(started.find(&nobody).await.is_empty(), "all conditions must match");
    }

    async fn a_text_is_found_wherever_it_is_and_only_within_one_value(database: &Database) {
        let started = Started::with(database, &[
            r#"{"id":"log_Needle","resourceType":"rule","resourceId":"r","action":"created","userId":"u"}"#.to_owned(),
            r#"{"id":"resource","resourceType":"rule","resourceId":"a needle","action":"created","userId":"u"}"#.to_owned(),
            r#"{"id":"user","resourceType":"rule","resourceId":"r","action":"created","userId":"NEEDLE"}"#.to_owned(),
            entry("resource.name", r#","resourceName":"needles""#),
            entry("user.name", r#","userName":"neeDLE""#),
            entry("user.email", r#","userEmail":"x@needle.example""#),
            entry("trace", r#","traceId":"needle-1""#),
            entry("metadata.key", r#","metadata":{"needle":"x"}"#),
            entry("metadata.value", r#","metadata":{"x":"my needle"}"#),
            changed("field", "a.needle", "1"),
            changed("value", "f", r#""a \u006eeedle""#),
            changed("value.key", "f", r#"{"x":[{"needle":1}]}"#),
            changed("apart", "nee", r#""dle""#),
            changed("apart.deep", "f", r#"["nee","dle"]"#),
            changed("number", "f", "12.50"),
        ]).await;
        let found = started.find(&[("text", "nEEdle")]).await;
        assert!(found.len() == 12 && found.iter().all(|id| !id.starts_with("apart") && id != "number"), "{found:?}");
        for (text, expected) in [("12.50", &["number"][..]), ("2.5", &["number"]), ("12.5,", &[]), ("\"", &[]), ("created", &[]), ("no needle", &[])] {
            assert_eq!(started.find(&[("text", text)]).await, expected, "{text}");
        }
    }

    async fn all_keys_of_the_metadata_must_match_exactly(database: &Database) {
        let started = Started::with(database, &[
            entry("both", r#","metadata":{"source":"web_ui","ipAddress":"10.0.0.1","a.b \"c":"x y"}"#),
            entry("one", r#","metadata":{"source":"web_ui"}"#),
            entry("other", r#","metadata":{"source":"WEB_UI","ipaddress":"10.0.0.1"}"#),
            entry("turned", r#","metadata":{"web_ui":"source"}"#),
        ]).await;
        for (query, expected) in [
            (&[("metadata.source", "web_ui")][..], &["both", "one"][..]),
            (&[("metadata.source", "web_ui"), ("metadata.ipAddress", "10.0.0.1")], &["both"]),
            (&[("metadata.source", "web")], &[]),
            (&[("metadata.ipAddress", "10.0.0.*")], &[]),
            (&[("metadata.a.b \"c", "x y")], &["both"]),
            (&[("metadata.ipaddress", "10.0.0.1")], &["other"]),
        ] {
            assert_eq!(started.find_sorted(query).await, expected, "{query:?}");
        }
    }

    async fn a_page_is_full_although_few_entries_match(database: &Database) {
        // One entry in 60 matches, which are 50 of 3,000.
        let members = |number: usize| if number.is_multiple_of(60) { r#","metadata":{"source":"rare"}"# } else { "" };
        let entries: Vec<_> = (0..3_000).map(|number| entry(&format!("log_{number}"), members(number))).collect();
        let started = Started::with(database, &entries).await;
        let query = [("metadata.source", "rare")];
        let pages = started.walk(&query, "10", &["10"]).await;
        let sizes: Vec<_> = pages.iter().map(|page| ids(page).len()).collect();
        assert_eq!(sizes, [10; 5]);
        assert!(pages.iter().all(|page| page["pagination"]["total"] == 50));
        let walked: Vec<_> = pages.iter().flat_map(ids).collect();
        let expected: Vec<_> = (0..50).rev().map(|place| format!("log_{}", place * 60)).collect();
        assert_eq!(walked, expected);
        for (offset, count) in [("0", 20), ("35", 15), ("49", 1), ("50", 0), ("3000", 0)] {
            let page = started.page(&[query[0], ("limit", "20"), ("offset", offset)]).await;
            assert_eq!((ids(&page).len(), &page["pagination"]["total"]), (count, &json!(50)), "offset {offset}");
        }
    }

    /// The size of the pieces that the service reads depends on the size of the entries.
    async fn entries_of_one_time_and_any_size_come_once_each(database: &Database) {
        let same = r#","timestamp":"2025-01-31T10:00:00Z""#;
        let size = |number: usize| if number.is_multiple_of(2) || number < 40 { 10 } else { 40_000 };
        let written = |number: usize| {
            let value = "x".repeat(size(number));
            let source = if number.is_multiple_of(7) { "some" } else { "others" };
            let members = format!(r#","changes":[{{"field":"f","newValue":"{value}"}}],"metadata":{{"source":"{source}"}}{same}"#);
            entry(&format!("log_{number}"), &members)
        };
        let started = Started::with(database, &(0..260).map(written).collect::<Vec<_>>()).await;
        let expected: Vec<_> = (0..260).rev().filter(|number| number % 7 == 0).map(|number| format!("log_{number}")).collect();
        for (limit, others) in [("100", &["100"][..]), ("1", &["2", "5"]), ("9", &["1", "100"])] {
            let pages = started.walk(&[("metadata.source", "some")], limit, others).await;
            let walked: Vec<_> = pages.iter().flat_map(ids).collect();
            assert_eq!(walked, expected, "limits {limit}, {others:?}");
        }
        // No part of this search is tested by the database.
        let page = started.page(&[("text", "xxxxxxxxxxx"), ("limit", "1"), ("offset", "109")]).await;
        assert_eq!((ids(&page), &page["pagination"]["total"]), (vec!["log_41".to_owned()], &json!(110)));
    }

    async fn a_cursor_goes_on_with_an_equal_search_and_with_no_other(database: &Database) {
        let members = r#","userName":"Jane","traceId":"t1","changes":[{"field":"f","newValue":1.0}],"metadata":{"a":"1","b":"2"}"#;
        let entries: Vec<_> = (0..3).map(|number| entry(&format!("log_{number}"), members)).collect();
        let started = Started::with(database, &entries).await;
        let search = [("userName", "jane"), ("changes.newValue", "1"), ("metadata.a", "1"), ("metadata.b", "2"), ("traceId", "t1"), ("traceId", "t2")];
        let first = started.page(&[&[("limit", "1")][..], &search].concat()).await;
        let cursor = next_cursor(&first).expect("a second page");
        let equal = [("traceId", "t2"), ("traceId", "t1"), ("metadata.b", "2"), ("metadata.a", "1"), ("userName", "JANE"), ("changes.newValue", "10e-1")];
        let second = started.page(&[&[("limit", "5"), ("cursor", cursor.as_str())][..], &equal].concat()).await;
        assert_eq!((ids(&second), &second["pagination"]["total"]), (vec!["log_1".to_owned(), "log_0".to_owned()], &json!(3)));
        for (place, other) in [("userName", "jane*"), ("changes.newValue", "\"1\""), ("metadata.a", "2"), ("metadata.b", "1"), ("traceId", "t3"), ("userEmail", "jane")].into_iter().enumerate() {
            let mut query = search.to_vec();
            query[place] = other;
            query.push(("cursor", cursor.as_str()));
            let answer = started.service.get(&format!("{LIST}?{}", encoded(&query)), &started.key).await;
            let message = answer.body["error"]["message"].as_str().unwrap_or_default();
            assert!(message.starts_with("cursor: must be nextCursor of an earlier page with the same organization and filter"), "{query:?}: {}", answer.text);
        }
    }

    async fn histories_and_feeds_can_be_searched(database: &Database) {
        let members = |number: usize| format!(r#","userName":"User {}","outcome":"{}""#, number % 3, if number < 6 { "denied" } else { "success" });
        let entries: Vec<_> = (0..9).map(|number| entry(&format!("log_{number}"), &members(number))).collect();
        let started = Started::with(database, &entries).await;
        let query = encoded(&[("userName", "USER 1"), ("outcome", "denied"), ("text", "rule_1")]);
        let history = started.service.get(&format!("/v1/rules/rule_1/history?{query}"), &started.key).await.body;
        assert_eq!((ids(&history), &history["pagination"]["total"]), (vec!["log_4".to_owned(), "log_1".to_owned()], &json!(2)));
        let elsewhere = started.service.get(&format!("/v1/rules/rule_2/history?{query}"), &started.key).await.body;
        assert_eq!(elsewhere["pagination"]["total"], 0);
        let feed = started.service.get(&format!("/v1/org_a/feed?after=0&wait=0s&{query}"), &started.key).await.body;
        assert_eq!((ids(&feed), &feed["sequence"]), (vec!["log_1".to_owned(), "log_4".to_owned()], &json!(9)));
        let nothing = started.service.get(&format!("/v1/org_a/feed?after=5&wait=0s&{query}"), &started.key).await.body;
        assert_eq!((ids(&nothing).len(), &nothing["sequence"]), (0, &json!(9)));
    }
}
