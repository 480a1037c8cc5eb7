//! Takes connections in and serves HTTP on each, until the server drains.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::socket::Socket;
use super::{Connection, Connections, End};
use crate::app::protocols::Protocols;

/// Finds peers that are gone.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// What the kernel may hold of a connection's output; it would take up to 4 MiB of each. Linux allows what
/// net.core.wmem_max says, by default 208 KiB.
const SEND_BUFFER: usize = 256 * 1024;
/// How long to wait where no connection can be taken in, such as without file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `protocols` on what `listener` takes in until `shutdown`, and then until all connections have ended.
pub(in crate::app) async fn accepting(
    listener: TcpListener,
    protocols: Protocols,
    connections: Arc<Connections>,
    shutdown: impl Future<Output = ()>,
) {
    let mut accepting = Accepting {
        protocols: Arc::new(protocols),
        connections: Arc::clone(&connections),
        // Those that are left are dropped with it.
        serving: JoinSet::new(),
        drain: watch::channel(()).0,
        number: 0,
    };
    let (mut shutdown, mut watching) = (pin!(shutdown), pin!(connections.watch()));
    let (mut paused_until, mut is_failing) = (Instant::now(), false);
    loop {
        let next = async {
            tokio::time::sleep_until(paused_until).await;
            listener.accept().await
        };
        tokio::select! {
            () = &mut shutdown => break,
            () = &mut watching => {}
            Some(_) = accepting.serving.join_next() => {}
            accepted = next => match accepted {
                Ok((stream, _)) => {
                    is_failing = false;
                    accepting.take(stream);
                }
                // The peer has gone already.
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    if !is_failing {
                        warn!(%error, "connections cannot be taken in; trying again");
                    }
                    is_failing = true;
                    paused_until = Instant::now() + PAUSE;
                }
            }
        }
    }
    // Nobody waits in vain for a server that is gone.
    drop(listener);
    let Accepting { mut serving, drain, .. } = accepting;
    drop(drain);
    loop {
        tokio::select! {
            () = &mut watching => {}
            ended = serving.join_next() => if ended.is_none() { return },
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}

/// What takes connections in.
struct Accepting {
    protocols: Arc<Protocols>,
    connections: Arc<Connections>,
    serving: JoinSet<()>,
    /// Dropped where all connections are to end gracefully.
    drain: watch::Sender<()>,
    number: u64,
}

impl Accepting {
    fn take(&mut self, stream: TcpStream) {
        self.number += 1;
        let Some(connection) = self.connections.admit(self.number) else { return };
        prepare(&stream);
        let (protocols, head) = (Arc::clone(&self.protocols), self.connections.limits.head);
        let serving = serve(stream, head, protocols, Arc::clone(&connection), self.drain.subscribe());
        let open = Open { connections: Arc::clone(&self.connections), connection };
        self.serving.spawn(async move {
            let _open = open;
            serving.await;
        });
    }
}

/// The requests that were just read of a connection. They are begun where they were read, after all of them were, so
/// that answers which are ready are sent together and not one by one.
#[derive(Clone, Default)]
struct JustRead(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl JustRead {
    /// Gives those a task of their own that wait, as every one does that is let in. Those that are refused need none.
    fn begin(&self) {
        let requests = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for mut request in requests {
            if request.as_mut().now_or_never().is_none() {
                tokio::spawn(request);
            }
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for JustRead {
    fn execute(&self, request: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request.boxed());
    }
}

/// An open connection's place among all, however its task ends.
struct Open {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.closed(&self.connection);
    }
}

/// What cannot be set is no reason to refuse a connection.
fn prepare(stream: &TcpStream) {
    let set = [
        sockopt::set_tcp_nodelay(stream, true),
        sockopt::set_socket_keepalive(stream, true),
        sockopt::set_tcp_keepidle(stream, TCP_KEEPALIVE),
        sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER),
    ];
    if let Some(error) = set.into_iter().find_map(Result::err) {
        debug!(%error, "an option of a socket could not be set");
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    head: Duration,
    protocols: Arc<Protocols>,
    connection: Arc<Connection>,
    mut drain: watch::Receiver<()>,
) {
    let shared = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        shared.asked();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&shared));
        let protocols = Arc::clone(&protocols);
        async move { Ok::<_, Infallible>(protocols.answer(request).await) }
    });
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(&connection)));
    let just_read = JustRead::default();
    let http = http(just_read.clone(), head);
    let mut serving = pin!(http.serve_connection(socket, service));
    let mut is_draining = false;
    loop {
        let told = async {
            tokio::select! {
                () = connection.told.notified() => {}
                // It never says anything else than that it is gone.
                _ = drain.changed(), if !is_draining => connection.end(End::Gracefully),
            }
        };
        let served = poll_fn(|cx| {
            let served = serving.as_mut().poll(cx);
            just_read.begin();
            served
        });
        tokio::select! {
            ended = served => {
                if let Err(error) = ended {
                    debug!(error, "a connection failed");
                }
                return;
            }
            () = told => {
                if connection.is_ending(End::AtOnce) {
                    return;
                }
                is_draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// HTTP/1 and HTTP/2 with limits set on purpose. What a connection may hold times the number of connections is
/// what a peer without a key can take.
fn http(requests: JustRead, head: Duration) -> Builder<JustRead> {
    let mut http = Builder::new(requests);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        // Room for a path of 64 KiB and its headers. Otherwise 400 KiB.
        .max_buf_size(128 * 1024)
        .max_headers(100);
    http.http2()
        .timer(TokioTimer::new())
        // A gateway sends all that it has over one connection, of many callers: more than the places of one of them.
        .max_concurrent_streams(512)
        // A request is at most 4 MiB. What is not yet read of all streams is within the connection's window.
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(2 * 1024 * 1024)
        .adaptive_window(false)
        // The smallest that there is: what is being received is copied into one message anyway.
        .max_frame_size(16 * 1024)
        // Room for 100 values of each filter in a path, which itself ends at 64 KiB. h2 bounds by it the
        // CONTINUATION frames of a head, too.
        .max_header_list_size(128 * 1024)
        // Of a response, beside what its stream's window lets go. Otherwise 400 KiB.
        .max_send_buf_size(128 * 1024)
        // Streams that the peer opened and reset before we looked at them, and those that we reset for its faults:
        // more, and the connection ends (CVE-2023-44487, CVE-2025-8671).
        .max_pending_accept_reset_streams(32)
        .max_local_error_reset_streams(1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}
