//! The server under service and gateway: it takes a port, serves it until it is told to stop, and drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::Serving;
use super::background::Jobs;
use super::health::HealthStatuses;
use super::metrics_server::MetricsServer;
use super::net::{ConnectionLimits, Server};
use super::protocols::Protocols;
use crate::limits::Budget;
use crate::metrics::Metrics;
use crate::store::Store;

/// Open files beside those of connections: the database's, and some that are just being closed.
const FILES: usize = 128;
/// The most bytes of a message that needs no key.
pub(super) const MAX_PROBE: usize = 4 * 1024;

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

/// The parts that the service needs until its last request has ended. A gateway needs none.
pub(super) struct ServiceHandles {
    pub(super) store: Store,
    /// Ends when no connection is left that could queue a write.
    pub(super) writer: JoinHandle<()>,
    /// End when the drain begins, so before the writer, to which they may write.
    pub(super) jobs: Jobs,
}

/// Waits for a writer that ends before its time.
async fn writer_ended(backing: &mut Option<ServiceHandles>) {
    match backing {
        // However it ended, nothing can be written.
        Some(backing) => drop((&mut backing.writer).await),
        None => std::future::pending().await,
    }
}

/// The port that a server will serve.
pub(super) struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the port, before anything else is begun that would have to be undone.
pub(super) async fn bind(listen: &str, limits: ConnectionLimits) -> anyhow::Result<BoundListener> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    allow_files(limits.most);
    Ok(BoundListener { listener, address })
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

/// Serves `protocols` until it is stopped. `draining` turns true when that begins, and `health` tells it.
pub(super) fn spawn(
    BoundListener { listener, address }: BoundListener,
    protocols: Protocols,
    (budget, metrics): (Budget, Metrics),
    serving: Serving,
    (draining, health): (Arc<AtomicBool>, HealthStatuses),
    backing: Option<ServiceHandles>,
    scraped: Option<MetricsServer>,
) -> Running {
    let (stop, stopped) = oneshot::channel();
    let metrics_address = scraped.as_ref().map(|scraped| scraped.address);
    let answer = move |request| protocols.answer(request);
    let server = Server::new(answer, serving.limits.connections, budget, metrics);
    let (begin, begins) = oneshot::channel::<()>();
    let shutdown = async {
        // A dropped sender stops it as well.
        let _ = begins.await;
    };
    let accepting = server.serve(listener, shutdown).boxed();
    let served = serve(accepting, begin, stopped, serving, (draining, health), backing);
    let server = tokio::spawn(async move {
        let ended = served.await;
        // To the end, so that a drain is seen.
        drop(scraped);
        ended
    });
    Running { address, metrics_address, stop, server }
}

async fn serve(
    mut accepting: BoxFuture<'static, ()>,
    begin: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
    Serving { drain_delay, drain_limit, .. }: Serving,
    (draining, health): (Arc<AtomicBool>, HealthStatuses),
    mut backing: Option<ServiceHandles>,
) -> anyhow::Result<()> {
    tokio::select! {
        () = &mut accepting => return Err(anyhow!("the server ended")),
        () = writer_ended(&mut backing) => return Err(anyhow!("the writer ended; entries can no longer be written")),
        // A dropped handle stops the server as well.
        _ = stopped => {}
    }
    draining.store(true, Ordering::Relaxed);
    if let Some(backing) = &mut backing {
        backing.jobs.end().await;
    }
    health.drain();
    info!("draining");
    tokio::select! {
        () = &mut accepting => {}
        () = tokio::time::sleep(drain_delay) => {}
    }
    let _ = begin.send(());
    health.end_watches();
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
        backing.store.close().await;
    }
    info!("stopped");
    Ok(())
}
