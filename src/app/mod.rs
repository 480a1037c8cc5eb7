//! The two servers: the service, and the gateway to a service elsewhere. Both bind, assemble, serve and drain.

mod admission;
mod background;
mod deadline;
pub mod gateway;
mod health;
mod jobs;
mod metrics_server;
mod net;
mod protocols;
mod reflection;
mod request_metrics;
mod security;
mod server;
mod service;

use std::time::Duration;

use http::HeaderValue;

pub use net::ConnectionLimits;
pub use server::Running;
pub use service::{Options, Parts, RATE, READS, record_keys, recorder, start};

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
    /// The limits of simultaneous work.
    pub limits: Limits,
}

/// The limits of simultaneous work. A server refuses everything beyond them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections.
    pub connections: ConnectionLimits,
    /// Requests under way, until their responses have ended; of one API key four fifths. Not more than the reads that may
    /// run or wait: to refuse a request here is cheap, and a read only after all checks kept two cores from most of their
    /// work.
    pub requests: usize,
    /// Bytes that requests and responses hold.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: ConnectionLimits::default(), requests: 320, bytes: 256 * 1024 * 1024 }
    }
}
