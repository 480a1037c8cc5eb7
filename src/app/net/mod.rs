//! Accepts, serves and drains connections, for any service. tonic's server limits neither the number nor the duration
//! of connections, and closes old ones without notice. So this module accepts connections itself, with the same HTTP
//! library underneath.

mod body;
mod connection;
mod socket;
mod streams;
mod threads;

use std::collections::HashMap;
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::access::Peer;
use crate::limits::Budget;
use crate::metrics::{Metrics, Refusal};
use crate::telemetry::LineLimit;
use body::RequestBody;
pub use connection::ConnectionLimits;
pub(super) use connection::{Connection, MAX_ANONYMOUS};
use socket::Socket;
use streams::{StreamExecutor, read_on, start};
use threads::ConnectionThreads;

/// Finds peers that are gone.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// The maximum number of bytes of a connection's output that the kernel buffers. The kernel's own default goes up to
/// 4 MiB per connection. Linux caps the value at net.core.wmem_max, by default 208 KiB.
const SEND_BUFFER: usize = 256 * 1024;
/// The pause after a failed accept, for example without free file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
static ACCEPT_LINES: LineLimit = LineLimit::new(1);
/// How often a connection checks its time limits; more often if they are short.
const TICK: Duration = Duration::from_secs(1);
/// The maximum number of concurrent streams of an HTTP/2 connection.
const MAX_STREAMS: u32 = 512;
/// The maximum number of headers of a request.
const MAX_HEADERS: usize = 100;
/// The maximum size of a request's head in bytes: a path of 64 KiB, enough for 100 values of each filter, and the
/// headers. HTTP/2 counts 32 bytes more per header, and limits CONTINUATION frames by this sum too.
const MAX_HEAD: u32 = 80 * 1024;

/// The state that all connections share.
pub(super) struct Server<S> {
    pub(super) service: S,
    pub(super) limits: ConnectionLimits,
    pub(super) budget: Budget,
    pub(super) metrics: Metrics,
    /// The runtime that answers requests.
    runtime: Handle,
    drains: Semaphore,
    open: Arc<AtomicUsize>,
}

