//! How resources changed: states, comparisons, checks of continuity, and rollback plans.

pub mod answer;
mod check;
mod selection;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;

use super::params::{self, ResourcePath};
use super::{Answer, Call, ErrorResponse, Services, after_access, json};
use crate::deadline::Deadline;
use crate::grpc::pb;

/// How long a check of an organization collects breaks before it returns a token. It takes no more than half of the
/// time that the request has left.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes of one resource, of checks and of plans.
pub(super) fn routes<S: Services>() -> Router<Arc<S>> {
    Router::new()
        .route("/v1/{organization_id}/resources/{resource_type}/{resource_id}/state", get(state::<S>))
        .route("/v1/{organization_id}/resources/{resource_type}/{resource_id}/compare", get(compare::<S>))
        .route("/v1/{organization_id}/resources/{resource_type}/{resource_id}/continuity", get(continuity::<S>))
        .route("/v1/{organization_id}/continuity", get(organization_continuity::<S>))
        .route("/v1/{organization_id}/rollback-plans", post(plan::<S>))
}

async fn state<S: Services>(State(service): State<Arc<S>>, call: Call<ResourcePath>) -> Answer {
    let path = call.path.clone();
    let message = match call.params(params::STATE).and_then(|params| params.state(path.clone())) {
        Ok(message) => message,
        Err(fault) => return Err(refused(&*service, call, path.0, fault).await),
    };
    let state = service.get_resource_state(call.request(message)).await?.into_inner();
    Ok(json::written_by(StatusCode::OK, |text| answer::state(text, &state)))
}

async fn compare<S: Services>(State(service): State<Arc<S>>, call: Call<ResourcePath>) -> Answer {
    let path = call.path.clone();
    let message = match call.params(params::COMPARISON).and_then(|params| params.comparison(path.clone())) {
        Ok(message) => message,
        Err(fault) => return Err(refused(&*service, call, path.0, fault).await),
    };
    let comparison = service.compare_resource_states(call.request(message)).await?.into_inner();
    Ok(json::written_by(StatusCode::OK, |text| answer::comparison(text, &comparison)))
}

async fn continuity<S: Services>(State(service): State<Arc<S>>, call: Call<ResourcePath>) -> Answer {
    let path = call.path.clone();
    match call.params(params::CONTINUITY).and_then(|params| params.continuity(path.clone())) {
        Ok(message) => checked(&*service, call, message).await,
        Err(fault) => Err(refused(&*service, call, path.0, fault).await),
    }
}

async fn organization_continuity<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let organization_id = call.path.clone();
    let all = (organization_id.clone(), String::new(), String::new());
    match call.params(params::ORGANIZATION_CONTINUITY).and_then(|params| params.continuity(all)) {
        Ok(message) => checked(&*service, call, message).await,
        Err(fault) => Err(refused(&*service, call, organization_id, fault).await),
    }
}

/// Collects the messages of a check into one answer.
async fn checked<S: Services, P>(service: &S, call: Call<P>, message: pb::CheckContinuityRequest) -> Answer {
    let deadline = call.extensions.get::<Deadline>();
    let limit = deadline.map_or(CHECK_TIMEOUT, |deadline| CHECK_TIMEOUT.min(deadline.remaining() / 2));
    let sent_token = message.resume_token.clone();
    let messages = service.check_continuity(call.request(message)).await?.into_inner();
    let check = check::collected(messages, &sent_token, limit).await?;
    Ok(json::written_by(StatusCode::OK, |text| answer::continuity(text, &check)))
}

async fn plan<S: Services>(State(service): State<Arc<S>>, call: Call<String>, body: Body) -> Answer {
    let organization_id = call.path.clone();
    let body = call.json_body(body).await;
    let message = match body.and_then(|body| selection::request(&body, &organization_id)) {
        Ok(message) => message,
        Err(fault) => return Err(refused(&*service, call, organization_id, fault).await),
    };
    let planned = service.plan_rollback(call.request(message)).await;
    let plan = planned.map_err(|status| ErrorResponse::named(&status, selection::member))?.into_inner();
    Ok(json::written_by(StatusCode::OK, |text| answer::plan(text, &plan)))
}

/// The error for `fault`, unless access is refused first. All calls here need the same scope as `get_resource_state`.
async fn refused<S: Services, P>(
    service: &S,
    call: Call<P>,
    organization_id: String,
    fault: ErrorResponse,
) -> ErrorResponse {
    let invalid = pb::GetResourceStateRequest { organization_id, ..Default::default() };
    after_access(fault, service.get_resource_state(call.request(invalid))).await
}
