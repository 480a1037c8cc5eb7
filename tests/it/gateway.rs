//! `auditlog gateway`: REST exactly as the service returns it, plus retries.

use std::time::Duration;

use auditlog::grpc::health::health_client::HealthClient;
use auditlog::grpc::health::{HealthCheckRequest, HealthListRequest};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_reflection::pb::v1;
use tonic_types::{ErrorDetails, StatusExt};

use crate::support::json::least;
use crate::support::process::{create_key, ran};
use crate::support::{Backend, Database, Process, Upstream, on_every_database, run};

const LIST: &str = "/v1/org_a/audit-logs";

/// A gateway on a free port, and a client.
fn gateway(upstream: &str) -> (Process, reqwest::Client) {
    (Process::gateway(upstream, &["--drain-delay", "0s"]), reqwest::Client::new())
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// The status, all headers but the date, and the body.
async fn shown(response: Response) -> (u16, Vec<(String, String)>, String) {
    let status = response.status().as_u16();
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned()))
        .collect();
    headers.sort();
    (status, headers, response.text().await.expect("text"))
}

/// Parses `grpc-timeout`.
fn timeout(metadata: &tonic::metadata::MetadataMap) -> Duration {
    let text = metadata.get("grpc-timeout").expect("a deadline").to_str().expect("ASCII");
    let (digits, unit) = text.split_at(text.len() - 1);
    let number: u64 = digits.parse().expect("a number");
    match unit {
        "n" => Duration::from_nanos(number),
        "u" => Duration::from_micros(number),
        "m" => Duration::from_millis(number),
        "S" => Duration::from_secs(number),
        other => panic!("{other}"),
    }
}

const AWAY: &str = r#"{"error":{"message":"The service behind this gateway cannot be reached; try again","type":"unavailable_error","code":"storage_unavailable"}}"#;

on_every_database! {
    async fn answers_are_those_of_the_service(database: &Database) {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        let service = Process::serve(&database.url);
        let (gateway, http) = gateway(&service.url(""));
        let body = json!({"auditLogs": [least("log_1"), least("log_2"), least("log_3")]}).to_string();
        let json = |request: RequestBuilder| request.header("content-type", "application/json").bearer_auth(&key);
        let written = sent(json(http.post(gateway.url(LIST)).body(body.clone()))).await;
        assert_eq!(written.status().as_u16(), 201);
        type Made<'a> = &'a dyn Fn(RequestBuilder) -> RequestBuilder;
        let (as_reader, as_nobody): (Made, Made) = (&|request| request.bearer_auth(&key), &|request| request);
        let (again, broken): (Made, Made) = (&|request| json(request.body(body.clone())), &|request| json(request.body("{")));
        let foreign: Made = &|request| request.bearer_auth(&key).header("x-organization-id", "org_b");
        for (method, path, made, status) in [
            (Method::GET, LIST, as_reader, 200),
            (Method::GET, "/v1/org_a/audit-logs?limit=2&action=created&userId=uid_1", as_reader, 200),
            (Method::GET, "/v1/org_a/audit-logs/log_2", as_reader, 200),
            (Method::GET, "/v1/rules/rule_1/history?limit=1", as_reader, 200),
            (Method::GET, "/v1/org_a/audit-logs/log_2/around", as_reader, 200),
            (Method::GET, "/v1/org_a/resources/rule/rule_1/state", as_reader, 200),
            (Method::GET, "/v1/org_a/continuity", as_reader, 200),
            (Method::GET, "/v1/org_a/continuity", as_nobody, 401),
            (Method::GET, "/v1/org_a/export?format=csv", as_reader, 200),
            (Method::GET, "/v1/org_a/export", as_nobody, 401),
            (Method::GET, "/v1/org_a/log/entries/1", as_reader, 403),
            (Method::GET, "/viewer/", as_nobody, 200),
            (Method::GET, "/v1/rules/rule_1/history", foreign, 404),
            (Method::GET, "/v1/widgets/rule_1/history", as_reader, 404),
            (Method::GET, "/v1/org_a/audit-logs/log_none", as_reader, 404),
            (Method::GET, "/v1/org_b/audit-logs", as_reader, 404),
            (Method::GET, LIST, as_nobody, 401),
            (Method::GET, "/v1/org_a/audit-logs?resourceTyp=rule", as_reader, 400),
            (Method::GET, "/v1/org_a/audit-logs?action=made&limit=9", as_reader, 400),
            (Method::GET, "/v1/org_a/audit-logs?limit=0", as_nobody, 401),
            (Method::POST, LIST, again, 201),
            (Method::POST, LIST, broken, 400),
            (Method::DELETE, LIST, as_reader, 405),
            (Method::GET, "/v2", as_reader, 404),
            (Method::GET, "/livez", as_nobody, 200),
            (Method::GET, "/readyz", as_nobody, 200),
        ] {
            let ask = async |process: &Process| shown(sent(made(http.request(method.clone(), process.url(path)))).await).await;
            let answer = ask(&service).await;
            assert_eq!(answer.0, status, "{method} {path}: {}", answer.2);
            assert_eq!(ask(&gateway).await, answer, "{method} {path}");
        }
    }

    async fn an_unreachable_service_gives_503_until_it_is_back(database: &Database) {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        let service = Process::serve(&database.url);
        let address = service.address.clone();
        let (gateway, http) = gateway(&service.url(""));
        let ask = async |path: &str| sent(http.get(gateway.url(path)).bearer_auth(&key)).await;
        assert_eq!((ask(LIST).await.status().as_u16(), ask("/readyz").await.status().as_u16()), (200, 200));
        service.kill();
        for path in [LIST, "/v1/org_a/audit-logs/log_1", "/v1/rules/rule_1/history", "/v1/org_a/continuity", "/v1/org_a/export", "/readyz"] {
            let (status, _, body) = shown(ask(path).await).await;
            assert_eq!((status, body.as_str()), (503, AWAY), "{path}");
        }
        let write = sent(http.post(gateway.url(LIST)).bearer_auth(&key).json(&json!({"auditLogs": [least("log_1")]}))).await;
        assert_eq!(shown(write).await.2, AWAY);
        assert_eq!(ask("/livez").await.status().as_u16(), 200, "it lives by itself");
        let again = Process::serve_with(&database.url, &["--listen", &address, "--drain-delay", "3s"]);
        assert_eq!((ask(LIST).await.status().as_u16(), ask("/readyz").await.status().as_u16()), (200, 200));
        again.signal("TERM");
        let mut ready = shown(ask("/readyz").await).await;
        for _ in 0..20 {
            if ready.0 == 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                ready = shown(ask("/readyz").await).await;
            }
        }
        assert_eq!(ready.0, 503);
        assert!(ready.2.contains("The service behind this gateway is not serving"), "{}", ready.2);
        assert_eq!(ask(LIST).await.status().as_u16(), 200, "what comes meanwhile is answered");
    }
}

