//! The gateway: REST in this process, the service behind a gRPC endpoint elsewhere. It holds no credential:
//! who asks is decided there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::{StreamExt, stream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::admission::Admission;
use super::health::{self, AUDIT_LOGS, HealthStatuses, Watching};
use super::protocols::{Protocols, path};
use super::server::{self, Running};
use super::{Serving, metrics_server, reflection};
use crate::deadline::Deadline;
use crate::domain::{Clock, EntryId, Random};
use crate::error::Error;
use crate::grpc::health::health_check_response::ServingStatus;
use crate::grpc::health::health_client::HealthClient;
use crate::grpc::health::health_server::Health;
use crate::grpc::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use crate::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use crate::grpc::pb::audit_log_service_server::AuditLogService;
use crate::grpc::pb::integrity_service_client::IntegrityServiceClient;
use crate::grpc::pb::integrity_service_server::IntegrityService;
use crate::grpc::{self, MAX_RESPONSE, pb};
use crate::limits::Budget;
use crate::metrics::Metrics;
use crate::rest;
use crate::retry::Backoff;
use crate::telemetry::LineLimit;

/// The most tries of a call while the connection to the service breaks, and the pauses between them.
const MAX_TRIES: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_millis(100);
/// How long the service may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

const NO_GRPC: &str = "This is a gateway, which speaks REST; call the service behind it for gRPC";

/// The parts of a gateway.
pub struct Parts {
    /// The service.
    pub upstream: Endpoint,
    /// For the ids of entries that have none.
    pub clock: Clock,
    /// For the ids of entries that have none.
    pub random: Random,
}

/// Binds and serves. The service need not be there yet.
pub async fn start(parts: Parts, serving: Serving) -> anyhow::Result<Running> {
    let Parts { upstream, clock, random } = parts;
    let metrics = Metrics::default();
    let bound = server::bind(&serving.listen, serving.limits.connections).await?;
    let scraped = metrics_server::start(serving.metrics_listen.as_deref(), &metrics).await?;
    let uri = upstream.uri().clone();
    let channel = upstream.connect_lazy();
    let draining = Arc::new(AtomicBool::new(false));
    let ready = {
        let (channel, draining) = (channel.clone(), Arc::clone(&draining));
        move || ready(channel.clone(), draining.load(Ordering::Relaxed))
    };
    let upstream = Upstream { channel: channel.clone(), clock, random };
    let budget = Budget::new(serving.limits.bytes);
    let admission = Admission::new(serving.limits, budget.clone(), None, &metrics);
    let keyed = |router| admission.keyed(router, rest::respond);
    let rest = rest::router(Arc::new(upstream), keyed, |router| admission.keyless(router, rest::respond), ready);
    // Of gRPC it speaks health and reflection alone, so that the same checks find it well.
    let own = HealthStatuses::serving(&[]);
    let health = health::server(UpstreamHealth { upstream: HealthClient::new(channel), own: own.clone() });
    let grpc = Router::new().route_service(&path(&health), health).merge(reflection::routes(&[])?);
    let grpc = admission.keyless(grpc, grpc::status::respond);
    let protocols = Protocols::new(grpc, NO_GRPC, rest, &serving, (admission, &metrics))?;
    let running = server::spawn(bound, protocols, (budget, metrics), serving, (draining, own), None, scraped);
    info!(address = %running.address, upstream = %uri, "listening");
    Ok(running)
}

async fn ready(channel: Channel, is_draining: bool) -> Result<(), Status> {
    if is_draining {
        return Err(Status::unavailable("The gateway is shutting down"));
    }
    let mut check = Request::new(HealthCheckRequest { service: AUDIT_LOGS.to_owned() });
    check.set_timeout(READY_TIMEOUT);
    let answer = HealthClient::new(channel).check(check).await.map_err(unreachable_upstream)?;
    match answer.into_inner().status == ServingStatus::Serving as i32 {
        true => Ok(()),
        false => Err(Status::unavailable("The service behind this gateway is not serving")),
    }
}

/// The health of the service behind, until the gateway drains.
struct UpstreamHealth {
    upstream: HealthClient<Channel>,
    /// Of the gateway itself.
    own: HealthStatuses,
}

fn health_failed(status: Status) -> Status {
    if is_broken(&status) { unreachable_upstream(status) } else { status }
}

#[tonic::async_trait]
impl Health for UpstreamHealth {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Outcome<HealthCheckResponse> {
        let mut answer = self.upstream.clone().check(request.into_inner()).await.map_err(health_failed)?;
        if self.own.is_draining() {
            *answer.get_mut() = health::message(ServingStatus::NotServing);
        }
        Ok(answer)
    }

    async fn list(&self, request: Request<HealthListRequest>) -> Outcome<HealthListResponse> {
        let mut answer = self.upstream.clone().list(request.into_inner()).await.map_err(health_failed)?;
        if self.own.is_draining() {
            let statuses = answer.get_mut().statuses.values_mut();
            statuses.for_each(|status| *status = health::message(ServingStatus::NotServing));
        }
        Ok(answer)
    }

    type WatchStream = Watching;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Outcome<Watching> {
        let changes = self.upstream.clone().watch(request.into_inner()).await.map_err(health_failed)?.into_inner();
        let own = self.own.clone();
        let changes = changes.map(|change| change.map_err(health_failed));
        let changes = changes.take_until(async move { own.draining().await });
        let last = stream::once(async { Ok(health::message(ServingStatus::NotServing)) });
        Ok(Response::new(changes.chain(last).boxed()))
    }
}

