//! The running service: bind, assemble, serve, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{debug, info, warn};

use crate::access::{Access, Refuse, authenticate};
use crate::domain::{Clock, Random};
use crate::error::Error;
use crate::grpc::pb::audit_log_service_server::AuditLogServiceServer;
use crate::grpc::{self, MAX_REQUEST, MAX_RESPONSE, pb};
use crate::ingest::{Ingest, QueueLimits};
use crate::query::Query;
use crate::rest;
use crate::store::Store;

/// Finds peers that are gone.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// How the service runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Whether REST is served beside gRPC.
    pub rest: bool,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// How long health checks say NOT_SERVING before connections are refused.
    pub drain_delay: Duration,
    /// The longest that open requests may take after that.
    pub drain_limit: Duration,
    /// What may wait to be written.
    pub queue: QueueLimits,
}

/// What the service is made of, for tests to replace.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Ids, keys and log ids.
    pub random: Random,
}

/// A service that accepts requests.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Stops accepting, lets open requests end within the drain limit, and closes the database.
    pub async fn stop(self) -> anyhow::Result<()> {
        // A server that has ended by itself hears nothing, and says why below.
        let _ = self.stop.send(());
        self.server.await?
    }

    /// Waits until the service ends by itself, which is an error.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.server).await {
            Ok(Ok(())) => anyhow!("the server ended"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }
    }
}

/// Binds and serves.
pub async fn start(parts: Parts, options: Options) -> anyhow::Result<Running> {
    let Parts { store, clock, random } = parts;
    let listener = TcpListener::bind(&options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    let catalogue = Arc::new(store.catalogue().await?);
    let (ingest, writer) = Ingest::start(store.clone(), clock.clone(), random.clone(), options.queue);
    let service = grpc::Service {
        access: Access::new(store.clone(), clock.clone()),
        query: Query::new(store.clone(), Arc::clone(&catalogue)),
        ingest,
        catalogue,
        clock,
        random,
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<AuditLogServiceServer<grpc::Service>>().await;
    let draining = Arc::new(AtomicBool::new(false));
    let grpc_router = grpc_router(service.clone(), health_service, options.request_timeout)?;
    let rest_router = match options.rest {
        true => rest_router(service, store.clone(), Arc::clone(&draining), options.request_timeout),
        false => rest::switched_off(),
    };
    let router = rest_router.layer(from_fn_with_state(grpc_router, by_protocol));
    let (stop, stopped) = oneshot::channel();
    let drain = Drain { health, draining, delay: options.drain_delay, limit: options.drain_limit };
    info!(%address, rest = options.rest, "listening");
    let server = tokio::spawn(serve(listener, router, stopped, drain, writer, store));
    Ok(Running { address, stop, server })
}

/// One port: what is gRPC goes to gRPC, all else to REST.
async fn by_protocol(State(grpc): State<Router>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    let is_grpc = content_type.is_some_and(|value| value.starts_with(b"application/grpc"));
    // The route and not the path, which holds ids of people and things; gRPC's paths hold none.
    let path = request.uri().path();
    let route = match request.extensions().get::<MatchedPath>() {
        Some(matched) => matched.as_str().to_owned(),
        None if is_grpc && path.matches('/').count() == 2 => path.to_owned(),
        None => String::new(),
    };
    let response = match is_grpc {
        true => grpc.oneshot(request).await.unwrap_or_else(|never| match never {}),
        false => next.run(request).await,
    };
    debug!(route, status = response.status().as_u16(), elapsed = ?begun.elapsed(), "answered");
    response
}

fn rest_router(service: grpc::Service, store: Store, draining: Arc<AtomicBool>, limit: Duration) -> Router {
    guarded(rest::router(service, store, draining), limit, rest::refuse)
}

fn grpc_router<H>(service: grpc::Service, health: H, limit: Duration) -> anyhow::Result<Router>
where
    H: tower::Service<Request, Error = std::convert::Infallible> + NamedService + Clone + Send + Sync + 'static,
    H::Response: axum::response::IntoResponse,
    H::Future: Send,
{
    let refuse: Refuse = grpc::status::refuse;
    let access = service.access.clone();
    let audit_logs = AuditLogServiceServer::new(service)
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_RESPONSE);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = Router::new()
        .route_service(&path(&audit_logs), audit_logs.clone())
        .layer(from_fn_with_state((access, refuse), authenticate));
    let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let router = router
        .route_service(&path(&health), health.clone())
        .route_service(&path(&v1), v1.clone())
        .route_service(&path(&v1alpha), v1alpha.clone())
        .fallback(async || tonic::Status::unimplemented("there is no such method").into_http::<axum::body::Body>())
        .layer(map_response(grpc::status::repair));
    Ok(guarded(router, limit, refuse))
}

/// `router` with an end to what hangs or panics in it.
fn guarded(router: Router, limit: Duration, refuse: Refuse) -> Router {
    // What the panic said may quote an entry, so that only its place is told, by telemetry's hook.
    let panicked = move |_: Box<dyn std::any::Any + Send>| refuse(Error::Internal(anyhow!("a request panicked")));
    router.layer(from_fn_with_state((limit, refuse), in_time)).layer(CatchPanicLayer::custom(panicked))
}

fn path<S: NamedService>(_: &S) -> String {
    format!("/{}/{{method}}", S::NAME)
}

/// Gives up on a request after `limit`. A write that was queued may still be committed; its id tells.
async fn in_time(State((limit, refuse)): State<(Duration, Refuse)>, request: Request, next: Next) -> Response {
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| refuse(Error::Timeout { limit }))
}

