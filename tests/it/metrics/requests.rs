//! Request metrics by method and code, on every surface.

use auditlog::access::Scope;
use auditlog::grpc::pb::{FollowAuditLogsRequest, ListAuditLogsRequest, WriteAuditLogsRequest};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tonic::Code;

use super::{Seen, at, comes_to};
use crate::support::database::hold_head;
use crate::support::service::with_key;
use crate::support::service::{all, write_large};
use crate::support::until;
use crate::support::{Backend, Database, Service, on_every_database};

/// A write of one entry.
pub fn body(id: &str) -> Value {
    let entry = json!({"id": id, "resourceType": "rule", "resourceId": "r", "action": "created", "userId": "u"});
    json!({ "auditLogs": [entry] })
}

fn list(organization: &str, limit: i32) -> ListAuditLogsRequest {
    ListAuditLogsRequest { organization_id: organization.to_owned(), limit: Some(limit), ..Default::default() }
}

/// Waits until requests for `method` ended with these codes and counts, and checks that there are no others.
async fn ended(service: &Service, method: &str, codes: &[(&str, f64)]) {
    let (last, times) = codes.last().expect("a code");
    let seen = comes_to(service, &series(method, last), |count| count >= *times).await;
    for (code, count) in codes {
        assert_eq!(seen.count(&series(method, code)), *count, "{method} {code}: {}", seen.0);
    }
    let all: f64 = codes.iter().map(|(_, count)| count).sum();
    let prefix = format!("auditlog_requests_total{{method=\"{method}\",");
    assert_eq!(seen.0.lines().filter(|line| line.starts_with(&prefix)).count(), codes.len(), "{}", seen.0);
    let duration = |what: &str| format!("auditlog_request_duration_seconds_{what}{{method=\"{method}\"}}");
    assert_eq!(seen.value(&duration("count")), Some(all));
    assert!(seen.value(&duration("sum")).is_some_and(|sum| sum > 0.0));
    assert_eq!(seen.value("auditlog_requests_in_flight"), Some(0.0));
}

fn series(method: &str, code: &str) -> String {
    format!("auditlog_requests_total{{method=\"{method}\",code=\"{code}\"}}")
}

