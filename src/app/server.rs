//! The server under the service and the gateway: it binds a port, serves until it is stopped, and drains.

use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Serving;
use super::background::Jobs;
use super::health::HealthStatuses;
use super::http::protocols::Protocols;
use super::metrics_server::MetricsServer;
use super::net::{ConnectionLimits, Server};
use crate::limits::Budget;
use crate::metrics::Metrics;
use crate::store::Store;

/// The number of open files beside those of connections: for the database, and for sockets that are just closing.
const FILES: usize = 128;

/// A running server.
pub struct Running {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The address of its metrics port.
    pub metrics_address: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Stops accepting, lets open requests end within the drain limit, and releases all resources.
    pub async fn stop(self) -> anyhow::Result<()> {
        // If the server has ended by itself, the send fails; the next line returns the reason.
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

/// The parts that the service needs until its last request has ended. A gateway has none.
pub(super) struct ServiceHandles {
    pub(super) store: Store,
    /// Ends once no connection is left that could queue a write.
    pub(super) committers: JoinHandle<()>,
    /// Stopped when the drain begins, so before the committers that they use.
    pub(super) jobs: Jobs,
}

/// Waits until the committers end, which is an error while the service runs. Without committers, waits forever.
async fn committers_ended(backing: &mut Option<ServiceHandles>) {
    match backing {
        // However they ended, nothing can be written any more.
        Some(backing) => drop((&mut backing.committers).await),
        None => std::future::pending().await,
    }
}

/// A bound port, not served yet.
pub(super) struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the port. Call this first, so that a failure leaves nothing to undo.
pub(super) async fn bind(listen: &str, limits: ConnectionLimits) -> anyhow::Result<BoundListener> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    allow_files(limits.most);
    Ok(BoundListener { listener, address })
}

/// Raises the limit of open files to its maximum, and warns if that is too low for `connections`.
fn allow_files(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: allowed.maximum, ..allowed };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { allowed.current };
    let needed = (connections + FILES) as u64;
    if let Some(allowed) = current.filter(|current| *current < needed) {
        warn!(allowed, needed, "the open-file limit is too low for all connections; raise it, or allow fewer");
    }
}

/// Serves `protocols` until stopped. When the drain begins, `draining` is cancelled and `health` says NOT_SERVING.
pub(super) fn spawn(
    BoundListener { listener, address }: BoundListener,
    protocols: Protocols,
    (budget, metrics): (Budget, Metrics),
    serving: Serving,
    (draining, health): (CancellationToken, HealthStatuses),
    backing: Option<ServiceHandles>,
    scraped: Option<MetricsServer>,
) -> Running {
    let (stop, stopped) = oneshot::channel();
    let metrics_address = scraped.as_ref().map(|scraped| scraped.address);
    let answer = move |request| protocols.answer(request);
    let server = Server::new(answer, serving.limits.connections, budget, metrics);
    let (begin, begins) = oneshot::channel::<()>();
    let shutdown = async {
        // A dropped sender starts the shutdown as well.
        let _ = begins.await;
    };
    let accepting = server.serve(listener, shutdown).boxed();
    let served = serve(accepting, begin, stopped, serving, (draining, health), backing);
    let server = tokio::spawn(async move {
        let ended = served.await;
        // Metrics stay available until the end, so that a drain can be monitored.
        drop(scraped);
        ended
    });
    Running { address, metrics_address, stop, server }
}

async fn serve(
    mut accepting: BoxFuture<'static, anyhow::Result<()>>,
    begin: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
    Serving { drain_delay, drain_limit, .. }: Serving,
    (draining, health): (CancellationToken, HealthStatuses),
    mut backing: Option<ServiceHandles>,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = &mut accepting => return ended.and(Err(anyhow!("the server ended"))),
        () = committers_ended(&mut backing) => return Err(anyhow!("the committers ended; entries can no longer be written")),
        // A dropped handle stops the server as well.
        _ = stopped => {}
    }
    draining.cancel();
    if let Some(backing) = &mut backing {
        backing.jobs.end().await;
    }
    health.drain();
    info!("draining");
    tokio::select! {
        ended = &mut accepting => return ended.and(Err(anyhow!("the server ended"))),
        () = tokio::time::sleep(drain_delay) => {}
    }
    let _ = begin.send(());
    health.end_watches();
    let drained = async {
        accepting.await?;
        match &mut backing {
            Some(backing) => (&mut backing.committers).await.context("a committer failed"),
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
