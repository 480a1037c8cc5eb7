//! Reads the credential of a request, for gRPC and REST.

use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;

use super::{Access, Caller, claimed_key_id};
use crate::error::{Error, Result};

/// Turns an error into a response of the request's protocol.
pub type ErrorResponder = fn(Error) -> Response;

/// A key that a request claims to have.
pub enum ClaimedKey {
    /// Its lookup is cached, so the request does not wait.
    Cached,
    /// A key with this id exists. The request waits for its lookup.
    Known(String),
    /// The request waits for a lookup, together with those of other unknown keys.
    Unknown,
}

impl Access {
    /// Finds out how [`Self::authenticate`] will look up the key that `headers` claim.
    pub fn claimed_key(&self, headers: &HeaderMap) -> ClaimedKey {
        match headers.get(AUTHORIZATION).and_then(claimed_key_id) {
            Some(id) if self.recent.contains_key(&id) => ClaimedKey::Cached,
            Some(id) if self.known.contains_key(&id) => ClaimedKey::Known(id),
            _ => ClaimedKey::Unknown,
        }
    }

    /// Returns the holder of the key in `headers`. A lookup of an unknown key holds a permit of `lookups`. Errors:
    /// those of [`Access::caller`].
    pub async fn authenticate(&self, headers: &HeaderMap, lookups: &Semaphore) -> Result<Caller> {
        self.caller(authorization(headers)?, Some(lookups)).await
    }
}

fn authorization(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Error::InvalidApiKey("Invalid API key")),
        (Some(_), Some(_)) => Err(Error::InvalidApiKey("Send one Authorization header")),
    }
}
