//! Requests under way: how many there may be, in all and of one caller, and how many bytes they and their responses may
//! hold. What is beyond is refused before anything of it is read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Serving;
use super::bodies::{Received, Receiving, Responding};
use super::connections::Connection;
use super::deadline::due;
use crate::access::Refuse;
use crate::budget::Budget;
use crate::error::Error;
use crate::grpc::{Deadline, MAX_REQUEST};
use crate::ingest::Ingest;
use crate::metrics::{Metrics, Refusal};

/// Streams that need no key, such as those that watch the health: a number of their own, so that they take nothing
/// from others.
const KEYLESS: usize = 128;
/// How long the body of a refused request is taken.
const DISPOSED: Duration = Duration::from_secs(1);

/// Of so many places one is kept from a credential that has all others, where there are as many, so that one client that
/// runs away does not take all.
const KEPT: usize = 5;

/// What requests have to take before they are begun.
pub(super) struct Admission {
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    keyless: Arc<Semaphore>,
    budget: Budget,
    /// Where writes wait; a gateway has none.
    writes: Option<Ingest>,
    /// The longest that a request may take.
    timeout: Duration,
    metrics: Metrics,
}

/// How many places each credential has. Whether it is good is found out later; in a service soon, since a key is looked at
/// before a body is read.
struct Shares {
    most: usize,
    hasher: RandomState,
    taken: Mutex<HashMap<u64, usize>>,
}

/// A request's place, until it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

/// A credential's share in the places, less by one when it is dropped.
struct Share {
    shares: Arc<Shares>,
    credential: u64,
}

impl Shares {
    fn new(places: usize) -> Arc<Self> {
        let most = (places - places / KEPT).max(1);
        Arc::new(Self { most, hasher: RandomState::new(), taken: Mutex::default() })
    }

