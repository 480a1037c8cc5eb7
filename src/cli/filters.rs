//! The filters of the commands that read entries.

use clap::Args;

use super::usage;
use crate::domain::{Timestamp, end_of_span, start_of_span};
use crate::grpc::pb::AuditLogFilter;
use crate::grpc::wire;

/// Filters by resource and activity. An entry must match every filter that is given, and one value of each.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only entries of this resource type. Repeat the option for more types.
    #[arg(long, value_name = "TYPE", help_heading = "Filters")]
    resource_type: Vec<String>,
    /// Only entries of the resource with this id. Repeat the option for more resources.
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    resource_id: Vec<String>,
    #[command(flatten)]
    activity: ActivityFilterArgs,
}

/// Filters by action, user, outcome and time.
#[derive(Args)]
pub(super) struct ActivityFilterArgs {
    /// Only entries with this action. Repeat the option for more actions.
    #[arg(long, value_name = "ACTION", help_heading = "Filters")]
    action: Vec<String>,
    /// Only entries of the user with this id. Repeat the option for more users.
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    user_id: Vec<String>,
    /// Only entries with this outcome: success, failure or denied. Repeat the option for more outcomes.
    #[arg(long, value_name = "OUTCOME", help_heading = "Filters")]
    outcome: Vec<String>,
    /// Only entries from this time on, such as 2025-01-31 or 2025-01-31T23:59:59Z. UTC, unless it has an offset.
    #[arg(long, value_name = "DATE", value_parser = start_of_span, help_heading = "Filters")]
    start_date: Option<Timestamp>,
    /// Only entries up to and including this time, at the precision given: 2025-01-31 includes that whole day.
    #[arg(long, value_name = "DATE", value_parser = end_of_span, help_heading = "Filters")]
    end_date: Option<Timestamp>,
}

impl FilterArgs {
    /// The filter of a list or an export. Errors: `--start-date` is after `--end-date`.
    pub(super) fn message(self) -> anyhow::Result<AuditLogFilter> {
        let Self { resource_type, resource_id, activity } = self;
        activity.on(resource_type, resource_id)
    }
}

impl ActivityFilterArgs {
    /// The filter of a history. Errors: `--start-date` is after `--end-date`.
    pub(super) fn message(self) -> anyhow::Result<AuditLogFilter> {
        self.on(Vec::new(), Vec::new())
    }

    fn on(self, resource_types: Vec<String>, resource_ids: Vec<String>) -> anyhow::Result<AuditLogFilter> {
        let Self { action, user_id, outcome, start_date, end_date } = self;
        // The day before `start_date` ends exactly at `start_date`. The service would take that for an empty time
        // range.
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
            outcomes: outcome,
        })
    }
}
