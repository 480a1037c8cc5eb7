//! The peer of a request, as far as it is known before its key was looked at: for the log.

use std::net::SocketAddr;

use http::HeaderValue;

use super::key::Key;
use crate::domain::OrganizationId;

/// The address of the other end of a request's connection, left in the request's extensions. Behind a proxy it is the
/// proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The organization of the key that a request was made with, left in the extensions of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOrganization(pub OrganizationId);

/// The id of the key in the value of an `Authorization` header. It says nothing of whether there is such a key; `None`
/// if it has not the form of one.
pub fn claimed_key_id(authorization: &HeaderValue) -> Option<String> {
    let (_, token) = authorization.to_str().ok()?.split_once(' ')?;
    Some(Key::parse(token.trim())?.id().to_owned())
}
