//! The server under service and gateway: one port, limits set on purpose, deadlines, and a drain that ends.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, HeaderName, Method, header};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tracing::{info, warn};

use super::connections::{ConnectionLimits, Connections, accepting};
use super::requests::{Admission, admit};
use super::scrape::Scraped;
use super::{Limits, Serving};
use crate::access::Refuse;
use crate::budget::Budget;
use crate::error::Error;
use crate::grpc::pb::audit_log_service_server::AuditLogServiceServer;
use crate::grpc::{self, ORGANIZATION_HEADER};
use crate::metrics::Metrics;
use crate::store::Store;

/// How long a browser may remember what it is allowed.
const PREFLIGHT: Duration = Duration::from_secs(60 * 60);
/// Open files beside those of connections: the database's, and some that are just being closed.
const FILES: usize = 128;
/// The most bytes of a message that needs no key.
pub(super) const MAX_PROBE: usize = 4 * 1024;
const TIMEOUT_HEADER: &str = "grpc-timeout";

/// A server that accepts requests.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its metrics are read.
    pub metrics_address: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Stops accepting, lets open requests end within the drain limit, and closes what it used.
    pub async fn stop(self) -> anyhow::Result<()> {
        // A server that has ended by itself hears nothing, and says why below.
        let _ = self.stop.send(());
        self.server.await?
    }

    /// Waits until the server ends by itself, which is an error.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.server).await {
            Ok(Ok(())) => anyhow!("the server ended"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }
    }
}

/// What the service needs until its last request has ended. A gateway needs nothing.
pub(super) struct Backing {
    pub(super) store: Store,
    /// Ends when no connection is left that could queue a write.
    pub(super) writer: JoinHandle<()>,
    pub(super) health: HealthReporter,
    /// May end at any moment: what it has not committed is done again.
    pub(super) folder: Option<Background>,
    /// The same. Ends before the writer, to which it may write.
    pub(super) signer: Option<Background>,
}

/// A task that ends with this value.
pub(super) struct Background(pub(super) AbortHandle);

/// The service whose health tells whether checkpoints can be signed.
pub(super) const PROOFS: &str = grpc::pb::integrity_service_server::SERVICE_NAME;

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Backing {
    async fn set_not_serving(&mut self) {
        // It would say that it serves.
        self.signer = None;
        self.health.set_service_status(PROOFS, ServingStatus::NotServing).await;
        self.health.set_not_serving::<AuditLogServiceServer<grpc::Service>>().await;
        self.health.set_service_status("", ServingStatus::NotServing).await;
    }

    /// Ends the streams of health checks, which have no end of their own.
    async fn end_watches(&mut self) {
        self.health.clear_service_status(AuditLogServiceServer::<grpc::Service>::NAME).await;
        self.health.clear_service_status(PROOFS).await;
        self.health.clear_service_status("").await;
    }
}

/// Waits for a writer that ends before its time.
async fn writer_ended(backing: &mut Option<Backing>) {
    match backing {
        // However it ended, nothing can be written.
        Some(backing) => drop((&mut backing.writer).await),
        None => std::future::pending().await,
    }
}

/// The port that a server will serve, and what every server counts.
pub(super) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    connections: Arc<Connections>,
}

/// Takes the port, before anything else is begun that would have to be undone.
pub(super) async fn bind(listen: &str, limits: ConnectionLimits, metrics: &Metrics) -> anyhow::Result<Bound> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    allow_files(limits.most);
    Ok(Bound { listener, address, connections: Connections::new(limits, metrics.clone()) })
}

/// Raises the limit of open files as far as it may be, and warns where that is not enough for `connections`.
fn allow_files(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: allowed.maximum, ..allowed };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { allowed.current };
    let needed = (connections + FILES) as u64;
    if let Some(allowed) = current.filter(|current| *current < needed) {
        warn!(allowed, needed, "the limit of open files is below what the connections need; raise it, or take fewer");
    }
}

/// Serves `router` until it is stopped. `draining` turns true when that begins.
pub(super) fn spawn(
    bound: Bound,
    router: Router,
    serving: Serving,
    draining: Arc<AtomicBool>,
    backing: Option<Backing>,
    scraped: Option<Scraped>,
) -> Running {
    let Bound { listener, address, connections } = bound;
    let router = match serving.cors_origins.is_empty() {
        true => router,
        false => router.layer(cors(serving.cors_origins.clone())),
    };
    let (stop, stopped) = oneshot::channel();
    let metrics_address = scraped.as_ref().map(|scraped| scraped.address);
    let served = serve((listener, connections), router, stopped, serving, draining, backing);
    let server = tokio::spawn(async move {
        let ended = served.await;
        // To the end, so that a drain is seen.
        drop(scraped);
        ended
    });
    Running { address, metrics_address, stop, server }
}

