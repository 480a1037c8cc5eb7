//! Logs each kind of refused access, with the key that was shown, and not each request: no caller decides how much is
//! logged.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderValue};
use tonic::Status;
use tracing::warn;

use crate::access::{KeyOrganization, Peer, SECURITY, claimed_key_id};
use crate::error::Reason;
use crate::metrics::Code;
use crate::telemetry::LineLimit;
use crate::{grpc, rest};

/// Refusals that need a good key. They have a limit of their own, so that nobody without a key hides them.
const WITH_GOOD_KEY: [Reason; 2] = [Reason::InsufficientPermissions, Reason::RateLimited];
const WITHOUT: [Reason; 4] =
    [Reason::MissingAuthentication, Reason::InvalidApiKey, Reason::ExpiredApiKey, Reason::Overloaded];

static WITH_GOOD_KEY_LIMIT: LineLimit = LineLimit::new(10);
static WITHOUT_LIMIT: LineLimit = LineLimit::new(10);

/// The caller of a request, and the method that it calls.
pub(super) struct Asker {
    /// The label that metrics have for it: no path, which holds ids.
    method: Arc<str>,
    peer: Option<SocketAddr>,
    authorization: Option<HeaderValue>,
}

impl Asker {
    pub(super) fn of(request: &Request, method: Arc<str>) -> Self {
        let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        Self { method, peer, authorization }
    }

    /// Logs that the request was refused, if `code` says so. A gRPC status stands in `headers`, which may be trailers; an
    /// error of REST in `extensions`.
    pub(super) fn answered(&self, code: Code, headers: &HeaderMap, extensions: Option<&Extensions>) {
        let organization = extensions.and_then(|extensions| extensions.get::<KeyOrganization>());
        let organization = organization.map(|KeyOrganization(organization)| organization.as_str());
        match code {
            Code::Http(401 | 403 | 429) => {
                if let Some(rest::Refused { reason, message }) = extensions.and_then(|extensions| extensions.get()) {
                    self.log(*reason, message, organization);
                }
            }
            Code::Grpc(7 | 8 | 16) => {
                let Some(status) = Status::from_header_map(headers) else { return };
                if let Some(reason) = grpc::status::reason(&status) {
                    self.log(reason, status.message(), organization);
                }
            }
            Code::Http(_) | Code::Grpc(_) => {}
        }
    }

    fn log(&self, reason: Reason, message: &str, organization: Option<&str>) {
        let limit = match reason {
            good if WITH_GOOD_KEY.contains(&good) => &WITH_GOOD_KEY_LIMIT,
            other if WITHOUT.contains(&other) => &WITHOUT_LIMIT,
            // Such as a payload that is too large.
            _ => return,
        };
        let key = self.authorization.as_ref().and_then(claimed_key_id);
        let (reason, key) = (reason.rest_code(), key.as_deref());
        let Some(left_out) = limit.admit(&format!("{reason} {}", key.unwrap_or_default())) else { return };
        let peer = self.peer.map(tracing::field::display);
        let method = &*self.method;
        warn!(
            target: SECURITY,
            reason, detail = message, key, organization, peer, method, left_out, "access refused"
        );
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn the_peer_is_the_one_that_the_connection_has_left() {
        let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
        let mut request = Request::new(Body::empty());
        assert_eq!(Asker::of(&request, "method".into()).peer, None);
        request.extensions_mut().insert(Peer(peer));
        assert_eq!(Asker::of(&request, "method".into()).peer, Some(peer));
    }
}
