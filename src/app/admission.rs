//! Admission: a request starts once it has an authenticated key, a request permit, a permit of its key, and room in the
//! byte budget. Without these it is refused before its body is read. Each connection may have only a few calls without
//! a key.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use futures_util::{StreamExt, stream};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;

use super::Limits;
use super::net::{Connection, MAX_ANONYMOUS};
use crate::access::{Access, Caller, ClaimedKey, ErrorResponder, KeyOrganization, claimed_key_id};
use crate::error::{BYTES_SPENT, Error};
use crate::grpc::FOLLOW_PATH;
use crate::limits::{Budget, KeyBudgets, KeyQuota, Reservation};
use crate::metrics::{Metrics, Refusal};
use crate::rest::is_feed;

/// Unauthenticated requests, whose credential has not been accepted yet, get one in this many of the permits and bytes,
/// and calls that need no key as many bytes. One connection gets one in this many of those bytes.
const ANONYMOUS_SHARE: usize = 4;
/// The maximum number of concurrent streams of one connection that need no key, such as health watches.
const MAX_KEYLESS_STREAMS: usize = MAX_ANONYMOUS / 2;
/// How long an unauthenticated request waits for a permit.
const ANONYMOUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a gateway trusts a credential after the service has accepted it.
const ACCEPTED_TTL: Duration = Duration::from_secs(60);
/// The maximum number of credentials that a gateway trusts at once.
const MAX_ACCEPTED: u64 = 10_000;
/// The maximum size of the body of a call that needs no key, summed over all messages of a stream. Bytes.
const MAX_KEYLESS_BODY: usize = 64 * 1024;
/// A keyless call with a head of at most this many bytes is admitted even if the budget is spent.
const SMALL_HEAD: usize = 4 * 1024;
/// Bytes that a request with an unknown key takes beside its head while it waits: its stream and its task.
const WAITING_OVERHEAD: usize = 8 * 1024;
/// Bytes that a header takes beyond its name and value.
const HEADER_OVERHEAD: usize = 64;

const TOO_MANY: &str = "Too many requests are under way";
const TOO_MANY_OF_KEY: &str = "Too many requests with this API key are under way";
const TOO_MANY_FOLLOWERS: &str = "Too many followers are under way";
const TOO_MANY_FOLLOWERS_OF_KEY: &str = "Too many followers with this API key are under way";
const TOO_MANY_UNKNOWN: &str = "Too many requests with credentials that are not known yet are under way";
const TOO_MANY_KEYLESS: &str = "Too many calls without a key are open on this connection";

/// Gives each request the permits and bytes that it needs to start. Clones share them.
#[derive(Clone)]
pub(super) struct Admission {
    /// Checks keys. `None` in a gateway, which leaves that to the service.
    access: Option<Arc<Access>>,
    /// Hashes of credentials that the service behind a gateway has accepted.
    accepted: Cache<String, ()>,
    hasher: RandomState,
    requests: PermitPool,
    /// Separate, because a follower holds its permit for as long as it waits.
    followers: PermitPool,
    budgets: KeyBudgets,
    anonymous_budget: Budget,
    keyless_budget: Budget,
    metrics: Metrics,
}

/// The permits of requests, or of followers. Clones share them.
#[derive(Clone)]
struct PermitPool {
    all: Arc<Semaphore>,
    keys: KeyQuota,
    /// The share of unauthenticated requests.
    anonymous: Arc<Semaphore>,
    refusal: Refusal,
    too_many: &'static str,
    too_many_of_key: &'static str,
}

impl PermitPool {
    fn new(permits: usize, refusal: Refusal, [too_many, too_many_of_key]: [&'static str; 2]) -> Self {
        let keys = KeyQuota::of(permits);
        let [all, anonymous] =
            [permits, (permits / ANONYMOUS_SHARE).max(1)].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { all, keys, anonymous, refusal, too_many, too_many_of_key }
    }
}

/// The permits and bytes of a request, held until its response has ended or it is refused.
struct RequestPermit {
    /// In a gateway, the hash of the request's credential.
    credential: Option<String>,
    _request: OwnedSemaphorePermit,
    /// A permit of its key. An unauthenticated request holds one of its connection and one that all such requests
    /// share.
    _of_caller: Vec<OwnedSemaphorePermit>,
    _authenticated: Option<Arc<()>>,
    /// The budget of its bytes.
    budget: Budget,
    /// Bytes of its head and body.
    _held: Arc<Reservation>,
}

impl Admission {
    pub(super) fn new(limits: Limits, budgets: KeyBudgets, access: Option<Arc<Access>>, metrics: &Metrics) -> Self {
        let Limits { requests, followers, bytes, connections: _ } = limits;
        let held = budgets.whole.clone();
        let help = "Bytes that requests and responses hold.";
        metrics.reading("auditlog_held_bytes", help, move || Some(held.used() as f64));
        let of_followers = [TOO_MANY_FOLLOWERS, TOO_MANY_FOLLOWERS_OF_KEY];
        Self {
            access,
            accepted: Cache::builder().max_capacity(MAX_ACCEPTED).time_to_live(ACCEPTED_TTL).build(),
            hasher: RandomState::new(),
            requests: PermitPool::new(requests, Refusal::requests, [TOO_MANY, TOO_MANY_OF_KEY]),
            followers: PermitPool::new(followers, Refusal::followers, of_followers),
            budgets,
            anonymous_budget: Budget::new(bytes / ANONYMOUS_SHARE),
            keyless_budget: Budget::new(bytes / ANONYMOUS_SHARE),
            metrics: metrics.clone(),
        }
    }