async fn serve(
    (listener, connections): (TcpListener, Arc<Connections>),
    router: Router,
    stopped: oneshot::Receiver<()>,
    Serving { drain_delay, drain_limit, .. }: Serving,
    draining: Arc<AtomicBool>,
    mut backing: Option<Backing>,
) -> anyhow::Result<()> {
    let (begun, begins) = oneshot::channel();
    let shutdown = async {
        let _ = begins.await;
    };
    let mut accepting = Box::pin(accepting(listener, router, connections, shutdown));
    tokio::select! {
        () = &mut accepting => return Err(anyhow!("the server ended")),
        () = writer_ended(&mut backing) => return Err(anyhow!("the writer ended; entries can no longer be written")),
        // A dropped handle stops the server as well.
        _ = stopped => {}
    }
    draining.store(true, Ordering::Relaxed);
    if let Some(backing) = &mut backing {
        backing.set_not_serving().await;
    }
    info!("draining");
    tokio::select! {
        () = &mut accepting => {}
        () = tokio::time::sleep(drain_delay) => {}
    }
    let _ = begun.send(());
    if let Some(backing) = &mut backing {
        backing.end_watches().await;
    }
    let drained = async {
        accepting.await;
        match &mut backing {
            Some(backing) => (&mut backing.writer).await.context("the writer failed"),
            None => Ok(()),
        }
    };
    match tokio::time::timeout(drain_limit, drained).await {
        Ok(drained) => drained?,
        Err(_) => {
            warn!(limit = ?drain_limit, "requests were open at the drain limit; they are dropped unacknowledged");
        }
    }
    if let Some(backing) = backing {
        drop(backing.folder);
        backing.store.close().await;
    }
    info!("stopped");
    Ok(())
}

/// The answers to a browser that asks what a page of another origin may do.
fn cors(origins: Vec<http::HeaderValue>) -> CorsLayer {
    let names = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let asked =
        names(&[ORGANIZATION_HEADER, TIMEOUT_HEADER, "traceparent", "tracestate", "x-grpc-web", "x-user-agent"]);
    let told = names(&["grpc-status", "grpc-message", "grpc-status-details-bin"]);
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([vec![header::AUTHORIZATION, header::CONTENT_TYPE], asked].concat())
        .expose_headers([vec![header::RETRY_AFTER, header::WWW_AUTHENTICATE], told].concat())
        .max_age(PREFLIGHT);
    match origins.iter().any(|origin| origin == "*") {
        true => layer.allow_origin(tower_http::cors::Any),
        false => layer.allow_origin(origins),
    }
}

/// When the answer to a request is due; left in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) Instant);

/// What stands before every request.
#[derive(Clone)]
pub(super) struct Guard {
    admission: Admission,
    limit: Duration,
}

impl Guard {
    pub(super) fn new(serving: &Serving, budget: Budget, metrics: &Metrics) -> Self {
        let Limits { requests, .. } = serving.limits;
        Self { admission: Admission::new(requests, budget, metrics.clone()), limit: serving.request_timeout }
    }
}

/// `router` with an end to what is too much, hangs or panics in it.
pub(super) fn guarded(router: Router, Guard { admission, limit }: Guard, refuse: Refuse) -> Router {
    // What the panic said may quote an entry, so that only its place is told, by telemetry's hook.
    let panicked = move |_: Box<dyn Any + Send>| refuse(Error::Internal(anyhow!("a request panicked")));
    router
        .layer(from_fn_with_state((limit, refuse), in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state((admission, refuse), admit))
}

/// Gives up on a request after `limit`, or when its caller does. A write that was queued may still be
/// committed; its id tells.
async fn in_time(State((limit, refuse)): State<(Duration, Refuse)>, mut request: Request, next: Next) -> Response {
    let asked = asked_timeout(request.headers());
    let allowed = asked.map_or(limit, |asked| limit.min(asked));
    if allowed.is_zero() {
        return refuse(Error::Timeout);
    }
    request.extensions_mut().insert(Deadline(Instant::now() + allowed));
    tokio::time::timeout(allowed, next.run(request)).await.unwrap_or_else(|_| refuse(Error::Timeout))
}

/// The value of `grpc-timeout`: up to eight digits and a unit. What cannot be read is ignored, as tonic does.
/// Source: gRPC over HTTP2, "Timeout".
fn asked_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT_HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 60 * 60)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