on_every_database! {
    async fn a_call_is_counted_by_its_method_and_status(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read]).await;
        let mut client = service.grpc().await;
        for (limit, key, code) in [(1, &*key, None), (0, &key, Some(Code::InvalidArgument)), (1, "x", Some(Code::Unauthenticated))] {
            let answer = client.list_audit_logs(with_key(list("org_a", limit), key)).await;
            assert_eq!(answer.err().map(|status| status.code()), code);
        }
        ended(&service, "ListAuditLogs", &[("OK", 1.0), ("INVALID_ARGUMENT", 1.0), ("UNAUTHENTICATED", 1.0)]).await;
        service.stop().await;
    }

    async fn a_request_is_counted_by_its_route_and_status(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        for (path, key, status) in [
            ("/v1/org_a/audit-logs?userId=uid_secret", &*key, 200),
            ("/v1/org_a/audit-logs?limit=0", &key, 400),
            ("/v1/org_a/audit-logs", "x", 401),
            ("/v1/org_a/audit-logs/log_secret", &key, 404),
            ("/v1/rules/res_secret/history", &key, 200),
            ("/v1/secret", &key, 404),
            ("/livez", "", 200),
        ] {
            assert_eq!(service.get(path, key).await.status, status, "{path}");
        }
        assert_eq!(service.post("/v1/org_a/audit-logs", &key, &body("log_1")).await.status, 201);
        let put = service.http.put(service.url("/v1/org_a/audit-logs")).send().await.expect("an answer");
        assert_eq!(put.status(), 405);
        let head = service.http.head(service.url("/livez")).send().await.expect("an answer");
        assert_eq!(head.status(), 200);
        for (method, codes) in [
            ("GET /v1/{organization_id}/audit-logs", &[("200", 1.0), ("400", 1.0), ("401", 1.0)][..]),
            ("GET /v1/{organization_id}/audit-logs/{id}", &[("404", 1.0)]),
            ("GET /v1/{path_segment}/{resource_id}/history", &[("200", 1.0)]),
            ("POST /v1/{organization_id}/audit-logs", &[("201", 1.0)]),
            ("other /v1/{organization_id}/audit-logs", &[("405", 1.0)]),
            ("GET /livez", &[("200", 1.0)]),
            ("HEAD /livez", &[("200", 1.0)]),
            ("unknown", &[("404", 1.0)]),
        ] {
            ended(&service, method, codes).await;
        }
        let seen = Seen::of(&service).await;
        for personal in ["secret", "org_a", "log_1"] {
            assert!(!seen.0.contains(personal), "{personal}: {}", seen.0);
        }
        service.stop().await;
    }

    async fn a_method_that_is_not_there_makes_no_label(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read]).await;
        for method in ["Nope1", "Nope2"] {
            let request = service.http.post(service.url(&format!("/auditlog.v1.AuditLogService/{method}")));
            let request = request.header("content-type", "application/grpc").header("te", "trailers").bearer_auth(&key);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.headers()["grpc-status"], "12");
        }
        ended(&service, "unknown", &[("UNIMPLEMENTED", 2.0)]).await;
        assert!(!Seen::of(&service).await.0.contains("Nope"));
        service.stop().await;
    }

    async fn grpc_web_calls_are_counted_like_others(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read]).await;
        for (limit, expected) in [(1, "grpc-status:0"), (0, "")] {
            let message = list("org_a", limit).encode_to_vec();
            let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
            let request = service.http.post(service.url("/auditlog.v1.AuditLogService/ListAuditLogs")).bearer_auth(&key);
            let answer = request.header("content-type", "application/grpc-web+proto").body(framed).send().await;
            let body = answer.expect("an answer").bytes().await.expect("a body");
            assert!(String::from_utf8_lossy(&body).contains(expected), "{body:?}");
        }
        ended(&service, "ListAuditLogs", &[("OK", 1.0), ("INVALID_ARGUMENT", 1.0)]).await;
        service.stop().await;
    }

    async fn a_stream_is_counted_at_its_end(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        for part in 0..2 {
            write_large(&service, &key, part * 12..(part + 1) * 12).await;
        }
        // More than all buffers in between can hold.
        let mut client = service.grpc().await;
        let mut stream = client.export_audit_logs(with_key(all("org_a"), &key)).await.expect("it begins").into_inner();
        stream.message().await.expect("a piece").expect("one");
        let seen = Seen::of(&service).await;
        assert_eq!(seen.value("auditlog_requests_in_flight"), Some(1.0));
        assert!(!seen.0.contains("method=\"ExportAuditLogs\""), "it goes on: {}", seen.0);
        while stream.message().await.expect("a piece").is_some() {}
        ended(&service, "ExportAuditLogs", &[("OK", 1.0)]).await;
        let mut stream = client.export_audit_logs(with_key(all("org_a"), &key)).await.expect("it begins").into_inner();
        stream.message().await.expect("a piece").expect("one");
        drop(stream);
        ended(&service, "ExportAuditLogs", &[("OK", 1.0), ("CANCELLED", 1.0)]).await;
        service.stop().await;
    }

    async fn followers_are_counted_while_they_follow(database: &Database) {
        const FOLLOWERS: &str = "auditlog_followers";
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read]).await;
        assert_eq!(Seen::of(&service).await.value(FOLLOWERS), Some(0.0));
        let follow = FollowAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let stream = service.grpc().await.follow_audit_logs(with_key(follow, &key)).await.expect("it begins");
        let feed = service.http.get(service.url("/v1/org_a/feed?wait=30s")).bearer_auth(&key);
        let feed = tokio::spawn(feed.send());
        comes_to(&service, FOLLOWERS, |followers| followers == 2.0).await;
        drop(stream);
        comes_to(&service, FOLLOWERS, |followers| followers == 1.0).await;
        feed.abort();
        comes_to(&service, FOLLOWERS, |followers| followers == 0.0).await;
        ended(&service, "FollowAuditLogs", &[("CANCELLED", 1.0)]).await;
        ended(&service, "GET /v1/{organization_id}/feed", &[("CANCELLED", 1.0)]).await;
        service.stop().await;
    }

    async fn a_stream_that_fails_is_counted_by_its_trailers(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        for part in 0..2 {
            write_large(&service, &key, part * 12..(part + 1) * 12).await;
        }
        let mut client = service.grpc().await;
        let mut stream = client.export_audit_logs(with_key(all("org_a"), &key)).await.expect("it begins").into_inner();
        stream.message().await.expect("a piece").expect("one");
        // A blocked write keeps the service from stopping.
        let blocker = hold_head(&service.store, "org_a").await;
        let waiting = service.http.post(service.url("/v1/org_a/audit-logs")).bearer_auth(&key).json(&body("log_x"));
        let waiting = tokio::spawn(waiting.send());
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 1.0).await;
        let (address, metrics) = (service.running.address, at(&service, "/metrics"));
        let draining = tokio::spawn(service.running.stop());
        until("it drains", async || TcpStream::connect(address).await.is_err().then_some(())).await;
        let failed = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                ended => break ended.expect_err("a service that ends leaves the rest to another"),
            }
        };
        assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
        let seen = Seen::at(&metrics).await;
        assert_eq!(seen.value(&series("ExportAuditLogs", "UNAVAILABLE")), Some(1.0), "{}", seen.0);
        blocker.roll_back().await.expect("the lock is given back");
        assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 201);
        draining.await.expect("no panic").expect("it ends");
    }

    async fn a_client_that_leaves_before_the_response_is_counted(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        let blocker = hold_head(&service.store, "org_a").await;
        let url = service.url("/v1/org_a/audit-logs");
        let rest = tokio::spawn(service.http.post(url).bearer_auth(&key).json(&body("log_1")).send());
        let mut client = service.grpc().await;
        let mut late = with_key(WriteAuditLogsRequest { organization_id: "org_a".to_owned(), audit_logs: vec![input()] }, &key);
        late.set_timeout(std::time::Duration::from_millis(300));
        // Either the service gives up first, or the caller does.
        let gone = client.write_audit_logs(late).await.expect_err("it waits").code();
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&gone), "{gone:?}");
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 2.0).await;
        rest.abort();
        let rest = "POST /v1/{organization_id}/audit-logs";
        comes_to(&service, &series(rest, "CANCELLED"), |count| count == 1.0).await;
        blocker.roll_back().await.expect("the lock is given back");
        ended(&service, rest, &[("CANCELLED", 1.0)]).await;
        let codes = ["DEADLINE_EXCEEDED", "CANCELLED"].map(|code| series("WriteAuditLogs", code));
        let seen = Seen::of(&service).await;
        assert_eq!(codes.iter().map(|code| seen.count(code)).sum::<f64>(), 1.0, "{}", seen.0);
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 0.0).await;
        service.stop().await;
    }
}

fn input() -> auditlog::grpc::pb::AuditLogInput {
    auditlog::grpc::pb::AuditLogInput {
        id: "log_2".to_owned(),
        resource_type: "rule".to_owned(),
        resource_id: "rule_1".to_owned(),
        action: "created".to_owned(),
        user_id: "uid_1".to_owned(),
        ..Default::default()
    }
}
