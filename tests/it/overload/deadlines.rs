//! A write whose caller has gone is dropped before its transaction, however the caller left.

use std::time::Duration;

use auditlog::app::{Limits, Options, Serving};
use auditlog::domain::{EntryId, OrganizationId};
use auditlog::error::Error;
use auditlog::grpc::pb::{AuditLogInput, ListAuditLogsRequest, WriteAuditLogsRequest};
use auditlog::store::Store;
use reqwest::Method;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{asked, asked_all, counted, limited, service, writing};
use crate::support::database::{execute, hold_head};
use crate::support::json::least;
use crate::support::metrics::comes_to;
use crate::support::service::{options, serving, with_key};
use crate::support::{Backend, Database, Service, on_every_database, until};

/// How a caller leaves while its write waits.
#[derive(Debug, Clone, Copy)]
enum Going {
    /// It closes its HTTP/1 connection.
    Connection,
    /// It resets its HTTP/2 stream.
    Stream,
    /// Its `grpc-timeout` expires.
    Deadline,
}

fn body(id: &str) -> String {
    json!({"auditLogs": [least(id)]}).to_string()
}

async fn write_and_go(service: &Service, key: &str, id: &str, going: Going) {
    let moment = Duration::from_millis(500);
    match going {
        Going::Connection => {
            let stream = asked(service, &writing(key, body(id).len(), &body(id))).await;
            tokio::time::sleep(moment).await;
            drop(stream);
        }
        Going::Stream => {
            let entry = AuditLogInput {
                id: id.to_owned(),
                resource_type: "rule".to_owned(),
                resource_id: "rule_1".to_owned(),
                action: "created".to_owned(),
                user_id: "uid_1".to_owned(),
                ..Default::default()
            };
            let write = WriteAuditLogsRequest { organization_id: "org_a".to_owned(), audit_logs: vec![entry] };
            let mut client = service.grpc().await;
            let call = client.write_audit_logs(with_key(write, key));
            tokio::time::timeout(moment, call).await.expect_err("it waits");
        }
        Going::Deadline => {
            let request = service.http.post(service.url("/v1/org_a/audit-logs")).bearer_auth(key);
            let request = request.header("grpc-timeout", "3S").header("content-type", "application/json");
            assert_eq!(service.send(request.body(body(id))).await.status, 504);
        }
    }
}

