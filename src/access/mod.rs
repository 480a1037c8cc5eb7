//! Access: API keys, their scopes and their organization. Checks run in the order of the contract: credential,
//! organization, scope.

mod key;
mod layer;
mod peer;
mod rate;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use tokio::sync::Semaphore;
use tracing::{Instrument, debug_span, info, warn};

use crate::domain::{ApiKeyName, Clock, Invalid, OrganizationId, Random, Secret, Timestamp, quoted};
use crate::error::{AtField, Error, Result};
use crate::metrics::Metrics;
use crate::store::{ApiKey, Store};
use rate::KeyRateLimiter;

pub use layer::{ClaimedKey, ErrorResponder};
pub use peer::{KeyOrganization, Peer, claimed_key_id};

/// The target of log lines about access: keys created and revoked, and requests refused.
pub const SECURITY: &str = "auditlog::security";

/// How long a cached key is used. A revoked key works at most this much longer.
const CACHE_TTL: Duration = Duration::from_secs(5);
/// The age at which a cached key that is in use is looked up again, while requests still use it. Otherwise thousands of
/// requests would wait for that lookup, without permits, whenever the key expired.
const REFRESH_AGE: Duration = Duration::from_secs(1);
/// The maximum number of concurrent lookups of cached keys. A key that gets none expires, and is looked up then.
const MAX_REFRESHES: usize = 2;
/// How long a key counts as known after its last lookup. Lookups of known keys do not queue with those of unknown keys.
const KNOWN_TTL: Duration = Duration::from_secs(60 * 60);
/// The maximum number of concurrent lookups of unknown keys. Invented keys then do not take all database connections.
const MAX_UNKNOWN_LOOKUPS: usize = 2;
/// The maximum number of entries in each cache.
const MAX_CACHED: u64 = 10_000;
/// The minimum time between two writes of one key's `last_used_at`. Microseconds.
const LAST_USE_INTERVAL: i64 = 60_000_000;

/// A permission of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read lists, histories and single entries.
    Read,
    /// Write entries.
    Write,
    /// Read proofs, and all entries as they were hashed.
    Verify,
    /// Erase personal data.
    Erase,
}

impl Scope {
    /// All scopes by name.
    pub const NAMES: [(&'static str, Self); 4] =
        [("read", Self::Read), ("write", Self::Write), ("verify", Self::Verify), ("erase", Self::Erase)];

    /// Whether the scope allows changes of a log.
    fn changes_logs(self) -> bool {
        matches!(self, Self::Write | Self::Erase)
    }

    /// The verb for the scope in error messages.
    fn purpose(self) -> &'static str {
        match self {
            Self::Read => "view",
            Self::Write => "write",
            Self::Verify => "verify",
            Self::Erase => "erase",
        }
    }
}

impl FromStr for Scope {
    type Err = Invalid;

    fn from_str(name: &str) -> std::result::Result<Self, Invalid> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, scope)| *scope);
        found.ok_or_else(|| Invalid::new("must be read, write, verify or erase", quoted(name)))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, scope)| scope == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// The holder of a valid key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The public id of the key.
    pub key_id: String,
    /// The only organization that the key may use; `None` for a service-wide key.
    pub organization: Option<OrganizationId>,
    /// The scopes of the key.
    pub scopes: BTreeSet<Scope>,
}

/// The result of a lookup.
struct CachedKey {
    /// `None` for an id that does not exist, so that repeated guesses cost the database nothing.
    key: Option<ApiKey>,
    looked_up: Instant,
    is_refreshing: AtomicBool,
}

impl CachedKey {
    async fn look_up(store: &Store, id: &str) -> Result<Arc<Self>> {
        let looked_up = Instant::now();
        let key = store.key(id).await?;
        Ok(Arc::new(Self { key, looked_up, is_refreshing: AtomicBool::new(false) }))
    }

    /// Whether the caller should look it up again.
    fn must_refresh(&self) -> bool {
        self.looked_up.elapsed() >= REFRESH_AGE && !self.is_refreshing.swap(true, Ordering::Relaxed)
    }
}

/// Lets a cached key expire [`CACHE_TTL`] after its lookup began, however late its result came.
struct SinceLookup;

impl Expiry<String, Arc<CachedKey>> for SinceLookup {
    fn expire_after_create(&self, _: &String, found: &Arc<CachedKey>, _: Instant) -> Option<Duration> {
        Some(CACHE_TTL.saturating_sub(found.looked_up.elapsed()))
    }

    fn expire_after_update(
        &self,
        id: &String,
        found: &Arc<CachedKey>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(id, found, now)
    }
}

/// Creates and checks keys.
pub struct Access {
    store: Store,
    clock: Clock,
    /// By key id.
    recent: Cache<String, Arc<CachedKey>>,
    /// Ids of keys that exist.
    known: Cache<String, ()>,
    unknown_lookups: Semaphore,
    refreshes: Arc<Semaphore>,
    rate_limiter: KeyRateLimiter,
    /// When each key's last use was written. Separate from `recent`, which must show a revocation in time.
    last_use_written: Cache<String, Timestamp>,
    /// Organizations that exist. None is ever deleted, so one lookup each is enough.
    known_organizations: Cache<OrganizationId, ()>,
}

