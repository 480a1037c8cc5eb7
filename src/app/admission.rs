//! Admission: what a request needs before it is begun. A good key comes first, then a permit, one of its key's, and room
//! in the budget; what is beyond is refused before its body is read. Calls without a key are few on each connection.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use moka::sync::Cache;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Limits;
use super::net::{Connection, MAX_ANONYMOUS};
use crate::access::{Access, ErrorResponder};
use crate::error::{BYTES_SPENT, Error};
use crate::limits::{Budget, KeyQuota, Reservation};
use crate::metrics::{Metrics, Refusal};

/// One in so many permits is kept from a key that has all others, so that one client that runs away leaves some.
const RESERVED_PERMITS: usize = 5;
/// One in so many permits and bytes is for requests whose key is not known to be good.
const ANONYMOUS_SHARE: usize = 4;
/// Streams of one connection at once that need no key, such as watched health.
const MAX_ANONYMOUS_STREAMS: usize = MAX_ANONYMOUS / 2;
/// How long a request waits whose credential is not known to be good.
const ANONYMOUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a gateway takes a credential for good that the service has accepted.
const ACCEPTED_TTL: Duration = Duration::from_secs(60);
/// Credentials that a gateway takes for good at once.
const MAX_ACCEPTED: u64 = 10_000;
/// What a header takes beside its name and value.
const HEADER_OVERHEAD: usize = 64;

/// What requests take before they are begun. Clones share it.
#[derive(Clone)]
pub(super) struct Admission {
    /// Checks keys; a gateway leaves that to the service.
    access: Option<Arc<Access>>,
    /// Hashes of credentials that the service behind a gateway has accepted.
    accepted: Cache<String, ()>,
    hasher: RandomState,
    requests: Arc<Semaphore>,
    keys: KeyQuota,
    anonymous: Arc<Semaphore>,
    budget: Budget,
    anonymous_budget: Budget,
    metrics: Metrics,
}

/// What a request holds until its response has ended.
struct RequestPermit {
    _request: OwnedSemaphorePermit,
    _key: Option<OwnedSemaphorePermit>,
    _anonymous: Option<[OwnedSemaphorePermit; 2]>,
    /// Keeps the connection from giving way to others.
    _authenticated: Option<Arc<()>>,
    _head: Reservation,
}

impl Admission {
    pub(super) fn new(limits: Limits, budget: Budget, access: Option<Arc<Access>>, metrics: &Metrics) -> Self {
        let Limits { requests, bytes, connections: _ } = limits;
        let held = budget.clone();
        let help = "Bytes that requests and responses hold.";
        metrics.reading("auditlog_held_bytes", help, move || Some(held.used() as f64));
        let [requests_permits, anonymous] =
            [requests, (requests / ANONYMOUS_SHARE).max(1)].map(|permits| Arc::new(Semaphore::new(permits)));
        Self {
            access,
            accepted: Cache::builder().max_capacity(MAX_ACCEPTED).time_to_live(ACCEPTED_TTL).build(),
            hasher: RandomState::new(),
            requests: requests_permits,
            keys: KeyQuota::new(requests - requests / RESERVED_PERMITS),
            anonymous,
            budget,
            anonymous_budget: Budget::new(bytes / ANONYMOUS_SHARE),
            metrics: metrics.clone(),
        }
    }

    /// `router`, whose calls need a key.
    pub(super) fn keyed(&self, router: Router, respond: ErrorResponder) -> Router {
        router.route_layer(from_fn_with_state((self.clone(), respond), admit))
    }

    /// `router`, whose calls need no key.
    pub(super) fn keyless(&self, router: Router, respond: ErrorResponder) -> Router {
        router.route_layer(from_fn_with_state((self.clone(), respond), admit_anonymous))
    }

