//! The viewer's files: their headers, caching and compression, of the service and of a gateway, and the switch.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use auditlog::app::{Options, Serving};
use auditlog::domain::Clock;
use flate2::read::GzDecoder;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use crate::support::process::ran;
use crate::support::service::{options, serving};
use crate::support::surfaces::Surfaces;
use crate::support::{Backend, Database, Process, Service, on_every_database, run};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const INDEX: &str = "index.html";

/// A client that follows no redirects and adds no headers.
fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().expect("a client")
}

/// The files of `viewer/`, by name.
fn files() -> BTreeMap<String, Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("viewer");
    let files = fs::read_dir(directory).expect("viewer is there").map(|file| file.expect("a file").path());
    let named = files.map(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        (name, fs::read(&path).expect("a file"))
    });
    named.filter(|(name, _)| !name.starts_with('.')).collect()
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

/// Checks the headers that all answers of the viewer have.
fn check_security(response: &Response) {
    for (name, expected) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(header(response, name), expected, "{name} of {}", response.url());
    }
}

/// The directory of the assets that a page names, below `/viewer/`.
fn base(page: &str) -> String {
    let (_, rest) = page.split_once("assets/").expect("the page names its assets");
    let hash: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    assert!(hash.len() >= 16, "{rest}");
    format!("assets/{hash}")
}

async fn error(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON");
    (status, body["error"]["code"].as_str().expect("a code").to_owned())
}

