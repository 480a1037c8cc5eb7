//! The filters that reading commands share.

use clap::Args;

use super::usage;
use crate::domain::{Timestamp, end_of_span, start_of_span};
use crate::grpc::{pb, wire};

/// Which entries. Values of one filter are alternatives, different filters must all match.
#[derive(Args)]
pub(super) struct Filters {
    /// Only of this resource type. May be repeated.
    #[arg(long, value_name = "TYPE", help_heading = "Filters")]
    resource_type: Vec<String>,
    /// Only of this resource. May be repeated.
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    resource_id: Vec<String>,
    #[command(flatten)]
    deeds: Deeds,
}

/// Who did what, when.
#[derive(Args)]
pub(super) struct Deeds {
    /// Only of this action. May be repeated.
    #[arg(long, value_name = "ACTION", help_heading = "Filters")]
    action: Vec<String>,
    /// Only by this user. May be repeated.
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    user_id: Vec<String>,
    /// Only from this time on: 2025-01-31, or 2025-01-31T23:59:59Z.
    #[arg(long, value_name = "DATE", value_parser = start_of_span, help_heading = "Filters")]
    start_date: Option<Timestamp>,
    /// Only until this time, inclusive at the precision written: 2025-01-31 is that whole day.
    #[arg(long, value_name = "DATE", value_parser = end_of_span, help_heading = "Filters")]
    end_date: Option<Timestamp>,
}

impl Filters {
    /// A list of `organization_id` with these filters, its page left to the caller.
    pub(super) fn list(self, organization_id: String) -> anyhow::Result<pb::ListAuditLogsRequest> {
        let Self { resource_type, resource_id, deeds } = self;
        let (start_time, end_time) = deeds.times()?;
        let Deeds { action, user_id, start_date: _, end_date: _ } = deeds;
        Ok(pb::ListAuditLogsRequest {
            organization_id,
            resource_types: resource_type,
            resource_ids: resource_id,
            actions: action,
            user_ids: user_id,
            start_time,
            end_time,
            limit: None,
            offset: None,
            cursor: None,
        })
    }

    /// An export of `organization_id` with these filters, from its beginning.
    pub(super) fn export(self, organization_id: String) -> anyhow::Result<pb::ExportAuditLogsRequest> {
        let pb::ListAuditLogsRequest {
            organization_id,
            resource_types,
            resource_ids,
            actions,
            user_ids,
            start_time,
            end_time,
            limit: _,
            offset: _,
            cursor: _,
        } = self.list(organization_id)?;
        Ok(pb::ExportAuditLogsRequest {
            organization_id,
            resource_types,
            resource_ids,
            actions,
            user_ids,
            start_time,
            end_time,
            after_sequence: 0,
            through_sequence: None,
        })
    }
}

impl Deeds {
    /// The history of one resource with these filters, its page left to the caller.
    pub(super) fn history(
        self,
        organization_id: String,
        resource_type: String,
        resource_id: String,
    ) -> anyhow::Result<pb::GetResourceHistoryRequest> {
        let (start_time, end_time) = self.times()?;
        let Self { action, user_id, start_date: _, end_date: _ } = self;
        Ok(pb::GetResourceHistoryRequest {
            organization_id,
            resource_type,
            resource_id,
            actions: action,
            user_ids: user_id,
            start_time,
            end_time,
            limit: None,
            offset: None,
            cursor: None,
            path_segment: String::new(),
        })
    }

    /// From when on, and until before when. The service cannot tell a day before `start_date` from an empty span.
    fn times(&self) -> anyhow::Result<(Option<prost_types::Timestamp>, Option<prost_types::Timestamp>)> {
        let Self { start_date, end_date, .. } = self;
        match (start_date, end_date) {
            (Some(start), Some(end)) if start >= end => Err(usage("--start-date must not be after --end-date")),
            _ => Ok((start_date.map(wire::time), end_date.map(wire::time))),
        }
    }
}
