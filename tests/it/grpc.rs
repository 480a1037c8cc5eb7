//! The gRPC surface: reflection, health, rich errors, limits, and graceful shutdown.

use std::time::Duration;

use auditlog::access::Scope;
use auditlog::app::{Options, Serving};
use auditlog::domain::Clock;
use auditlog::grpc::health::{HealthListRequest, health_client};
use auditlog::grpc::pb::{
    AuditLogFilter, AuditLogInput, Change, GetAuditLogRequest, GetResourceHistoryRequest, ListAuditLogsRequest,
    WriteAuditLogsRequest,
};
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;

use crate::support::database::hold_head;
use crate::support::metrics::comes_to;
use crate::support::service::{options, serving, with_key};
use crate::support::{Backend, Database, Process, Service, on_every_database, process};

const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];

fn input(id: &str) -> AuditLogInput {
    AuditLogInput {
        id: id.to_owned(),
        resource_type: "rule".to_owned(),
        resource_id: "rule_1".to_owned(),
        action: "created".to_owned(),
        user_id: "uid_1".to_owned(),
        ..Default::default()
    }
}

fn write(audit_logs: Vec<AuditLogInput>) -> WriteAuditLogsRequest {
    WriteAuditLogsRequest { organization_id: "org_a".to_owned(), audit_logs }
}

/// The code, the reason and the violated fields.
fn shown(status: &Status) -> (Code, String, Vec<String>) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let fields = details.bad_request().map(|bad| bad.field_violations.iter().map(|one| one.field.clone()).collect());
    (status.code(), reason, fields.unwrap_or_default())
}

