//! Reads the credential of a request, for gRPC and REST.

use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;

use super::{Access, Caller, claimed_key_id};
use crate::error::{Error, Result};

/// Turns an error into a response of the request's protocol.
pub type ErrorResponder = fn(Error) -> Response;

impl Access {
    /// Whether the key that `headers` claim is cached. Then [`Self::authenticate`] does not wait.
    pub fn is_cached(&self, headers: &HeaderMap) -> bool {
        let claimed = headers.get(AUTHORIZATION).and_then(claimed_key_id);
        claimed.is_some_and(|id| self.recent.contains_key(&id))
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
