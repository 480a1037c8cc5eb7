//! The REST surface: a translation of each call to the same call of gRPC, and of its answer back.
//! Whatever is answered here, errors included, is JSON.

pub mod body;
mod envelope;
mod json;
mod params;

use std::future::Future;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Extension, FromRequestParts, Path, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::DeserializeOwned;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::access::{Caller, Refuse, authenticate};
use crate::domain::Named;
use crate::error::Error;
use crate::grpc::pb::audit_log_service_server::AuditLogService;
use crate::grpc::{self, MAX_REQUEST, ORGANIZATION_HEADER, pb};
use crate::store::Store;
pub use envelope::{Failure, refuse};
use params::Params;

/// What an answer needs.
#[derive(Clone)]
struct Api {
    service: grpc::Service,
}

type Answer = Result<Response, Failure>;

/// All paths.
pub fn router(service: grpc::Service, store: Store, draining: Arc<AtomicBool>) -> Router {
    let access = service.access.clone();
    let mut api = Router::new()
        .route("/v1/{organization_id}/audit-logs", get(list).post(write))
        .route("/v1/{organization_id}/audit-logs/{id}", get(one));
    for Named { name, path_segment, .. } in &service.catalogue.resource_types {
        if let Some(segment) = path_segment {
            let path = format!("/v1/{segment}/{{resource_id}}/history");
            api = api.route(&path, get(history).layer(Extension(ResourceTypeName(name.clone()))));
        }
    }
    let refuse: Refuse = refuse;
    let ready = move || readiness(store.clone(), draining.load(Ordering::Relaxed));
    api.route_layer(from_fn_with_state((access, refuse), authenticate))
        .route("/livez", get(async || json::answer(StatusCode::OK, &json::ALIVE)))
        .route("/readyz", get(ready))
        .fallback(|request: Request| async move { Failure::no_route(&request) })
        .method_not_allowed_fallback(|request: Request| async move { Failure::no_method(&request) })
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(Api { service })
}

/// What answers beside gRPC where REST is switched off.
pub fn switched_off() -> Router {
    Router::new().fallback(async || Failure::switched_off())
}

/// The resource type that a history's path stands for.
#[derive(Clone)]
struct ResourceTypeName(String);

async fn readiness(store: Store, is_draining: bool) -> Answer {
    if is_draining {
        return Err(Failure::unavailable("The service is shutting down"));
    }
    store.ping().await.map_err(Status::from)?;
    Ok(json::answer(StatusCode::OK, &json::ALIVE))
}

/// What every call takes from its HTTP request beside the body.
struct Call<P> {
    path: P,
    query: Option<String>,
    caller: Caller,
    headers: HeaderMap,
}

impl<P: DeserializeOwned + Send> FromRequestParts<Api> for Call<P> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let Path(path) = Path::from_request_parts(parts, api)
            .await
            .map_err(|rejection| Failure::parameter("path", rejection.body_text()))?;
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::from(Error::MissingAuthentication))?;
        Ok(Self { path, query: parts.uri.query().map(str::to_owned), caller, headers: take(&mut parts.headers) })
    }
}

impl<P> Call<P> {
    fn params(&self, allowed: &[&str]) -> Result<Params, Failure> {
        Params::parse(self.query.as_deref(), allowed)
    }

    /// `message` as a gRPC call would bring it.
    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let named = self.headers.get_all(ORGANIZATION_HEADER).iter();
        let named = named.map(|value| (HeaderName::from_static(ORGANIZATION_HEADER), value.clone()));
        *request.metadata_mut() = MetadataMap::from_headers(named.collect());
        request.extensions_mut().insert(self.caller.clone());
        request
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

async fn list(State(Api { service }): State<Api>, call: Call<String>) -> Answer {
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
    json::page(page.audit_logs, page.pagination)
}

async fn history(
    State(Api { service }): State<Api>,
    Extension(ResourceTypeName(resource_type)): Extension<ResourceTypeName>,
    call: Call<String>,
) -> Answer {
    let params = call.params(&params::HISTORY).and_then(|params| params.history(resource_type, call.path.clone()));
    let message = match params {
        Ok(message) => message,
        Err(fault) => {
            let invalid = pb::GetResourceHistoryRequest { limit: Some(0), ..Default::default() };
            return Err(after_access(fault, service.get_resource_history(call.request(invalid))).await);
        }
    };
    let page = service.get_resource_history(call.request(message)).await?.into_inner();
    json::page(page.audit_logs, page.pagination)
}

async fn one(State(Api { service }): State<Api>, call: Call<(String, String)>) -> Answer {
    let (organization_id, id) = call.path.clone();
    if let Err(fault) = call.params(&[]) {
        let invalid = pb::GetAuditLogRequest { organization_id, id: String::new() };
        return Err(after_access(fault, service.get_audit_log(call.request(invalid))).await);
    }
    let message = pb::GetAuditLogRequest { organization_id, id };
    let answer = service.get_audit_log(call.request(message)).await?.into_inner();
    json::one(answer.audit_log)
}

async fn write(State(Api { service }): State<Api>, call: Call<String>, body: Result<Bytes, BytesRejection>) -> Answer {
    let organization_id = call.path.clone();
    let decoded = call
        .params(&[])
        .and_then(|_| is_json(&call.headers))
        .and_then(|()| body.map_err(Failure::from))
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

fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = sent.and_then(|sent| sent.split(';').next()).map(str::trim);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Failure::media_type(sent)),
    }
}