    /// Nothing that can panic runs under the lock.
    fn taken(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where it has all that it may have. Who shows no key is like one who has one.
    fn take(self: &Arc<Self>, authorization: Option<&HeaderValue>) -> Option<Share> {
        let authorization = authorization.map_or(&b""[..], HeaderValue::as_bytes);
        // However the scheme is spelled.
        let token = authorization.splitn(2, |byte| *byte == b' ').last().unwrap_or_default().trim_ascii();
        let credential = self.hasher.hash_one(token);
        let mut taken = self.taken();
        let taken = taken.entry(credential).or_default();
        if *taken >= self.most {
            return None;
        }
        *taken += 1;
        Some(Share { shares: Arc::clone(self), credential })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Entry::Occupied(mut taken) = self.shares.taken().entry(self.credential) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

/// What a request is, for its limits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Asks whether the server is well, which must be told when it is busy, too.
    Probe,
    /// Needs no key, and may last.
    Keyless,
    /// Has to wait for the writes before it.
    Write,
    /// All else.
    Call,
}

impl Kind {
    fn of(request: &Request) -> Self {
        match request.uri().path() {
            "/livez" | "/readyz" | "/grpc.health.v1.Health/Check" => Self::Probe,
            path if path.starts_with("/grpc.") => Self::Keyless,
            path if path.ends_with("/WriteAuditLogs") => Self::Write,
            path if path.ends_with("/audit-logs") && request.method() == Method::POST => Self::Write,
            _ => Self::Call,
        }
    }

    fn has_key(self) -> bool {
        matches!(self, Self::Write | Self::Call)
    }
}

impl Admission {
    pub(super) fn new(serving: &Serving, budget: Budget, writes: Option<Ingest>, metrics: &Metrics) -> Self {
        let most = serving.limits.requests;
        let held = budget.clone();
        let help = "Bytes that requests and responses hold.";
        metrics.reading("auditlog_held_bytes", help, move || Some(held.used() as f64));
        let [places, keyless] = [most, KEYLESS].map(|places| Arc::new(Semaphore::new(places)));
        let shares = Shares::new(most);
        Self { places, shares, keyless, budget, writes, timeout: serving.request_timeout, metrics: metrics.clone() }
    }

    /// A place; `None` for those that need none. Errors: `Overloaded`.
    fn place(&self, kind: Kind, authorization: Option<&HeaderValue>) -> Result<Option<Place>, Error> {
        let (places, what) = match kind {
            Kind::Probe => return Ok(None),
            Kind::Keyless => (&self.keyless, "Too many streams without a key are open"),
            _ if self.budget.is_spent() => return Err(self.bytes_spent()),
            Kind::Write | Kind::Call => (&self.places, "Too many requests are under way"),
        };
        let permit = Arc::clone(places).try_acquire_owned().map_err(|_| self.too_many(what))?;
        let share = kind.has_key().then(|| self.shares.take(authorization));
        match share {
            Some(None) => Err(self.too_many("Too many requests with this API key are under way")),
            share => Ok(Some(Place { _permit: permit, _share: share.flatten() })),
        }
    }

    fn too_many(&self, what: &'static str) -> Error {
        self.metrics.refused(Refusal::requests);
        Error::Overloaded(what)
    }

    fn bytes_spent(&self) -> Error {
        self.metrics.refused(Refusal::bytes);
        Error::Overloaded("Requests and responses hold too many bytes")
    }

    /// Whether what is due then can be done by then, as far as it is known now. Errors: `Overloaded`.
    fn in_time(&self, kind: Kind, Deadline(due): Deadline) -> Result<(), Error> {
        self.writes.as_ref().filter(|_| kind == Kind::Write).map_or(Ok(()), |writes| writes.in_time(due))
    }

    /// Lets a request in to `next`, or answers as `refuse` does. The request's place is its own until its response has
    /// ended, its bytes until it was answered, and those of the response until they are written.
    pub(super) async fn admit<F: Future<Output = Response>>(
        &self,
        mut request: Request,
        refuse: Refuse,
        next: impl FnOnce(Request) -> F,
    ) -> Response {
        let kind = Kind::of(&request);
        let deadline = due(request.headers(), self.timeout);
        request.extensions_mut().insert(deadline);
        let connection = request.extensions_mut().remove::<Arc<Connection>>();
        let place = self.in_time(kind, deadline).and_then(|()| {
            let place = self.place(kind, request.headers().get(AUTHORIZATION));
            // What has too little time is its caller's own affair.
            place.inspect_err(|_| connection.iter().for_each(|connection| connection.refused()))
        });
        let place = match place {
            Ok(place) => place,
            Err(error) => {
                dispose(request.into_body());
                return refuse(error);
            }
        };
        let work = connection.as_ref().map(|connection| connection.works(kind == Kind::Keyless));
        // What is refused is answered where it was read; what is done has a task of its own.
        tokio::task::yield_now().await;
        let received = Received::new(&self.budget);
        if !request.body().is_end_stream() {
            request = request.map(|body| Body::new(Receiving { body, received: Arc::clone(&received) }));
        }
        let response = next(request).await;
        if received.is_refused() {
            return refuse(self.bytes_spent());
        }
        if let Some(connection) = connection.as_ref().filter(|_| kind.has_key() && is_success(&response)) {
            connection.known();
        }
        if response.body().is_end_stream() {
            return response;
        }
        let budget = self.budget.clone();
        response.map(|body| Body::new(Responding::new(body, budget, connection, (place, work))))
    }
}

/// Takes the body of a request that is refused, if it is on its way, up to what one may have. One that is dropped has its
/// stream reset; what then still comes of it counts as a fault of the peer, and many end the connection with all that is
/// under way on it.
fn dispose(mut body: Body) {
    let mut bytes = 0;
    // Most have come by now.
    while let Some(frame) = body.frame().now_or_never() {
        if !is_to_go_on(frame, &mut bytes) {
            return;
        }
    }
    tokio::spawn(tokio::time::timeout(DISPOSED, async move { while is_to_go_on(body.frame().await, &mut bytes) {} }));
}

fn is_to_go_on(frame: Option<Result<Frame<Bytes>, axum::Error>>, bytes: &mut usize) -> bool {
    let Some(Ok(frame)) = frame else { return false };
    *bytes += frame.data_ref().map_or(0, Bytes::len);
    *bytes <= MAX_REQUEST
}

/// Whether something was done for the request, which takes a key that is good. gRPC tells in the head what failed.
fn is_success(response: &Response) -> bool {
    response.status().is_success() && !response.headers().contains_key("grpc-status")
}
