//! The filters of the commands that read entries.

use std::collections::BTreeMap;

use clap::Args;

use super::usage;
use crate::domain::{Invalid, Timestamp, end_of_span, json_or_string, quoted, start_of_span};
use crate::grpc::pb::{AuditLogFilter, ChangeFilter};
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
    #[command(flatten)]
    search: SearchArgs,
}

/// Filters that test each entry that the other filters select. Without --cursor, at most 50,000 entries are tested.
#[derive(Args)]
struct SearchArgs {
    /// Only entries of this type of actor: user, service, system or anonymous. Repeat the option for more types.
    #[arg(long, value_name = "TYPE", help_heading = "Search")]
    actor_type: Vec<String>,
    /// Only entries of this trace. Repeat the option for more traces.
    #[arg(long, value_name = "ID", help_heading = "Search")]
    trace: Vec<String>,
    /// Only entries recorded at this time or later.
    #[arg(long, value_name = "DATE", value_parser = start_of_span, help_heading = "Search")]
    recorded_after: Option<Timestamp>,
    /// Only entries recorded before this time.
    #[arg(long, value_name = "DATE", value_parser = start_of_span, help_heading = "Search")]
    recorded_before: Option<Timestamp>,
    /// Only entries that changed this field, such as temperature, or a field below a path: tools.*
    #[arg(long, value_name = "FIELD", help_heading = "Search")]
    changed: Option<String>,
    /// Only entries that changed a field (that of --changed, if given) from this value. JSON; other text is a string.
    #[arg(long, value_name = "VALUE", help_heading = "Search")]
    changed_from: Option<String>,
    /// Only entries that changed a field (that of --changed, if given) to this value. JSON; other text is a string.
    #[arg(long, value_name = "VALUE", help_heading = "Search")]
    changed_to: Option<String>,
    /// Only entries whose metadata has this key with this value, such as ipAddress=10.0.0.1. Repeat the option for more
    /// keys; all must match.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value, help_heading = "Search")]
    metadata: Vec<(String, String)>,
    /// Only entries of users with this name, in any letter case. A * at the end selects all names that begin so.
    #[arg(long, value_name = "NAME", help_heading = "Search")]
    user_name: Option<String>,
    /// Only entries of users with this e-mail address, with the same rules.
    #[arg(long, value_name = "ADDRESS", help_heading = "Search")]
    user_email: Option<String>,
    /// Only entries about resources with this name, with the same rules.
    #[arg(long, value_name = "NAME", help_heading = "Search")]
    resource_name: Option<String>,
    /// Only entries with this text in an id, a name, an address, a trace, metadata or a change, in any letter case.
    #[arg(long, value_name = "TEXT", help_heading = "Search")]
    text: Option<String>,
}

fn key_and_value(text: &str) -> Result<(String, String), Invalid> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| Invalid::new("must be KEY=VALUE, such as ipAddress=10.0.0.1", quoted(text)))
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
        let Self { action, user_id, outcome, start_date, end_date, search } = self;
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
            ..search.message()?
        })
    }
}

impl SearchArgs {
    /// The filter of the search alone. Errors: a key of --metadata is given twice.
    fn message(self) -> anyhow::Result<AuditLogFilter> {
        let Self {
            actor_type,
            trace,
            recorded_after,
            recorded_before,
            changed,
            changed_from,
            changed_to,
            metadata,
            user_name,
            user_email,
            resource_name,
            text,
        } = self;
        let keys = metadata.len();
        let metadata: BTreeMap<_, _> = metadata.into_iter().collect();
        if metadata.len() < keys {
            return Err(usage("--metadata must be given once for each key"));
        }
        let change = ChangeFilter {
            field: changed,
            old_value_json: changed_from.as_deref().map(json_or_string),
            new_value_json: changed_to.as_deref().map(json_or_string),
        };
        Ok(AuditLogFilter {
            actor_types: actor_type,
            trace_ids: trace,
            recorded_start_time: recorded_after.map(wire::time),
            recorded_end_time: recorded_before.map(wire::time),
            change: Some(change),
            metadata,
            user_name,
            user_email,
            resource_name,
            text,
            ..AuditLogFilter::default()
        })
    }
}
