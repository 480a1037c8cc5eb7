//! The REST surface: a translation of each call to the same call of gRPC, and of its answer back.
//! Every answer is JSON, errors included.

pub mod body;
mod envelope;
pub mod json;
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
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, StatusCode};
use serde::de::DeserializeOwned;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::grpc::pb::audit_log_service_server::AuditLogService;
use crate::grpc::pb::integrity_service_server::IntegrityService;
use crate::grpc::{MAX_REQUEST, ORGANIZATION_HEADER, pb};
pub use envelope::{Failure, Refused, respond, rest_name};
use params::Params;

/// The headers that a call takes along: who asks, for which organization, as part of which trace.
static FORWARDED: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static(ORGANIZATION_HEADER),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The gRPC services that calls go to.
pub trait Services: AuditLogService + IntegrityService + Clone {}

impl<S: AuditLogService + IntegrityService + Clone> Services for S {}

/// The target of all calls: the services in this process, or those of one elsewhere.
#[derive(Clone)]
struct Api<S> {
    service: Arc<S>,
}

type Answer = Result<Response, Failure>;

/// All paths, answered by `service`. `admit` guards those that need a key, before a body is read, and `admit_keyless`
/// the others. `ready` tells whether the service can be used.
pub fn router<S, F>(
    service: Arc<S>,
    admit: impl FnOnce(Router) -> Router,
    admit_keyless: impl FnOnce(Router) -> Router,
    ready: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Router
where
    S: Services,
    F: Future<Output = Result<(), Status>> + Send,
{
    let api = Router::new()
        .route("/v1/{organization_id}/audit-logs", get(list::<S>).post(write::<S>))
        .route("/v1/{organization_id}/audit-logs/{id}", get(one::<S>))
        .route("/v1/{path_segment}/{resource_id}/history", get(history::<S>))
        .merge(log::routes())
        .with_state(Api { service });
    let ready = async move || -> Answer {
        ready().await?;
        Ok(json::answer(StatusCode::OK, &json::ALIVE))
    };
    let probes = Router::new()
        .route("/livez", get(async || json::answer(StatusCode::OK, &json::ALIVE)))
        .route("/readyz", get(ready));
    admit(api)
        .merge(admit_keyless(probes))
        .fallback(|request: Request| async move { Failure::no_route(&request) })
        .method_not_allowed_fallback(|request: Request| async move { Failure::no_method(&request) })
}

/// The answer beside gRPC where REST is switched off.
pub fn switched_off() -> Router {
    Router::new().fallback(async || Failure::switched_off())
}

/// The parts of an HTTP request that every call takes, beside the body.
struct Call<P> {
    path: P,
    query: Option<String>,
    headers: HeaderMap,
    /// The findings of the layers before: who calls, until when.
    extensions: Extensions,
}

impl<P: DeserializeOwned + Send, S: Services> FromRequestParts<Api<S>> for Call<P> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api<S>) -> Result<Self, Failure> {
        let path = Path::from_request_parts(parts, api).await;
        let query = parts.uri.query().map(str::to_owned);
        let (headers, extensions) = (take(&mut parts.headers), take(&mut parts.extensions));
        match path {
            Ok(Path(path)) => Ok(Self { path, query, headers, extensions }),
            Err(_) => {
                let fault = Failure::parameter("path", "must be UTF-8, percent-encoded");
                let mut call = Call { path: (), query, headers, extensions };
                // Without an organization nothing but the credential is looked at.
                call.headers.remove(ORGANIZATION_HEADER);
                let invalid = call.request(pb::GetAuditLogRequest::default());
                Err(after_access(fault, api.service.get_audit_log(invalid)).await)
            }
        }
    }
}

impl<P> Call<P> {
    fn params(&self, allowed: &[&str]) -> Result<Params, Failure> {
        Params::parse(self.query.as_deref(), allowed)
    }

    /// `message` as a gRPC call would bring it.
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

/// Credential, organization and scope come before parameters: `fault` is told only to a caller whose
/// call, which is invalid by purpose, fails for no other reason.
async fn after_access<T>(fault: Failure, call: impl Future<Output = Result<T, Status>>) -> Failure {
    match call.await {
        Err(status) if status.code() != Code::InvalidArgument => status.into(),
        _ => fault,
    }
}

async fn list<S: Services>(State(Api { service }): State<Api<S>>, call: Call<String>) -> Answer {
    let params = call.params(&params::LIST).and_then(|params| params.list(call.path.clone()));
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

async fn history<S: Services>(State(Api { service }): State<Api<S>>, call: Call<(String, String)>) -> Answer {
    let (path_segment, resource_id) = call.path.clone();
    let params = call.params(&params::HISTORY).and_then(|params| params.history(path_segment.clone(), resource_id));
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

async fn one<S: Services>(State(Api { service }): State<Api<S>>, call: Call<(String, String)>) -> Answer {
    let (organization_id, id) = call.path.clone();
    if let Err(fault) = call.params(&[]) {
        let invalid = pb::GetAuditLogRequest { organization_id, id: String::new() };
        return Err(after_access(fault, service.get_audit_log(call.request(invalid))).await);
    }
    let message = pb::GetAuditLogRequest { organization_id, id };
    let answer = service.get_audit_log(call.request(message)).await?.into_inner();
    Ok(json::one(answer.audit_log))
}

async fn write<S: Services>(State(Api { service }): State<Api<S>>, call: Call<String>, body: Body) -> Answer {
    let body = read(body).await;
    let organization_id = call.path.clone();
    let decoded = call
        .params(&[])
        .and_then(|_| is_json(&call.headers))
        .and(body)
        .and_then(|body| body::audit_logs(&body, &organization_id));
    let audit_logs = match decoded {
        Ok(audit_logs) => audit_logs,
        Err(fault) => {
            let invalid = pb::WriteAuditLogsRequest { organization_id, audit_logs: Vec::new() };
            return Err(after_access(fault, service.write_audit_logs(call.request(invalid))).await);
        }
    };
    let message = pb::WriteAuditLogsRequest { organization_id, audit_logs };
    let written = service.write_audit_logs(call.request(message)).await?.into_inner();
    Ok(json::written(written.audit_logs))
}

/// The bytes of `body`.
async fn read(body: Body) -> Result<Vec<u8>, Failure> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| Failure::unread(&error))?);
        if bytes.len() > MAX_REQUEST {
            return Err(Failure::too_large());
        }
    }
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = sent.and_then(|sent| sent.split(';').next()).map(str::trim);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Failure::media_type(sent)),
    }
}
