//! The filters that reading commands share.

use clap::Args;

use super::usage;
use crate::domain::{Timestamp, end_of_span, start_of_span};
use crate::grpc::pb::AuditLogFilter;
use crate::grpc::wire;

/// Filters by resource and activity. Values of one filter are alternatives, different filters must all match.
#[derive(Args)]
pub(super) struct Filters {
    /// Only of this resource type. May be repeated.
    #[arg(long, value_name = "TYPE", help_heading = "Filters")]
    resource_type: Vec<String>,
    /// Only of this resource. May be repeated.
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    resource_id: Vec<String>,
    #[command(flatten)]
    activity: ActivityFilters,
}

/// Filters by action, user and time.
#[derive(Args)]
pub(super) struct ActivityFilters {
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
    /// The filter of a list or an export. Errors: `--start-date` is after `--end-date`.
    pub(super) fn message(self) -> anyhow::Result<AuditLogFilter> {
        let Self { resource_type, resource_id, activity } = self;
        activity.on(resource_type, resource_id)
    }
}

impl ActivityFilters {
    /// The filter of a history. Errors: `--start-date` is after `--end-date`.
    pub(super) fn message(self) -> anyhow::Result<AuditLogFilter> {
        self.on(Vec::new(), Vec::new())
    }

    fn on(self, resource_types: Vec<String>, resource_ids: Vec<String>) -> anyhow::Result<AuditLogFilter> {
        let Self { action, user_id, start_date, end_date } = self;
        // The service cannot tell a day before `start_date` from an empty span.
        if let (Some(start), Some(end)) = (start_date, end_date)
            && start >= end
        {
            return Err(usage("--start-date must not be after --end-date"));
        }
        Ok(AuditLogFilter {
            resource_types,
            resource_ids,
            actions: action,
            user_ids: user_id,
            start_time: start_date.map(wire::time),
            end_time: end_date.map(wire::time),
        })
    }
}