/// How the service stops.
struct Drain {
    health: HealthReporter,
    draining: Arc<AtomicBool>,
    delay: Duration,
    limit: Duration,
}

impl Drain {
    /// Tells health checks, before anything is refused.
    async fn announce(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.health.set_not_serving::<AuditLogServiceServer<grpc::Service>>().await;
        self.health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        info!("draining");
        tokio::time::sleep(self.delay).await;
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    stopped: oneshot::Receiver<()>,
    mut drain: Drain,
    mut writer: JoinHandle<()>,
    store: Store,
) -> anyhow::Result<()> {
    let (begun, begins) = oneshot::channel();
    let announcement = async {
        // A dropped handle stops the service as well.
        let _ = stopped.await;
        drain.announce().await;
        let _ = begun.send(());
    };
    let limit = drain.limit;
    let shutdown = async {
        let _ = begins.await;
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(TCP_KEEPALIVE));
    let serving = configured().add_routes(Routes::from(router)).serve_with_incoming_shutdown(incoming, shutdown);
    let mut serving = Box::pin(serving);
    tokio::select! {
        ended = &mut serving => ended.context("the server failed")?,
        _ = &mut writer => return Err(anyhow!("the writer ended; entries can no longer be written")),
        () = announcement => {
            // Streams of health checks have no end of their own.
            drain.health.clear_service_status(AuditLogServiceServer::<grpc::Service>::NAME).await;
            drain.health.clear_service_status("").await;
            let drained = async {
                serving.await.context("the server failed")?;
                // It ends when no connection is left that could queue a write.
                writer.await.context("the writer failed")
            };
            match tokio::time::timeout(limit, drained).await {
                Ok(drained) => drained?,
                Err(_) => warn!(?limit, "requests were open at the drain limit; they are dropped unacknowledged"),
            }
        }
    }
    store.close().await;
    info!("stopped");
    Ok(())
}

/// Limits set on purpose: tonic's defaults cap little.
fn configured() -> Server {
    Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(256)
        .concurrency_limit_per_connection(256)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        // Room for 100 values of each filter in a path, which itself ends at 64 KiB.
        .http2_max_header_list_size(128 * 1024)
        .http2_max_pending_accept_reset_streams(Some(32))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        // Now and then a client asks again who serves, so that load spreads over new replicas.
        .max_connection_age(Duration::from_secs(30 * 60))
        .max_connection_age_grace(Duration::from_secs(60))
}
