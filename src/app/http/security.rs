//! Logs refused access, once per reason and key within a time window, so that no caller controls the size of the log.

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

/// Refusals after successful authentication. They have a line limit of their own, so that refused callers without a key
/// cannot hide them.
const WITH_GOOD_KEY: [Reason; 2] = [Reason::InsufficientPermissions, Reason::RateLimited];
const WITHOUT: [Reason; 4] =
    [Reason::MissingAuthentication, Reason::InvalidApiKey, Reason::ExpiredApiKey, Reason::Overloaded];

static WITH_GOOD_KEY_LIMIT: LineLimit = LineLimit::new(10);
static WITHOUT_LIMIT: LineLimit = LineLimit::new(10);

/// Logs that a request was refused, with its method and what is known of its caller.
pub(super) struct RefusalLogger {
    /// The method label of the metrics. Not the path, which holds ids.
    method: Arc<str>,
    peer: Option<SocketAddr>,
    authorization: Option<HeaderValue>,
}

impl RefusalLogger {
    pub(super) fn of(request: &Request, method: Arc<str>) -> Self {
        let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        Self { method, peer, authorization }
    }

    /// Logs a refusal if `code` is one. The gRPC status is in `headers`, which may be trailers; a REST error is in
    /// `extensions`.
    pub(super) fn log_refusal(&self, code: Code, headers: &HeaderMap, extensions: Option<&Extensions>) {
        let organization = extensions.and_then(|extensions| extensions.get::<KeyOrganization>());
        let organization = organization.map(|KeyOrganization(organization)| organization.as_str());
        match code {
            Code::Http(401 | 403 | 429) => {
                if let Some(rest::AccessRefusal { reason, message }) =
                    extensions.and_then(|extensions| extensions.get())
                {
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
            // Other reasons, such as a payload that is too large, are not refusals of access.
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
    fn the_peer_address_comes_from_the_request_extension() {
        let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
        let mut request = Request::new(Body::empty());
        assert_eq!(RefusalLogger::of(&request, "method".into()).peer, None);
        request.extensions_mut().insert(Peer(peer));
        assert_eq!(RefusalLogger::of(&request, "method".into()).peer, Some(peer));
    }
}
