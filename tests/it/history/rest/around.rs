//! The entries around an entry, with their groups, page by page.

use auditlog::grpc::pb;
use serde_json::{Value, json};

use super::{LOGS, got, started, time, write};
use crate::support::service::with_key;
use crate::support::surfaces::Surfaces;
use crate::support::{Backend, Database, on_every_database};

fn ids(body: &Value) -> Vec<&str> {
    body["auditLogs"].as_array().expect("entries").iter().map(|entry| entry["id"].as_str().expect("an id")).collect()
}

async fn around(surfaces: &Surfaces, key: &str, path: &str) -> Value {
    got(surfaces, key, &format!("{LOGS}/{path}")).await.body()
}

/// Adds 41 entries within 40 minutes, some days after the others. They are not written in the order of their times, and
/// eleven have the same time. Returns their ids, newest first.
async fn busy(surfaces: &Surfaces, key: &str) -> Vec<String> {
    let minute = |number: u32| if number % 4 == 3 { 20 } else { number * 7 % 40 };
    let entry = |number: u32| {
        json!({
            "id": format!("busy_{number}"), "timestamp": format!("2025-02-01T10:{:02}:00Z", minute(number)),
            "resourceType": "rule", "resourceId": "r9", "action": "updated", "userId": "dave"
        })
    };
    let mut numbers: Vec<_> = (0..41).collect();
    let entries: Vec<_> = numbers.iter().map(|number| entry(*number)).collect();
    write(&surfaces.service, key, json!({"auditLogs": entries}).to_string()).await;
    numbers.sort_by_key(|number| (minute(*number), *number));
    numbers.into_iter().rev().map(|number| format!("busy_{number}")).collect()
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
        let path = "log_6/around?minutes=60&limit=2";
        let first = around(&surfaces, &key, path).await;
        assert_eq!((ids(&first), &first["pagination"]["total"]), (vec!["log_6", "log_5"], &json!(4)));
        assert_eq!(first["pagination"]["offset"], 1, "log_7 is newer");
        assert_eq!(first["groups"]["traces"], json!([{"traceId": "t2", "ids": ["log_6", "log_5"]}]));
        let cursor = first["pagination"]["nextCursor"].as_str().expect("a cursor");
        let next = around(&surfaces, &key, &format!("{path}&cursor={cursor}")).await;
        assert_eq!((ids(&next), &next["pagination"]["nextCursor"]), (vec!["log_4"], &Value::Null));
        assert_eq!(next["around"], first["around"]);
        assert_eq!(next["groups"]["users"], json!([{"userId": "alice", "ids": ["log_4"]}]));
    }

    async fn the_page_has_the_entry_and_those_nearest_to_it(database: &Database) {
        let (surfaces, key) = started(database).await;
        let all = busy(&surfaces, &key).await;
        for (place, id) in all.iter().enumerate() {
            for limit in [1, 2, 7, 40, 100] {
                let path = format!("{id}/around?minutes=1440&limit={limit}");
                let found = around(&surfaces, &key, &path).await;
                // Half of the others are newer, unless one side has fewer.
                let newer = place.min(((limit - 1) / 2).max((limit + place).saturating_sub(all.len())));
                let (first, end) = (place - newer, all.len().min(place - newer + limit));
                assert_eq!(ids(&found), all[first..end], "{path}");
                let shown = &found["pagination"];
                let expected = json!({
                    "total": all.len(), "limit": limit, "offset": first, "hasMore": end < all.len(),
                    "nextCursor": shown["nextCursor"]
                });
                assert_eq!((shown, shown["nextCursor"].is_string()), (&expected, end < all.len()), "{path}");
            }
        }
        // The pages after it go on to the oldest entry.
        let path = format!("{}/around?minutes=1440&limit=5", all[20]);
        let (mut walked, mut next) = (Vec::new(), String::new());
        loop {
            let page = around(&surfaces, &key, &format!("{path}{next}")).await;
            walked.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(cursor) = page["pagination"]["nextCursor"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        assert_eq!(walked, all[18..]);
    }

    async fn the_entries_around_an_entry_are_those_of_grpc(database: &Database) {
        let (surfaces, key) = started(database).await;
        let mut client = surfaces.service.grpc().await;
        let request = |minutes, limit| pb::ListAuditLogsAroundRequest {
            organization_id: "org_a".to_owned(),
            id: "log_5".to_owned(),
            minutes,
            limit,
            cursor: None,
        };
        for (query, minutes, limit, window) in [
            ("", None, None, ["2025-01-22T07:55:00Z", "2025-01-22T08:15:00.000001Z"]),
            ("?minutes=5&limit=1", Some(5), Some(1), ["2025-01-22T08:00:00Z", "2025-01-22T08:10:00.000001Z"]),
        ] {
            let found = client.list_audit_logs_around(with_key(request(minutes, limit), &key)).await;
            let found = found.expect("an answer").into_inner();
            assert_eq!([found.start_time, found.end_time], window.map(|end| Some(time(end))), "{query}");
            let answer = around(&surfaces, &key, &format!("log_5/around{query}")).await;
            let of_grpc: Vec<_> = found.audit_logs.iter().map(|entry| entry.id.as_str()).collect();
            assert_eq!(ids(&answer), of_grpc, "{query}");
            let position = found.pagination.expect("a position");
            assert_eq!(answer["pagination"]["total"], position.total, "{query}");
            assert_eq!(answer["pagination"]["offset"], position.offset, "{query}");
        }
    }
}
