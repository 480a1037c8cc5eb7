//! In a gateway, callers with unknown credentials share limited permits and bytes. Callers with known credentials do
//! not need them.

use auditlog::app::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::peers::on_sqlite;
use super::{service, writing};
use crate::support::service::made_up;
use crate::support::service::options;
use crate::support::surfaces::{Ask, Surfaces};

#[test]
fn slow_uploads_do_not_delay_the_first_requests_of_other_clients() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        // Leaves one permit for all unknown credentials.
        let surfaces = Surfaces::start_with(service, Limits { requests: 4, ..Limits::default() }).await;
        let address = surfaces.gateway_url().trim_start_matches("http://").to_owned();
        let mut slow = Vec::new();
        for number in 0..8 {
            let mut stream = TcpStream::connect(&address).await.expect("it connects");
            stream
                .write_all(writing(&made_up(number), 2_000_000, &"x".repeat(400_000)).as_bytes())
                .await
                .expect("sent");
            slow.push(stream);
        }
        let answer = surfaces.rest(&Ask::get("/v1/org_a/audit-logs", &key)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(slow.iter().all(super::is_open), "they are still sending");
    });
}

#[test]
fn unread_error_responses_hold_no_permit() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        // Leaves one permit for all unknown credentials.
        let surfaces = Surfaces::start_with(service, Limits { requests: 4, ..Limits::default() }).await;
        let address = surfaces.gateway_url().trim_start_matches("http://").to_owned();
        let (mut client, connection) = h2::client::Builder::new()
            .initial_window_size(0)
            .handshake::<_, bytes::Bytes>(TcpStream::connect(&address).await.expect("it connects"))
            .await
            .expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let mut refused = Vec::new();
        for number in 0..4 {
            let request = http::Request::get("http://a/v1/org_a/audit-logs");
            let request = request.header("authorization", format!("Bearer {}", made_up(number)));
            let (answer, _) = client.send_request(request.body(()).expect("a request"), true).expect("it is sent");
            let answer = answer.await.expect("a head");
            assert_eq!(answer.status(), 401);
            refused.push(answer);
        }
        let answer = surfaces.rest(&Ask::get("/v1/org_a/audit-logs", &key)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        drop((refused, client));
        connection.abort();
    });
}

#[test]
fn bodies_with_unknown_credentials_have_bytes_of_their_own() {
    on_sqlite(async |database| {
        let (service, key) = service(database, options()).await;
        // A quarter of the bytes is for unknown credentials.
        let surfaces = Surfaces::start_with(service, Limits { bytes: 1024 * 1024, ..Limits::default() }).await;
        let post = |key: &str| {
            let client = reqwest::Client::new();
            let url = format!("{}/v1/org_a/audit-logs", surfaces.gateway_url());
            let body = format!("{{\"auditLogs\": []{}}}", " ".repeat(300 * 1024));
            let request = client.post(url).bearer_auth(key).header("content-type", "application/json").body(body);
            async { request.send().await.expect("an answer").status().as_u16() }
        };
        assert_eq!(post(&key).await, 429, "more than there is for it");
        assert_eq!(surfaces.rest(&Ask::get("/v1/org_a/audit-logs", &key)).await.status, 200);
        assert_eq!(post(&key).await, 400, "by now it is known, and read");
    });
}
