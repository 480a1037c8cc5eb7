//! The metrics endpoint, as operators see it.

mod background;
mod documented;
mod requests;

use std::time::{Duration, Instant};

use auditlog::access::Scope;
use auditlog::app::Options;
use auditlog::domain::Clock;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::database::hold_head;
use crate::support::metrics::{Seen, at, comes_to};
use crate::support::process::create_key;
use crate::support::service::options;
use crate::support::service::write_large;
use crate::support::signer::{new_key, signing};
use crate::support::until;
use crate::support::{Backend, Database, Process, Service, on_every_database};

/// A service with all features.
async fn whole(database: &Database) -> Service {
    let signing = Some(signing(&new_key(database, "key")));
    let options = Options { signing, continuity_checks: Some(Duration::from_millis(500)), ..options() };
    Service::start_with(database, Clock::system(), options).await
}

on_every_database! {
    async fn the_port_of_the_metrics_has_nothing_else(database: &Database) {
        let service = Service::start(database).await;
        Seen::of(&service).await;
        for path in ["/", "/livez", "/v1/org_a/audit-logs", "/metrics/"] {
            assert_eq!(service.http.get(at(&service, path)).send().await.expect("an answer").status(), 404, "{path}");
        }
        assert_eq!(service.http.post(at(&service, "/metrics")).send().await.expect("an answer").status(), 405);
        assert_eq!(service.get("/metrics", "").await.status, 404, "and the service's own port has them not");
        service.stop().await;
    }

    async fn without_an_address_there_are_no_metrics(database: &Database) {
        let mut options = options();
        options.serving.metrics_listen = None;
        let service = Service::start_with(database, Clock::system(), options).await;
        assert_eq!(service.running.metrics_address, None);
        service.stop().await;
    }

    async fn service_and_gateway_log_their_metrics_address(database: &Database) {
        let metrics = ["--metrics-listen", "127.0.0.1:0"];
        let service = Process::serve_with(&database.url, &[["--listen", "127.0.0.1:0"], metrics].concat());
        let gateway = Process::gateway(&service.url(""), &metrics);
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read"]);
        let list = reqwest::Client::new().get(gateway.url("/v1/org_a/audit-logs")).bearer_auth(key);
        assert_eq!(list.send().await.expect("an answer").status(), 200);
        let [of_service, of_gateway] = [&service, &gateway].map(|process| {
            let line = process.said.iter().find(|line| line.contains("serving metrics")).expect("it is logged");
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            format!("http://{}/metrics", event["address"].as_str().expect("an address"))
        });
        let (of_service, of_gateway) = (Seen::at(&of_service).await, Seen::at(&of_gateway).await);
        let asked = r#"auditlog_requests_total{method="GET /v1/{organization_id}/audit-logs",code="200"}"#;
        assert_eq!((of_service.value(asked), of_gateway.value(asked)), (None, Some(1.0)));
        assert_eq!(of_service.value(r#"auditlog_requests_total{method="ListAuditLogs",code="OK"}"#), Some(1.0));
        for absent in ["auditlog_queue_entries", "auditlog_pool_connections", "auditlog_checkpoint_age_seconds"] {
            assert!(!of_gateway.0.contains(absent), "a gateway has no {absent}");
        }
        assert_eq!(service.terminate(), Some(0));
    }

    async fn metrics_are_served_while_the_service_drains_and_end_with_it(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        let blocker = hold_head(&service.store, "org_a").await;
        let writing = {
            let (request, key) = (service.http.post(service.url("/v1/org_a/audit-logs")), key.clone());
            tokio::spawn(request.bearer_auth(key).json(&requests::body("log_1")).send())
        };
        comes_to(&service, "auditlog_queue_entries", |entries| entries == 1.0).await;
        let (address, metrics) = (service.running.address, at(&service, "/metrics"));
        let draining = tokio::spawn(service.running.stop());
        until("it accepts nothing more", async || TcpStream::connect(address).await.is_err().then_some(())).await;
        assert_eq!(Seen::at(&metrics).await.value("auditlog_queue_entries"), Some(1.0));
        blocker.roll_back().await.expect("the lock is given back");
        assert_eq!(writing.await.expect("no panic").expect("an answer").status(), 201);
        draining.await.expect("no panic").expect("it ends");
        assert!(reqwest::get(&metrics).await.is_err(), "the metrics end with the service");
    }

    async fn metrics_are_served_while_writes_and_connections_are_used_up(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Write]).await;
        write_large(&service, &key, 0..1).await;
        let blocker = hold_head(&service.store, "org_a").await;
        let mut held = Vec::new();
        for _ in 0..300 {
            held.push(TcpStream::connect(service.running.address).await.expect("a connection"));
        }
        Seen::of(&service).await;
        drop(held);
        blocker.roll_back().await.expect("the lock is given back");
        service.stop().await;
    }

    async fn silent_connections_to_the_metrics_port_are_closed(database: &Database) {
        let service = Service::start(database).await;
        let address = service.running.metrics_address.expect("it serves metrics");
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(TcpStream::connect(address).await.expect("a connection"));
        }
        // 16 connections at once, 5 seconds each: this request is in the third round.
        let begun = Instant::now();
        Seen::of(&service).await;
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        let mut first = silent.swap_remove(0);
        assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0, "the silent are gone");
        service.stop().await;
    }
}
