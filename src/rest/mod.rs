//! The REST surface: translates each call to the same gRPC call, and the response back. Responses are JSON, errors
//! included; exports, and the log's checkpoint and tiles have formats of their own.

pub mod around;
pub mod counts;
pub mod entry;
mod envelope;
pub mod export;
mod feed;
pub mod history;
pub mod json;
mod leaf_input;
mod log;
mod params;

use std::future::Future;
use std::mem::take;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::grpc::pb::audit_log_service_server::AuditLogService;
use crate::grpc::pb::history_service_server::HistoryService;
use crate::grpc::pb::integrity_service_server::IntegrityService;
use crate::grpc::{MAX_REQUEST, ORGANIZATION_HEADER, pb};
pub use envelope::{AccessRefusal, ErrorResponse, respond, rest_name};
pub use feed::is_feed;
pub use params::MAX_WAIT;
use params::Params;

/// The headers that a call forwards: credential, organization and trace.
static FORWARDED: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static(ORGANIZATION_HEADER),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The gRPC services that REST calls.
pub trait Services: AuditLogService + HistoryService + IntegrityService {}

impl<S: AuditLogService + HistoryService + IntegrityService> Services for S {}

type Answer = Result<Response, ErrorResponse>;

/// All routes. `service` is in this process, or behind a gateway. `admit` guards the routes that need a key before a
/// body is read; `admit_keyless` guards the others. `pages` are further routes that need no key. `ready` says whether
/// the service can be used.
pub fn router<S, F>(
    service: Arc<S>,
    admit: impl FnOnce(Router) -> Router,
    admit_keyless: impl FnOnce(Router) -> Router,
    pages: Router,
    ready: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Router
where
    S: Services,
    F: Future<Output = Result<(), Status>> + Send,
{
    let api = Router::new()
        .route("/v1/{organization_id}/audit-logs", get(list::<S>).post(write::<S>))
        .route("/v1/{organization_id}/audit-logs/{id}", get(one::<S>))
        .route("/v1/{organization_id}/audit-log-counts", get(count::<S>))
        .route("/v1/{path_segment}/{resource_id}/history", get(history::<S>))
        .merge(around::routes())
        .merge(export::routes())
        .merge(feed::routes())
        .merge(history::routes())
        .merge(log::routes())
        .with_state(service);
    let ready = async move || -> Answer {
        ready().await?;
        Ok(json::answer(StatusCode::OK, &json::ALIVE))
    };
    let probes = Router::new()
        .route("/livez", get(async || json::answer(StatusCode::OK, &json::ALIVE)))
        .route("/readyz", get(ready));
    admit(api)
        .merge(admit_keyless(probes.merge(pages)))
        .fallback(|request: Request| async move { ErrorResponse::no_route(&request) })
        .method_not_allowed_fallback(|request: Request| async move { ErrorResponse::no_method(&request) })
}

/// The REST routes if REST is switched off: all return an error.
pub fn switched_off() -> Router {
    Router::new().fallback(async || ErrorResponse::switched_off())
}

/// The parts of an HTTP request that every call needs, except the body.
#[derive(Clone)]
struct Call<P> {
    path: P,
    query: Option<String>,
    headers: HeaderMap,
    /// The results of earlier layers: caller and deadline.
    extensions: Extensions,
}

impl<P: DeserializeOwned + Send, S: Services> FromRequestParts<Arc<S>> for Call<P> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<S>) -> Result<Self, ErrorResponse> {
        let path = Path::from_request_parts(parts, service).await;
        let query = parts.uri.query().map(str::to_owned);
        let (headers, extensions) = (take(&mut parts.headers), take(&mut parts.extensions));
        match path {
            Ok(Path(path)) => Ok(Self { path, query, headers, extensions }),
            Err(_) => {
                let fault = ErrorResponse::parameter("path", "must be UTF-8, percent-encoded");
                let mut call = Call { path: (), query, headers, extensions };
                // Without an organization, the service checks only the credential.
                call.headers.remove(ORGANIZATION_HEADER);
                let invalid = call.request(pb::GetAuditLogRequest::default());
                Err(after_access(fault, service.get_audit_log(invalid)).await)
            }
        }
    }
}

impl<P> Call<P> {
    fn params(&self, allowed: &[&[&str]]) -> Result<Params, ErrorResponse> {
        Params::parse(self.query.as_deref(), allowed)
    }

    /// Reads `body`, which must be JSON. Errors: also a parameter, since no call with a body has one.
    async fn json_body(&self, body: Body) -> Result<Vec<u8>, ErrorResponse> {
        // The whole body is read before any other error: a client may not read an answer while it still sends.
        let body = read(body).await;
        self.params(&[])?;
        is_json(&self.headers)?;
        body
    }

    /// `message` with the forwarded headers, as a gRPC request.
    fn request<T>(self, message: T) -> tonic::Request<T> {
        let mut forwarded = HeaderMap::new();
        for name in &FORWARDED {
            for value in self.headers.get_all(name) {
                forwarded.append(name, value.clone());
            }
        }
        tonic::Request::from_parts(MetadataMap::from_headers(forwarded), self.extensions, message)
    }
}

