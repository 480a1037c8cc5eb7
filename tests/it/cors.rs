//! Cross-origin calls: the pages that a browser lets call REST and gRPC-Web.

use reqwest::{Method, Response};

use crate::support::process::create_key;
use crate::support::{Backend, Database, Process, on_every_database};

const LIST: &str = "/v1/org_a/audit-logs";
/// A path of gRPC-Web.
const WEB: &str = "/auditlog.v1.AuditLogService/ListAuditLogs";

async fn sent(request: reqwest::RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

on_every_database! {
    async fn only_configured_origins_may_call(database: &Database) {
        let origin = "https://viewer.example.com";
        let arguments = ["--listen", "127.0.0.1:0", "--cors-origin", origin, "--cors-origin", "http://localhost:3000"];
        let named = Process::serve_with(&database.url, &arguments);
        let any = Process::serve_with(&database.url, &["--listen", "127.0.0.1:0", "--cors-origin", "*"]);
        let none = Process::serve(&database.url);
        let gateway = Process::gateway(&named.url(""), &["--cors-origin", origin]);
        let http = reqwest::Client::new();
        let cors = |response: &Response| -> Vec<String> {
            response.headers().iter().filter(|(name, _)| name.as_str().starts_with("access-control-")).map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))).collect()
        };
        for path in [LIST, WEB] {
            let preflight = async |process: &Process, origin: &str| {
                let request = http.request(Method::OPTIONS, process.url(path)).header("origin", origin).header("access-control-request-method", "POST");
                sent(request.header("access-control-request-headers", "authorization,content-type,x-grpc-web")).await
            };
            for (process, origin, allowed) in [
                (&named, origin, Some(origin)),
                (&named, "http://localhost:3000", Some("http://localhost:3000")),
                (&named, "https://evil.example.com", None),
                (&named, "https://viewer.example.com.evil.example", None),
                (&any, "https://evil.example.com", Some("*")),
                (&gateway, origin, Some(origin)),
                (&gateway, "http://localhost:3000", None),
            ] {
                let answer = preflight(process, origin).await;
                let headers = cors(&answer);
                let expected = allowed.map(|allowed| format!("access-control-allow-origin: {allowed}"));
                assert_eq!(headers.iter().find(|line| line.starts_with("access-control-allow-origin")), expected.as_ref(), "{path} {origin}");
                if expected.is_some() {
                    assert!(answer.status().is_success());
                    let headers = headers.join("\n");
                    for part in ["authorization", "content-type", "x-organization-id", "x-grpc-web", "allow-methods: GET,POST"] {
                        assert!(headers.contains(part), "{part} in {headers}");
                    }
                }
            }
            assert_eq!(cors(&preflight(&none, origin).await), [""; 0], "{path}");
        }
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read"]);
        let message = prost::Message::encode_to_vec(&auditlog::grpc::pb::ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() });
        let framed = [&[0, 0, 0, 0, u8::try_from(message.len()).expect("short")], message.as_slice()].concat();
        let web = |process: &Process| http.post(process.url(WEB)).header("content-type", "application/grpc-web+proto").body(framed.clone());
        for request in [web(&named), http.get(named.url(LIST))] {
            let answer = sent(request.header("origin", origin).bearer_auth(&key)).await;
            assert_eq!(answer.status().as_u16(), 200);
            let headers = cors(&answer).join("\n");
            assert!(headers.contains(&format!("allow-origin: {origin}")) && headers.contains("grpc-status") && headers.contains("retry-after"), "{headers}");
            assert!(headers.contains("x-auditlog-head-sequence") && headers.contains("content-disposition"), "{headers}");
            assert!(!answer.bytes().await.expect("a body").is_empty());
        }
        let trailer = sent(web(&named).bearer_auth(&key)).await.bytes().await.expect("a body");
        assert!(String::from_utf8_lossy(&trailer).contains("grpc-status:0"), "{trailer:?}");
        for request in [web(&none), http.get(none.url(LIST))] {
            assert_eq!(cors(&sent(request.header("origin", origin).bearer_auth(&key)).await), [""; 0]);
        }
    }
}
