//! Refuses writes that cannot be queued before their bodies are received and decoded, which would take the core from the
//! commits.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use percent_encoding::percent_decode_str;
use prost::bytes::Bytes;
use prost::encoding::decode_varint;

use super::is_write;
use crate::access::{Caller, ErrorResponder, Scope};
use crate::deadline::Deadline;
use crate::domain::OrganizationId;
use crate::ingest::Ingest;

/// Returns `router` with a check of writes.
pub fn refusing_early(router: Router, ingest: &Ingest, respond: ErrorResponder) -> Router {
    router.route_layer(from_fn_with_state((ingest.clone(), respond), refuse_early))
}

async fn refuse_early(
    State((ingest, respond)): State<(Ingest, ErrorResponder)>,
    request: Request,
    next: Next,
) -> Response {
    let is_write = is_write(&request);
    // A caller that may not write hears that.
    let writer =
        request.extensions().get::<Caller>().filter(|caller| is_write && caller.scopes.contains(&Scope::Write));
    let (Some(writer), Some(deadline)) = (writer, request.extensions().get::<Deadline>().copied()) else {
        return next.run(request).await;
    };
    let (organization, request) = match writer.organization.clone().or_else(|| in_path(request.uri().path())) {
        Some(organization) => (Some(organization), request),
        None => in_body(request).await,
    };
    match ingest.in_time(deadline, organization.as_ref()) {
        Ok(()) => next.run(request).await,
        Err(error) => respond(error),
    }
}

/// The organization that a path of REST names.
fn in_path(path: &str) -> Option<OrganizationId> {
    let segment = path.strip_prefix("/v1/")?.strip_suffix("/audit-logs")?;
    OrganizationId::parse(percent_decode_str(segment).decode_utf8().ok()?).ok()
}

/// The organization that the first piece of a gRPC message names, and the request with its whole body.
async fn in_body(request: Request) -> (Option<OrganizationId>, Request) {
    let (parts, mut body) = request.into_parts();
    let first = body.frame().await;
    let piece = first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
    let organization = piece.and_then(first_field);
    let body = stream::iter(first).chain(BodyStream::new(body));
    (organization, Request::from_parts(parts, Body::new(StreamBody::new(body))))
}

/// The organization of a gRPC message that is not compressed, if its first field is that. Clients send fields in order;
/// the message of one that does not is checked once it is decoded.
fn first_field(piece: &Bytes) -> Option<OrganizationId> {
    let [0, _, _, _, _, 0x0a, rest @ ..] = &piece[..] else { return None };
    let mut rest = rest;
    let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    OrganizationId::parse(std::str::from_utf8(rest.get(..length)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::grpc::pb::{AuditLogInput, WriteAuditLogsRequest};

    #[test]
    fn the_organization_is_read_from_the_beginning_of_a_message() {
        for organization_id in ["o", &"ö".repeat(128)] {
            let request = WriteAuditLogsRequest {
                organization_id: organization_id.to_owned(),
                audit_logs: vec![AuditLogInput::default()],
            };
            let message = [&[0, 0, 0, 0, 9][..], &request.encode_to_vec()].concat();
            let found = |piece: &[u8]| first_field(&Bytes::copy_from_slice(piece)).map(|id| id.to_string());
            let end = message.len() - 2;
            assert_eq!(found(&message[..end]).as_deref(), Some(organization_id));
            for end in 0..end {
                assert_eq!(found(&message[..end]), None, "{end} bytes");
            }
            assert_eq!(found(&[&[1], &message[1..]].concat()), None, "compressed");
        }
        assert_eq!(first_field(&Bytes::from_static(&[0, 0, 0, 0, 2, 0x12, 0])), None, "another field");
        assert_eq!(first_field(&Bytes::from_static(&[0, 0, 0, 0, 9, 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff])), None);
    }

    #[test]
    fn the_organization_is_read_from_the_path() {
        let found = |path| in_path(path).map(|id| id.to_string());
        assert_eq!(found("/v1/org_a/audit-logs").as_deref(), Some("org_a"));
        assert_eq!(found("/v1/a%2Fb%20%C3%B6/audit-logs").as_deref(), Some("a/b ö"));
        for other in ["/auditlog.v1.AuditLogService/WriteAuditLogs", "/v1/%FF/audit-logs", "/v1//audit-logs"] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
