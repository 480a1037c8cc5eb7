//! One port: what is gRPC goes to gRPC, what is gRPC-Web is unwrapped first, and all else is REST.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, map_response};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use tonic::Status;
use tonic::server::NamedService;
use tonic_web::GrpcWebLayer;
use tower::ServiceExt;
use tracing::debug;

use super::server::{Guard, guarded};
use crate::grpc;

/// What is told apart on one port, beside REST.
#[derive(Clone)]
pub(super) struct Protocols {
    grpc: Router,
    grpc_web: Router,
}

impl Protocols {
    /// The gRPC services of `router`, and `nothing` as the answer where it has no method.
    pub(super) fn new(router: Router, nothing: &'static str, guard: Guard) -> Self {
        let router = router
            .fallback(async move || Status::unimplemented(nothing).into_http::<axum::body::Body>())
            .layer(map_response(grpc::status::repair));
        let grpc = guarded(router, guard, grpc::status::refuse);
        Self { grpc_web: grpc.clone().layer(GrpcWebLayer::new()), grpc }
    }
}

/// Hands a request to the router of its protocol.
pub(super) async fn by_protocol(State(protocols): State<Protocols>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let router = match content_type {
        web if web.starts_with(b"application/grpc-web") => Some(protocols.grpc_web),
        grpc if grpc.starts_with(b"application/grpc") => Some(protocols.grpc),
        _ => None,
    };
    // The route and not the path, which holds ids of people and things; gRPC's paths hold none.
    let path = request.uri().path();
    let route = match request.extensions().get::<MatchedPath>() {
        Some(matched) => matched.as_str().to_owned(),
        None if router.is_some() && path.matches('/').count() == 2 => path.to_owned(),
        None => String::new(),
    };
    let response = match router {
        Some(router) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
        None => next.run(request).await,
    };
    debug!(route, status = response.status().as_u16(), elapsed = ?begun.elapsed(), "answered");
    response
}

/// The path of all methods of a gRPC service.
pub(super) fn path<S: NamedService>(_: &S) -> String {
    format!("/{}/{{method}}", S::NAME)
}
