//! `GET /v1/{org}/feed`: returns entries at once, waits for them, or returns the number reached.

use std::time::{Duration, Instant};

use auditlog::access::Scope;
use auditlog::app::{Options, Serving};
use auditlog::domain::{Clock, Random};
use serde_json::{Value, json};

use crate::support::json::least;
use crate::support::metrics::comes_to;
use crate::support::process::create_key;
use crate::support::service::{options, serving};
use crate::support::surfaces::{Ask, Surfaces};
use crate::support::{Backend, Database, Process, Service, on_every_database};

const LOGS: &str = "/v1/org_a/audit-logs";
const FEED: &str = "/v1/org_a/feed";
/// Less than the wait of a feed, and more than a busy machine needs for an entry.
const SOON: Duration = Duration::from_secs(12);

async fn started(database: &Database) -> (Surfaces, String) {
    let surfaces = Surfaces::start(Service::start(database).await).await;
    let key = surfaces.service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
    (surfaces, key)
}

async fn write(service: &Service, key: &str, numbers: std::ops::Range<usize>) {
    let entries: Vec<_> = numbers.map(|number| least(&format!("log_{number}"))).collect();
    assert_eq!(service.post(LOGS, key, &json!({"auditLogs": entries})).await.status, 201);
}

/// Asks a server for `path` in the background. Returns the status, the body, and the time that it took.
fn asked(url: String, key: &str) -> tokio::task::JoinHandle<(u16, Value, Duration)> {
    let (request, begun) = (reqwest::Client::new().get(url).bearer_auth(key), Instant::now());
    tokio::spawn(async move {
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"), begun.elapsed())
    })
}

/// The numbers of the entries of a feed.
fn numbers(body: &Value) -> Vec<i64> {
    let entries = body["auditLogs"].as_array().unwrap_or_else(|| panic!("entries: {body}"));
    entries.iter().map(|entry| entry["sequence"].as_i64().expect("a number")).collect()
}

