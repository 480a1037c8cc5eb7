//! The gRPC surface: decode, call, encode.

pub mod codec;
mod counts;
mod erasure;
mod history;
mod integrity;
pub mod status;
pub mod wire;

/// The generated code of the gRPC contract.
#[expect(clippy::allow_attributes, clippy::too_many_lines, reason = "generated")]
pub mod pb {
    tonic::include_proto!("auditlog.v1");

    /// Descriptors of all messages and services, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/auditlog.v1.binpb"));
}

/// The generated health protocol, with its descriptors for reflection.
#[expect(clippy::allow_attributes, clippy::too_many_lines, reason = "generated")]
pub mod health {
    tonic::include_proto!("grpc.health.v1");

    /// Descriptors of all messages and services, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grpc.health.v1.binpb"));
}

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::access::{Access, Caller, Scope};
use crate::catalogue::Catalogues;
use crate::deadline::Deadline;
use crate::domain::{Catalogue, Clock, EntryId, OrganizationId, Random, quoted};
use crate::error::{AtField, Error, Result};
use crate::history::History;
use crate::ingest::{Batch, Eraser, Ingest};
use crate::integrity::Integrity;
use crate::query::{ExportPiece, Follow, Page, Query, Surroundings};
use pb::audit_log_service_server::AuditLogService;

/// The maximum number of bytes of a request.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// The maximum number of bytes of a response. Clients must accept messages of this size.
pub const MAX_RESPONSE: usize = 32 * 1024 * 1024;
/// The header that names the organization of a history. Elsewhere it may repeat the organization of the request.
pub const ORGANIZATION_HEADER: &str = "x-organization-id";
/// The path of `FollowAuditLogs`, whose streams do not end.
pub const FOLLOW_PATH: &str = "/auditlog.v1.AuditLogService/FollowAuditLogs";

/// `auditlog.v1.AuditLogService`.
#[derive(Clone)]
pub struct Service {
    /// Checks callers.
    pub access: Arc<Access>,
    /// Answers lists, gets and counts.
    pub query: Query,
    /// Answers questions about the history of resources.
    pub history: History,
    /// Answers verifiers.
    pub integrity: Integrity,
    /// Takes writes.
    pub ingest: Ingest,
    /// Erases values.
    pub eraser: Eraser,
    /// Names resource types and actions.
    pub catalogues: Catalogues,
    /// Decides whether a timestamp is in the future.
    pub clock: Clock,
    /// Generates ids that the writer left out.
    pub random: Random,
    /// Cancelled once the service shuts down. Open streams then end early; clients resume them elsewhere.
    pub draining: CancellationToken,
    /// The longest that one piece of a stream may take.
    pub request_timeout: Duration,
}

impl Service {
    /// The caller and its organization, after all access checks. The authentication layer has put the caller into the
    /// request.
    async fn enter<T>(&self, request: &Request<T>, named: &str, scope: Scope) -> Result<(Caller, OrganizationId)> {
        let caller = caller(request)?;
        let named = agreed(request, named)?.ok_or_else(|| missing("is required"))?;
        let organization = self.access.enter(&caller, &named, scope).await?;
        Ok((caller, organization))
    }

    /// Encodes a page.
    async fn page(
        &self,
        page: Page,
        organization: &OrganizationId,
        catalogue: Arc<Catalogue>,
    ) -> Result<(Vec<pb::AuditLog>, pb::Pagination)> {
        let catalogue = self.catalogues.naming(catalogue, &page.entries).await?;
        wire::page(page, organization, &catalogue)
    }

    /// The item that `next` returns, as long as the key is valid and the service runs: a stream may outlive both.
    async fn piece<T>(
        &self,
        authorization: Option<&str>,
        next: impl Future<Output = Result<Option<T>>>,
    ) -> Result<Option<T>> {
        self.access.caller(authorization, None).await?;
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        tokio::time::timeout(self.request_timeout, next).await.map_err(|_| Error::Timeout)?
    }

    /// Encodes a piece of an export.
    async fn pieces(
        &self,
        piece: ExportPiece,
        organization: &OrganizationId,
    ) -> Result<Vec<pb::ExportAuditLogsResponse>> {
        let catalogue = self.catalogues.naming(self.catalogues.current().await?, &piece.entries).await?;
        wire::pieces(piece, organization, &catalogue, wire::MAX_PIECE)
    }

