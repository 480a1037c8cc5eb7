//! The gateway: REST in this process, and the service behind a gRPC endpoint elsewhere. It holds no credentials: the
//! service authenticates callers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::{Stream, StreamExt, future, stream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::admission::Admission;
use super::health::{self, AUDIT_LOGS, HealthStatuses, Watching};
use super::http::protocols::{Protocols, path};
use super::http::{reflection, viewer};
use super::server::{self, Running};
use super::{Serving, metrics_server};
use crate::deadline::Deadline;
use crate::domain::{Clock, EntryId, Random};
use crate::error::Error;
use crate::grpc::health::health_check_response::ServingStatus;
use crate::grpc::health::health_client::HealthClient;
use crate::grpc::health::health_server::Health;
use crate::grpc::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use crate::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use crate::grpc::pb::audit_log_service_server::AuditLogService;
use crate::grpc::pb::history_service_client::HistoryServiceClient;
use crate::grpc::pb::history_service_server::HistoryService;
use crate::grpc::pb::integrity_service_client::IntegrityServiceClient;
use crate::grpc::pb::integrity_service_server::IntegrityService;
use crate::grpc::{self, MAX_RESPONSE, pb};
use crate::limits::{Budget, KeyBudgets};
use crate::metrics::Metrics;
use crate::rest;
use crate::retry::Backoff;
use crate::telemetry::LineLimit;

/// The maximum number of attempts of a call while the connection to the service breaks, and the pauses between them.
const MAX_TRIES: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_millis(100);
/// How long the service may take to answer a readiness check.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of bytes of one export, and of all, that its readers have not taken yet. A service allows 512
/// streams on a connection, so slow readers leave room for each other.
const EXPORT_WINDOW: u32 = 256 * 1024;
const EXPORTS_WINDOW: u32 = 512 * EXPORT_WINDOW;

const NO_GRPC: &str = "This is a gateway, which speaks REST; call the service behind it for gRPC";

/// The dependencies of a gateway.
pub struct GatewayParts {
    /// The endpoint of the service.
    pub upstream: Endpoint,
    /// Dates generated entry ids.
    pub clock: Clock,
    /// Generates ids for entries without one.
    pub random: Random,
}