on_every_database! {
    async fn a_feed_returns_at_once_what_is_there(database: &Database) {
        let (surfaces, key) = started(database).await;
        write(&surfaces.service, &key, 0..3).await;
        let listed = surfaces.service.get(LOGS, &key).await.body;
        let feed = async |query: &str| surfaces.rest(&Ask::get(format!("{FEED}?{query}"), &key)).await.body();
        let begun = Instant::now();
        let expected = json!({
            "auditLogs": [listed["auditLogs"][1], listed["auditLogs"][0]], "sequence": 3, "headSequence": 3
        });
        assert_eq!(feed("after=1").await, expected, "an entry is as in a list");
        assert_eq!(numbers(&feed("after=0&resourceType=rule&action=created&userId=uid_1&wait=30s").await), [1, 2, 3]);
        let nothing = json!({"auditLogs": [], "sequence": 3, "headSequence": 3});
        for query in ["wait=0s", "after=3&wait=0s", "after=0&action=deleted&wait=0s", "after=0&endDate=2020-01-01&wait=0ms"] {
            assert_eq!(feed(query).await, nothing, "{query}");
        }
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }

    async fn a_feed_waits_for_an_entry(database: &Database) {
        let (surfaces, key) = started(database).await;
        write(&surfaces.service, &key, 0..3).await;
        let urls = [surfaces.service.url(""), surfaces.gateway_url()];
        let asked = urls.map(|url| asked(format!("{url}{FEED}?wait=30s"), &key));
        // The second is that of the gateway, which follows too.
        comes_to(&surfaces.service, "auditlog_followers", |followers| followers == 2.0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        write(&surfaces.service, &key, 3..5).await;
        for answer in asked {
            let (status, body, elapsed) = answer.await.expect("no panic");
            assert_eq!((status, numbers(&body), &body["sequence"]), (200, vec![4, 5], &json!(5)), "only the new ones");
            assert!(elapsed < SOON, "{elapsed:?}");
        }
        comes_to(&surfaces.service, "auditlog_followers", |followers| followers == 0.0).await;
    }

    async fn a_feed_returns_the_number_reached_when_its_time_is_over(database: &Database) {
        // The wait of a feed may be longer than the time of other requests.
        let serving = Serving { request_timeout: Duration::from_secs(1), ..serving() };
        let service = Service::start_with(database, Clock::system(), Options { serving, ..options() }).await;
        let surfaces = Surfaces::start(service).await;
        let key = surfaces.service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        write(&surfaces.service, &key, 0..3).await;
        for url in [surfaces.service.url(""), surfaces.gateway_url()] {
            let waiting = asked(format!("{url}{FEED}?action=deleted&after=1&wait=3s"), &key);
            let (status, body, elapsed) = waiting.await.expect("no panic");
            assert_eq!((status, body), (200, json!({"auditLogs": [], "sequence": 3, "headSequence": 3})));
            assert!((Duration::from_secs(3)..SOON).contains(&elapsed), "{elapsed:?}");
        }
        let limited = surfaces.service.http.get(surfaces.service.url(&format!("{FEED}?wait=20s"))).bearer_auth(&key);
        let limited = surfaces.service.send(limited.header("grpc-timeout", "1S")).await;
        assert_eq!((limited.status, &limited.body["error"]["code"]), (504, &json!("timeout")), "a caller may wait less");
    }

    async fn feeds_one_after_the_other_return_each_entry_once(database: &Database) {
        let (surfaces, key) = started(database).await;
        write(&surfaces.service, &key, 0..250).await;
        let (mut after, mut found, mut sizes) = (json!(0), Vec::new(), Vec::new());
        loop {
            let feed = surfaces.rest(&Ask::get(format!("{FEED}?after={after}&wait=0s"), &key)).await.body();
            let entries = numbers(&feed);
            if entries.is_empty() {
                break;
            }
            sizes.push(entries.len());
            found.extend(entries);
            after = feed["sequence"].clone();
        }
        assert_eq!((sizes, after), (vec![100, 100, 50], json!(250)));
        assert_eq!(found, (1..=250).collect::<Vec<_>>());
    }

    async fn a_bad_parameter_is_refused_after_the_access_checks(database: &Database) {
        let (surfaces, key) = started(database).await;
        write(&surfaces.service, &key, 0..3).await;
        let writer = surfaces.service.key(Some("org_a"), &[Scope::Write]).await;
        for (query, code, message) in [
            ("wait=31s", "invalid_parameter", "wait: must be 0s to 30s, got \"31s\""),
            ("wait=-1s", "invalid_parameter", "wait: must be 0s to 30s, got \"-1s\""),
            ("wait=20", "invalid_parameter", "wait: must be 0s to 30s, got \"20\""),
            ("wait=", "invalid_parameter", "wait: must not be empty; leave it out"),
            ("wait=1s&wait=1s", "invalid_parameter", "wait: must be given once, got 2 times"),
            ("after=4", "invalid_parameter", "after: must be 0 to 3, the organization's last number, got 4"),
            ("after=-1", "invalid_parameter", "after: must be 0 to 3, the organization's last number, got -1"),
            ("after=x", "invalid_parameter", "after: must be 0 to 9223372036854775807, got \"x\""),
            ("action=made", "invalid_parameter", "action: must be one of created, updated, deleted, accessed, shared, archived, got \"made\""),
            ("limit=5", "unknown_parameter", "\"limit\" is not a parameter of this path; allowed: resourceType, resourceId, action, userId, startDate, endDate, after, wait, outcome, actorType, traceId, recordedAfter, recordedBefore, changes.field, changes.oldValue, changes.newValue, metadata.KEY, userName, userEmail, resourceName, text"),
        ] {
            let answer = surfaces.rest(&Ask::get(format!("{FEED}?{query}"), &key)).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{query}");
            assert_eq!(answer.body()["error"]["message"], message, "{query}");
            let refused = surfaces.rest(&Ask::get(format!("{FEED}?{query}"), &writer)).await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "insufficient_permissions"), "{query}");
            let elsewhere = surfaces.rest(&Ask::get(format!("/v1/org_none/feed?{query}"), &key)).await;
            assert_eq!(elsewhere.code(), "organization_not_found", "{query}");
        }
        for (path, status) in [("/v1/org_a/feed/", 404), ("/v1/org_a/feed/x", 404), ("/v1/feed", 404)] {
            assert_eq!(surfaces.rest(&Ask::get(path, &key)).await.status, status, "{path}");
        }
    }

    async fn a_feed_ends_when_its_key_is_revoked(database: &Database) {
        let (surfaces, key) = started(database).await;
        let urls = [surfaces.service.url(""), surfaces.gateway_url()];
        let asked = urls.map(|url| asked(format!("{url}{FEED}?wait=30s"), &key));
        comes_to(&surfaces.service, "auditlog_followers", |followers| followers == 2.0).await;
        let revoked = surfaces.service.store.revoke_key(&key[3..15], Clock::system().now(), &Random::system()).await;
        assert!(revoked.expect("it is revoked"));
        for answer in asked {
            let (status, body, _) = answer.await.expect("no panic");
            assert_eq!((status, &body["error"]["message"]), (401, &json!("The API key was revoked")));
        }
    }

    async fn a_waiting_feed_does_not_hold_up_a_drain(database: &Database) {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read"]);
        let service = Process::serve(&database.url);
        let gateway = Process::gateway(&service.url(""), &[]);
        let waiting = [&gateway, &service].map(|process| asked(process.url(&format!("{FEED}?wait=30s")), &key));
        tokio::time::sleep(Duration::from_secs(2)).await;
        for (mut process, waiting) in [gateway, service].into_iter().zip(waiting) {
            let begun = Instant::now();
            process.signal("TERM");
            let (status, body, _) = waiting.await.expect("no panic");
            assert_eq!((status, &body["error"]["code"]), (503, &json!("storage_unavailable")), "{body}");
            assert_eq!(process.child.wait().expect("it ends").code(), Some(0));
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        }
    }
}
