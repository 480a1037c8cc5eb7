//! `auditlog.v1.HistoryService`: decode, call, encode.

mod encode;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::pb::history_service_server::HistoryService;
use super::pb::plan_rollback_request::Selection as WireSelection;
use super::{MAX_RESPONSE, Service, authorization, pb, wire};
use crate::access::{Caller, Scope};
use crate::domain::{Catalogue, Identifier, Invalid, OrganizationId, ResourceKey, TimeRange, Timestamp, quoted};
use crate::error::{AtField, Error, Result};
use crate::history::{CheckScope, ContinuityPiece, LifeActions, ResourceScope, RollbackSelection};
use encode::NamedResource;

impl Service {
    async fn reader<T>(&self, request: &Request<T>, named: &str) -> Result<(Caller, OrganizationId, Arc<Catalogue>)> {
        let (caller, organization) = self.enter(request, named, Scope::Read).await?;
        Ok((caller, organization, self.catalogues.current().await?))
    }

    /// The messages of a piece of a check.
    async fn continuity(
        &self,
        piece: ContinuityPiece,
        checked: Option<&NamedResource>,
    ) -> Result<Vec<pb::CheckContinuityResponse>> {
        let catalogue = self.catalogues.current().await?;
        let names = |catalogue: &Catalogue| {
            let mut resources = piece.breaks.iter().map(|found| &found.resource);
            resources.all(|resource| catalogue.resource_type_name(resource.resource_type).is_some())
        };
        let catalogue = self.catalogues.complete(catalogue, names).await?;
        encode::continuity(piece, checked, &catalogue)
    }
}

#[tonic::async_trait]
impl HistoryService for Service {
    async fn get_resource_state(
        &self,
        request: Request<pb::GetResourceStateRequest>,
    ) -> std::result::Result<Response<pb::GetResourceStateResponse>, Status> {
        let (caller, organization, catalogue) = self.reader(&request, &request.get_ref().organization_id).await?;
        let (resource, scope, at) = state(request.into_inner(), &catalogue)?;
        let actions = LifeActions::of(&catalogue);
        let answer = self.history.state(&caller.key_id, &organization, actions, scope, end_of(at)).await?;
        Ok(Response::new(fitting(encode::state(answer, &resource, at))?))
    }

    async fn compare_resource_states(
        &self,
        request: Request<pb::CompareResourceStatesRequest>,
    ) -> std::result::Result<Response<pb::CompareResourceStatesResponse>, Status> {
        let (caller, organization, catalogue) = self.reader(&request, &request.get_ref().organization_id).await?;
        let (resource, scope, times) = comparison(request.into_inner(), &catalogue)?;
        let actions = LifeActions::of(&catalogue);
        let answer = self.history.compare(&caller.key_id, &organization, actions, scope, times.map(end_of)).await?;
        Ok(Response::new(fitting(encode::comparison(answer, &resource, times))?))
    }

    type CheckContinuityStream =
        Pin<Box<dyn Stream<Item = std::result::Result<pb::CheckContinuityResponse, Status>> + Send>>;

    async fn check_continuity(
        &self,
        request: Request<pb::CheckContinuityRequest>,
    ) -> std::result::Result<Response<Self::CheckContinuityStream>, Status> {
        let (caller, organization, catalogue) = self.reader(&request, &request.get_ref().organization_id).await?;
        let authorization = authorization(&request);
        let (checked, scope) = check(request.into_inner(), &catalogue)?;
        let check = self.history.check(&caller.key_id, organization, LifeActions::of(&catalogue), scope).await?;
        // The reader pulls the pieces, so that a slow reader delays only itself.
        let service = self.clone();
        let pieces = stream::try_unfold(check, move |mut check| {
            let (service, authorization, checked) = (service.clone(), authorization.clone(), checked.clone());
            async move {
                let piece = service.piece(authorization.as_deref(), check.next()).await?;
                let Some(piece) = piece else { return Ok::<_, Error>(None) };
                Ok(Some((service.continuity(piece, checked.as_ref()).await?, check)))
            }
        });
        let messages = pieces.map_ok(|messages| stream::iter(messages).map(Ok::<_, Error>)).try_flatten();
        Ok(Response::new(messages.map_err(Status::from).boxed()))
    }

    async fn plan_rollback(
        &self,
        request: Request<pb::PlanRollbackRequest>,
    ) -> std::result::Result<Response<pb::PlanRollbackResponse>, Status> {
        let (caller, organization, catalogue) = self.reader(&request, &request.get_ref().organization_id).await?;
        let pb::PlanRollbackRequest { organization_id: _, selection, as_of_sequence } = request.into_inner();
        let (selection, actions) = (rollback_selection(selection, &catalogue)?, LifeActions::of(&catalogue));
        let plan = self.history.plan(&caller.key_id, &organization, actions, &selection, as_of_sequence).await?;
        let names = |catalogue: &Catalogue| {
            plan.steps.iter().all(|(resource, _)| catalogue.resource_type_name(resource.resource_type).is_some())
        };
        let catalogue = self.catalogues.complete(catalogue, names).await?;
        Ok(Response::new(fitting(encode::plan(plan, &catalogue)?)?))
    }
}