/// Returns `fault` only to a caller who passes the access checks; otherwise the access error. `call` must be invalid on
/// purpose, so that it fails at its parameters at the latest.
async fn after_access<T>(fault: ErrorResponse, call: impl Future<Output = Result<T, Status>>) -> ErrorResponse {
    match call.await {
        Err(status) if status.code() != Code::InvalidArgument => status.into(),
        _ => fault,
    }
}

async fn list<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let params = call.params(params::LIST).and_then(|params| params.list(call.path.clone()));
    let message = match params {
        Ok(message) => message,
        Err(fault) => {
            let organization_id = call.path.clone();
            let invalid = pb::ListAuditLogsRequest { organization_id, limit: Some(0), ..Default::default() };
            return Err(after_access(fault, service.list_audit_logs(call.request(invalid))).await);
        }
    };
    let page = service.list_audit_logs(call.request(message)).await?.into_inner();
    Ok(json::page(&page.audit_logs, page.pagination))
}

async fn history<S: Services>(State(service): State<Arc<S>>, call: Call<(String, String)>) -> Answer {
    let (path_segment, resource_id) = call.path.clone();
    let params = call.params(params::HISTORY).and_then(|params| params.history(path_segment.clone(), resource_id));
    let message = match params {
        Ok(message) => message,
        Err(fault) => {
            let invalid = pb::GetResourceHistoryRequest { path_segment, limit: Some(0), ..Default::default() };
            return Err(after_access(fault, service.get_resource_history(call.request(invalid))).await);
        }
    };
    let page = service.get_resource_history(call.request(message)).await?.into_inner();
    Ok(json::page(&page.audit_logs, page.pagination))
}

async fn one<S: Services>(State(service): State<Arc<S>>, call: Call<(String, String)>) -> Answer {
    let (organization_id, id) = call.path.clone();
    if let Err(fault) = call.params(&[]) {
        let invalid = pb::GetAuditLogRequest { organization_id, id: String::new() };
        return Err(after_access(fault, service.get_audit_log(call.request(invalid))).await);
    }
    let message = pb::GetAuditLogRequest { organization_id, id };
    let answer = service.get_audit_log(call.request(message)).await?.into_inner();
    Ok(json::one(answer.audit_log))
}

async fn count<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let params = call.params(params::COUNT).and_then(|params| params.count(call.path.clone()));
    let message = match params {
        Ok(message) => message,
        Err(fault) => {
            let organization_id = call.path.clone();
            let invalid = pb::CountAuditLogsRequest { organization_id, top: Some(0), ..Default::default() };
            return Err(after_access(fault, service.count_audit_logs(call.request(invalid))).await);
        }
    };
    let counts = service.count_audit_logs(call.request(message)).await?.into_inner();
    Ok(json::answer(StatusCode::OK, &counts::body(counts)))
}

async fn write<S: Services>(State(service): State<Arc<S>>, call: Call<String>, body: Body) -> Answer {
    let organization_id = call.path.clone();
    let body = call.json_body(body).await;
    let audit_logs = match body.and_then(|body| entry::audit_logs(&body, &organization_id)) {
        Ok(audit_logs) => audit_logs,
        Err(fault) => {
            let invalid = pb::WriteAuditLogsRequest { organization_id, audit_logs: Vec::new() };
            return Err(after_access(fault, service.write_audit_logs(call.request(invalid))).await);
        }
    };
    let message = pb::WriteAuditLogsRequest { organization_id, audit_logs };
    let written = service.write_audit_logs(call.request(message)).await?.into_inner();
    Ok(written_json(written.audit_logs))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenBody {
    audit_logs: Vec<WrittenAuditLog>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAuditLog {
    id: String,
    sequence: i64,
    recorded_at: Option<String>,
    replayed: bool,
    /// Base64.
    leaf_hash: String,
}

fn written_json(entries: Vec<pb::WrittenAuditLog>) -> Response {
    let one = |written: pb::WrittenAuditLog| {
        let pb::WrittenAuditLog { id, sequence, recorded_at, replayed, leaf_hash } = written;
        let leaf_hash = STANDARD.encode(leaf_hash);
        WrittenAuditLog { id, sequence, recorded_at: json::time(recorded_at), replayed, leaf_hash }
    };
    json::answer(StatusCode::CREATED, &WrittenBody { audit_logs: entries.into_iter().map(one).collect() })
}

/// Reads `body` into memory. Errors: also more than [`MAX_REQUEST`] bytes.
async fn read(body: Body) -> Result<Vec<u8>, ErrorResponse> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| ErrorResponse::unread(&error))?);
        if bytes.len() > MAX_REQUEST {
            return Err(ErrorResponse::too_large());
        }
    }
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = sent.and_then(|sent| sent.split(';').next()).map(str::trim);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(ErrorResponse::media_type(sent)),
    }
}