impl<S, F> Server<S>
where
    S: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    /// `service` answers requests. Before it returns its future, it drops the parts of the head that it does not need.
    /// The extensions of a response are dropped when the response has ended. If they have a `Budget`, the response
    /// counts in it.
    pub(super) fn new(service: S, limits: ConnectionLimits, budget: Budget, metrics: Metrics) -> Arc<Self> {
        let (drains, open) = (Semaphore::new(body::MAX_DRAINS), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&open);
        metrics.reading("auditlog_connections", "Open client connections.", move || {
            Some(counted.load(Ordering::Relaxed) as f64)
        });
        Arc::new(Self { service, limits, budget, metrics, runtime: Handle::current(), drains, open })
    }

    /// Serves the connections of `listener` until `shutdown`, and then until all of them have ended. Connections are
    /// read and written by threads of their own; requests are answered on the runtime of the service.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (_threads, accepting) = ConnectionThreads::start(self.accept(listener.into_std()?, shutdown))?;
        Ok(accepting.await??)
    }

    async fn accept(self: Arc<Self>, listener: StdListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        // Moves the listener to the current runtime.
        let listener = TcpListener::from_std(listener)?;
        // Dropping the set drops the connections that are left.
        let mut serving = JoinSet::new();
        let mut open: HashMap<Id, Arc<Connection>> = HashMap::new();
        let (drain, drained) = watch::channel(());
        let mut shutdown = pin!(shutdown);
        let (mut id, mut paused_until) = (0, Instant::now());
        loop {
            self.open.store(open.len(), Ordering::Relaxed);
            let next = async {
                tokio::time::sleep_until(paused_until).await;
                listener.accept().await
            };
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = serving.join_next_with_id() => {
                    open.remove(&ended.map_or_else(|panicked| panicked.id(), |(ended, ())| ended));
                }
                accepted = next => match accepted {
                    Ok((stream, peer)) => {
                        id += 1;
                        if self.has_room(&mut open) {
                            let connection = Connection::new(id, peer);
                            let task = Arc::clone(&self).serve_one(stream, Arc::clone(&connection), drained.clone());
                            open.insert(serving.spawn(task).id(), connection);
                        }
                    }
                    // The peer is gone already.
                    Err(error) if is_of_the_peer(&error) => {}
                    Err(error) => {
                        if ACCEPT_LINES.admit("").is_some() {
                            warn!(%error, "cannot accept connections; trying again");
                        }
                        paused_until = Instant::now() + ACCEPT_BACKOFF;
                    }
                }
            }
        }
        // Closes the listener, so that new clients are refused at once, and tells all connections to drain.
        drop((listener, drain));
        while serving.join_next().await.is_some() {
            self.open.store(serving.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether there is room for one more connection. If necessary, evicts one of `open`.
    fn has_room(&self, open: &mut HashMap<Id, Arc<Connection>>) -> bool {
        if open.len() < self.limits.most {
            return true;
        }
        self.metrics.refused(Refusal::connections);
        let evicted =
            open.iter().filter_map(|(task, one)| Some((one.gives_way()?, *task))).min_by_key(|(rank, _)| *rank);
        let evicted = evicted.and_then(|(_, task)| open.remove(&task));
        evicted.inspect(|evicted| evicted.close.notify_one()).is_some()
    }

    /// Serves one connection until it ends.
    async fn serve_one(
        self: Arc<Self>,
        stream: TcpStream,
        connection: Arc<Connection>,
        mut drained: watch::Receiver<()>,
    ) {
        let ConnectionLimits { first_request, head, idle, stalled, age, most: _ } = self.limits;
        set_options(&stream, stalled);
        let socket = TokioIo::new(Socket::new(stream, Arc::clone(&connection)));
        let (server, connected) = (Arc::clone(&self), Arc::clone(&connection));
        let service = service_fn(move |request| {
            let is_http1 = request.version() < Version::HTTP_2;
            let answering = server.answer(Arc::clone(&connected), request);
            // The executor does this for the streams of HTTP/2.
            if is_http1 { start(&server.runtime, answering).left_future() } else { answering.map(Ok).right_future() }
        });
        let http = http(head, self.runtime.clone());
        let mut serving = pin!(http.serve_connection(socket, service));
        let mut tick = tokio::time::interval(TICK.min(idle / 4).min(first_request / 4));
        let (opened, mut idle_since, mut requests, mut is_draining) = (Instant::now(), Instant::now(), 0, false);
        loop {
            tokio::select! {
                ended = &mut serving => return drop(ended.inspect_err(|error| debug!(error, "a connection failed"))),
                () = connection.close.notified() => return,
                // No value is ever sent; the channel changes when its sender is dropped.
                _ = drained.changed(), if !is_draining => is_draining = true,
                _ = tick.tick(), if !is_draining => {
                    let before = std::mem::replace(&mut requests, connection.requests.load(Ordering::Relaxed));
                    if before != requests || Arc::strong_count(&connection.under_way) > 1 {
                        idle_since = Instant::now();
                    }
                    if requests == 0 && opened.elapsed() >= first_request {
                        self.metrics.refused(Refusal::stalled);
                        return;
                    }
                    is_draining = opened.elapsed() >= age || requests > 0 && idle_since.elapsed() >= idle;
                }
            }
            if is_draining {
                // Window updates of an HTTP/2 peer may be unread when the connection closes.
                connection.lingers.fetch_or(connection.is_http2.load(Ordering::Relaxed), Ordering::Relaxed);
                serving.as_mut().graceful_shutdown();
            }
        }
    }

    /// Answers a request. An oversized head is dropped before this returns its future, so before the next head is read.
    fn answer(
        self: &Arc<Self>,
        connection: Arc<Connection>,
        request: http::Request<Incoming>,
    ) -> impl Future<Output = Response> + Send + use<S, F> {
        connection.requests.fetch_add(1, Ordering::Relaxed);
        let under_way = Arc::clone(&connection.under_way);
        let is_http1 = request.version() < Version::HTTP_2;
        connection.is_http2.store(!is_http1, Ordering::Relaxed);
        let expects_continue = is_http1 && request.headers().contains_key(EXPECT);
        let is_too_many = request.headers().len() > MAX_HEADERS;
        let (mut head, body) = request.into_parts();
        head.extensions.insert(Peer(connection.peer));
        head.extensions.insert(Arc::clone(&connection));
        let body = (!body.is_end_stream()).then(|| RequestBody::new(body, expects_continue));
        let handed = body.clone().map_or_else(Body::empty, Body::new);
        let answering = (!is_too_many).then(|| (self.service)(Request::from_parts(head, handed)));
        let server = Arc::clone(self);
        async move {
            let mut response = match answering {
                Some(answering) => answering.await,
                None => too_many_headers(),
            };
            let is_read = match body {
                Some(body) => body.drain(&server.drains).await,
                None => true,
            };
            if !is_read && is_http1 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                connection.lingers.store(true, Ordering::Relaxed);
            }
            if is_http1 && response.body().size_hint().exact().is_none() {
                response = response.map(|body| read_on(&server.runtime, body));
            }
            let budget = response.extensions().get::<Budget>().unwrap_or(&server.budget).clone();
            let held = (under_way, std::mem::take(response.extensions_mut()));
            body::respond(response, (connection, server.limits.stalled), budget, server.metrics.clone(), held)
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}

fn too_many_headers() -> Response {
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, format!("A request may have {MAX_HEADERS} headers\n")).into_response()
}

/// Sets socket options. If one fails, the connection is served without it.
fn set_options(stream: &TcpStream, stalled: Duration) {
    let set = [
        sockopt::set_tcp_nodelay(stream, true),
        sockopt::set_socket_keepalive(stream, true),
        sockopt::set_tcp_keepidle(stream, TCP_KEEPALIVE),
        sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER),
        sockopt::set_tcp_user_timeout(stream, u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX)),
    ];
    if let Some(error) = set.into_iter().find_map(Result::err) {
        debug!(%error, "could not set a socket option");
    }
}