impl Access {
    /// Checks keys against `store`. `rate` is each key's rate limit, in requests per second.
    pub fn new(store: Store, clock: Clock, rate: NonZeroU32, metrics: Metrics) -> Self {
        let recent = Cache::builder().max_capacity(MAX_CACHED).expire_after(SinceLookup).build();
        let known = Cache::builder().max_capacity(MAX_CACHED).time_to_idle(KNOWN_TTL).build();
        let unknown_lookups = Semaphore::new(MAX_UNKNOWN_LOOKUPS);
        let refreshes = Arc::new(Semaphore::new(MAX_REFRESHES));
        Self {
            store,
            clock,
            recent,
            known,
            unknown_lookups,
            refreshes,
            rate_limiter: KeyRateLimiter::new(rate, metrics),
            last_use_written: Cache::new(MAX_CACHED),
            known_organizations: Cache::new(MAX_CACHED),
        }
    }

    /// Returns the holder of the key in `authorization`, the value of that header. A lookup of an unknown key holds a
    /// permit of `lookups`. Errors: `MissingAuthentication`, `InvalidApiKey`, `ExpiredApiKey`.
    pub async fn caller(&self, authorization: Option<&str>, lookups: Option<&Semaphore>) -> Result<Caller> {
        let authorization =
            authorization.filter(|value| !value.trim().is_empty()).ok_or(Error::MissingAuthentication)?;
        let token = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Error::InvalidApiKey("Send the API key as `Authorization: Bearer al_…`"))?;
        let key = key::PresentedKey::parse(token).ok_or(Error::InvalidApiKey("Invalid API key"))?;
        let found = self.look_up(key.id(), lookups).await?;
        let known = found.key.as_ref();
        if !key.matches(known.map(|known| known.hash.as_str())) {
            return Err(Error::InvalidApiKey("Invalid API key"));
        }
        if found.must_refresh() {
            self.refresh(&found, key.id().to_owned());
        }
        let known = known.ok_or(Error::InvalidApiKey("Invalid API key"))?;
        if known.revoked_at.is_some() {
            return Err(Error::InvalidApiKey("The API key was revoked"));
        }
        let now = self.clock.now();
        if let Some(expired) = known.expires_at.filter(|expires| *expires <= now) {
            return Err(Error::ExpiredApiKey(expired));
        }
        self.record_use(known, now).await;
        Ok(Caller {
            key_id: known.id.clone(),
            organization: known.organization.clone(),
            // A scope of a later version grants nothing here.
            scopes: known.scopes.iter().filter_map(|name| name.parse().ok()).collect(),
        })
    }

    /// Counts a request against the caller's rate limit. Errors: `RateLimited`.
    pub fn check_rate_limit(&self, caller: &Caller) -> Result<()> {
        self.rate_limiter.check(&caller.key_id)
    }

    /// Finds the key with this id. Lookups of unknown ids queue: each connection has one at a time, so a client that
    /// invents keys delays only itself.
    async fn look_up(&self, id: &str, lookups: Option<&Semaphore>) -> Result<Arc<CachedKey>> {
        if let Some(found) = self.recent.get(id).await {
            return Ok(found);
        }
        let ended = |_| Error::Draining;
        let is_known = self.known.contains_key(id);
        // Acquired outside the shared lookup, because requests of other connections may share that.
        let _of_connection = match lookups.filter(|_| !is_known) {
            Some(lookups) => Some(lookups.acquire().await.map_err(ended)?),
            None => None,
        };
        // Concurrent requests with the same uncached key share one database lookup.
        let read = async {
            let _of_all = match is_known {
                true => None,
                false => Some(self.unknown_lookups.acquire().await.map_err(ended)?),
            };
            CachedKey::look_up(&self.store, id).await
        };
        let found = self
            .recent
            .try_get_with_by_ref(id, read)
            .await
            .map_err(|error| error.clone_with_context("reading a key"))?;
        if found.key.is_some() {
            self.known.insert(id.to_owned(), ()).await;
        }
        Ok(found)
    }

    /// Looks up a cached key in the background. If that fails, the first request after [`CACHE_TTL`] looks it up again.
    fn refresh(&self, cached: &CachedKey, id: String) {
        let Ok(permit) = Arc::clone(&self.refreshes).try_acquire_owned() else {
            cached.is_refreshing.store(false, Ordering::Relaxed);
            return;
        };
        let (store, recent, known) = (self.store.clone(), self.recent.clone(), self.known.clone());
        let refresh = async move {
            if let Ok(found) = CachedKey::look_up(&store, &id).await {
                known.insert(id.clone(), ()).await;
                recent.insert(id, found).await;
            }
            drop(permit);
        };
        tokio::spawn(refresh.instrument(debug_span!("refresh_key")));
    }

    /// Records in the background that the key is in use. A failure is logged and does not fail the request.
    async fn record_use(&self, key: &ApiKey, now: Timestamp) {
        let is_recent = |used: Timestamp| now < used.plus(LAST_USE_INTERVAL);
        if key.last_used_at.is_some_and(is_recent) || self.last_use_written.get(&key.id).await.is_some_and(is_recent) {
            return;
        }
        self.last_use_written.insert(key.id.clone(), now).await;
        let (store, id) = (self.store.clone(), key.id.clone());
        let write = async move {
            if let Err(error) = store.touch_key(&id, now).await {
                warn!(key = id, error = error.with_causes(), "recording the use of an API key failed");
            }
        };
        tokio::spawn(write.instrument(debug_span!("record_use")));
    }

    /// Returns the organization `named`, in which `caller` may work. It must exist, unless the scope is `Write`.
    /// Errors: `OrganizationNotFound` if it does not exist or the key is not for it; then `InsufficientPermissions`;
    /// `ReservedOrganization` for changes of a log that only the service itself writes.
    pub async fn enter(&self, caller: &Caller, named: &str, scope: Scope) -> Result<OrganizationId> {
        let organization = match &caller.organization {
            Some(own) if own.as_str() == named => Ok(own.clone()),
            Some(_) => return Err(Error::OrganizationNotFound),
            None => OrganizationId::parse(named).at("organization_id"),
        };
        // The first write with a service-wide key creates the organization.
        if caller.organization.is_none() && scope != Scope::Write {
            match &organization {
                Ok(organization) if self.exists(organization).await? => {}
                _ => return Err(Error::OrganizationNotFound),
            }
        }
        if !caller.scopes.contains(&scope) {
            return Err(Error::InsufficientPermissions(scope.purpose()));
        }
        match organization {
            Ok(organization) if scope.changes_logs() && organization.is_reserved() => Err(Error::ReservedOrganization),
            organization => organization,
        }
    }

    async fn exists(&self, organization: &OrganizationId) -> Result<bool> {
        if self.known_organizations.contains_key(organization) {
            return Ok(true);
        }
        let exists = self.store.has_organization(organization).await?;
        if exists {
            self.known_organizations.insert(organization.clone(), ()).await;
        }
        Ok(exists)
    }
}

