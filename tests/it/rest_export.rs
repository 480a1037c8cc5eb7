//! `GET /v1/{org}/export`: the bytes of `auditlog export`, and an end that shows whether they are all.

use std::process::Stdio;
use std::time::Duration;

use auditlog::access::Scope;
use auditlog::app::{Options, Serving};
use auditlog::domain::{Clock, Random};
use reqwest::Response;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::json::least;
use crate::support::process::{auditlog, create_key, text};
use crate::support::service::{options, serving, write_large};
use crate::support::surfaces::{Ask, Surfaces};
use crate::support::trail::{self, ENTRIES, ORGANIZATION, lines};
use crate::support::{Backend, Database, Process, Service, TIMEOUT, on_every_database};

const EXPORT: &str = "/v1/org_a/export";

/// The output of `auditlog export`.
fn exported(service: &Process, key: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = auditlog();
    command.args(["export", "--endpoint", &service.url(""), "--organization", ORGANIZATION]).args(arguments);
    let output = command.env("AUDITLOG_API_KEY", key).stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    output.stdout
}

async fn asked(url: &str, key: &str) -> Response {
    reqwest::Client::new().get(url).bearer_auth(key).send().await.expect("an answer")
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

/// Reads the rest of a body. Returns its bytes, and whether it has an end.
async fn rest(mut response: Response) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match tokio::time::timeout(TIMEOUT, response.chunk()).await.expect("it goes on") {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return (bytes, true),
            Err(_) => return (bytes, false),
        }
    }
}

/// Starts an export of the trail at each of `urls`, and reads its beginning.
async fn begun(urls: [String; 2], key: &str) -> Vec<(Vec<u8>, Response)> {
    let mut exports = Vec::new();
    for url in urls {
        let mut response = asked(&format!("{url}/v1/{ORGANIZATION}/export"), key).await;
        assert_eq!(response.status().as_u16(), 200);
        let piece = response.chunk().await.expect("a piece").expect("not the end");
        exports.push((piece.to_vec(), response));
    }
    exports
}

/// Checks that exports end early, and that they have a part of the trail.
async fn check_cut(exports: Vec<(Vec<u8>, Response)>) {
    for (mut bytes, response) in exports {
        let (more, is_whole) = rest(response).await;
        bytes.extend(more);
        assert!(!is_whole, "{} bytes look like the whole", bytes.len());
        let complete = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!((1..ENTRIES).contains(&complete), "{complete} lines");
    }
}