/// Binds the port and starts the gateway. The service need not be up yet.
pub async fn start(parts: GatewayParts, serving: Serving) -> anyhow::Result<Running> {
    let GatewayParts { upstream, clock, random } = parts;
    let metrics = Metrics::default();
    let bound = server::bind(&serving.listen, serving.limits.connections).await?;
    let scraped = metrics_server::start(serving.metrics_listen.as_deref(), &metrics).await?;
    let uri = upstream.uri().clone();
    let (channel, followers) = (upstream.connect_lazy(), upstream.connect_lazy());
    let exports = upstream.initial_stream_window_size(EXPORT_WINDOW).initial_connection_window_size(EXPORTS_WINDOW);
    let exports = exports.connect_lazy();
    let draining = CancellationToken::new();
    let ready = {
        let (channel, draining) = (channel.clone(), draining.clone());
        move || ready(channel.clone(), draining.is_cancelled())
    };
    let upstream = Upstream { channel: channel.clone(), followers, exports, draining: draining.clone(), clock, random };
    let budget = Budget::new(serving.limits.bytes);
    let admission = Admission::new(serving.limits, KeyBudgets::of(budget.clone()), None, &metrics);
    let keyed = |router| admission.keyed(router, rest::respond);
    let keyless = |router| admission.keyless(router, rest::respond);
    let pages = if serving.viewer { viewer::routes() } else { Router::new() };
    let rest = rest::router(Arc::new(upstream), keyed, keyless, pages, ready);
    // The gateway's own gRPC port offers health and reflection only, so that the same health checks work for both
    // servers.
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

/// The health of the service behind the gateway, until the gateway drains.
struct UpstreamHealth {
    upstream: HealthClient<Channel>,
    /// The gateway's own status.
    own: HealthStatuses,
}

#[tonic::async_trait]
impl Health for UpstreamHealth {
    async fn check(&self, request: Request<HealthCheckRequest>) -> RpcResult<HealthCheckResponse> {
        let mut answer = self.upstream.clone().check(request.into_inner()).await.map_err(upstream_failed)?;
        if self.own.is_draining() {
            *answer.get_mut() = health::message(ServingStatus::NotServing);
        }
        Ok(answer)
    }

    async fn list(&self, request: Request<HealthListRequest>) -> RpcResult<HealthListResponse> {
        let mut answer = self.upstream.clone().list(request.into_inner()).await.map_err(upstream_failed)?;
        if self.own.is_draining() {
            let statuses = answer.get_mut().statuses.values_mut();
            statuses.for_each(|status| *status = health::message(ServingStatus::NotServing));
        }
        Ok(answer)
    }

    type WatchStream = Watching;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> RpcResult<Watching> {
        let changes = self.upstream.clone().watch(request.into_inner()).await.map_err(upstream_failed)?.into_inner();
        let own = self.own.clone();
        let changes = changes.map(|change| change.map_err(upstream_failed));
        let changes = changes.take_until(async move { own.draining().await });
        let last = stream::once(async { Ok(health::message(ServingStatus::NotServing)) });
        Ok(Response::new(changes.chain(last).boxed()))
    }
}

/// Forwards calls to the service.
struct Upstream {
    channel: Channel,
    /// A connection of their own for followers, whose streams would leave no room for other calls.
    followers: Channel,
    /// A connection of their own for exports, whose slow readers would leave no window for other responses.
    exports: Channel,
    /// Cancelled once the gateway shuts down, which ends its followers and exports.
    draining: CancellationToken,
    clock: Clock,
    random: Random,
}

type RpcResult<T> = Result<Response<T>, Status>;

impl Upstream {
    /// Forwards `request`, which writes nothing, over the connection of most calls.
    async fn forward<M: Clone, T>(
        &self,
        request: Request<M>,
        call: impl AsyncFn(Channel, Request<M>) -> RpcResult<T>,
    ) -> RpcResult<T> {
        self.forward_over(&self.channel, Error::Timeout, request, call).await
    }

    /// Forwards `request` with its remaining time. Retries while the connection breaks, which the ids of entries make
    /// safe. Errors: `late` if the time is over.
    async fn forward_over<M: Clone, T>(
        &self,
        channel: &Channel,
        late: Error,
        request: Request<M>,
        call: impl AsyncFn(Channel, Request<M>) -> RpcResult<T>,
    ) -> RpcResult<T> {
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
            let status = match call(channel.clone(), request).await {
                Err(status) if is_foreign(&status) && is_late(status.code()) => return Err(late.into()),
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

fn history(channel: Channel) -> HistoryServiceClient<Channel> {
    HistoryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE)
}

fn integrity(channel: Channel) -> IntegrityServiceClient<Channel> {
    IntegrityServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE)
}

/// Whether the status came from something other than the service, which adds details to all of its errors.
fn is_foreign(status: &Status) -> bool {
    status.details().is_empty()
}

/// Whether the connection broke, before or during a response. tonic reports a call in flight as CANCELLED.
fn is_broken(status: &Status) -> bool {
    // tonic maps ENHANCE_YOUR_CALM to RESOURCE_EXHAUSTED.
    const BROKEN: [Code; 5] =
        [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::ResourceExhausted];
    is_foreign(status) && BROKEN.contains(&status.code())
}

/// The error for the callers of a stream that failed with `status`.
fn upstream_failed(status: Status) -> Status {
    if is_broken(&status) { unreachable_upstream(status) } else { status }
}

/// The error for callers while the service cannot be reached. The log has the cause.
fn unreachable_upstream(status: Status) -> Status {
    static LINES: LineLimit = LineLimit::new(5);
    // The limit covers all callers, with a key or without.
    if let Some(left_out) = LINES.admit(status.message()) {
        warn!(code = ?status.code(), error = status.message(), left_out, "the service cannot be reached");
    }
    Status::unavailable("The service behind this gateway cannot be reached; try again")
}

#[tonic::async_trait]
impl AuditLogService for Upstream {
    async fn list_audit_logs(
        &self,
        request: Request<pb::ListAuditLogsRequest>,
    ) -> RpcResult<pb::ListAuditLogsResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).list_audit_logs(request).await).await
    }

    async fn get_resource_history(
        &self,
        request: Request<pb::GetResourceHistoryRequest>,
    ) -> RpcResult<pb::GetResourceHistoryResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).get_resource_history(request).await).await
    }

    async fn get_audit_log(&self, request: Request<pb::GetAuditLogRequest>) -> RpcResult<pb::GetAuditLogResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).get_audit_log(request).await).await
    }

    async fn list_audit_logs_around(
        &self,
        request: Request<pb::ListAuditLogsAroundRequest>,
    ) -> RpcResult<pb::ListAuditLogsAroundResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).list_audit_logs_around(request).await).await
    }

    async fn count_audit_logs(
        &self,
        request: Request<pb::CountAuditLogsRequest>,
    ) -> RpcResult<pb::CountAuditLogsResponse> {
        self.forward(request, async |channel, request| audit_logs(channel).count_audit_logs(request).await).await
    }

    async fn write_audit_logs(
        &self,
        mut request: Request<pb::WriteAuditLogsRequest>,
    ) -> RpcResult<pb::WriteAuditLogsResponse> {
        // Before the first attempt, so that a retry finds entries that the first attempt may have written.
        let now = self.clock.now();
        for entry in request.get_mut().audit_logs.iter_mut().filter(|entry| entry.id.is_empty()) {
            entry.id = EntryId::generate(now, &self.random).into();
        }
        self.forward_over(&self.channel, Error::WriteTimeout, request, async |channel, request| {
            audit_logs(channel).write_audit_logs(request).await
        })
        .await
    }

    type ExportAuditLogsStream = Pin<Box<dyn Stream<Item = Result<pb::ExportAuditLogsResponse, Status>> + Send>>;

    async fn export_audit_logs(
        &self,
        request: Request<pb::ExportAuditLogsRequest>,
    ) -> RpcResult<Self::ExportAuditLogsStream> {
        let forwarded = self.forward_over(&self.exports, Error::Timeout, request, async |channel, request| {
            audit_logs(channel).export_audit_logs(request).await
        });
        let messages = forwarded.await?.into_inner().map(|message| message.map_err(upstream_failed));
        let draining = self.draining.clone();
        let messages = messages.take_until(draining.clone().cancelled_owned());
        // An export that the drain has cut off must not look whole.
        let is_cut = stream::once(async move { draining.is_cancelled() });
        let cut = is_cut.filter_map(|is_cut| future::ready(is_cut.then(|| Err(Status::from(Error::Draining)))));
        Ok(Response::new(messages.chain(cut).boxed()))
    }

    type FollowAuditLogsStream = Pin<Box<dyn Stream<Item = Result<pb::FollowAuditLogsResponse, Status>> + Send>>;

    async fn follow_audit_logs(
        &self,
        request: Request<pb::FollowAuditLogsRequest>,
    ) -> RpcResult<Self::FollowAuditLogsStream> {
        let forwarded = self.forward_over(&self.followers, Error::Timeout, request, async |channel, request| {
            audit_logs(channel).follow_audit_logs(request).await
        });
        let messages = forwarded.await?.into_inner().map(|message| message.map_err(upstream_failed));
        let messages = messages.take_until(self.draining.clone().cancelled_owned());
        let ended = stream::once(async { Err(Status::from(Error::Draining)) });
        Ok(Response::new(messages.chain(ended).boxed()))
    }
}