/// The messages for a late read and a late write, from the service and so from its gateway.
const LATE: &str = "The request took longer than it may; ask for less, or give it more time";
const LATE_WRITE: &str = "The request took longer than it may; what it writes may still be written, and its ids tell";

#[test]
fn credentials_trace_context_and_deadline_are_forwarded() {
    run(async {
        let (upstream, url) = Upstream::start([]).await;
        let (gateway, http) = gateway(&url);
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = [
            ("authorization", "Bearer al_x"),
            ("x-organization-id", "org_a"),
            ("traceparent", trace),
            ("tracestate", "a=1"),
        ];
        for path in [LIST, "/v1/org_a/audit-logs/log_1", "/v1/rules/rule_1/history", "/v1/org_a/audit-logs?limit=x"] {
            for (asked, least, most) in [(None, 25, 30), (Some("5S"), 3, 5), (Some("99999999S"), 25, 30)] {
                let mut request =
                    http.get(gateway.url(path)).header("cookie", "secret=1").header("x-forwarded-for", "1");
                for (name, value) in headers.into_iter().chain(asked.map(|asked| ("grpc-timeout", asked))) {
                    request = request.header(name, value);
                }
                sent(request).await;
                let seen = upstream.seen();
                assert_eq!(seen.len(), 1, "{path}");
                let metadata = &seen[0].metadata;
                for (name, value) in headers {
                    assert_eq!(
                        metadata.get(name).map(|value| value.as_bytes()),
                        Some(value.as_bytes()),
                        "{path} {name}"
                    );
                }
                assert!(metadata.get("cookie").is_none() && metadata.get("x-forwarded-for").is_none());
                let left = timeout(metadata);
                assert!((Duration::from_secs(least)..Duration::from_secs(most)).contains(&left), "{asked:?}: {left:?}");
            }
        }
        sent(http.get(gateway.url(LIST))).await;
        assert!(upstream.seen()[0].metadata.get("authorization").is_none(), "it has no credential of its own");
        let brief = Process::gateway(&url, &["--request-timeout", "2s"]);
        sent(http.get(brief.url(LIST)).header("grpc-timeout", "9S")).await;
        assert!(timeout(&upstream.seen()[0].metadata) <= Duration::from_secs(2));
    });
}

