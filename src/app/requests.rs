//! Requests under way: how many there may be, and how many bytes they and their responses may hold. What is beyond is
//! refused before anything of it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connections::{Connection, Sending, Work};
use crate::access::Refuse;
use crate::budget::{Budget, Held};
use crate::error::Error;
use crate::metrics::{Metrics, Refusal};

/// Streams that need no key, such as those that watch the health: a number of their own, so that they take nothing
/// from others.
const KEYLESS: usize = 128;
/// A response goes out in parts of so many bytes, so that it is seen to move.
const PART: usize = 128 * 1024;

/// The bytes of a refused request that are taken, and how long they may take.
const DISPOSED: (usize, Duration) = (64 * 1024, Duration::from_secs(1));

/// What requests have to take before they are begun.
#[derive(Clone)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    keyless: Arc<Semaphore>,
    budget: Budget,
    metrics: Metrics,
}

/// What a request is, for its limits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Asks whether the server is well, which must be told when it is busy, too.
    Probe,
    /// Needs no key, and may last.
    Keyless,
    Call,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            "/livez" | "/readyz" | "/grpc.health.v1.Health/Check" => Self::Probe,
            path if path.starts_with("/grpc.") => Self::Keyless,
            _ => Self::Call,
        }
    }
}

impl Admission {
    pub(super) fn new(most: usize, budget: Budget, metrics: Metrics) -> Self {
        let held = budget.clone();
        let help = "Bytes that requests and responses hold.";
        metrics.reading("auditlog_held_bytes", help, move || Some(held.used() as f64));
        let [places, keyless] = [most, KEYLESS].map(|places| Arc::new(Semaphore::new(places)));
        Self { places, keyless, budget, metrics }
    }

    /// A place; `None` for those that need none. Errors: `Overloaded`.
    fn place(&self, kind: Kind) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let (places, what) = match kind {
            Kind::Probe => return Ok(None),
            Kind::Keyless => (&self.keyless, "Too many streams without a key are open"),
            Kind::Call if self.budget.is_spent() => return Err(self.bytes_spent()),
            Kind::Call => (&self.places, "Too many requests are under way"),
        };
        let place = Arc::clone(places).try_acquire_owned();
        place.map(Some).map_err(|_| {
            self.metrics.refused(Refusal::requests);
            Error::Overloaded(what)
        })
    }

    /// Lets a request in to `next`, or answers as `refuse` does. The request's place is its own until its response has
    /// ended, its bytes until it was answered, and those of the response until they are written.
    pub(super) async fn admit<F: Future<Output = Response>>(
        &self,
        mut request: Request,
        refuse: Refuse,
        next: impl FnOnce(Request) -> F,
    ) -> Response {
        let kind = Kind::of(request.uri().path());
        let connection = request.extensions_mut().remove::<Arc<Connection>>();
        let place = match self.place(kind) {
            Ok(place) => place,
            Err(error) => {
                if let Some(connection) = &connection {
                    connection.refused();
                }
                dispose(request.into_body());
                return refuse(error);
            }
        };
        let work = connection.as_ref().map(|connection| connection.works(kind == Kind::Keyless));
        let received = Arc::new(Received { held: self.budget.hold(0), is_refused: AtomicBool::new(false) });
        if !request.body().is_end_stream() {
            request = request.map(|body| Body::new(Receiving { body, received: Arc::clone(&received) }));
        }
        let response = next(request).await;
        if received.is_refused.load(Ordering::Relaxed) {
            return refuse(self.bytes_spent());
        }
        if let Some(connection) = connection.as_ref().filter(|_| kind == Kind::Call && is_success(&response)) {
            connection.known();
        }
        if response.body().is_end_stream() {
            return response;
        }
        let (budget, under_way) = (self.budget.clone(), Some((place, work)));
        response.map(|body| Body::new(Responding { body, rest: None, budget, connection, under_way }))
    }

    fn bytes_spent(&self) -> Error {
        self.metrics.refused(Refusal::bytes);
        Error::Overloaded("Requests and responses hold too many bytes")
    }
}

/// Takes the body of a request that is refused, if it is on its way. One that is dropped has its stream reset; what then
/// still comes of it counts as a fault of the peer, and many end the connection with all that is under way on it.
fn dispose(mut body: Body) {
    let mut bytes = 0;
    // Most have come by now.
    while let Some(frame) = body.frame().now_or_never() {
        if !is_to_go_on(frame, &mut bytes) {
            return;
        }
    }
    tokio::spawn(tokio::time::timeout(DISPOSED.1, async move { while is_to_go_on(body.frame().await, &mut bytes) {} }));
}

fn is_to_go_on(frame: Option<Result<Frame<Bytes>, axum::Error>>, bytes: &mut usize) -> bool {
    let Some(Ok(frame)) = frame else { return false };
    *bytes += frame.data_ref().map_or(0, Bytes::len);
    *bytes <= DISPOSED.0
}

/// Whether something was done for the request, which takes a key that is good. gRPC tells in the head what failed.
fn is_success(response: &Response) -> bool {
    response.status().is_success() && !response.headers().contains_key("grpc-status")
}

/// What came of a request.
struct Received {
    held: Held,
    is_refused: AtomicBool,
}

/// The body of a request, which takes from the budget what comes.
struct Receiving {
    body: Body,
    received: Arc<Received>,
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !self.received.held.grow(data.len())
        {
            self.received.is_refused.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(axum::Error::new("no bytes are left for the request"))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response, whose parts hold their bytes until they are written.
struct Responding {
    body: Body,
    /// What is left of a frame.
    rest: Option<(Bytes, Held)>,
    budget: Budget,
    connection: Option<Arc<Connection>>,
    under_way: Option<(Option<OwnedSemaphorePermit>, Option<Work>)>,
}

impl Responding {
    /// The next part of `data`.
    fn part(&mut self, mut data: Bytes, mut held: Held) -> Frame<Bytes> {
        let part = data.split_to(PART.min(data.len()));
        let (bytes, sending) = (held.split(part.len()), self.connection.as_ref().map(|it| it.sends(part.len())));
        self.rest = (!data.is_empty()).then_some((data, held));
        Frame::data(Bytes::from_owner(Part { part, _bytes: bytes, _sending: sending }))
    }
}

impl http_body::Body for Responding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some((data, held)) = self.rest.take() {
            return Poll::Ready(Some(Ok(self.part(data, held))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.body.is_end_stream() || frame.is_none() {
            self.under_way = None;
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let held = self.budget.hold(data.len());
                    Some(Ok(self.part(data, held)))
                }
                Err(trailers) => Some(Ok(trailers)),
            },
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |(data, _)| data.len() as u64);
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A part of a response, until it is written.
struct Part {
    part: Bytes,
    _bytes: Held,
    _sending: Option<Sending>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.part
    }
}
