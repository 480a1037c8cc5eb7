//! `auditlog.v1.ErasureService`: decode, call, encode.

use tonic::{Request, Response, Status};

use super::{Service, pb, wire};
use crate::access::Scope;
use crate::domain::{Catalogue, Erased, ErasureReason, Group, Identifier, OrganizationId};
use crate::error::{AtField, Error, Result};
use crate::ingest::{Erasure, ErasureReport, Target};
use crate::store::ErasureCount;
use pb::erasure_service_server::ErasureService;

#[tonic::async_trait]
impl ErasureService for Service {
    async fn erase_audit_logs(
        &self,
        request: Request<pb::EraseAuditLogsRequest>,
    ) -> std::result::Result<Response<pb::EraseAuditLogsResponse>, Status> {
        let (caller, organization) = self.enter(&request, &request.get_ref().organization_id, Scope::Erase).await?;
        let (request, catalogue) = (request.into_inner(), self.catalogues.current().await?);
        let is_dry = request.dry_run;
        let erasure = erasure(request, organization, caller.key_id, &catalogue)?;
        let report = match is_dry {
            true => {
                let extent = self.eraser.extent(&erasure).await?;
                ErasureReport { extent, is_complete: extent.groups == 0, ..ErasureReport::default() }
            }
            false => self.eraser.erase(erasure).await?,
        };
        Ok(Response::new(answer(report)))
    }
}

fn erasure(
    request: pb::EraseAuditLogsRequest,
    organization: OrganizationId,
    key_id: String,
    catalogue: &Catalogue,
) -> Result<Erasure> {
    use pb::erase_audit_logs_request::Target as WireTarget;
    let pb::EraseAuditLogsRequest { organization_id: _, target, groups, reason, dry_run: _ } = request;
    let target = match target {
        Some(WireTarget::Entries(ids)) => Target::Entries(wire::entry_ids(ids)?),
        Some(WireTarget::UserId(id)) => {
            let id = Identifier::parse(id).at("user_id")?;
            Target::User { id, resource_type: catalogue.resource_type("user").at("user_id")? }
        }
        None => return Err(Error::invalid("target", "is required: entries or user_id")),
    };
    let named = groups.iter().enumerate();
    let named = named.map(|(place, name)| Group::parse_erasable(name).at(format!("groups[{place}]")));
    let named: Erased = named.collect::<Result<Vec<_>>>()?.into_iter().collect();
    let groups = if named.is_empty() { [Group::Actor, Group::Content].into_iter().collect() } else { named };
    let reason = ErasureReason::parse(reason).at("reason")?;
    Ok(Erasure { organization, target, groups, reason, key_id })
}

fn answer(report: ErasureReport) -> pb::EraseAuditLogsResponse {
    let ErasureReport { extent: ErasureCount { entries, groups }, recorded, is_complete, is_purged } = report;
    pb::EraseAuditLogsResponse { entries, groups, sequences: recorded, complete: is_complete, purged: is_purged }
}