    /// Returns `router` with admission for calls that need a key.
    pub(super) fn keyed(&self, router: Router, respond: ErrorResponder) -> Router {
        router.route_layer(from_fn_with_state((self.clone(), respond), admit))
    }

    /// Returns `router` with admission for calls that need no key.
    pub(super) fn keyless(&self, router: Router, respond: ErrorResponder) -> Router {
        router.route_layer(from_fn_with_state((self.clone(), respond), admit_keyless))
    }

    /// Refuses a call if no permit is left for the key it claims, before the call is routed and the key is checked.
    /// Under load most calls end here; each call that goes further takes three times as long.
    pub(super) fn refuse_early(&self, request: &Request) -> Option<Error> {
        let key = request.headers().get(AUTHORIZATION).and_then(claimed_key_id)?;
        let pool = self.pool(request);
        pool.keys.is_spent(&key).then(|| self.overloaded(pool.refusal, pool.too_many_of_key))
    }

    /// The permits for `request`.
    fn pool(&self, request: &Request) -> &PermitPool {
        if is_feed(request) || request.uri().path() == FOLLOW_PATH { &self.followers } else { &self.requests }
    }

    /// Acquires the permits and bytes that `request` needs. Errors: those of [`Access::authenticate`], `Overloaded`.
    async fn permit(&self, connection: &Connection, request: &mut Request) -> Result<RequestPermit, Error> {
        let (size, pool) = (head_size(request), self.pool(request));
        let credential = self.access.is_none().then(|| self.credential(request.headers()));
        let accepted = credential.clone().filter(|hash| self.accepted.contains_key(hash));
        let key = match &self.access {
            Some(access) => {
                // The head counts while the key is looked up.
                let _waiting = match access.claimed_key(request.headers()) {
                    ClaimedKey::Cached => None,
                    ClaimedKey::Known(key) => Some(self.head(&self.budgets.part(&key), size)?),
                    ClaimedKey::Unknown => Some(self.head(self.anonymous_bytes(connection), size + WAITING_OVERHEAD)?),
                };
                let caller = access.authenticate(request.headers(), &connection.lookups).await?;
                let (key_id, within_limit) = (caller.key_id.clone(), access.check_rate_limit(&caller));
                request.extensions_mut().insert(caller);
                within_limit?;
                Some(key_id)
            }
            None => accepted,
        };
        let of_caller = match &key {
            Some(key) => {
                let permit = pool.keys.try_acquire(key);
                vec![permit.ok_or_else(|| self.overloaded(pool.refusal, pool.too_many_of_key))?]
            }
            None => self.anonymous_permits(connection, request, size, pool).await?,
        };
        let budget = key.as_deref().map_or_else(|| self.budgets.whole.clone(), |key| self.budgets.part(key));
        let held = self.head(&budget, size)?;
        let permit = Arc::clone(&pool.all).try_acquire_owned();
        let permit = permit.map_err(|_| self.overloaded(pool.refusal, pool.too_many))?;
        let authenticated = key.map(|_| connection.authenticate());
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = self.charge(body, &held);
        Ok(RequestPermit {
            credential,
            _request: permit,
            _of_caller: of_caller,
            _authenticated: authenticated,
            budget,
            _held: held,
        })
    }

    /// Acquires the permits of an unauthenticated request: one of its connection, and one that all such requests share.
    /// Reads the body in between, so that a slow client does not hold a shared permit.
    async fn anonymous_permits(
        &self,
        connection: &Connection,
        request: &mut Request,
        head_size: usize,
        pool: &PermitPool,
    ) -> Result<Vec<OwnedSemaphorePermit>, Error> {
        let held = self.head(self.anonymous_bytes(connection), head_size)?;
        let of_connection = self.anonymous_permit(&connection.anonymous, pool.refusal).await?;
        let body = self.charge(std::mem::take(request.body_mut()), &held).collect().await;
        // The handler responds to a body that could not be read.
        let failed = |error| Body::from_stream(stream::iter([Err::<Bytes, _>(error)]));
        *request.body_mut() = body.map_or_else(failed, |body| body.to_bytes().into());
        Ok(vec![of_connection, self.anonymous_permit(&pool.anonymous, pool.refusal).await?])
    }