on_every_database! {
    async fn each_file_has_its_headers_on_the_service_and_on_a_gateway(database: &Database) {
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let http = client();
        for url in [surfaces.service.url(""), surfaces.gateway_url()] {
            let page = sent(http.get(format!("{url}/viewer/?organization=org_a&text=%22"))).await;
            assert_eq!(page.status().as_u16(), 200);
            check_security(&page);
            assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
            assert_eq!((header(&page, "cache-control"), header(&page, "vary")), ("no-cache", "accept-encoding"));
            assert_eq!(header(&page, "content-encoding"), "", "a client that names no coding gets none");
            let page = page.text().await.expect("text");
            let base = base(&page);
            let mut files = files();
            let index = String::from_utf8(files.remove(INDEX).expect("the page")).expect("UTF-8");
            assert_eq!(page, index.replace("{{base}}", &base));
            assert!(files.len() >= 2, "{:?}", files.keys());
            let mut compressed = 0;
            for (name, content) in files {
                let asset = format!("{url}/viewer/{base}/{name}");
                let content_type = match name.rsplit('.').next() {
                    Some("css") => "text/css; charset=utf-8",
                    Some("js") => "text/javascript; charset=utf-8",
                    Some("svg") => "image/svg+xml; charset=utf-8",
                    Some("png") => "image/png",
                    other => panic!("{other:?}"),
                };
                for coding in ["", "br, GZIP;q=0.5", "gzip;q=0"] {
                    let answer = sent(http.get(&asset).header("accept-encoding", coding)).await;
                    assert_eq!(answer.status().as_u16(), 200, "{name}");
                    check_security(&answer);
                    let headers = ["content-type", "cache-control", "vary"].map(|name| header(&answer, name));
                    assert_eq!(headers, [content_type, "public, max-age=31536000, immutable", "accept-encoding"], "{name}");
                    let (length, is_gzip) = (header(&answer, "content-length").to_owned(), header(&answer, "content-encoding") == "gzip");
                    let body = answer.bytes().await.expect("a body");
                    assert_eq!(length, body.len().to_string(), "{name}");
                    if is_gzip {
                        assert!(coding.contains("GZIP") && body.len() < content.len(), "{name}");
                        compressed += 1;
                        let mut plain = Vec::new();
                        GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("gzip");
                        assert!(plain == content, "{name}");
                    } else {
                        assert!(body == content, "{name}");
                    }
                    let head = sent(http.head(&asset).header("accept-encoding", coding)).await;
                    check_security(&head);
                    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, &*length), "{name}");
                    assert!(head.bytes().await.expect("no body").is_empty());
                }
            }
            let page = sent(http.get(format!("{url}/viewer/")).header("accept-encoding", "gzip")).await;
            compressed += usize::from(header(&page, "content-encoding") == "gzip");
            assert!(compressed > 0, "some file is smaller when it is compressed");
        }
    }

    async fn a_page_that_did_not_change_is_not_sent_again(database: &Database) {
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let http = client();
        let mut tags = Vec::new();
        for url in [surfaces.service.url(""), surfaces.gateway_url()] {
            let page = format!("{url}/viewer/");
            let tag = header(&sent(http.get(&page)).await, "etag").to_owned();
            for sent_tag in [tag.clone(), format!("\"x\", {tag}"), tag.replace("W/", ""), "*".to_owned()] {
                let answer = sent(http.get(&page).header("if-none-match", &sent_tag).header("accept-encoding", "gzip")).await;
                assert_eq!(answer.status().as_u16(), 304, "{sent_tag}");
                check_security(&answer);
                let headers = ["etag", "cache-control", "vary"].map(|name| header(&answer, name));
                assert_eq!(headers, [&*tag, "no-cache", "accept-encoding"]);
                assert!(answer.bytes().await.expect("no body").is_empty());
            }
            for other in ["\"x\"", "W/\"\"", ""] {
                assert_eq!(sent(http.get(&page).header("if-none-match", other)).await.status().as_u16(), 200, "{other}");
            }
            tags.push(tag);
        }
        assert_eq!(tags[0], tags[1], "the tag depends on the files alone");
    }

    async fn other_paths_have_the_usual_errors(database: &Database) {
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let http = client();
        for url in [surfaces.service.url(""), surfaces.gateway_url()] {
            let base = base(&sent(http.get(format!("{url}/viewer/"))).await.text().await.expect("text"));
            let name = files().into_keys().find(|name| name != INDEX).expect("an asset");
            let assets = [
                format!("assets/0000000000000000/{name}"),
                format!("{base}/none.js"),
                format!("{base}/{INDEX}"),
                format!("{base}/%ff"),
                format!("{base}/..%2f{name}"),
            ];
            for path in assets {
                let answer = sent(http.get(format!("{url}/viewer/{path}"))).await;
                check_security(&answer);
                assert_eq!((header(&answer, "content-type"), header(&answer, "cache-control")), ("application/json", "no-store"), "{path}");
                assert_eq!(error(answer).await, (404, "route_not_found".to_owned()), "{path}");
            }
            for path in ["assets", &format!("{base}/"), &format!("{base}/{name}/x"), INDEX, &format!("/{name}")] {
                assert_eq!(error(sent(http.get(format!("{url}/viewer/{path}"))).await).await, (404, "route_not_found".to_owned()), "{path}");
            }
            for path in ["/viewer", "/viewer/", &format!("/viewer/{base}/{name}")] {
                let posted = sent(http.request(Method::POST, format!("{url}{path}"))).await;
                assert_eq!(error(posted).await, (405, "method_not_allowed".to_owned()), "{path}");
            }
            for (path, location) in [("/viewer", "/viewer/"), ("/viewer?text=a%20b&entry=1", "/viewer/?text=a%20b&entry=1")] {
                let answer = sent(http.get(format!("{url}{path}"))).await;
                check_security(&answer);
                assert_eq!((answer.status().as_u16(), header(&answer, "location")), (308, location));
            }
        }
    }

    async fn the_viewer_can_be_switched_off(database: &Database) {
        let serving = Serving { viewer: false, ..serving() };
        let off = Service::start_with(database, Clock::system(), Options { serving, ..options() }).await;
        let alone = Service::start_with(database, Clock::system(), Options { rest: false, ..options() }).await;
        for path in ["/viewer", "/viewer/", "/viewer/assets/x/viewer.css"] {
            let answer = off.send(off.http.get(off.url(path))).await;
            assert_eq!((answer.status, &answer.body["error"]["code"]), (404, &Value::from("route_not_found")), "{path}");
            let answer = alone.send(alone.http.get(alone.url(path))).await;
            let message = "This service speaks gRPC alone; its REST surface is switched off";
            assert_eq!((answer.status, &answer.body["error"]["message"]), (404, &Value::from(message)), "{path}");
        }
        let status = async |process: &Process| sent(client().get(process.url("/viewer/"))).await.status().as_u16();
        let service = Process::serve(&database.url);
        for (arguments, expected) in [(&["--viewer", "on"][..], 200), (&[], 200), (&["--viewer", "off"], 404)] {
            assert_eq!(status(&Process::gateway(&service.url(""), arguments)).await, expected, "{arguments:?}");
            let arguments = [&["--listen", "127.0.0.1:0"][..], arguments].concat();
            assert_eq!(status(&Process::serve_with(&database.url, &arguments)).await, expected, "{arguments:?}");
        }
        let alone = ["--listen", "127.0.0.1:0", "--rest", "off"];
        assert_eq!(status(&Process::serve_with(&database.url, &alone)).await, 404, "the default follows REST");
        let environment = [("AUDITLOG_DATABASE_URL", database.url.as_str()), ("AUDITLOG_VIEWER", "on")];
        let (code, _, stderr) = ran(&["serve", "--rest", "off"], &environment);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("--viewer on needs --rest on, because the viewer reads through REST"), "{stderr}");
    }
}

#[test]
fn a_gateway_serves_the_pages_without_its_service() {
    run(async {
        let gateway = Process::gateway("http://127.0.0.1:9", &[]);
        let page = sent(client().get(gateway.url("/viewer/"))).await;
        assert_eq!(page.status().as_u16(), 200);
        let base = base(&page.text().await.expect("text"));
        for name in files().into_keys().filter(|name| name != INDEX) {
            assert_eq!(sent(client().get(gateway.url(&format!("/viewer/{base}/{name}")))).await.status().as_u16(), 200);
        }
    });
}
