//! What operators see on the port of the metrics.

use auditlog::domain::Clock;

use crate::support::service::options;
use crate::support::{Backend, Database, Service, on_every_database};

/// Where `service` has its metrics.
fn at(service: &Service, path: &str) -> String {
    format!("http://{}{path}", service.running.metrics_address.expect("it serves metrics"))
}

/// All metrics as they stand.
async fn text(service: &Service) -> String {
    let response = service.http.get(at(service, "/metrics")).send().await.expect("metrics are served");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    response.text().await.expect("text")
}

on_every_database! {
    async fn the_port_of_the_metrics_has_nothing_else(database: &Database) {
        let service = Service::start(database).await;
        text(&service).await;
        for path in ["/", "/livez", "/v1/org_a/audit-logs", "/metrics/"] {
            assert_eq!(service.http.get(at(&service, path)).send().await.expect("an answer").status(), 404, "{path}");
        }
        assert_eq!(service.http.post(at(&service, "/metrics")).send().await.expect("an answer").status(), 405);
        service.stop().await;
    }

    async fn without_an_address_there_are_no_metrics(database: &Database) {
        let mut options = options();
        options.serving.metrics_listen = None;
        let service = Service::start_with(database, Clock::system(), options).await;
        assert_eq!(service.running.metrics_address, None);
        service.stop().await;
    }
}