/// The properties of a key that its creator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its name, for people. Nothing else uses it.
    pub name: Option<ApiKeyName>,
    /// The only organization that the key may use; `None` for a service-wide key.
    pub organization: Option<OrganizationId>,
    /// The scopes of the key.
    pub scopes: BTreeSet<Scope>,
    /// When it expires; `None` for a key that works until it is revoked.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// Checks that the key is not for changes of a log that only the service itself writes. Errors: `InvalidParameter`.
    pub fn check(&self) -> Result<()> {
        let Some(organization) = self.organization.as_ref().filter(|one| one.is_reserved()) else { return Ok(()) };
        let service = OrganizationId::service();
        if *organization != service {
            let allowed = format!("must be {service}, or not begin with auditlog:, which the service keeps for itself");
            return Err(Invalid::new(allowed, quoted(organization.as_str()))).at("organization");
        }
        match self.scopes.iter().find(|scope| scope.changes_logs()) {
            Some(scope) => {
                let allowed = format!("must be read or verify for {service}, which only the service itself writes to");
                Err(Invalid::new(allowed, scope)).at("scope")
            }
            None => Ok(()),
        }
    }
}

/// Creates and stores a key, and records it in the log of the service. This is the only time that its secret is
/// available. Errors: those of [`NewKey::check`].
pub async fn create_key(store: &Store, clock: &Clock, random: &Random, new: NewKey) -> Result<Secret> {
    new.check()?;
    let NewKey { name, organization, scopes, expires_at } = new;
    let key = key::PresentedKey::generate(random);
    let record = ApiKey {
        id: key.id().to_owned(),
        name,
        hash: key.hash(),
        organization,
        scopes: scopes.iter().map(Scope::to_string).collect(),
        created_at: clock.now(),
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    let shown = (record.organization.clone(), record.scopes.join(","));
    store.create_key(record, random).await?;
    let (organization, scopes) = shown;
    let organization = organization.as_ref().map(OrganizationId::as_str);
    let expires_at = expires_at.map(tracing::field::display);
    info!(target: SECURITY, key = key.id(), organization, scopes, expires_at, "an API key was created");
    Ok(Secret::new(key.text()))
}

/// Revokes a key, and records that in the log of the service; `false` if it was revoked already or never existed.
pub async fn revoke_key(store: &Store, clock: &Clock, random: &Random, id: &str) -> Result<bool> {
    let is_revoked = store.revoke_key(id, clock.now(), random).await?;
    if is_revoked {
        info!(target: SECURITY, key = id, "an API key was revoked");
    }
    Ok(is_revoked)
}