on_every_database! {
    async fn http_1_0_cannot_show_that_a_part_is_missing_and_is_refused(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read]).await;
        let mut connection = TcpStream::connect(service.running.address).await.expect("it listens");
        let request = format!("GET {EXPORT} HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains(" 400 ") && answer.contains("protocol: must be HTTP/1.1 or HTTP/2"), "{answer}");
    }

    async fn an_export_has_the_bytes_of_the_command_line(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let key = create_key(&trail.url, &["--organization", ORGANIZATION, "--scope", "read"]);
        let service = Process::serve(&trail.url);
        let gateway = Process::gateway(&service.url(""), &[]);
        let id = |line: usize| serde_json::from_str::<serde_json::Value>(&lines()[line]).expect("JSON")["id"].as_str().expect("an id").to_owned();
        let last = id(74_999);
        for (query, arguments) in [
            ("after=75000", &["--after", last.as_str()][..]),
            ("", &[]),
            ("resourceType=mcp_configuration", &["--resource-type", "mcp_configuration"]),
            ("resourceType=assistant&action=deleted&action=created&endDate=2019-12-31", &["--resource-type", "assistant", "--action", "deleted", "--action", "created", "--end-date", "2019-12-31"]),
            ("userId=nobody", &["--user-id", "nobody"]),
        ] {
            // The whole trail takes a while, so it is exported in one format.
            let formats = if query.is_empty() { &["ndjson"][..] } else { &["ndjson", "csv"] };
            for &format in formats {
                let expected = exported(&service, &key, &[&["--format", format][..], arguments].concat());
                for process in [&service, &gateway] {
                    let answer = asked(&process.url(&format!("/v1/{ORGANIZATION}/export?format={format}&{query}")), &key).await;
                    assert_eq!(answer.status().as_u16(), 200, "{query}");
                    let content_type = match (format, query.starts_with("after=")) {
                        ("ndjson", _) => "application/x-ndjson",
                        (_, false) => "text/csv; charset=utf-8; header=present",
                        (_, true) => "text/csv; charset=utf-8; header=absent",
                    };
                    let name = format!("attachment; filename=\"audit-logs-{ORGANIZATION}.{format}\"");
                    for (header_name, expected) in [
                        ("content-type", content_type),
                        ("content-disposition", &name),
                        ("cache-control", "no-store"),
                        ("x-content-type-options", "nosniff"),
                        ("x-auditlog-head-sequence", &ENTRIES.to_string()),
                    ] {
                        assert_eq!(header(&answer, header_name), expected, "{format} {query}");
                    }
                    let (bytes, is_whole) = rest(answer).await;
                    assert!(is_whole && bytes == expected, "{format} {query}: {} and {} bytes", bytes.len(), expected.len());
                }
            }
        }
    }

    async fn a_second_export_goes_on_to_where_the_first_would_have_ended(database: &Database) {
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let key = surfaces.service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        let entries: Vec<_> = (1..=5).map(|number| least(&format!("log_{number}"))).collect();
        assert_eq!(surfaces.service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": entries})).await.status, 201);
        let get = async |query: &str| surfaces.rest(&Ask::get(format!("{EXPORT}?{query}"), &key)).await;
        let ids = |text: &str| -> Vec<i64> {
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["sequence"].as_i64().expect("a number")).collect()
        };
        assert_eq!(ids(&get("").await.text), [1, 2, 3, 4, 5], "NDJSON is the default");
        assert_eq!(ids(&get("after=1&through=3").await.text), [2, 3]);
        assert_eq!((get("after=5").await.status, get("after=5").await.text.as_str()), (200, ""));
        let csv = get("format=csv&after=0&through=1").await.text;
        assert!(csv.starts_with("\"id\",\"organizationId\",") && csv.lines().count() == 2, "{csv}");
        let head = surfaces.service.http.head(surfaces.service.url(&format!("{EXPORT}?format=csv"))).bearer_auth(&key).send().await.expect("an answer");
        assert_eq!((head.status().as_u16(), header(&head, "x-auditlog-head-sequence")), (200, "5"));
        assert!(head.bytes().await.expect("no body").is_empty());
        let history = surfaces.rest(&Ask::get("/v1/rules/export/history", &key)).await;
        assert_eq!(history.status, 200, "a resource may be called export: {}", history.text);
    }

    async fn a_bad_export_has_the_usual_error(database: &Database) {
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let key = surfaces.service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        let writer = surfaces.service.key(Some("org_a"), &[Scope::Write, Scope::Verify]).await;
        let entries: Vec<_> = (1..=3).map(|number| least(&format!("log_{number}"))).collect();
        assert_eq!(surfaces.service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": entries})).await.status, 201);
        for (query, code, message) in [
            ("format=xml", "invalid_parameter", "format: must be ndjson or csv, got \"xml\""),
            ("format=", "invalid_parameter", "format: must not be empty; leave it out"),
            ("format=csv&format=csv", "invalid_parameter", "format: must be given once, got 2 times"),
            ("after=4", "invalid_parameter", "after: must be 0 to 3, where the export ends, got 4"),
            ("after=-1", "invalid_parameter", "after: must be 0 to 3, where the export ends, got -1"),
            ("after=3&through=2", "invalid_parameter", "after: must be 0 to 2, where the export ends, got 3"),
            ("through=4", "invalid_parameter", "through: must be 0 to 3, the organization's last number, got 4"),
            ("through=x", "invalid_parameter", "through: must be 0 to 9223372036854775807, got \"x\""),
            ("action=made", "invalid_parameter", "action: must be one of created, updated, deleted, accessed, shared, archived, got \"made\""),
            ("limit=5", "unknown_parameter", "\"limit\" is not a parameter of this path; allowed: format, resourceType, resourceId, action, userId, startDate, endDate, after, through, outcome, actorType, traceId, recordedAfter, recordedBefore, changes.field, changes.oldValue, changes.newValue, metadata.KEY, userName, userEmail, resourceName, text"),
        ] {
            let answer = surfaces.rest(&Ask::get(format!("{EXPORT}?{query}"), &key)).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{query}");
            assert_eq!(answer.body()["error"]["message"], message, "{query}");
            let refused = surfaces.rest(&Ask::get(format!("{EXPORT}?{query}"), &writer)).await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "insufficient_permissions"), "{query}");
            let elsewhere = surfaces.rest(&Ask::get(format!("/v1/org_none/export?{query}"), &key)).await;
            assert_eq!((elsewhere.status, elsewhere.code().as_str()), (404, "organization_not_found"), "{query}");
        }
        let anonymous = surfaces.rest(&Ask { headers: Vec::new(), ..Ask::get(EXPORT, "") }).await;
        assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "missing_authentication"));
        for path in ["/v1/org_a/export/", "/v1/org_a/export/x", "/v1/export"] {
            assert_eq!(surfaces.rest(&Ask::get(path, &key)).await.status, 404, "{path}");
        }
    }

    async fn an_error_midway_cuts_the_body_off(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let surfaces = Surfaces::start(Service::start(trail).await).await;
        let service = &surfaces.service;
        let [revoked, good] = [service.key(Some(ORGANIZATION), &[Scope::Read]).await, service.key(Some(ORGANIZATION), &[Scope::Read]).await];
        let urls = || [service.url(""), surfaces.gateway_url()];
        let (of_revoked, of_good) = (begun(urls(), &revoked).await, begun(urls(), &good).await);
        assert!(service.store.revoke_key(&revoked[3..15], Clock::system().now(), &Random::system()).await.expect("it is revoked"));
        // A key is trusted for five seconds.
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        check_cut(of_revoked).await;
        let stopping = tokio::spawn(surfaces.service.stop());
        check_cut(of_good).await;
        stopping.await.expect("the service stops");
    }

    async fn the_limit_of_a_request_does_not_cut_an_export_off(database: &Database) {
        const LIMIT: Duration = Duration::from_secs(2);
        let serving = Serving { request_timeout: LIMIT, ..serving() };
        let service = Service::start_with(database, Clock::system(), Options { serving, ..options() }).await;
        let surfaces = Surfaces::start(service).await;
        let key = surfaces.service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        // Far more data than the buffers of the connections hold.
        for request in 0..12 {
            write_large(&surfaces.service, &key, request * 10..request * 10 + 10).await;
        }
        let mut exports = Vec::new();
        for url in [surfaces.service.url(""), surfaces.gateway_url()] {
            let request = surfaces.service.http.get(format!("{url}{EXPORT}")).bearer_auth(&key).header("grpc-timeout", "2S");
            exports.push(request.send().await.expect("an answer"));
        }
        tokio::time::sleep(LIMIT + Duration::from_secs(1)).await;
        for export in exports {
            let (bytes, is_whole) = rest(export).await;
            assert!(is_whole);
            assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 120);
        }
    }

    async fn slow_readers_hold_no_database_connections_and_leave_room_for_other_calls(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let key = create_key(&trail.url, &["--organization", ORGANIZATION, "--scope", "read"]);
        let service = Process::serve_with(&trail.url, &["--listen", "127.0.0.1:0", "--database-connections", "2"]);
        let gateway = Process::gateway(&service.url(""), &[]);
        let mut exports = Vec::new();
        for _ in 0..12 {
            exports.extend(begun([service.url(""), gateway.url("")], &key).await);
        }
        for process in [&service, &gateway] {
            let list = process.url(&format!("/v1/{ORGANIZATION}/audit-logs?limit=1"));
            let list = tokio::time::timeout(Duration::from_secs(20), asked(&list, &key)).await.expect("it does not wait for the exports");
            assert_eq!(list.status().as_u16(), 200);
            let few = asked(&process.url(&format!("/v1/{ORGANIZATION}/export?after={}", ENTRIES - 10)), &key).await;
            let (bytes, is_whole) = rest(few).await;
            assert_eq!((is_whole, text(&bytes).lines().count()), (true, 10));
        }
        drop(exports);
    }
}