#[test]
fn entries_have_ids_before_they_are_first_sent() {
    run(async {
        // The upstream gets the call twice and fails before it answers.
        let (upstream, url) = Upstream::start([Status::unavailable("broken"), Status::cancelled("h2 error")]).await;
        let (gateway, http) = gateway(&url);
        let mut unnamed = least("");
        unnamed.as_object_mut().expect("an object").remove("id");
        let body = json!({"auditLogs": [unnamed, least("log_mine"), unnamed]});
        let answer = sent(http.post(gateway.url(LIST)).json(&body)).await;
        assert_eq!(answer.status().as_u16(), 201);
        let seen: Vec<_> = upstream.seen().into_iter().map(|seen| seen.ids).collect();
        assert_eq!(seen.len(), 3, "it tried until it was answered");
        assert!(seen.iter().all(|ids| *ids == seen[0]), "{seen:?}");
        let [first, mine, last] = seen[0].as_slice() else { panic!("{seen:?}") };
        assert!(first != last && mine == "log_mine");
        assert!([first, last].iter().all(|id| id.starts_with("log_") && id.len() == 30), "{seen:?}");
        let answer: Value = answer.json().await.expect("JSON");
        let returned: Vec<_> =
            answer["auditLogs"].as_array().expect("a list").iter().map(|one| one["id"].clone()).collect();
        assert_eq!(returned, seen[0].iter().map(|id| json!(id)).collect::<Vec<_>>());
    });
}

#[test]
fn errors_of_the_service_itself_are_not_retried() {
    run(async {
        let mut details = ErrorDetails::new();
        details.set_error_info("STORAGE_UNAVAILABLE", "auditlog", std::collections::HashMap::new());
        let own = Status::with_error_details(Code::Unavailable, "Storage is unavailable; try again", details);
        let broken = || Status::unavailable("tcp connect error: 10.1.2.3:5432");
        let failures = [own, Status::deadline_exceeded("late"), broken(), broken(), broken()];
        let (upstream, url) = Upstream::start(failures).await;
        let (gateway, http) = gateway(&url);
        for (status, message, tries) in [
            (503, "Storage is unavailable; try again", 1),
            (504, LATE, 1),
            (503, "The service behind this gateway cannot be reached; try again", 3),
        ] {
            let (code, _, body) = shown(sent(http.get(gateway.url(LIST))).await).await;
            let body: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!((code, body["error"]["message"].as_str()), (status, Some(message)));
            assert_eq!(upstream.seen().len(), tries, "{message}");
        }
        let (_, url) = Upstream::start([Status::deadline_exceeded("late")]).await;
        let (gateway, http) = self::gateway(&url);
        let write = http.post(gateway.url(LIST)).json(&json!({"auditLogs": [least("log_1")]}));
        let (code, _, body) = shown(sent(write).await).await;
        assert!(code == 504 && body.contains(LATE_WRITE), "{body}");
    });
}

#[test]
fn a_service_that_hangs_gives_a_timeout_error() {
    run(async {
        // Connections are accepted, but nothing is answered.
        let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", hangs.local_addr().expect("an address"));
        let gateway = Process::gateway(&url, &["--request-timeout", "1s"]);
        let http = reqwest::Client::new();
        for asked in [None, Some("300m")] {
            let plan = http.post(gateway.url("/v1/org_a/rollback-plans")).json(&json!({"traceId": "t"}));
            let write = http.post(gateway.url(LIST)).json(&json!({"auditLogs": [least("log_1")]}));
            for (request, message) in [(http.get(gateway.url(LIST)), LATE), (plan, LATE), (write, LATE_WRITE)] {
                let request = asked.iter().fold(request, |request, asked| request.header("grpc-timeout", *asked));
                let (status, _, body) = shown(sent(request).await).await;
                assert_eq!(status, 504, "{body}");
                assert!(body.contains(message), "{body}");
            }
        }
    });
}

