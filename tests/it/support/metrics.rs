//! The metrics of a service, read as Prometheus reads them.

use super::{Service, until};

/// All metrics at one moment.
#[derive(Debug)]
pub struct Seen(pub String);

impl Seen {
    pub async fn at(url: &str) -> Self {
        let response = reqwest::get(url).await.expect("metrics are served");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self(response.text().await.expect("text"))
    }

    pub async fn of(service: &Service) -> Self {
        Self::at(&at(service, "/metrics")).await
    }

    /// The value of a series; `None` if it does not exist.
    pub fn value(&self, series: &str) -> Option<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().expect("a number"))
    }

    /// The value of a series; 0 if it does not exist.
    pub fn count(&self, series: &str) -> f64 {
        self.value(series).unwrap_or_default()
    }
}

/// A URL of the metrics endpoint of `service`.
pub fn at(service: &Service, path: &str) -> String {
    format!("http://{}{path}", service.running.metrics_address.expect("it serves metrics"))
}

/// Waits until `series` has an expected value.
pub async fn comes_to(service: &Service, series: &str, expected: impl Fn(f64) -> bool) -> Seen {
    until(series, async || {
        let seen = Seen::of(service).await;
        seen.value(series).is_some_and(&expected).then_some(seen)
    })
    .await
}