    /// Errors: those of [`Access::authenticate`], `Overloaded`.
    async fn permit(&self, connection: &Connection, request: &mut Request) -> Result<RequestPermit, Error> {
        let head = head_size(request);
        let unknown_head = self.anonymous_budget.try_hold(head).ok_or_else(|| self.bytes_spent())?;
        let mut anonymous = None;
        let key = match &self.access {
            Some(access) => {
                let caller = access.authenticate(request.headers(), Some(&connection.lookups)).await?;
                let key = caller.key_id.clone();
                request.extensions_mut().insert(caller);
                Some(key)
            }
            None => Some(self.credential(request.headers())).filter(|hash| self.accepted.contains_key(hash)),
        };
        if key.is_none() {
            let permits = [&connection.anonymous, &self.anonymous].map(|all| Arc::clone(all).acquire_owned());
            let [of_connection, of_all] = permits;
            let both =
                timeout(ANONYMOUS_TIMEOUT, async { Ok::<_, AcquireError>([of_connection.await?, of_all.await?]) });
            let told = "Too many requests with credentials that are not known yet are under way";
            anonymous = both
                .await
                .ok()
                .and_then(Result::ok)
                .map(Some)
                .ok_or_else(|| self.overloaded(Refusal::requests, told))?;
        }
        drop(unknown_head);
        let head = self.budget.try_hold(head).ok_or_else(|| self.bytes_spent())?;
        let too_many = |told| self.overloaded(Refusal::requests, told);
        let request = Arc::clone(&self.requests).try_acquire_owned();
        let request = request.map_err(|_| too_many("Too many requests are under way"))?;
        let authenticated = key.is_some().then(|| {
            connection.has_authenticated.store(true, Ordering::Relaxed);
            Arc::clone(&connection.authenticated)
        });
        let key = match key {
            Some(key) => {
                let told = "Too many requests with this API key are under way";
                Some(self.keys.try_acquire(&key).ok_or_else(|| too_many(told))?)
            }
            None => None,
        };
        Ok(RequestPermit {
            _request: request,
            _key: key,
            _anonymous: anonymous,
            _authenticated: authenticated,
            _head: head,
        })
    }

    /// Errors: `Overloaded`.
    fn anonymous_permit(&self, connection: &Connection, request: &Request) -> Result<OwnedSemaphorePermit, Error> {
        let told = "Too many calls without a key are open on this connection";
        let is_stream = request.uri().path().starts_with("/grpc.") && !request.uri().path().ends_with("/Check");
        let left = connection.anonymous.available_permits();
        let permit = match is_stream && left <= MAX_ANONYMOUS - MAX_ANONYMOUS_STREAMS {
            true => None,
            false => Arc::clone(&connection.anonymous).try_acquire_owned().ok(),
        };
        permit.ok_or_else(|| self.overloaded(Refusal::requests, told))
    }

    /// The hash of the token in the Authorization header, however its scheme is spelled.
    fn credential(&self, headers: &HeaderMap) -> String {
        let value = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let token = value.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        format!("{:x}", self.hasher.hash_one(token))
    }

    fn bytes_spent(&self) -> Error {
        self.overloaded(Refusal::bytes, BYTES_SPENT)
    }

    fn overloaded(&self, reason: Refusal, told: &'static str) -> Error {
        self.metrics.refused(reason);
        Error::Overloaded(told)
    }
}

/// Admits a request that needs a key. What it takes is its own until its response has ended.
async fn admit(
    State((admission, respond)): State<(Admission, ErrorResponder)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(connection) = request.extensions_mut().remove::<Arc<Connection>>() else { return next.run(request).await };
    let permit = match admission.permit(&connection, &mut request).await {
        Ok(permit) => permit,
        Err(error) => return respond(error),
    };
    let credential = admission.access.is_none().then(|| admission.credential(request.headers()));
    let mut response = next.run(request).await;
    if let Some(credential) = credential.filter(|_| is_success(&response)) {
        connection.has_authenticated.store(true, Ordering::Relaxed);
        admission.accepted.insert(credential, ());
    }
    response.extensions_mut().insert(Arc::new(permit));
    response
}

/// Admits a call that needs no key, and whose connection gives way to others meanwhile.
async fn admit_anonymous(
    State((admission, respond)): State<(Admission, ErrorResponder)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(connection) = request.extensions_mut().remove::<Arc<Connection>>() else { return next.run(request).await };
    match admission.anonymous_permit(&connection, &request) {
        Ok(permit) => {
            let mut response = next.run(request).await;
            response.extensions_mut().insert(Arc::new(permit));
            response
        }
        Err(error) => respond(error),
    }
}

fn head_size(request: &Request) -> usize {
    let headers = request.headers().iter();
    let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD).sum();
    headers + request.uri().path_and_query().map_or(0, |path| path.as_str().len())
}

/// Whether something was done for the request, which takes a good key. gRPC tells in the head what failed.
fn is_success(response: &Response) -> bool {
    response.status().is_success() && !response.headers().contains_key("grpc-status")
}