#[test]
fn it_drains_on_sigterm() {
    run(async {
        let gateway = Process::gateway("http://127.0.0.1:1", &["--drain-delay", "2s"]);
        gateway.signal("TERM");
        let http = reqwest::Client::new();
        let mut body = String::new();
        for _ in 0..20 {
            body = shown(sent(http.get(gateway.url("/readyz")).header("connection", "close")).await).await.2;
            if body.contains("shutting down") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(body.contains("The gateway is shutting down"), "{body}");
        assert_eq!(sent(http.get(gateway.url("/livez")).header("connection", "close")).await.status().as_u16(), 200);
        assert_eq!(gateway.terminate(), Some(0), "a second signal ends it at once");
    });
    let (gateway, _) = gateway("http://127.0.0.1:1");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn plain_http_to_another_host_logs_a_warning() {
    for (upstream, warns) in [
        ("http://auditlog.invalid:8080", true),
        ("http://192.0.2.1:8080", true),
        ("https://auditlog.invalid", false),
        ("http://127.0.0.1:1", false),
        ("http://[::1]:1", false),
        ("http://localhost:1", false),
    ] {
        let (gateway, _) = gateway(upstream);
        let warned =
            gateway.said.iter().any(|line| line.contains("plain HTTP to another host shows API keys and entries"));
        assert_eq!(warned, warns, "{upstream}: {:?}", gateway.said);
    }
}

#[test]
fn a_gateway_serves_only_health_and_reflection_over_grpc() {
    run(async {
        let database = Database::fresh(Backend::Sqlite).await.expect("SQLite is there");
        let (service, key) =
            (Process::serve(&database.url), create_key(&database.url, &["--organization", "a", "--scope", "read"]));
        let gateway = Process::gateway(&service.url(""), &[]);
        let (code, stdout, stderr) = ran(&["health", "--endpoint", &gateway.url("")], &[]);
        assert_eq!((code, stdout.as_str()), (Some(0), "serving\n"), "{stderr}");
        let (code, _, stderr) =
            ran(&["list", "--organization", "a", "--endpoint", &gateway.url("")], &[("AUDITLOG_API_KEY", &key)]);
        assert_eq!(code, Some(1));
        assert!(
            stderr.contains("This is a gateway, which speaks REST; call the service behind it for gRPC"),
            "{stderr}"
        );
        service.kill();
        assert_eq!(ran(&["health", "--endpoint", &gateway.url("")], &[]).0, Some(1));
    });
}

#[test]
fn upstream_health_is_watched_and_listed_until_the_gateway_drains() {
    run(async {
        let database = Database::fresh(Backend::Sqlite).await.expect("SQLite is there");
        let service = Process::serve(&database.url);
        let gateway = Process::gateway(&service.url(""), &["--drain-delay", "60s", "--drain-limit", "60s"]);
        let mut client = HealthClient::connect(gateway.url("")).await.expect("it accepts");
        let listed = client.list(HealthListRequest {}).await.expect("a list").into_inner().statuses;
        assert_eq!(listed["auditlog.v1.AuditLogService"].status, 1, "SERVING");
        assert_eq!(listed["auditlog.v1.IntegrityService"].status, 2, "NOT_SERVING");
        let watch = async |client: &mut HealthClient<_>, service: &str| {
            let request = HealthCheckRequest { service: service.to_owned() };
            client.watch(request).await.expect("a watch").into_inner()
        };
        let mut unknown = watch(&mut client, "auditlog.v1.Nothing").await;
        assert_eq!(unknown.message().await.expect("no error").expect("a status").status, 3, "SERVICE_UNKNOWN");
        let mut health = watch(&mut client, "").await;
        assert_eq!(health.message().await.expect("no error").expect("a status").status, 1, "SERVING");
        gateway.signal("TERM");
        assert_eq!(health.message().await.expect("no error").expect("a status").status, 2, "NOT_SERVING");
        assert_eq!(health.message().await.expect("no error"), None, "it ends, and keeps no drain waiting");
        let check = client.check(HealthCheckRequest::default()).await.expect("it answers until the delay is over");
        assert_eq!(check.into_inner().status, 2, "NOT_SERVING");
        gateway.kill();
        service.kill();
    });
}

#[test]
fn gateway_reflection_lists_its_services() {
    run(async {
        let gateway = Process::gateway("http://127.0.0.1:9", &[]);
        let channel = tonic::transport::Endpoint::from_shared(gateway.url("")).expect("a URL").connect_lazy();
        let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
        let ask = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
        let mut answers =
            client.server_reflection_info(tokio_stream::once(ask)).await.expect("it answers").into_inner();
        let answer = answers.message().await.expect("no error").expect("an answer").message_response;
        let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(services)) = answer else {
            panic!("{answer:?}")
        };
        let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
        assert_eq!(names, ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
    });
}