on_every_database! {
    async fn read_statements_time_out_for_requests_and_not_for_jobs(database: &Database) {
        let store = database.store().await;
        store.clone().close().await;
        // Replaces the table with a slow view that contains a valid key.
        let (limit, slow) = match database.backend {
            Backend::Sqlite => (20, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) \
                SELECT 'cursor/1' AS name, zeroblob(32) AS value, max(i) AS i FROM n"),
            Backend::Postgres => (500, "SELECT 'cursor/1' AS name, decode(repeat('00', 32), 'hex') AS value FROM pg_sleep(3)"),
        };
        execute(database, "DROP TABLE secrets").await;
        execute(database, &format!("CREATE VIEW secrets AS {slow}")).await;
        let store = Store::connect(&database.secret(), 2).await.expect("it connects");
        let store = store.limiting_reads(&database.secret(), 2, Duration::from_millis(limit)).await.expect("it connects");
        // On a new connection and on a used one.
        for _ in 0..3 {
            let read = store.cursor_key(1).await;
            assert!(matches!(read, Err(Error::Timeout)), "{read:?}");
        }
        assert_eq!(store.for_jobs().cursor_key(1).await.expect("it may take its time"), [0; 32]);
        store.ping().await.expect("short statements are answered");
        store.close().await;
    }

    async fn a_write_whose_caller_has_disconnected_is_not_started(database: &Database) {
        let organization = OrganizationId::parse("org_a").expect("an id");
        for (number, going) in [Going::Connection, Going::Stream, Going::Deadline].into_iter().enumerate() {
            // Each case needs its own service; otherwise the service would predict that the second write is late.
            let (service, key) = service(database, limited(Limits { requests: 2, ..Limits::default() })).await;
            // A transaction that blocks the writer at the first write.
            let append = hold_head(&service.store, organization.as_str()).await;
            let (first, second) = (format!("log_{number}_first"), format!("log_{number}_second"));
            let waiting = asked(&service, &writing(&key, body(&first).len(), &body(&first))).await;
            comes_to(&service, "auditlog_queue_entries", |entries| entries == 1.0).await;
            write_and_go(&service, &key, &second, going).await;
            // The second write no longer holds a permit.
            until("the second is given up", async || (service.get("/v1/org_a/audit-logs", &key).await.status == 200).then_some(())).await;
            append.roll_back().await.expect("it ends");
            let id = |id: &str| EntryId::parse(id.to_owned()).expect("an id");
            let stored = async |name: &str| service.store.entry(&organization, &id(name)).await.expect("it reads").is_some();
            until("the first is written", async || stored(&first).await.then_some(())).await;
            // A later write is committed after all that waited.
            let third = format!("log_{number}_third");
            assert_eq!(service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": [least(&third)]})).await.status, 201);
            assert!(!stored(&second).await, "{going:?}: it was written though its caller had gone");
            drop(waiting);
        }
    }
}

on_every_database! {
    async fn a_write_that_would_be_late_is_refused(database: &Database) {
        let (service, key) = service(database, options()).await;
        let append = hold_head(&service.store, "org_a").await;
        let waiting = asked(&service, &writing(&key, body("log_1").len(), &body("log_1"))).await;
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 1.0).await;
        // Now the service knows that a group takes about this long.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let timed = |timeout: &str| {
            let head = writing(&key, body("log_2").len(), "").replace("\r\n\r\n", "");
            format!("{head}\r\ngrpc-timeout: {timeout}\r\nconnection: close\r\n\r\n{}", body("log_2"))
        };
        let refused = asked_all(&service, timed("1S")).await;
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        assert!(refused.contains("retry-after: ") && refused.contains("leave no time for this one"), "{refused}");
        let mut client = service.grpc().await;
        let mut write = with_key(WriteAuditLogsRequest { organization_id: "org_a".to_owned(), audit_logs: vec![] }, &key);
        write.set_timeout(Duration::from_secs(1));
        let status = client.write_audit_logs(write).await.expect_err("it would be late");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.get_details_retry_info().is_some(), "{status}");
        counted(&service, "late").await;
        let mut list = with_key(ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() }, &key);
        list.set_timeout(Duration::from_secs(1));
        client.list_audit_logs(list).await.expect("no list waits for writes");
        // A request with enough time waits.
        let patient = asked_all(&service, timed("60S"));
        tokio::time::timeout(Duration::from_millis(500), patient).await.expect_err("it is not refused");
        append.roll_back().await.expect("it ends");
        drop(waiting);
    }
}

#[test]
fn a_request_past_its_deadline_is_refused_without_being_started() {
    super::peers::on_sqlite(async |database| {
        let serving = Serving { request_timeout: Duration::from_secs(30), ..serving() };
        let (service, key) = service(database, Options { serving, ..options() }).await;
        let request = service.http.post(service.url("/v1/org_a/audit-logs")).bearer_auth(&key);
        let request = request.header("grpc-timeout", "0n").json(&json!({"auditLogs": [least("log_1")]}));
        assert_eq!(service.send(request).await.status, 504);
        assert_eq!(service.get("/v1/org_a/audit-logs/log_1", &key).await.status, 404);
    });
}

#[test]
fn only_a_caller_who_writes_is_told_that_something_may_be_written() {
    const READ: &str = "The request took longer than it may; ask for less, or give it more time";
    const WRITE: &str = "The request took longer than it may; what it writes may still be written, and its ids tell";
    super::peers::on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        for (method, path, message) in [
            (Method::GET, "/v1/org_a/audit-logs", READ),
            (Method::GET, "/v1/org_a/resources/rule/rule_1/state", READ),
            (Method::POST, "/v1/org_a/rollback-plans", READ),
            (Method::POST, "/v1/org_a/audit-logs", WRITE),
        ] {
            let request = service.http.request(method.clone(), service.url(path)).bearer_auth(&key);
            let answer = service.send(request.header("grpc-timeout", "0n")).await;
            assert_eq!((answer.status, &answer.body["error"]["message"]), (504, &json!(message)), "{method} {path}");
        }
        for (call, message) in [
            ("AuditLogService/ListAuditLogs", READ),
            ("HistoryService/PlanRollback", READ),
            ("AuditLogService/WriteAuditLogs", WRITE),
            ("ErasureService/EraseAuditLogs", WRITE),
        ] {
            let request = service.http.post(service.url(&format!("/auditlog.v1.{call}"))).bearer_auth(&key);
            let request = request.header("content-type", "application/grpc").header("grpc-timeout", "0n");
            let answer = request.send().await.expect("an answer");
            let status = Status::from_header_map(answer.headers()).expect("a status");
            assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, message), "{call}");
        }
    });
}