on_every_database! {
    async fn an_entry_survives_the_wire(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let mut client = service.grpc().await;
        let change = Change { field: "a".to_owned(), old_value_json: None, new_value_json: Some(" 9007199254740993 ".to_owned()) };
        let sent = AuditLogInput {
            timestamp: Some(Timestamp { seconds: -5, nanos: 123_456_789 }),
            user_email: "é@example.com".to_owned(),
            changes: vec![change],
            metadata: [("source".to_owned(), String::new())].into(),
            trace_id: "trace".to_owned(),
            outcome: "denied".to_owned(),
            actor_type: "service".to_owned(),
            ..input("log_1")
        };
        let written = client.write_audit_logs(with_key(write(vec![sent.clone(), input("")]), &key)).await.expect("written").into_inner();
        assert!(written.audit_logs[1].id.starts_with("log_") && written.audit_logs[1].id.len() == 30);
        let get = GetAuditLogRequest { organization_id: "org_a".to_owned(), id: "log_1".to_owned() };
        let read = client.get_audit_log(with_key(get, &key)).await.expect("read").into_inner().audit_log.expect("an entry");
        assert_eq!(read.timestamp, Some(Timestamp { seconds: -5, nanos: 123_456_000 }));
        assert_eq!(read.changes[0].new_value_json.as_deref(), Some("9007199254740993"));
        assert_eq!(read.changes[0].old_value_json, None);
        assert_eq!((read.resource_name, read.user_email.as_deref()), (None, Some("é@example.com")));
        assert_eq!((read.metadata, read.trace_id.as_deref(), read.sequence), (sent.metadata, Some("trace"), 1));
        assert_eq!((read.outcome.as_deref(), read.actor_type.as_deref()), (Some("denied"), Some("service")));
        let history = GetResourceHistoryRequest { resource_type: "rule".to_owned(), resource_id: "rule_1".to_owned(), ..Default::default() };
        let history = client.get_resource_history(with_key(history, &key)).await.expect("a history").into_inner();
        assert_eq!(history.pagination.expect("pagination").total, 2);
    }

    async fn errors_name_the_fields(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let mut client = service.grpc().await;
        let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let list = || ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let with = |filter| ListAuditLogsRequest { filter: Some(filter), ..list() };
        let every = AuditLogFilter::default;
        for (request, field) in [
            (ListAuditLogsRequest { organization_id: String::new(), ..list() }, "organization_id"),
            (ListAuditLogsRequest { limit: Some(0), ..list() }, "limit"),
            (ListAuditLogsRequest { offset: Some(-1), ..list() }, "offset"),
            (ListAuditLogsRequest { offset: Some(0), cursor: Some("x".to_owned()), ..list() }, "cursor"),
            (ListAuditLogsRequest { cursor: Some(String::new()), ..list() }, "cursor"),
            (with(AuditLogFilter { actions: vec!["created".to_owned(), "made".to_owned()], ..every() }), "filter.actions[1]"),
            (with(AuditLogFilter { user_ids: vec![String::new()], ..every() }), "filter.user_ids[0]"),
            (with(AuditLogFilter { resource_types: vec!["rules".to_owned()], ..every() }), "filter.resource_types[0]"),
            (with(AuditLogFilter { resource_ids: vec!["r".to_owned(); 101], ..every() }), "filter.resource_ids"),
            (with(AuditLogFilter { start_time: time(2), end_time: time(1), ..every() }), "filter.start_time"),
            (with(AuditLogFilter { end_time: Some(Timestamp { seconds: 0, nanos: -1 }), ..every() }), "filter.end_time"),
            (with(AuditLogFilter { end_time: time(i64::MAX), ..every() }), "filter.end_time"),
        ] {
            let status = client.list_audit_logs(with_key(request, &key)).await.expect_err(field);
            assert_eq!(shown(&status), (Code::InvalidArgument, "INVALID_PARAMETER".to_owned(), vec![field.to_owned()]));
        }
        for (filter, field) in [
            (AuditLogFilter { resource_types: vec!["rule".to_owned()], ..every() }, "filter.resource_types"),
            (AuditLogFilter { resource_types: vec!["rules".to_owned()], ..every() }, "filter.resource_types"),
            (AuditLogFilter { resource_ids: vec!["rule_1".to_owned()], ..every() }, "filter.resource_ids"),
            (AuditLogFilter { user_ids: vec![String::new()], ..every() }, "filter.user_ids[0]"),
        ] {
            let (resource_type, resource_id) = ("rule".to_owned(), "rule_1".to_owned());
            let request = GetResourceHistoryRequest { resource_type, resource_id, filter: Some(filter), ..Default::default() };
            let status = client.get_resource_history(with_key(request, &key)).await.expect_err(field);
            assert_eq!(shown(&status), (Code::InvalidArgument, "INVALID_PARAMETER".to_owned(), vec![field.to_owned()]));
        }
        let bad = AuditLogInput { action: "made".to_owned(), ..input("log_2") };
        let status = client.write_audit_logs(with_key(write(vec![bad.clone(), input("log_1"), bad]), &key)).await.expect_err("refused");
        assert_eq!(shown(&status).2, ["audit_logs[0].action", "audit_logs[2].action"]);
        client.write_audit_logs(with_key(write(vec![input("log_1")]), &key)).await.expect("written");
        let other = AuditLogInput { user_name: "else".to_owned(), ..input("log_1") };
        let status = client.write_audit_logs(with_key(write(vec![input("log_2"), other]), &key)).await.expect_err("refused");
        assert_eq!(shown(&status), (Code::AlreadyExists, "ID_CONFLICT".to_owned(), vec!["audit_logs[1].id".to_owned()]));
        let absent = GetAuditLogRequest { organization_id: "org_a".to_owned(), id: "log_2".to_owned() };
        let status = client.get_audit_log(with_key(absent, &key)).await.expect_err("absent");
        assert_eq!(shown(&status), (Code::NotFound, "AUDIT_LOG_NOT_FOUND".to_owned(), vec![]));
        let many = write((0..1_001).map(|number| input(&format!("log_{number}"))).collect());
        let status = client.write_audit_logs(with_key(many, &key)).await.expect_err("refused");
        assert_eq!(shown(&status).2, ["audit_logs"]);
        let many = AuditLogInput { changes: vec![Change::default(); 1_001], ..input("log_3") };
        let status = client.write_audit_logs(with_key(write(vec![many]), &key)).await.expect_err("refused");
        assert_eq!(shown(&status).2, ["audit_logs[0].changes"]);
    }

    async fn errors_raised_by_tonic_have_our_codes(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let mut client = service.grpc().await;
        let large = AuditLogInput { resource_name: "x".repeat(5 * 1024 * 1024), ..input("log_1") };
        let status = client.write_audit_logs(with_key(write(vec![large]), &key)).await.expect_err("refused");
        assert_eq!(shown(&status), (Code::ResourceExhausted, "PAYLOAD_TOO_LARGE".to_owned(), vec![]));
        let broken = service.http.post(service.url("/auditlog.v1.AuditLogService/ListAuditLogs")).bearer_auth(&key);
        let broken = broken.header("content-type", "application/grpc").header("te", "trailers");
        let answer = broken.body(b"\0\0\0\0\x02\xff\xff".to_vec()).send().await.expect("an answer");
        let status = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!(shown(&status), (Code::InvalidArgument, "INVALID_BODY".to_owned(), vec![]));
        let unknown = service.http.post(service.url("/auditlog.v1.AuditLogService/Nothing")).header("content-type", "application/grpc");
        let answer = unknown.bearer_auth(&key).send().await.expect("an answer");
        assert_eq!(answer.headers()["grpc-status"], "12");
    }

    async fn reflection_and_health_need_no_key(database: &Database) {
        let service = Service::start(database).await;
        let channel = tonic::transport::Endpoint::from_shared(service.url("")).expect("a URL").connect_lazy();
        let ask = |host: &str| v1::ServerReflectionRequest {
            host: host.to_owned(),
            message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        };
        let mut newer = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let answer = newer.server_reflection_info(tokio_stream::once(ask(""))).await.expect("v1").into_inner().message().await;
        assert!(format!("{answer:?}").contains("auditlog.v1.AuditLogService"));
        let ask = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
        };
        let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let answer = older.server_reflection_info(tokio_stream::once(ask)).await.expect("v1alpha").into_inner().message().await;
        assert!(format!("{answer:?}").contains("auditlog.v1.AuditLogService"));
        for name in ["", "auditlog.v1.AuditLogService", "auditlog.v1.ErasureService", "auditlog.v1.HistoryService"] {
            let check = HealthCheckRequest { service: name.to_owned() };
            let health = HealthClient::new(channel.clone()).check(check).await.expect("health").into_inner();
            assert_eq!(health.status, 1, "{name:?} is SERVING");
        }
        let unknown = HealthCheckRequest { service: "auditlog.v1.Nothing".to_owned() };
        let unknown = HealthClient::new(channel.clone()).check(unknown).await.expect_err("there is none");
        assert_eq!(unknown.code(), Code::NotFound);
    }

    async fn all_health_is_listed(database: &Database) {
        let service = Service::start(database).await;
        let mut client = health_client::HealthClient::connect(service.url("")).await.expect("it accepts");
        let listed = client.list(HealthListRequest {}).await.expect("a list").into_inner().statuses;
        let listed: Vec<_> = listed.iter().map(|(service, health)| (service.as_str(), health.status)).collect();
        let (serving, not_serving) = (1, 2);
        assert_eq!(listed, [
            ("", serving),
            ("auditlog.v1.AuditLogService", serving),
            ("auditlog.v1.ErasureService", serving),
            ("auditlog.v1.HistoryService", serving),
            ("auditlog.v1.IntegrityService", not_serving),
        ]);
    }

    async fn a_watch_of_an_unknown_service_stays_open_until_the_service_ends(database: &Database) {
        let service = Service::start(database).await;
        let channel = tonic::transport::Endpoint::from_shared(service.url("")).expect("a URL").connect_lazy();
        let watch = HealthCheckRequest { service: "auditlog.v1.Nothing".to_owned() };
        let mut health = HealthClient::new(channel).watch(watch).await.expect("a watch").into_inner();
        assert_eq!(health.message().await.expect("no error").expect("a status").status, 3, "SERVICE_UNKNOWN");
        let more = tokio::time::timeout(Duration::from_millis(300), health.message()).await;
        assert!(more.is_err(), "it stays open: {more:?}");
        service.stop().await;
        assert_eq!(health.message().await.expect("no error"), None, "it ends with the service");
    }

    async fn details_of_errors_are_found_by_reflection(database: &Database) {
        let service = Service::start(database).await;
        let channel = tonic::transport::Endpoint::from_shared(service.url("")).expect("a URL").connect_lazy();
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
        for symbol in ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"] {
            let request = v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol.to_owned());
            let ask = v1::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
            let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.expect("it answers").into_inner();
            let answer = answers.message().await.expect("no error").expect("an answer").message_response;
            let is_known = matches!(answer, Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(_)));
            assert!(is_known, "{symbol}: {answer:?}");
        }
    }

    async fn health_is_not_serving_while_a_drain_waits_for_open_requests(database: &Database) {
        let brief = Options { serving: Serving { drain_limit: Duration::from_secs(20), ..serving() }, ..options() };
        let service = Service::start_with(database, Clock::system(), brief).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let channel = tonic::transport::Endpoint::from_shared(service.url("")).expect("a URL").connect_lazy();
        let watch = HealthCheckRequest { service: "auditlog.v1.AuditLogService".to_owned() };
        let mut health = HealthClient::new(channel).watch(watch).await.expect("a watch").into_inner();
        assert_eq!(health.message().await.expect("an answer").expect("a status").status, 1);
        // A write that waits for another transaction's lock. The lock is released while the service drains.
        let blocker = hold_head(&database.store().await, "org_a").await;
        let mut client = service.grpc().await;
        let writing = tokio::spawn(async move { client.write_audit_logs(with_key(write(vec![input("log_1")]), &key)).await });
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 1.0).await;
        let stopping = tokio::spawn(service.stop());
        assert_eq!(health.message().await.expect("an answer").expect("a status").status, 2, "NOT_SERVING");
        assert!(!writing.is_finished(), "the drain waits");
        blocker.roll_back().await.expect("the lock is given back");
        writing.await.expect("no panic").expect("a request that was open is answered");
        stopping.await.expect("the service stops");
    }

    async fn a_drain_ends_at_its_limit(database: &Database) {
        let brief = Options { serving: Serving { drain_limit: Duration::from_secs(1), ..serving() }, ..options() };
        let service = Service::start_with(database, Clock::system(), brief).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let blocker = hold_head(&database.store().await, "org_a").await;
        let mut client = service.grpc().await;
        let writing = tokio::spawn(async move { client.write_audit_logs(with_key(write(vec![input("log_1")]), &key)).await });
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 1.0).await;
        let stopped = tokio::time::timeout(Duration::from_secs(10), service.stop()).await;
        stopped.expect("the limit ends the drain, and not the lock");
        assert!(!writing.is_finished() || writing.await.expect("no panic").is_err(), "nothing is acknowledged");
        blocker.roll_back().await.expect("the lock is given back");
    }

    async fn readiness_fails_while_connections_are_still_accepted(database: &Database) {
        let slow = Options { serving: Serving { drain_delay: Duration::from_secs(3), ..serving() }, ..options() };
        let service = Service::start_with(database, Clock::system(), slow).await;
        let (http, ready) = (service.http.clone(), service.url("/readyz"));
        let stopping = tokio::spawn(service.stop());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let answer = http.get(ready).header("connection", "close").send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 503);
        assert!(answer.text().await.expect("text").contains("shutting down"));
        stopping.await.expect("the service stops");
    }

    async fn a_second_signal_ends_the_process_at_once(database: &Database) {
        let mut command = process::auditlog();
        command.args(["serve", "--listen", "127.0.0.1:0", "--drain-delay", "60s"]).env("AUDITLOG_DATABASE_URL", &database.url);
        let mut service = Process::spawn(command);
        service.signal("INT");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(service.child.try_wait().expect("it can be asked").is_none(), "it drains");
        service.signal("INT");
        let begun = std::time::Instant::now();
        while service.child.try_wait().expect("it can be asked").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn a_request_that_hangs_is_given_up(database: &Database) {
        let brief = Options { serving: Serving { request_timeout: Duration::from_secs(1), ..serving() }, ..options() };
        let service = Service::start_with(database, Clock::system(), brief).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let blocker = hold_head(&database.store().await, "org_a").await;
        let (mut client, body) = (service.grpc().await, serde_json::json!({"auditLogs": [crate::support::json::least("log_1")]}));
        // Both at once; otherwise the service would predict that the second is late and refuse it.
        let (written, answer) = tokio::join!(
            client.write_audit_logs(with_key(write(vec![input("log_1")]), &key)),
            service.post("/v1/org_a/audit-logs", &key, &body)
        );
        assert_eq!(shown(&written.expect_err("late")), (Code::DeadlineExceeded, "TIMEOUT".to_owned(), vec![]));
        assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (504, Some("timeout")));
        assert!(answer.text.contains("what it writes may still be written"), "{}", answer.text);
        blocker.roll_back().await.expect("the lock is given back");
    }

    async fn sigterm_ends_the_process_with_success(database: &Database) {
        let key = process::create_key(&database.url, &["--organization", "org_a", "--scope", "write"]);
        let service = Process::serve(&database.url);
        let body = serde_json::json!({"auditLogs": [crate::support::json::least("log_1")]});
        let request = reqwest::Client::new().post(service.url("/v1/org_a/audit-logs")).bearer_auth(key).json(&body);
        assert_eq!(request.send().await.expect("an answer").status().as_u16(), 201);
        let address = service.address.clone();
        assert_eq!(service.terminate(), Some(0));
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
    }
}
