//! `auditlog around`: what happened shortly before and after an entry.

use std::io::Write;

use clap::Args;

use super::{LogArgs, entry_count, print_json, refused, shown};
use crate::cli::table::{self, FAINT, HEADER, line, visible};
use crate::domain::Minutes;
use crate::grpc::pb::{AuditLog, ListAuditLogsAroundRequest};
use crate::rest::around::{self, EntryGroups};

/// The maximum number of ids that a group shows.
const MAX_IDS: usize = 10;

#[derive(Args)]
#[command(after_help = "\
The entries come newest first, as in `auditlog list`. With a --limit, half of
them are older than the entry, and half newer. Below them are the ids of the
entries of each trace, of each user and of each resource.

Examples:
  auditlog around log_abc123 --organization org_abc123
  auditlog around log_abc123 --organization org_abc123 --minutes 60 --json")]
pub struct AroundArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Entry id.
    #[arg(value_name = "ID")]
    id: String,
    #[arg(
        long,
        default_value_t = Minutes::DEFAULT,
        value_parser = clap::value_parser!(i32).range(i64::from(Minutes::MIN)..=i64::from(Minutes::MAX)),
        value_name = "N",
        help = format!("Minutes before and after the entry, {} to {}", Minutes::MIN, Minutes::MAX)
    )]
    minutes: i32,
    /// Maximum number of entries to show, 1 to 100: this entry, and those nearest to it.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=100), value_name = "N")]
    limit: i32,
    /// Print one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

impl AroundArgs {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let Self { log, id, minutes, limit, json } = self;
        let LogArgs { client, organization } = log;
        let request = ListAuditLogsAroundRequest {
            organization_id: organization,
            id: id.clone(),
            minutes: Some(minutes),
            limit: Some(limit),
            cursor: None,
        };
        let found = client.connect()?.list_audit_logs_around(request).await;
        let found = found.map_err(|status| refused(&status, &client, &[]))?.into_inner();
        if json {
            return print_json(|text| around::body(text, &id, &found));
        }
        let mut out = anstream::stdout();
        table::list(&mut out, &found.audit_logs, true)?;
        out.write_all(groups(&found.audit_logs).as_bytes())?;
        let number = found.audit_logs.len() as i64;
        let total = found.pagination.as_ref().map_or(number, |pagination| pagination.total);
        let [start, end] = around::dates(&found).map(Option::unwrap_or_default);
        match number == total {
            true => tell!("{} from {start} to {end}", entry_count(number)),
            false => tell!(
                "the {number} nearest of {total} entries from {start} to {end}; \
                 `auditlog list --start-date {start} --end-date {end}` has all"
            ),
        }
        Ok(())
    }
}

/// The ids of the entries of each trace, of each user and of each resource: a paragraph for each kind.
fn groups(entries: &[AuditLog]) -> String {
    let EntryGroups { traces, users, resources } = EntryGroups::of(entries);
    let traces = traces.into_iter().map(|one| (format!("trace {}", shown(one.trace_id)), one.ids)).collect();
    let users = users.into_iter().map(|one| (format!("user {}", shown(one.user_id)), one.ids)).collect();
    let resources = resources.into_iter().map(|one| {
        let name = format!("resource {} {}", shown(one.resource_type), shown(one.resource_id));
        (name, one.ids)
    });
    let kinds: [Vec<(String, Vec<&str>)>; 3] = [traces, users, resources.collect()];
    let mut text = String::new();
    for groups in kinds.iter().filter(|groups| !groups.is_empty()) {
        text.push('\n');
        for (name, ids) in groups {
            let count = entry_count(ids.len() as i64);
            let more = match ids.len().saturating_sub(MAX_IDS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let ids: Vec<_> = ids.iter().take(MAX_IDS).map(|id| visible(id)).collect();
            line(&mut text, format_args!("{HEADER}{name}{HEADER:#}  {count}"));
            line(&mut text, format_args!("    {FAINT}{}{more}{FAINT:#}", ids.join(" ")));
        }
    }
    text
}
