//! Uploads that are answered before their body has arrived, behind nginx, HAProxy and nghttpx as configured in
//! docs/proxies.md, and without a proxy. Every answer must arrive with its status and details, also on connections that
//! are kept open.

mod client;
mod direct;
mod proxy;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::{ExportAuditLogsRequest, ListAuditLogsRequest};
use client::{Answers, Body, Origin, Upload, Version, failure};
use proxy::{Kind, Proxy};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::process::{auditlog, create_key};
use crate::support::service::made_up;
use crate::support::service::with_key;
use crate::support::{Backend, Database, Process, database};

const ORGANIZATION: &str = "org_a";
const ENTRIES: &str = "/v1/org_a/audit-logs";
/// The number of the gRPC status `UNAUTHENTICATED`. Source: gRPC's status codes.
const UNAUTHENTICATED: &str = "16";
/// Sizes of bodies in bytes, and how often each is uploaded. The largest is near the limit of 4 MiB.
const UPLOADS: [(usize, usize); 3] = [(100_000, 30), (1_000_000, 30), (3_900_000, 10)];

/// A service with a proxy in front of it. The proxy is dropped first.
struct Proxied {
    proxy: Proxy,
    service: Process,
    key: String,
}

impl Proxied {
    /// `None` if a program is missing; a message says so.
    fn start(kind: Kind, database: &Database, arguments: &[&str]) -> Option<Self> {
        let key = create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read", "--scope", "write"]);
        let service = Process::serve_with(&database.url, &[&["--listen", "127.0.0.1:0"], arguments].concat());
        let proxy = Proxy::start(kind, &service)?;
        Some(Self { proxy, service, key })
    }

    fn check(&self, what: &str, answers: Option<Answers>, expected: &str) {
        check(what, answers, &[expected], &self.proxy.log());
    }
}

/// Fails unless all `answers` are among `expected`. `None` means that a client is missing, which was reported.
fn check(what: &str, answers: Option<Answers>, expected: &[&str], log: &str) {
    let Some(answers) = answers else { return };
    let is_expected = |answer: &String| expected.contains(&answer.as_str());
    assert!(answers.keys().all(is_expected), "{what}: expected {expected:?}, got {answers:?}\n{log}");
    assert!(!answers.is_empty(), "{what}: no answer");
}

/// Defines each test once for each proxy.
macro_rules! behind_every_proxy {
    ($(async fn $name:ident($proxied:ident: &Proxied, $($argument:literal),*) $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn check_behind(kind: Kind, database: &Database) {
                let Some(proxied) = Proxied::start(kind, database, &[$($argument),*]) else { return };
                let $proxied = &proxied;
                $body
            }

            #[test]
            fn nginx() {
                database::run(Backend::Sqlite, async |database| check_behind(Kind::Nginx, &database).await);
            }

            #[test]
            fn haproxy() {
                database::run(Backend::Sqlite, async |database| check_behind(Kind::Haproxy, &database).await);
            }

            #[test]
            fn nghttpx() {
                database::run(Backend::Sqlite, async |database| check_behind(Kind::Nghttpx, &database).await);
            }
        }
    )+};
}