#[tonic::async_trait]
impl HistoryService for Upstream {
    async fn get_resource_state(
        &self,
        request: Request<pb::GetResourceStateRequest>,
    ) -> RpcResult<pb::GetResourceStateResponse> {
        self.forward(request, async |channel, request| history(channel).get_resource_state(request).await).await
    }

    async fn compare_resource_states(
        &self,
        request: Request<pb::CompareResourceStatesRequest>,
    ) -> RpcResult<pb::CompareResourceStatesResponse> {
        self.forward(request, async |channel, request| history(channel).compare_resource_states(request).await).await
    }

    type CheckContinuityStream = Pin<Box<dyn Stream<Item = Result<pb::CheckContinuityResponse, Status>> + Send>>;

    async fn check_continuity(
        &self,
        request: Request<pb::CheckContinuityRequest>,
    ) -> RpcResult<Self::CheckContinuityStream> {
        let forwarded =
            self.forward(request, async |channel, request| history(channel).check_continuity(request).await);
        let messages = forwarded.await?.into_inner().map(|message| message.map_err(upstream_failed));
        Ok(Response::new(messages.boxed()))
    }

    async fn plan_rollback(&self, request: Request<pb::PlanRollbackRequest>) -> RpcResult<pb::PlanRollbackResponse> {
        self.forward(request, async |channel, request| history(channel).plan_rollback(request).await).await
    }
}

#[tonic::async_trait]
impl IntegrityService for Upstream {
    async fn get_checkpoint(&self, request: Request<pb::GetCheckpointRequest>) -> RpcResult<pb::GetCheckpointResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_checkpoint(request).await).await
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> RpcResult<pb::GetInclusionProofResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_inclusion_proof(request).await).await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> RpcResult<pb::GetConsistencyProofResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_consistency_proof(request).await).await
    }

    async fn get_public_keys(
        &self,
        request: Request<pb::GetPublicKeysRequest>,
    ) -> RpcResult<pb::GetPublicKeysResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_public_keys(request).await).await
    }

    async fn get_tile(&self, request: Request<pb::GetTileRequest>) -> RpcResult<pb::GetTileResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_tile(request).await).await
    }

    type ReadEntriesStream = Streaming<pb::ReadEntriesResponse>;

    async fn read_entries(&self, request: Request<pb::ReadEntriesRequest>) -> RpcResult<Self::ReadEntriesStream> {
        self.forward(request, async |channel, request| integrity(channel).read_entries(request).await).await
    }

    async fn get_log_entry(&self, request: Request<pb::GetLogEntryRequest>) -> RpcResult<pb::GetLogEntryResponse> {
        self.forward(request, async |channel, request| integrity(channel).get_log_entry(request).await).await
    }
}
