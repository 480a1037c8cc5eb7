//! The gRPC health service: the status of each service of this server, and streams of status changes. Needs no key.
//! Source: gRPC, "GRPC Health Checking Protocol".

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::grpc::health::health_check_response::ServingStatus;
use crate::grpc::health::health_server::{Health, HealthServer};
use crate::grpc::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use crate::grpc::pb;

/// The name that stands for the whole server.
pub(super) const SERVER: &str = "";
pub(super) const AUDIT_LOGS: &str = pb::audit_log_service_server::SERVICE_NAME;
pub(super) const ERASURES: &str = pb::erasure_service_server::SERVICE_NAME;
pub(super) const HISTORIES: &str = pb::history_service_server::SERVICE_NAME;
/// SERVING while checkpoints can be signed.
pub(super) const PROOFS: &str = pb::integrity_service_server::SERVICE_NAME;

/// The largest message of a call that needs no key, in bytes.
pub(super) const MAX_PROBE: usize = 4 * 1024;

/// The stream of a health watch.
pub(super) type Watching = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

/// The status of each service. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct HealthStatuses(Arc<watch::Sender<Statuses>>);

#[derive(Debug, Clone)]
struct Statuses {
    by_service: BTreeMap<&'static str, ServingStatus>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// All services are NOT_SERVING, and calls of `set` have no effect.
    Draining,
    /// Health watches end.
    Ended,
}

impl HealthStatuses {
    /// All of `services`, with status SERVING.
    pub(super) fn serving(services: &[&'static str]) -> Self {
        let by_service = services.iter().map(|service| (*service, ServingStatus::Serving)).collect();
        Self(Arc::new(watch::Sender::new(Statuses { by_service, phase: Phase::Running })))
    }

    /// Sets the status of `service`. Has no effect once the server drains.
    pub(super) fn set(&self, service: &'static str, is_serving: bool) {
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.send_if_modified(|statuses| {
            statuses.phase == Phase::Running && statuses.by_service.insert(service, status) != Some(status)
        });
    }

    /// Sets all services to NOT_SERVING for good.
    pub(super) fn drain(&self) {
        self.0.send_modify(|statuses| {
            statuses.phase = statuses.phase.max(Phase::Draining);
            statuses.by_service.values_mut().for_each(|status| *status = ServingStatus::NotServing);
        });
    }

    /// Ends the health watches, which would never end by themselves.
    pub(super) fn end_watches(&self) {
        self.0.send_modify(|statuses| statuses.phase = Phase::Ended);
    }

    /// Whether the server drains.
    pub(super) fn is_draining(&self) -> bool {
        self.0.borrow().phase >= Phase::Draining
    }

    /// Waits until the server drains.
    pub(super) async fn draining(&self) {
        // Cannot fail: `self` keeps the sender alive.
        let _ = self.0.subscribe().wait_for(|statuses| statuses.phase >= Phase::Draining).await;
    }

    /// The status of `service` now and at each change, until watches end. A change just before the end is still sent.
    fn watch(&self, service: String) -> Watching {
        let state = (self.0.subscribe(), None);
        let changes = stream::unfold(state, move |(mut statuses, sent)| {
            let service = service.clone();
            async move {
                let differs = |now: &Statuses| now.phase == Phase::Ended || Some(now.of(&service)) != sent;
                let now = statuses.wait_for(differs).await.ok()?.of(&service);
                (Some(now) != sent).then(|| (Ok(message(now)), (statuses, Some(now))))
            }
        });
        changes.boxed()
    }
}

impl Statuses {
    fn of(&self, service: &str) -> ServingStatus {
        self.by_service.get(service).copied().unwrap_or(ServingStatus::ServiceUnknown)
    }
}

pub(super) fn message(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// The health service over `health`, with a low limit on message size.
pub(super) fn server<H: Health>(health: H) -> HealthServer<H> {
    HealthServer::new(health).max_decoding_message_size(MAX_PROBE)
}

#[tonic::async_trait]
impl Health for HealthStatuses {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.0.borrow().of(&request.into_inner().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("There is no service of that name here")),
            status => Ok(Response::new(message(status))),
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = self.0.borrow();
        let statuses = statuses.by_service.iter().map(|(service, status)| ((*service).to_owned(), message(*status)));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }

    type WatchStream = Watching;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watching>, Status> {
        Ok(Response::new(self.watch(request.into_inner().service)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_status_comes_before_the_end() {
        let health = HealthStatuses::serving(&[AUDIT_LOGS]);
        let mut watched = health.watch(AUDIT_LOGS.to_owned());
        let mut next = async || watched.next().await.map(|message| message.expect("a message").status());
        assert_eq!(next().await, Some(ServingStatus::Serving));
        health.drain();
        health.end_watches();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        assert_eq!(next().await, None);
    }
}