behind_every_proxy! {
    async fn a_refused_upload_over_rest_gets_its_answer(proxied: &Proxied,) {
        let origin = proxied.proxy.origin();
        for (bytes, times) in UPLOADS {
            let body = Body::new(bytes);
            for (method, path, key, expected) in refused(&proxied.key) {
                let upload = Upload { method, path, key: &key, body: &body, times };
                let what = format!("{method} {path} of {bytes} bytes");
                for version in [Version::Http1, Version::Http2] {
                    proxied.check(&format!("curl, {version:?}, {what}"), origin.curl(version, upload), expected);
                }
                proxied.check(&format!("Node.js, {what}"), origin.node(upload), expected);
            }
        }
    }

    async fn a_refused_upload_over_grpc_gets_its_status(proxied: &Proxied,) {
        let origin = proxied.proxy.origin();
        let key = unknown_key();
        for (bytes, times) in UPLOADS {
            let (body, refused) = (Body::new(bytes), "Unauthenticated INVALID_API_KEY");
            proxied.check(&format!("curl, {bytes} bytes"), origin.curl_grpc(&body, &key, times), UNAUTHENTICATED);
            proxied.check(&format!("grpcio, {bytes} bytes"), origin.grpcio(&body, &key, times), refused);
            proxied.check(&format!("tonic, {bytes} bytes"), Some(origin.write(&body, &key, times).await), refused);
        }
    }

    async fn an_upload_beyond_the_rate_limit_of_its_key_gets_that_error(proxied: &Proxied, "--rate-limit", "1") {
        let Proxied { proxy, service, key } = proxied;
        let origin = proxy.origin();
        let (ending, direct) = (AtomicBool::new(false), Origin { url: service.url(""), certificate: None });
        // Uses up almost all of the key's rate limit, so that most uploads are refused.
        let asks = async {
            let http = reqwest::Client::new();
            while !ending.load(Ordering::Relaxed) {
                http.get(format!("{}{ENTRIES}", direct.url)).bearer_auth(key).send().await.expect("an answer");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let uploads = async {
            for (bytes, times) in UPLOADS {
                let body = Body::new(bytes);
                let upload = Upload { method: "POST", path: ENTRIES, key, body: &body, times };
                for version in [Version::Http1, Version::Http2] {
                    let answers = tokio::task::block_in_place(|| origin.curl(version, upload));
                    let refusals = answers.as_ref().map_or(1, |answers| answers.get("429 rate_limited").copied().unwrap_or_default());
                    check(&format!("curl, {version:?}, {bytes} bytes"), answers, &["429 rate_limited", "201"], &proxy.log());
                    assert!(refusals > 0, "some are refused");
                }
                let grpcio = tokio::task::block_in_place(|| origin.grpcio(&body, key, times));
                for (client, answers) in [("grpcio", grpcio), ("tonic", Some(origin.write(&body, key, times).await))] {
                    let expected = ["ResourceExhausted RATE_LIMITED", "Ok"];
                    check(&format!("{client}, {bytes} bytes"), answers, &expected, &proxy.log());
                }
            }
            ending.store(true, Ordering::Relaxed);
        };
        tokio::join!(asks, uploads);
    }

    async fn an_accepted_upload_is_acknowledged_and_exported(proxied: &Proxied,) {
        let Proxied { proxy, key, .. } = proxied;
        let origin = proxy.origin();
        for (bytes, _) in UPLOADS {
            let body = Body::new(bytes);
            let upload = Upload { method: "POST", path: ENTRIES, key, body: &body, times: 3 };
            for version in [Version::Http1, Version::Http2] {
                proxied.check(&format!("curl, {version:?}, {bytes} bytes"), origin.curl(version, upload), "201");
            }
            proxied.check("Node.js", origin.node(upload), "201");
            proxied.check(&format!("gRPC, {bytes} bytes"), Some(origin.write(&body, key, 3).await), "Ok");
        }
        let stored: usize = UPLOADS.iter().map(|(bytes, _)| bytes.div_ceil(client::VALUE)).sum();
        let mut client = AuditLogServiceClient::new(origin.grpc().await);
        client = client.max_decoding_message_size(auditlog::grpc::MAX_RESPONSE);
        let export = || ExportAuditLogsRequest { organization_id: ORGANIZATION.to_owned(), ..Default::default() };
        let mut stream = client.export_audit_logs(with_key(export(), key)).await.expect("it begins").into_inner();
        let mut exported = 0;
        while let Some(message) = stream.message().await.expect("it goes on to its end") {
            exported += message.audit_logs.len();
        }
        assert_eq!(exported, stored);
        // A refused stream also returns its reason, and does not damage the connection.
        for _ in 0..30 {
            let refused = client.export_audit_logs(with_key(export(), &unknown_key())).await.expect_err("refused");
            assert_eq!(failure(&refused), "Unauthenticated INVALID_API_KEY");
        }
        let list = ListAuditLogsRequest { organization_id: ORGANIZATION.to_owned(), limit: Some(0), ..Default::default() };
        let invalid = client.list_audit_logs(with_key(list, key)).await.expect_err("no limit");
        assert_eq!(failure(&invalid), "InvalidArgument INVALID_PARAMETER");
    }

    async fn a_gateway_serves_reads_while_uploads_on_the_same_connection_are_refused(proxied: &Proxied,) {
        let Proxied { proxy, key, .. } = proxied;
        let origin = proxy.origin();
        let mut command = auditlog();
        command.args(["gateway", "--listen", "127.0.0.1:0", "--drain-delay", "0s", "--upstream", &origin.url]);
        // The root certificates of the system, for the gateway.
        command.envs(origin.certificate.as_ref().map(|certificate| ("SSL_CERT_FILE", certificate)));
        let (gateway, http) = (Process::spawn(command), reqwest::Client::new());
        let (body, mut answers) = (Body::new(250_000), Answers::new());
        // More in total than the number of resets that the service's HTTP/2 library allows itself on a connection.
        for _ in 0..12 {
            let read = http.get(gateway.url(ENTRIES)).bearer_auth(key).send().await.expect("an answer");
            assert_eq!(read.status(), 200, "{}", read.text().await.unwrap_or_default());
            let answered = origin.curl_grpc(&body, &unknown_key(), 100).unwrap_or_default();
            answered.into_iter().for_each(|(answer, times)| *answers.entry(answer).or_default() += times);
        }
        proxied.check("curl", Some(answers), UNAUTHENTICATED);
    }

    async fn health_checks_are_answered(proxied: &Proxied,) {
        let origin = proxied.proxy.origin();
        for version in [Version::Http1, Version::Http2] {
            for path in ["/livez", "/readyz"] {
                let Some(answer) = origin.fetched(version, path, &[]) else { return };
                assert_eq!(answer, r#"{"status":"ok"}"#, "{version:?} {path}");
            }
            let text = ["content-type: application/grpc-web-text", "accept: application/grpc-web-text"];
            let web = ["-H", text[0], "-H", text[1], "--data", "AAAAAAA="];
            let answer = origin.fetched(version, "/grpc.health.v1.Health/Check", &web).expect("there is curl");
            // A message with SERVING, followed by the trailers.
            assert!(answer.starts_with("AAAAAAIIAQ=="), "gRPC-Web, {version:?}: {answer}");
        }
        let mut health = HealthClient::new(origin.grpc().await);
        let request = HealthCheckRequest { service: "auditlog.v1.AuditLogService".to_owned() };
        let serving = ServingStatus::Serving as i32;
        for _ in 0..30 {
            assert_eq!(health.check(request.clone()).await.expect("an answer").into_inner().status, serving);
        }
        let mut watch = health.watch(request).await.expect("it begins").into_inner();
        assert_eq!(watch.message().await.expect("a message").expect("not the end").status, serving);
    }
}

/// A well-formed key that does not exist.
fn unknown_key() -> String {
    made_up(0)
}

/// Uploads that are refused whatever their body is: method, path, key and answer.
fn refused(key: &str) -> [(&'static str, &'static str, String, &'static str); 3] {
    [
        ("POST", ENTRIES, unknown_key(), "401 invalid_api_key"),
        ("POST", "/v1/nothing/here", key.to_owned(), "404 route_not_found"),
        ("PUT", ENTRIES, key.to_owned(), "405 method_not_allowed"),
    ]
}
