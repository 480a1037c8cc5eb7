//! The port for metrics. It needs no credential, and has small limits of its own, so that it answers while the service
//! is overloaded or drains.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::metrics::{CONTENT_TYPE as FORMAT, Metrics};
use crate::telemetry;

/// The maximum number of connections at once; others wait until one ends.
const MAX_CONNECTIONS: usize = 16;
/// The longest that one connection may take, for its one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a failed accept, for example when no more files may be open.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The metrics port, served until this is dropped.
pub(super) struct MetricsServer {
    pub(super) address: SocketAddr,
    _server: AbortOnDropHandle<Infallible>,
}

/// Serves `metrics` at `listen`; `None` disables it.
pub(super) async fn start(listen: Option<&str>, metrics: &Metrics) -> anyhow::Result<Option<MetricsServer>> {
    metrics.dropped_log_lines(telemetry::dropped_lines);
    let Some(listen) = listen else { return Ok(None) };
    let bound = TcpListener::bind(listen).await;
    let listener = bound.with_context(|| format!("cannot listen on {listen}, for metrics"))?;
    let address = listener.local_addr()?;
    info!(%address, "serving metrics");
    // The lock allows one scrape at a time.
    let making = Arc::new(Mutex::new(metrics.clone()));
    let router = Router::new().route("/metrics", get(scrape)).with_state(making);
    let _server = AbortOnDropHandle::new(tokio::spawn(serve(listener, router)));
    Ok(Some(MetricsServer { address, _server }))
}

async fn scrape(State(making): State<Arc<Mutex<Metrics>>>) -> Response {
    match making.lock().await.text() {
        Ok(text) => ([(CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(error) => {
            warn!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    answer(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept connections on the metrics port");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Serves the one request of a connection.
async fn answer(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a metrics client disconnected"),
        Err(_) => debug!("a metrics client took too long"),
    }
}