/// HTTP/1 and HTTP/2 with explicit limits: a peer without a key can occupy as much memory as one connection may hold,
/// times the number of connections.
fn http(head: Duration, runtime: Handle) -> Builder<StreamExecutor> {
    let mut http = Builder::new(StreamExecutor(runtime));
    http.http1().timer(TokioTimer::new()).header_read_timeout(head).max_headers(MAX_HEADERS);
    // Room for one head. The default is 400 KiB.
    http.http1().max_buf_size(MAX_HEAD as usize);
    http.http2()
        .timer(TokioTimer::new())
        // A gateway sends the requests of many callers over one connection: more than the permits of one caller.
        .max_concurrent_streams(MAX_STREAMS)
        // A request is at most 4 MiB. The connection's window limits the unread bytes of all its streams.
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(2 * 1024 * 1024)
        .adaptive_window(false)
        // The smallest size allowed: received frames are copied into one message anyway.
        .max_frame_size(16 * 1024)
        .max_header_list_size(MAX_HEAD)
        // Buffered bytes of a response, beside those that its stream's window allows. The default is 400 KiB.
        .max_send_buf_size(128 * 1024)
        // Limits for streams that the peer reset before they were accepted, and for streams that were reset here
        // because of the peer's errors. Beyond them the connection ends (CVE-2023-44487, CVE-2025-8671). Behind a proxy
        // this affects many callers.
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_local_error_reset_streams(1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}
