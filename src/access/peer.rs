//! The client of a request as far as it is known before authentication, for the log.

use std::net::SocketAddr;

use http::HeaderValue;

use super::key::PresentedKey;
use crate::domain::OrganizationId;

/// The address of the other end of a request's connection, stored in the request's extensions. Behind a proxy, it is
/// the proxy's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The organization of the request's key, stored in the response's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOrganization(pub OrganizationId);

/// The key id in the value of an `Authorization` header; `None` if the value does not have the form of a key. The key
/// may not exist.
pub fn claimed_key_id(authorization: &HeaderValue) -> Option<String> {
    let (_, token) = authorization.to_str().ok()?.split_once(' ')?;
    Some(PresentedKey::parse(token.trim())?.id().to_owned())
}