    /// The messages of the next piece of a follower. Each piece needs a valid key, so a revoked one ends the stream at
    /// the next heartbeat. When the service shuts down, the stream ends at once.
    async fn followed(
        &self,
        authorization: Option<&str>,
        follow: &mut Follow,
        organization: &OrganizationId,
    ) -> Result<Vec<pb::FollowAuditLogsResponse>> {
        let next = async {
            loop {
                follow.wait().await;
                if let Some(piece) = self.piece(authorization, follow.next()).await? {
                    return Ok::<_, Error>(piece);
                }
            }
        };
        let piece = tokio::select! {
            piece = next => piece?,
            () = self.draining.cancelled() => return Err(Error::Draining),
        };
        let catalogue = self.catalogues.naming(self.catalogues.current().await?, &piece.entries).await?;
        wire::followed(piece, organization, &catalogue)
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller> {
    request.extensions().get::<Caller>().cloned().ok_or(Error::MissingAuthentication)
}

/// The credential, for a stream that checks it again.
fn authorization<T>(request: &Request<T>) -> Option<String> {
    Some(request.metadata().get("authorization")?.to_str().ok()?.to_owned())
}

/// The organization that the request names in its field, its header, or both. Errors: the two differ.
fn agreed<T>(request: &Request<T>, field: &str) -> Result<Option<String>> {
    let mut headers = request.metadata().get_all(ORGANIZATION_HEADER).iter();
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| missing("must be UTF-8 in x-organization-id"));
    let header = headers.next().map(|value| text(value.as_encoded_bytes()));
    match (header.transpose()?, field) {
        (Some(_), _) if headers.next().is_some() => Err(missing("must come in one x-organization-id")),
        (None, "") => Ok(None),
        (None, field) => Ok(Some(field.to_owned())),
        (Some(header), field) if field.is_empty() || header == field => Ok(Some(header.to_owned())),
        (Some(header), field) => {
            let description = format!("must agree with x-organization-id {}, got {}", quoted(header), quoted(field));
            Err(Error::invalid("organization_id", description))
        }
    }
}

fn missing(description: &str) -> Error {
    Error::invalid("organization_id", description)
}

#[tonic::async_trait]
impl AuditLogService for Service {
    async fn list_audit_logs(
        &self,
        request: Request<pb::ListAuditLogsRequest>,
    ) -> std::result::Result<Response<pb::ListAuditLogsResponse>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Read).await?;
        let catalogue = self.catalogues.current().await?;
        let (filter, start, limit) = wire::listing(request.into_inner(), &catalogue)?;
        let page = self.query.list(&caller.key_id, &organization, &filter, start, limit).await?;
        let (audit_logs, pagination) = self.page(page, &organization, catalogue).await?;
        Ok(Response::new(pb::ListAuditLogsResponse { audit_logs, pagination: Some(pagination) }))
    }

    async fn get_resource_history(
        &self,
        request: Request<pb::GetResourceHistoryRequest>,
    ) -> std::result::Result<Response<pb::GetResourceHistoryResponse>, Status> {
        let caller = caller(&request)?;
        let own = || caller.organization.as_ref().map(OrganizationId::to_string);
        let named = agreed(&request, &request.get_ref().organization_id)?.or_else(own);
        let named = named.ok_or_else(|| missing("is required with a service-wide key: send x-organization-id"))?;
        let organization = self.access.enter(&caller, &named, Scope::Read).await?;
        let catalogue = self.catalogues.current().await?;
        let (filter, start, limit) = wire::history(request.into_inner(), &catalogue)?;
        let page = self.query.list(&caller.key_id, &organization, &filter, start, limit).await?;
        let (audit_logs, pagination) = self.page(page, &organization, catalogue).await?;
        Ok(Response::new(pb::GetResourceHistoryResponse { audit_logs, pagination: Some(pagination) }))
    }

    async fn get_audit_log(
        &self,
        request: Request<pb::GetAuditLogRequest>,
    ) -> std::result::Result<Response<pb::GetAuditLogResponse>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Read).await?;
        let id = EntryId::parse(request.into_inner().id).at("id")?;
        let entry = self.query.get(&caller.key_id, &organization, &id).await?;
        let catalogue = self.catalogues.current().await?;
        let catalogue = self.catalogues.naming(catalogue, std::slice::from_ref(&entry)).await?;
        let audit_log = Some(wire::audit_log(entry, &organization, &catalogue)?);
        Ok(Response::new(pb::GetAuditLogResponse { audit_log }))
    }

    async fn list_audit_logs_around(
        &self,
        request: Request<pb::ListAuditLogsAroundRequest>,
    ) -> std::result::Result<Response<pb::ListAuditLogsAroundResponse>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Read).await?;
        let (id, minutes, cursor, limit) = wire::around(request.into_inner())?;
        let found = self.query.around(&caller.key_id, &organization, &id, minutes, cursor, limit).await?;
        let Surroundings { window, page } = found;
        let (audit_logs, pagination) = self.page(page, &organization, self.catalogues.current().await?).await?;
        Ok(Response::new(pb::ListAuditLogsAroundResponse {
            audit_logs,
            pagination: Some(pagination),
            start_time: window.start().map(wire::time),
            end_time: window.end().map(wire::time),
        }))
    }

    async fn count_audit_logs(
        &self,
        request: Request<pb::CountAuditLogsRequest>,
    ) -> std::result::Result<Response<pb::CountAuditLogsResponse>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Read).await?;
        let catalogue = self.catalogues.current().await?;
        let (filter, grouping) = counts::count(request.into_inner(), &catalogue)?;
        let counts = self.query.count(&caller.key_id, &organization, &filter, &grouping).await?;
        let catalogue = self.catalogues.complete(catalogue, |catalogue| counts.is_named_by(catalogue)).await?;
        Ok(Response::new(counts::counts(counts, &catalogue)?))
    }

    async fn write_audit_logs(
        &self,
        request: Request<pb::WriteAuditLogsRequest>,
    ) -> std::result::Result<Response<pb::WriteAuditLogsResponse>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Write).await?;
        // Checked only now: other writes were queued meanwhile, and the message may have arrived slowly.
        if let Some(deadline) = request.extensions().get::<Deadline>() {
            self.ingest.in_time(*deadline, Some(&organization))?;
        }
        let pb::WriteAuditLogsRequest { organization_id: _, audit_logs } = request.into_inner();
        let now = self.clock.now();
        let catalogue = self.catalogues.current().await?;
        let entries = wire::new_entries(audit_logs, &catalogue, now, &self.random)?;
        let batch = Batch { organization, key_id: caller.key_id, catalogue, entries };
        let written = self.ingest.write(batch).await?;
        let audit_logs = written.into_iter().map(wire::written).collect();
        Ok(Response::new(pb::WriteAuditLogsResponse { audit_logs }))
    }

    type ExportAuditLogsStream =
        Pin<Box<dyn Stream<Item = std::result::Result<pb::ExportAuditLogsResponse, Status>> + Send>>;

    async fn export_audit_logs(
        &self,
        request: Request<pb::ExportAuditLogsRequest>,
    ) -> std::result::Result<Response<Self::ExportAuditLogsStream>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Read).await?;
        let authorization = authorization(&request);
        let (filter, after, through) = wire::export(request.into_inner(), &*self.catalogues.current().await?)?;
        let export = self.query.export(&caller.key_id, organization.clone(), filter, after, through).await?;
        // The reader pulls the pieces, so that a slow reader delays only itself.
        let service = self.clone();
        let pieces = stream::try_unfold(export, move |mut export| {
            let (service, authorization, organization) = (service.clone(), authorization.clone(), organization.clone());
            async move {
                let piece = service.piece(authorization.as_deref(), export.next()).await?;
                let Some(piece) = piece else { return Ok::<_, Error>(None) };
                Ok(Some((service.pieces(piece, &organization).await?, export)))
            }
        });
        let messages = pieces.map_ok(|messages| stream::iter(messages).map(Ok::<_, Error>)).try_flatten();
        Ok(Response::new(messages.map_err(Status::from).boxed()))
    }

    type FollowAuditLogsStream =
        Pin<Box<dyn Stream<Item = std::result::Result<pb::FollowAuditLogsResponse, Status>> + Send>>;

    async fn follow_audit_logs(
        &self,
        request: Request<pb::FollowAuditLogsRequest>,
    ) -> std::result::Result<Response<Self::FollowAuditLogsStream>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Read).await?;
        let authorization = authorization(&request);
        let (filter, after) = wire::follow(request.into_inner(), &*self.catalogues.current().await?)?;
        let follow = self.query.follow(&caller.key_id, organization.clone(), filter, after).await?;
        // As in an export, the reader pulls the pieces.
        let service = self.clone();
        let pieces = stream::try_unfold(follow, move |mut follow| {
            let (service, authorization, organization) = (service.clone(), authorization.clone(), organization.clone());
            async move {
                let messages = service.followed(authorization.as_deref(), &mut follow, &organization).await?;
                Ok::<_, Error>(Some((messages, follow)))
            }
        });
        let messages = pieces.map_ok(|messages| stream::iter(messages).map(Ok::<_, Error>)).try_flatten();
        Ok(Response::new(messages.map_err(Status::from).boxed()))
    }
}
