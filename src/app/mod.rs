//! The two servers: the service, and the gateway to a service elsewhere. Both bind, assemble, serve and drain.

mod admission;
mod background;
pub mod gateway;
mod health;
mod http;
mod jobs;
mod metrics_server;
mod net;
mod server;
mod service;

use std::time::Duration;

use axum::http::HeaderValue;

pub use net::ConnectionLimits;
pub use server::Running;
pub use service::{CONTINUITY_PERIOD, Options, RATE, READS, ServiceParts, record_keys, recorder, start};

/// Options that both servers share.
#[derive(Debug, Clone)]
pub struct Serving {
    /// `host:port`. Port 0 takes a free port.
    pub listen: String,
    /// The address of the metrics port, in the same form; `None` disables it.
    pub metrics_listen: Option<String>,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// How long health checks say NOT_SERVING before connections are refused.
    pub drain_delay: Duration,
    /// The longest that open requests may take after that.
    pub drain_limit: Duration,
    /// Origins other than the server's own whose pages may call it from a browser.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether the viewer is served beside REST.
    pub viewer: bool,
    /// The limits of concurrent work.
    pub limits: Limits,
}

/// The limits of concurrent work. A server refuses everything beyond them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The limits of connections.
    pub connections: ConnectionLimits,
    /// The maximum number of requests under way; a request counts until its response has ended. One API key may have
    /// four fifths of them. Keep it at or below the number of reads that may run or wait: refusing a request here is
    /// cheap, but refusing reads after all checks kept two cores from most of their work.
    pub requests: usize,
    /// The maximum number of followers: streams and feeds, which wait most of their time and are no requests under way.
    /// One API key may have four fifths of them. Each takes up to some 60 KB.
    pub followers: usize,
    /// The maximum number of bytes that requests and responses hold.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let connections = ConnectionLimits::default();
        Self { connections, requests: 320, followers: 500, bytes: 256 * 1024 * 1024 }
    }
}