    async fn anonymous_permit(
        &self,
        permits: &Arc<Semaphore>,
        refusal: Refusal,
    ) -> Result<OwnedSemaphorePermit, Error> {
        let permit = timeout(ANONYMOUS_TIMEOUT, Arc::clone(permits).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or_else(|| self.overloaded(refusal, TOO_MANY_UNKNOWN))
    }

    /// Returns `body`, which adds its bytes to `held` as they arrive.
    fn charge(&self, body: Body, held: &Arc<Reservation>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let (held, metrics) = (Arc::clone(held), self.metrics.clone());
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let piece = piece?;
            if held.try_grow(piece.len()) {
                return Ok(piece);
            }
            metrics.refused(Refusal::bytes);
            Err(axum::Error::new(Status::from(Error::Overloaded(BYTES_SPENT))))
        }))
    }

    /// Errors: `Overloaded`.
    fn keyless_permit(
        &self,
        connection: &Connection,
        request: &Request,
    ) -> Result<(OwnedSemaphorePermit, Arc<Reservation>), Error> {
        // Many large heads must not keep health checks from being answered.
        let head = match head_size(request) {
            size @ ..=SMALL_HEAD => self.keyless_budget.hold(size).into(),
            size => self.head(&self.keyless_budget, size)?,
        };
        let path = request.uri().path();
        let is_stream = path.starts_with("/grpc.") && !path.ends_with("/Check");
        let has_room = !is_stream || connection.anonymous.available_permits() > MAX_ANONYMOUS - MAX_KEYLESS_STREAMS;
        let permit = has_room.then(|| Arc::clone(&connection.anonymous).try_acquire_owned().ok()).flatten();
        Ok((permit.ok_or_else(|| self.overloaded(Refusal::requests, TOO_MANY_KEYLESS))?, head))
    }

    fn anonymous_bytes<'c>(&self, connection: &'c Connection) -> &'c Budget {
        let part = || self.anonymous_budget.part(self.anonymous_budget.limit() / ANONYMOUS_SHARE);
        connection.anonymous_bytes.get_or_init(part)
    }

    fn head(&self, budget: &Budget, size: usize) -> Result<Arc<Reservation>, Error> {
        budget.try_hold(size).map(Arc::new).ok_or_else(|| self.overloaded(Refusal::bytes, BYTES_SPENT))
    }

    fn overloaded(&self, reason: Refusal, message: &'static str) -> Error {
        self.metrics.refused(reason);
        Error::Overloaded(message)
    }

    /// The hash of the token in the Authorization header. The spelling of the scheme does not change it.
    fn credential(&self, headers: &HeaderMap) -> String {
        let value = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let token = value.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        format!("{:x}", self.hasher.hash_one(token))
    }
}

/// Admits a request that needs a key. It holds its permits until its response has ended.
async fn admit(
    State((admission, respond)): State<(Admission, ErrorResponder)>,
    Extension(connection): Extension<Arc<Connection>>,
    mut request: Request,
    next: Next,
) -> Response {
    let permit = admission.permit(&connection, &mut request).await;
    let organization = request.extensions().get::<Caller>().and_then(|caller| caller.organization.clone());
    let mut response = match permit {
        Ok(permit) => {
            let mut response = next.run(request).await;
            // A refusal is small and holds no permit: a slow reader would keep the permit for long.
            if is_success(&response) {
                if let Some(credential) = &permit.credential {
                    drop(connection.authenticate());
                    admission.accepted.insert(credential.clone(), ());
                }
                let budget = match &permit.credential {
                    // The service has accepted it now.
                    Some(credential) => admission.budgets.part(credential),
                    None => permit.budget.clone(),
                };
                response.extensions_mut().insert(budget);
                response.extensions_mut().insert(Arc::new(permit));
            }
            response
        }
        Err(error) => respond(error),
    };
    if let Some(organization) = organization {
        response.extensions_mut().insert(KeyOrganization(organization));
    }
    response
}

/// Admits a call that needs no key. Such a call does not protect its connection from eviction.
async fn admit_keyless(
    State((admission, respond)): State<(Admission, ErrorResponder)>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
    next: Next,
) -> Response {
    match admission.keyless_permit(&connection, &request) {
        Ok(permit) => {
            let request = request.map(|body| Body::new(Limited::new(body, MAX_KEYLESS_BODY)));
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

/// Whether the service accepted the request, which implies a valid key. gRPC reports early failures in the
/// `grpc-status` header.
fn is_success(response: &Response) -> bool {
    response.status().is_success() && !response.headers().contains_key("grpc-status")
}
