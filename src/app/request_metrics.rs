//! Counts requests: what was asked, how it ended, and how long it took, to the end of the answer's body. Each refusal of
//! access passes here, so that it is logged from here.

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

use super::security::Asker;
use crate::grpc::{health, pb};
use crate::metrics::{self, Code, Metrics};

/// The HTTP methods that have a label of their own. All others share one, so that the label has few values.
enum Methods {
    /// The methods of the services that are known, by their paths.
    Grpc(HashMap<String, Arc<str>>),
    /// The routes that were asked for, each with [`VERBS`] and any other.
    Rest(RwLock<HashMap<String, [Arc<str>; VERBS.len() + 1]>>),
}

const VERBS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];
/// The label of all requests for something that does not exist.
const UNKNOWN: &str = "unknown";

/// Counts requests.
pub(super) struct Observer {
    metrics: Metrics,
    methods: Methods,
    unknown: Arc<str>,
}

impl Observer {
    /// Counts what is asked of gRPC services.
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

    /// Counts what is asked over plain HTTP.
    pub(super) fn rest(metrics: &Metrics) -> Self {
        Self::new(metrics, Methods::Rest(RwLock::default()))
    }

    fn new(metrics: &Metrics, methods: Methods) -> Self {
        Self { metrics: metrics.clone(), methods, unknown: UNKNOWN.into() }
    }

    /// Counts `request`, which `next` answers, before an answer is wrapped for the web.
    pub(super) async fn observe<F: Future<Output = Response>>(
        &self,
        request: Request,
        next: impl FnOnce(Request) -> F,
    ) -> Response {
        // The method and never the path, which holds ids of people and things.
        let method = self.method(&request);
        let counted = self.metrics.request(Arc::clone(&method));
        let asker = Asker::of(&request, Arc::clone(&method));
        let is_head = request.method() == Method::HEAD;
        let response = next(request).await;
        debug!(method = &*method, status = response.status().as_u16(), elapsed = ?counted.elapsed(), "answered");
        let code = match self.methods {
            Methods::Grpc(_) if response.status() == StatusCode::OK => grpc_code(response.headers()),
            _ => Some(Code::Http(response.status().as_u16())),
        };
        if let Some(code) = code {
            asker.answered(code, response.headers(), Some(response.extensions()));
        }
        // A code that comes later comes in trailers.
        let asker = Some(asker).filter(|_| code.is_none());
        response.map(|body| {
            let mut watched = MeteredBody { body, counted: Some(counted), code, asker };
            // Nobody may ask for a body that is empty.
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

/// The status that headers or trailers tell.
fn grpc_code(headers: &HeaderMap) -> Option<Code> {
    let number = headers.get(Status::GRPC_STATUS)?.to_str().ok().and_then(|text| text.parse().ok());
    Some(number.map_or(Code::UNKNOWN, Code::Grpc))
}

/// A body whose request ends where it ends.
struct MeteredBody {
    body: Body,
    /// Until then.
    counted: Option<metrics::Request>,
    /// The status, as far as it is known.
    code: Option<Code>,
    /// For the log, where trailers tell how it ends.
    asker: Option<Asker>,
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
            if let Some(asker) = self.asker.take() {
                asker.answered(code, trailers, None);
            }
        }
        // After the last piece nobody may ask for more. What breaks off has no end.
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
