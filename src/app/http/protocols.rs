//! One port for all protocols: gRPC-Web requests are unwrapped and go to gRPC with the gRPC requests; all others go to
//! REST.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, header};
use tonic::Status;
use tonic::server::NamedService;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use super::deadline::{TIMEOUT_HEADER, ending};
use super::request_metrics::Observer;
use crate::app::Serving;
use crate::app::admission::Admission;
use crate::grpc::{ORGANIZATION_HEADER, status};
use crate::metrics::Metrics;
use crate::rest;
use crate::rest::export::HEAD_SEQUENCE_HEADER;

/// How long a browser may cache a preflight response.
const PREFLIGHT_TTL: Duration = Duration::from_secs(60 * 60);

/// The headers that this server reads. Others are dropped, so that a waiting request does not hold them.
const KNOWN_HEADERS: [HeaderName; 15] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::AUTHORIZATION,
    CONTENT_TYPE,
    header::IF_NONE_MATCH,
    header::ORIGIN,
    header::TE,
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static(TIMEOUT_HEADER),
    HeaderName::from_static(ORGANIZATION_HEADER),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Answers all requests of one port. Clones share it.
#[derive(Clone)]
pub(in crate::app) struct Protocols {
    grpc: Grpc,
    /// REST and gRPC-Web, which browsers use.
    web: Router,
}

#[derive(Clone)]
struct Grpc {
    observer: Arc<Observer>,
    admission: Admission,
    router: Router,
}

impl Grpc {
    async fn answer(self, request: Request) -> Response {
        let Self { observer, admission, router } = self;
        let answer = async |request| match admission.refuse_early(&request) {
            Some(error) => status::respond(error),
            None => call(router, request).await,
        };
        observer.observe(request, answer).await
    }
}

impl Protocols {
    /// Serves the gRPC services of `grpc`, and `rest`. `nothing` is the message for unknown gRPC methods.
    pub(in crate::app) fn new(
        grpc: Router,
        nothing: &'static str,
        rest: Router,
        serving: &Serving,
        (admission, metrics): (Admission, &Metrics),
    ) -> anyhow::Result<Self> {
        let router = grpc
            .fallback(async move || Status::unimplemented(nothing).into_http::<Body>())
            .layer(map_response(status::repair));
        let router = ending(router, serving.request_timeout, status::respond);
        let grpc = Grpc { observer: Arc::new(Observer::grpc(metrics)?), admission, router };
        let observe = async move |State(observer): State<Arc<Observer>>, request: Request, next: Next| {
            observer.observe(request, |request| next.run(request)).await
        };
        let web = ending(rest, serving.request_timeout, rest::respond)
            .layer(from_fn_with_state(Arc::new(Observer::rest(metrics)), observe))
            .layer(from_fn_with_state(grpc.clone(), unwrap));
        let web = match serving.cors_origins.is_empty() {
            true => web,
            false => web.layer(cors(serving.cors_origins.clone())),
        };
        Ok(Self { grpc, web: web.with_state(()) })
    }

    /// Answers `request` in its own protocol. Drops unknown headers before it returns.
    pub(in crate::app) fn answer(&self, mut request: Request) -> BoxFuture<'static, Response> {
        let known = request.headers().iter().filter(|(name, _)| KNOWN_HEADERS.contains(name));
        // Without the copy, a value keeps the whole buffer of received headers alive.
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        *request.headers_mut() = known.filter_map(|(name, value)| Some((name.clone(), copy(value)?))).collect();
        match speaks(&request, b"application/grpc") && !is_grpc_web(&request) {
            true => self.grpc.clone().answer(request).boxed(),
            false => call(self.web.clone(), request).boxed(),
        }
    }
}

async fn call(mut router: Router, request: Request) -> Response {
    router.call(request).await.unwrap_or_else(|never| match never {})
}

/// Passes gRPC-Web requests to `grpc`, unwrapped, and other requests to `next`.
async fn unwrap(State(grpc): State<Grpc>, request: Request, next: Next) -> Response {
    if !is_grpc_web(&request) {
        return next.run(request).await;
    }
    let unwrapped = service_fn(move |request: http::Request<tonic::body::Body>| {
        let grpc = grpc.clone();
        async move { Ok::<_, Infallible>(grpc.answer(request.map(Body::new)).await) }
    });
    let answered = GrpcWebLayer::new().layer(unwrapped).oneshot(request).await;
    answered.unwrap_or_else(|never| match never {}).map(Body::new)
}

fn is_grpc_web(request: &Request) -> bool {
    speaks(request, b"application/grpc-web")
}

/// Whether the content type begins with `protocol`.
fn speaks(request: &Request, protocol: &[u8]) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(protocol))
}

/// Responses to CORS preflight requests.
fn cors(origins: Vec<http::HeaderValue>) -> CorsLayer {
    let names = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let request_headers =
        names(&[ORGANIZATION_HEADER, TIMEOUT_HEADER, "traceparent", "tracestate", "x-grpc-web", "x-user-agent"]);
    let response_headers = names(&["grpc-status", "grpc-message", "grpc-status-details-bin", HEAD_SEQUENCE_HEADER]);
    let exposed = vec![header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::CONTENT_DISPOSITION];
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([vec![header::AUTHORIZATION, header::CONTENT_TYPE], request_headers].concat())
        .expose_headers([exposed, response_headers].concat())
        .max_age(PREFLIGHT_TTL);
    match origins.iter().any(|origin| origin == "*") {
        true => layer.allow_origin(tower_http::cors::Any),
        false => layer.allow_origin(origins),
    }
}

/// The route of all methods of a gRPC service.
pub(in crate::app) fn path<S: NamedService>(_: &S) -> String {
    format!("/{}/{{method}}", S::NAME)
}
