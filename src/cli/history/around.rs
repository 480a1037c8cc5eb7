//! `auditlog around`: what happened shortly before and after an entry.

use std::io::Write;

use clap::Args;
use tonic::Status;

use super::{LogArgs, print_json, shown};
use crate::cli::client::{AuditLogs, explained};
use crate::cli::read::MAX_PAGE;
use crate::cli::table::{self, FAINT, HEADER, line, visible};
use crate::grpc::pb::{AuditLog, AuditLogFilter, GetAuditLogRequest, ListAuditLogsRequest, Pagination};
use crate::rest::around::{self, AroundSpan, EntryGroups};

/// The maximum number of ids that a group shows.
const MAX_IDS: usize = 10;

#[derive(Args)]
#[command(after_help = "\
The entries come newest first, as in `auditlog list`. Below them are the ids of
the entries of each trace, of each user and of each resource.

Examples:
  auditlog around log_abc123 --organization org_abc123
  auditlog around log_abc123 --organization org_abc123 --minutes 60 --json")]
pub struct AroundArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Entry id.
    #[arg(value_name = "ID")]
    id: String,
    /// Minutes before and after the entry, 1 to 1440.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=1440), value_name = "N")]
    minutes: i64,
    /// Maximum number of entries to show, 1 or more. The newest come first.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    limit: u32,
    /// Print one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

impl AroundArgs {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let Self { log, id, minutes, limit, json } = self;
        let LogArgs { client, organization } = log;
        let mut connected = client.connect()?;
        let failed = |status: Status| explained(&status, &client.endpoint);
        let request = GetAuditLogRequest { organization_id: organization.clone(), id };
        let found = connected.get_audit_log(request).await.map_err(failed)?.into_inner();
        let entry = found.audit_log.unwrap_or_default();
        let span = AroundSpan::of(&entry, minutes)?;
        let (entries, pagination) = read(connected, organization, span.filter(), limit).await.map_err(failed)?;
        if json {
            return print_json(|text| around::body(text, &entry.id, span, &entries, Some(pagination)));
        }
        let mut out = anstream::stdout();
        table::list(&mut out, &entries, true)?;
        out.write_all(groups(&entries).as_bytes())?;
        let (number, total, AroundSpan { start, last }) = (entries.len(), pagination.total, span);
        match i64::try_from(number) == Ok(total) {
            true => tell!("{number} entries from {start} to {last}"),
            false => tell!("the {number} newest of {total} entries from {start} to {last}; raise --limit to see more"),
        }
        Ok(())
    }
}

/// Reads at most `limit` entries, page after page by cursor. The pagination is that of all pages together.
async fn read(
    mut client: AuditLogs,
    organization_id: String,
    filter: AuditLogFilter,
    limit: u32,
) -> Result<(Vec<AuditLog>, Pagination), Status> {
    let (mut entries, mut left, mut cursor) = (Vec::new(), limit, None);
    loop {
        let request = ListAuditLogsRequest {
            organization_id: organization_id.clone(),
            filter: Some(filter.clone()),
            limit: i32::try_from(left.min(MAX_PAGE)).ok(),
            offset: None,
            cursor,
        };
        let page = client.list_audit_logs(request).await?.into_inner();
        let pagination = page.pagination.unwrap_or_default();
        left = left.saturating_sub(u32::try_from(page.audit_logs.len()).unwrap_or(left));
        entries.extend(page.audit_logs);
        if left == 0 || pagination.next_cursor.is_none() {
            let limit = i32::try_from(limit).unwrap_or(i32::MAX);
            return Ok((entries, Pagination { limit, offset: 0, ..pagination }));
        }
        cursor = pagination.next_cursor;
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
            let count = if ids.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", ids.len()) };
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