/// The service elsewhere, called as if it were here.
#[derive(Clone)]
struct Upstream {
    channel: Channel,
    clock: Clock,
    random: Random,
}

type Outcome<T> = Result<Response<T>, Status>;

impl Upstream {
    /// Sends `request` on, with the time that is left for it. A connection that breaks is tried again, which
    /// the ids of entries make safe.
    async fn forward<M: Clone, T>(
        &self,
        request: Request<M>,
        call: impl AsyncFn(Channel, Request<M>) -> Outcome<T>,
    ) -> Outcome<T> {
        let (metadata, extensions, message) = request.into_parts();
        let deadline = extensions.get::<Deadline>().copied();
        let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF).at_most(MAX_TRIES - 1);
        loop {
            let mut request = Request::from_parts(metadata.clone(), tonic::Extensions::new(), message.clone());
            if let Some(deadline) = deadline {
                request.set_timeout(deadline.remaining());
            }
            let is_over = || deadline.is_some_and(Deadline::is_over);
            let is_late = |code| code == Code::DeadlineExceeded || is_over();
            let status = match call(self.channel.clone(), request).await {
                Err(status) if is_foreign(&status) && is_late(status.code()) => return Err(Error::Timeout.into()),
                Err(status) if is_foreign(&status) => status,
                outcome => return outcome,
            };
            let Some(pause) = backoff.next().filter(|_| is_broken(&status)) else {
                return Err(unreachable_upstream(status));
            };
            debug!(code = ?status.code(), ?pause, "the connection to the service broke; trying again");
            tokio::time::sleep(pause).await;
        }
    }
}

fn audit_logs(channel: Channel) -> AuditLogServiceClient<Channel> {
    AuditLogServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE)
}

fn integrity(channel: Channel) -> IntegrityServiceClient<Channel> {
    IntegrityServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE)
}

/// Whether something else than the service answered, which gives all of its errors details.
fn is_foreign(status: &Status) -> bool {
    status.details().is_empty()
}

/// Whether the connection broke, before an answer or in the middle of one. A call that it had taken by then is
/// CANCELLED.
fn is_broken(status: &Status) -> bool {
    // RESOURCE_EXHAUSTED is what tonic makes of ENHANCE_YOUR_CALM.
    const BROKEN: [Code; 5] =
        [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::ResourceExhausted];
    is_foreign(status) && BROKEN.contains(&status.code())
}

/// The answer to callers while the service does not answer. The log has the cause.
fn unreachable_upstream(status: Status) -> Status {
    static LINES: LineLimit = LineLimit::new(5);
    // Whoever asks meanwhile, with a key or without.
    if let Some(left_out) = LINES.admit(status.message()) {
        warn!(code = ?status.code(), error = status.message(), left_out, "the service cannot be reached");
    }
    Status::unavailable("The service behind this gateway cannot be reached; try again")
}

#[tonic::async_trait]
impl AuditLogService for Upstream {
    async fn list_audit_logs(&self, request: Request<pb::ListAuditLogsRequest>) -> Outcome<pb::ListAuditLogsResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).list_audit_logs(request).await).await
    }

    async fn get_resource_history(
        &self,
        request: Request<pb::GetResourceHistoryRequest>,
    ) -> Outcome<pb::GetResourceHistoryResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).get_resource_history(request).await).await
    }

    async fn get_audit_log(&self, request: Request<pb::GetAuditLogRequest>) -> Outcome<pb::GetAuditLogResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).get_audit_log(request).await).await
    }

    async fn write_audit_logs(
        &self,
        mut request: Request<pb::WriteAuditLogsRequest>,
    ) -> Outcome<pb::WriteAuditLogsResponse> {
        // Before the first try, so that the second finds what the first may have written.
        let now = self.clock.now();
        for entry in request.get_mut().audit_logs.iter_mut().filter(|entry| entry.id.is_empty()) {
            entry.id = EntryId::generate(now, &self.random).into();
        }
        self.forward(request, async |channel, request| audit_logs(channel).write_audit_logs(request).await).await
    }

    type ExportAuditLogsStream = Streaming<pb::ExportAuditLogsResponse>;

    async fn export_audit_logs(
        &self,
        request: Request<pb::ExportAuditLogsRequest>,
    ) -> Outcome<Self::ExportAuditLogsStream> {
        self.forward(request, async |channel, request| audit_logs(channel).export_audit_logs(request).await).await
    }
}

#[tonic::async_trait]
impl IntegrityService for Upstream {
    async fn get_checkpoint(&self, request: Request<pb::GetCheckpointRequest>) -> Outcome<pb::GetCheckpointResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_checkpoint(request).await).await
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> Outcome<pb::GetInclusionProofResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_inclusion_proof(request).await).await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Outcome<pb::GetConsistencyProofResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_consistency_proof(request).await).await
    }

    async fn get_public_keys(&self, request: Request<pb::GetPublicKeysRequest>) -> Outcome<pb::GetPublicKeysResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_public_keys(request).await).await
    }

    async fn get_tile(&self, request: Request<pb::GetTileRequest>) -> Outcome<pb::GetTileResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_tile(request).await).await
    }

    type ReadEntriesStream = Streaming<pb::ReadEntriesResponse>;

    async fn read_entries(&self, request: Request<pb::ReadEntriesRequest>) -> Outcome<Self::ReadEntriesStream> {
        self.forward(request, async |channel, request| integrity(channel).read_entries(request).await).await
    }
}
