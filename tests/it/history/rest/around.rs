//! The entries around an entry, with their groups, page by page.

use serde_json::{Value, json};

use super::{LOGS, got, started};
use crate::support::surfaces::Surfaces;
use crate::support::{Backend, Database, on_every_database};

fn ids(body: &Value) -> Vec<&str> {
    body["auditLogs"].as_array().expect("entries").iter().map(|entry| entry["id"].as_str().expect("an id")).collect()
}

async fn around(surfaces: &Surfaces, key: &str, path: &str) -> Value {
    got(surfaces, key, &format!("{LOGS}/{path}")).await.body()
}

on_every_database! {
    async fn the_entries_around_an_entry_are_a_list_with_groups(database: &Database) {
        let (surfaces, key) = started(database).await;
        let found = around(&surfaces, &key, "log_4/around").await;
        let list = format!("{LOGS}?startDate=2025-01-22T07:50:00.000000Z&endDate=2025-01-22T08:10:00.000000Z");
        let list = got(&surfaces, &key, &list).await.body();
        // The last one is a microsecond too late.
        assert_eq!(ids(&found), ["log_6", "log_5", "log_4"]);
        assert_eq!((&found["auditLogs"], &found["pagination"]), (&list["auditLogs"], &list["pagination"]));
        let span = json!({"id": "log_4", "startDate": "2025-01-22T07:50:00Z", "endDate": "2025-01-22T08:10:00Z"});
        assert_eq!(found["around"], span);
        let groups = json!({
            "traces": [{"traceId": "t2", "ids": ["log_6", "log_5"]}],
            "users": [{"userId": "carol", "ids": ["log_6", "log_5"]}, {"userId": "alice", "ids": ["log_4"]}],
            "resources": [
                {"resourceType": "rule", "resourceId": "r2", "ids": ["log_6", "log_5"]},
                {"resourceType": "rule", "resourceId": "r1", "ids": ["log_4"]},
            ],
        });
        assert_eq!(found["groups"], groups);
        assert_eq!(found.as_object().map(|body| body.len()), Some(4));
    }

    async fn the_minutes_are_inclusive_to_the_microsecond(database: &Database) {
        let (surfaces, key) = started(database).await;
        for (path, expected) in [
            ("log_7/around?minutes=10", &["log_7", "log_6", "log_5"][..]),
            ("log_7/around?minutes=11", &["log_7", "log_6", "log_5", "log_4"]),
            ("log_5/around?minutes=5", &["log_6", "log_5", "log_4"]),
            ("log_5/around?minutes=1", &["log_5"]),
            ("log_4/around?minutes=1440", &["log_7", "log_6", "log_5", "log_4"]),
            ("log_3/around?minutes=1440", &["log_3", "log_2"]),
        ] {
            assert_eq!(ids(&around(&surfaces, &key, path).await), expected, "{path}");
        }
        let early = around(&surfaces, &key, "log_2/around").await;
        assert_eq!(early["around"]["startDate"], "2025-01-20T09:50:00.500000Z");
        assert_eq!(early["groups"]["traces"], json!([{"traceId": "t1", "ids": ["log_2"]}]));
    }

    async fn each_page_has_the_groups_of_its_entries(database: &Database) {
        let (surfaces, key) = started(database).await;
        let path = "log_4/around?minutes=60&limit=2";
        let first = around(&surfaces, &key, path).await;
        assert_eq!((ids(&first), &first["pagination"]["total"]), (vec!["log_7", "log_6"], &json!(4)));
        assert_eq!(first["groups"]["traces"], json!([{"traceId": "t2", "ids": ["log_6"]}]));
        let cursor = first["pagination"]["nextCursor"].as_str().expect("a cursor");
        let next = around(&surfaces, &key, &format!("{path}&cursor={cursor}")).await;
        assert_eq!((ids(&next), &next["pagination"]["nextCursor"]), (vec!["log_5", "log_4"], &Value::Null));
        assert_eq!(next["around"], first["around"]);
        let users = json!([{"userId": "carol", "ids": ["log_5"]}, {"userId": "alice", "ids": ["log_4"]}]);
        assert_eq!(next["groups"]["users"], users);
    }
}
