//! What runs: the service, and the gateway to one elsewhere. Both bind, assemble, serve and drain.

pub mod gateway;
mod observe;
mod protocols;
mod scrape;
mod server;
mod service;

use std::time::Duration;

use http::HeaderValue;

pub use server::Running;
pub use service::{Options, Parts, recorder, start};

/// How a server runs, whatever it serves.
#[derive(Debug, Clone)]
pub struct Serving {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where metrics are read, the same way; nowhere without.
    pub metrics_listen: Option<String>,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// How long health checks say NOT_SERVING before connections are refused.
    pub drain_delay: Duration,
    /// The longest that open requests may take after that.
    pub drain_limit: Duration,
    /// The origins whose pages may call it from a browser, beside its own.
    pub cors_origins: Vec<HeaderValue>,
}