/// Checks that `answer` is not larger than a client takes. Its values are limited already, but not the rest of it.
fn fitting<M: Message>(answer: M) -> Result<M> {
    match answer.encoded_len() {
        bytes if bytes > MAX_RESPONSE => {
            let limit = format!("The answer would have {bytes} bytes, and may have at most {MAX_RESPONSE}");
            Err(Error::TooManyEntries(format!("{limit}: ask for fewer fields, or select fewer entries")))
        }
        _ => Ok(answer),
    }
}

/// The first instant that does not count if entries at `at` do.
fn end_of(at: Option<Timestamp>) -> Timestamp {
    at.map_or(Timestamp::END, |at| at.plus(1))
}

/// Decodes a resource of a request, whose fields begin with `path`.
fn named_resource(
    path: &str,
    resource_type: String,
    resource_id: String,
    catalogue: &Catalogue,
) -> Result<NamedResource> {
    let code = catalogue.resource_type(&resource_type).at(format!("{path}resource_type"))?;
    let id = Identifier::parse(resource_id).at(format!("{path}resource_id"))?;
    Ok(NamedResource { key: ResourceKey { resource_type: code, id }, resource_type })
}

fn field_prefixes(prefixes: Vec<String>) -> Result<Vec<String>> {
    let prefix = |text: String| match text.contains('\0') {
        true => Err(Invalid::new("must not contain NUL", quoted(&text))),
        false => Ok(text),
    };
    wire::values("field_prefixes", prefixes, prefix)
}

/// Decodes the request for a state.
fn state(
    request: pb::GetResourceStateRequest,
    catalogue: &Catalogue,
) -> Result<(NamedResource, ResourceScope, Option<Timestamp>)> {
    let pb::GetResourceStateRequest {
        organization_id: _,
        resource_type,
        resource_id,
        at,
        as_of_sequence,
        field_prefixes: prefixes,
    } = request;
    let resource = named_resource("", resource_type, resource_id, catalogue)?;
    let at = at.map(wire::timestamp).transpose().at("at")?;
    let prefixes = field_prefixes(prefixes)?;
    let scope = ResourceScope { resource: resource.key.clone(), as_of: as_of_sequence, prefixes };
    Ok((resource, scope, at))
}

/// Decodes the request for a comparison, with its two times.
fn comparison(
    request: pb::CompareResourceStatesRequest,
    catalogue: &Catalogue,
) -> Result<(NamedResource, ResourceScope, [Option<Timestamp>; 2])> {
    let pb::CompareResourceStatesRequest {
        organization_id: _,
        resource_type,
        resource_id,
        from,
        to,
        as_of_sequence,
        field_prefixes: prefixes,
    } = request;
    let resource = named_resource("", resource_type, resource_id, catalogue)?;
    if from.is_none() {
        return Err(Error::invalid("from", "is required"));
    }
    let times = wire::time_range(["from", "to"], from, to)?;
    let prefixes = field_prefixes(prefixes)?;
    let scope = ResourceScope { resource: resource.key.clone(), as_of: as_of_sequence, prefixes };
    Ok((resource, scope, [times.start(), times.end()]))
}

/// Decodes the request for a check, with its only resource.
fn check(request: pb::CheckContinuityRequest, catalogue: &Catalogue) -> Result<(Option<NamedResource>, CheckScope)> {
    let pb::CheckContinuityRequest {
        organization_id: _,
        resource_type,
        resource_id,
        as_of_sequence,
        after_sequence,
        resume_token,
    } = request;
    let resource = match (resource_type.is_empty(), resource_id.is_empty()) {
        (true, true) => None,
        (true, false) => return Err(Error::invalid("resource_id", "must not come without resource_type")),
        (false, _) => Some(named_resource("", resource_type, resource_id, catalogue)?),
    };
    let scope = CheckScope {
        resource: resource.as_ref().map(|resource| resource.key.clone()),
        as_of: as_of_sequence,
        after: after_sequence,
        resume_token: (!resume_token.is_empty()).then_some(resume_token),
    };
    Ok((resource, scope))
}

/// Decodes the entries to undo.
fn rollback_selection(selection: Option<WireSelection>, catalogue: &Catalogue) -> Result<RollbackSelection> {
    match selection {
        Some(WireSelection::Entries(ids)) => Ok(RollbackSelection::Entries(wire::entry_ids(ids)?)),
        Some(WireSelection::Resource(pb::ResourceAtTime { resource_type, resource_id, at })) => {
            let resource = named_resource("resource.", resource_type, resource_id, catalogue)?.key;
            let at = at.ok_or_else(|| Error::invalid("resource.at", "is required"))?;
            Ok(RollbackSelection::Resource { resource, at: wire::timestamp(at).at("resource.at")? })
        }
        Some(WireSelection::User(pb::UserWindow { user_id, start_time, end_time })) => {
            let user = Identifier::parse(user_id).at("user.user_id")?;
            for (field, time) in [("user.start_time", &start_time), ("user.end_time", &end_time)] {
                if time.is_none() {
                    return Err(Error::invalid(field, "is required"));
                }
            }
            let window: TimeRange = wire::time_range(["user.start_time", "user.end_time"], start_time, end_time)?;
            Ok(RollbackSelection::User { user, window })
        }
        Some(WireSelection::TraceId(id)) => Ok(RollbackSelection::Trace(Identifier::parse(id).at("trace_id")?)),
        None => Err(Error::invalid("selection", "is required: entries, resource, user or trace_id")),
    }
}
