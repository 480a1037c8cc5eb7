//! Counts requests: method, code, and duration to the end of the response's body. All refusals of access pass here, so
//! they are logged from here.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Status;
use tracing::debug;

use super::security::RefusalLogger;
use crate::grpc::{health, pb};
use crate::metrics::{self, Code, Metrics};

/// Maps a request to its `method` label in the metrics. All unknown methods share one label.
enum Methods {
    /// The label of each known gRPC method, by its path.
    Grpc(HashMap<String, Arc<str>>),
    /// The labels of each REST route requested so far: one per verb of [`VERBS`], and one for all other verbs.
    Rest(RwLock<HashMap<String, [Arc<str>; VERBS.len() + 1]>>),
}

const VERBS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];
/// The label of requests for unknown methods and routes.
const UNKNOWN: &str = "unknown";

/// Counts requests.
pub(super) struct Observer {
    metrics: Metrics,
    methods: Methods,
    unknown: Arc<str>,
}

impl Observer {
    /// Counts requests to gRPC services.
    pub(super) fn grpc(metrics: &Metrics) -> anyhow::Result<Self> {
        let mut methods = HashMap::new();
        let (v1, v1alpha) =
            (tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
        for known in [pb::DESCRIPTORS, health::DESCRIPTORS, v1, v1alpha] {
            for file in FileDescriptorSet::decode(known)?.file {
                for service in &file.service {
                    for method in &service.method {
                        let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        methods.insert(path, method.name().into());
                    }
                }
            }
        }
        Ok(Self::new(metrics, Methods::Grpc(methods)))
    }

    /// Counts plain HTTP requests.
    pub(super) fn rest(metrics: &Metrics) -> Self {
        Self::new(metrics, Methods::Rest(RwLock::default()))
    }

    fn new(metrics: &Metrics, methods: Methods) -> Self {
        Self { metrics: metrics.clone(), methods, unknown: UNKNOWN.into() }
    }

    /// Counts `request`, which `next` answers. gRPC responses are counted before they are wrapped for gRPC-Web.
    pub(super) async fn observe<F: Future<Output = Response>>(
        &self,
        request: Request,
        next: impl FnOnce(Request) -> F,
    ) -> Response {
        // Labels hold the method, never the path: paths hold ids of people and resources.
        let method = self.method(&request);
        let counted = self.metrics.request(Arc::clone(&method));
        let refusals = RefusalLogger::of(&request, Arc::clone(&method));
        let is_head = request.method() == Method::HEAD;
        let response = next(request).await;
        debug!(method = &*method, status = response.status().as_u16(), elapsed = ?counted.elapsed(), "answered");
        let code = match self.methods {
            Methods::Grpc(_) if response.status() == StatusCode::OK => grpc_code(response.headers()),
            _ => Some(Code::Http(response.status().as_u16())),
        };
        if let Some(code) = code {
            refusals.log_refusal(code, response.headers(), Some(response.extensions()));
        }
        // A code that is not known yet comes in the trailers.
        let refusals = Some(refusals).filter(|_| code.is_none());
        response.map(|body| {
            let mut watched = MeteredBody { body, counted: Some(counted), code, refusals };
            // An empty body may never be polled.
            if is_head || watched.body.is_end_stream() {
                watched.end();
            }
            Body::new(watched)
        })
    }

    fn method(&self, request: &Request) -> Arc<str> {
        let found = match &self.methods {
            Methods::Grpc(methods) => methods.get(request.uri().path()).cloned(),
            Methods::Rest(routes) => request.extensions().get::<MatchedPath>().map(|matched| {
                let verb = VERBS.iter().position(|verb| verb == request.method()).unwrap_or(VERBS.len());
                let known = routes.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(names) = known.get(matched.as_str()) {
                    return Arc::clone(&names[verb]);
                }
                drop(known);
                let name =
                    |verb: usize| format!("{} {}", VERBS.get(verb).map_or("other", Method::as_str), matched.as_str());
                let names = std::array::from_fn(|verb| name(verb).into());
                let mut known = routes.write().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(&known.entry(matched.as_str().to_owned()).or_insert(names)[verb])
            }),
        };
        found.unwrap_or_else(|| Arc::clone(&self.unknown))
    }
}

/// The gRPC status in headers or trailers.
fn grpc_code(headers: &HeaderMap) -> Option<Code> {
    let number = headers.get(Status::GRPC_STATUS)?.to_str().ok().and_then(|text| text.parse().ok());
    Some(number.map_or(Code::UNKNOWN, Code::Grpc))
}

/// A body that counts its request as ended when it ends.
struct MeteredBody {
    body: Body,
    /// `Some` until the request has ended.
    counted: Option<metrics::Request>,
    /// The status, if it is known.
    code: Option<Code>,
    /// `Some` if the status comes in trailers and is not logged yet.
    refusals: Option<RefusalLogger>,
}

impl MeteredBody {
    fn end(&mut self) {
        if let Some(counted) = self.counted.take() {
            counted.end(self.code.unwrap_or(Code::UNKNOWN));
        }
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let trailers = match &frame {
            Some(Ok(frame)) => frame.trailers_ref(),
            _ => None,
        };
        if let Some((trailers, code)) = trailers.and_then(|trailers| Some((trailers, grpc_code(trailers)?))) {
            self.code = Some(code);
            if let Some(refusals) = self.refusals.take() {
                refusals.log_refusal(code, trailers, None);
            }
        }
        // The body may not be polled again after its last piece. A body that fails has no end: dropping it counts the
        // request as cancelled.
        let is_last = match &frame {
            Some(Ok(_)) => trailers.is_some() || self.body.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if is_last {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
