//! Metrics of requests: how many are under way, how they ended, and how long they took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Metrics, seconds};

/// Names of gRPC codes, by number. Source: google/rpc/code.proto.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The number of a gRPC status.
    Grpc(i32),
    /// An HTTP status.
    Http(u16),
}

impl Code {
    /// The response did not reach its end, most often because the client disconnected.
    const CANCELLED: Self = Self::Grpc(1);
    /// A response without a status.
    pub const UNKNOWN: Self = Self::Grpc(2);
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        match self {
            Self::Http(status) => status.encode(encoder),
            Self::Grpc(number) => {
                let name = usize::try_from(*number).ok().and_then(|number| CODES.get(number));
                name.unwrap_or(&"UNKNOWN").encode(encoder)
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    method: Arc<str>,
    code: Code,
}

#[derive(Debug)]
pub(super) struct Requests {
    in_flight: Gauge,
    ended: Family<OutcomeLabels, Counter>,
    durations: Family<MethodLabel, Histogram>,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let durations = Family::new_with_constructor(seconds as fn() -> Histogram);
        let requests = Self { in_flight: Gauge::default(), ended: Family::default(), durations };
        let Self { in_flight, ended, durations } = &requests;
        let help = "Requests whose response has not ended";
        registry.register("auditlog_requests_in_flight", help, in_flight.clone());
        registry.register("auditlog_requests", "Requests that ended, by method and code", ended.clone());
        let help = "Time from the head of a request to the end of its response, by method";
        registry.register("auditlog_request_duration_seconds", help, durations.clone());
        requests
    }
}

/// A request under way. Dropping it counts the request as ended.
#[derive(Debug)]
pub struct Request {
    metrics: Metrics,
    method: Arc<str>,
    begun: Instant,
    code: Code,
}

impl Metrics {
    /// Counts a new request for `method`.
    pub fn request(&self, method: Arc<str>) -> Request {
        self.0.requests.in_flight.inc();
        Request { metrics: self.clone(), method, begun: Instant::now(), code: Code::CANCELLED }
    }
}

impl Request {
    /// The time since the request began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends the request with `code`. Without this call, it counts as cancelled.
    pub fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let Requests { in_flight, ended, durations } = &self.metrics.0.requests;
        in_flight.dec();
        let (method, code) = (Arc::clone(&self.method), self.code);
        ended.get_or_create(&OutcomeLabels { method, code }).inc();
        let label = MethodLabel { method: Arc::clone(&self.method) };
        durations.get_or_create(&label).observe(self.begun.elapsed().as_secs_f64());
    }
}
