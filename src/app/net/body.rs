//! The bodies of requests and responses. Both must make progress, and responses count their bytes against the budget.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::connection::Connection;
use super::streams::current_stream;
use crate::error::{BODY_GRACE, Error, MIN_BODY_RATE};
use crate::grpc::MAX_REQUEST;
use crate::limits::{Budget, Reservation};
use crate::metrics::{Metrics, Refusal};

/// The rate at which a peer must take each piece of a response. Bytes per second.
const MIN_RESPONSE_RATE: usize = 64 * 1024;
/// How long a piece of a response may stay in memory after its stream was reset.
const RESET_GRACE: Duration = Duration::from_secs(1);
/// The maximum size of a request's body in bytes: one message of the largest size, and its framing.
const MAX_RECEIVED: usize = MAX_REQUEST + 64 * 1024;
/// How long to wait for the rest of a body that its handler left unread.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of concurrent drains of unread bodies. A proxy needs many of them on one connection.
pub(super) const MAX_DRAINS: usize = 64;

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

fn time_for(bytes: usize, rate: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64)
}

/// A request's body. Clones share it, so that the connection can read the part that the handler leaves.
#[derive(Clone)]
pub(super) struct RequestBody(Arc<Mutex<Receiving>>);

struct Receiving {
    body: Incoming,
    received: usize,
    /// When reading first waited, and a timer for the next check of the rate.
    rate_check: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
    is_too_slow: bool,
    is_ended: bool,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, expects_continue: bool) -> Self {
        let (received, rate_check, is_too_slow, is_ended) = (0, None, false, false);
        let receiving = Receiving { body, received, rate_check, expects_continue, is_too_slow, is_ended };
        Self(Arc::new(Mutex::new(receiving)))
    }

    /// Reads and discards the rest of the body, within limits; `false` if some of it may still come. Otherwise a client
    /// that is still sending may never read the response.
    pub(super) async fn drain(self, drains: &Semaphore) -> bool {
        // The handler still reads, as in a bidirectional stream.
        let Some(receiving) = Arc::into_inner(self.0) else { return true };
        let receiving = receiving.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Receiving { mut body, received, rate_check, expects_continue, is_too_slow, is_ended } = receiving;
        if is_ended || body.is_end_stream() {
            return true;
        }
        // Reading would send `100 Continue` to a client that waits for it.
        let is_unwanted = is_too_slow || expects_continue && received == 0 && rate_check.is_none();
        let Some(_permit) = drains.try_acquire().ok().filter(|_| !is_unwanted) else { return false };
        let mut drained = 0;
        let draining = async {
            while let Some(frame) = body.frame().await {
                drained += frame.ok()?.data_ref().map_or(0, Bytes::len);
                (drained <= MAX_REQUEST).then_some(())?;
            }
            Some(())
        };
        matches!(timeout(DRAIN_TIMEOUT, draining).await, Ok(Some(())))
    }

    fn with<T>(&self, read: impl FnOnce(&mut Receiving) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Receiving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            self.received += bytes;
            self.is_ended = frame.is_none();
            if self.received > MAX_RECEIVED {
                return failed(Status::out_of_range("the request is too large"));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let (began, next_check) = self.rate_check.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(BODY_GRACE))));
        while next_check.as_mut().poll(cx).is_ready() {
            let due = *began + BODY_GRACE + time_for(self.received, MIN_BODY_RATE);
            if due <= Instant::now() {
                self.is_too_slow = true;
                return failed(Error::SlowBody.into());
            }
            next_check.set(sleep_until(due));
        }
        Poll::Pending
    }
}

/// Passes the status to the handler, which responds with it.
fn failed(status: Status) -> Polled {
    Poll::Ready(Some(Err(axum::Error::new(status))))
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        self.with(|receiving| receiving.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|receiving| receiving.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|receiving| receiving.body.size_hint())
    }
}

/// A piece of a response, until it is written.
struct ReservedBytes {
    data: Bytes,
    _reservation: Reservation,
    _watchdog: AbortOnDropHandle<()>,
}

impl AsRef<[u8]> for ReservedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Returns `response` with each piece counted in `budget` until it is written. The peer must take a piece within
/// `stalled` plus the time that it needs at [`MIN_RESPONSE_RATE`]. Otherwise its stream is reset; over HTTP/1, or if
/// the reset does not help, the connection is closed. The kernel detects only peers that acknowledge nothing, but an
/// HTTP/2 peer can acknowledge everything and give its stream no window. `held` is dropped when the response has ended.
pub(super) fn respond(
    response: Response,
    (connection, stalled): (Arc<Connection>, Duration),
    budget: Budget,
    metrics: Metrics,
    held: impl Send + 'static,
) -> Response {
    if response.body().is_end_stream() {
        return response;
    }
    let stream = current_stream();
    let send = move |data: Bytes| {
        let _held = &held;
        let (connection, stream, metrics) = (Arc::clone(&connection), stream.clone(), metrics.clone());
        let allowed = stalled + time_for(data.len(), MIN_RESPONSE_RATE);
        let watchdog = tokio::spawn(async move {
            sleep(allowed).await;
            metrics.refused(Refusal::stalled);
            if let Some(stream) = stream {
                stream.abort();
                // A task that has handed its last piece to HTTP/2 has ended and cannot reset the stream.
                sleep(RESET_GRACE).await;
            }
            connection.close.notify_one();
        });
        let reservation = budget.hold(data.len());
        Bytes::from_owner(ReservedBytes {
            data,
            _reservation: reservation,
            _watchdog: AbortOnDropHandle::new(watchdog),
        })
    };
    response.map(|body| Body::new(body.map_frame(move |frame| frame.map_data(&send))))
}
