//! `auditlog list`, `auditlog history` and `auditlog get`.

use std::io::Write;

use clap::Args;
use tonic::transport::Endpoint;
use tonic::{Response, Status};

use super::client::{AuditLogs, ClientArgs, explained};
use super::filters::{ActivityFilterArgs, FilterArgs};
use super::table;
use crate::grpc::pb::{self, AuditLog, Pagination};
use crate::rest::json;

/// The maximum number of entries that the service returns in one page.
const MAX_PAGE: u32 = 100;

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog list --organization org_abc123
  auditlog list --organization org_abc123 --resource-type rule \\
    --action deleted --start-date 2025-01-01 --limit 20
  auditlog list --organization org_abc123 --user-id uid_user123 --json")]
pub struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog history assistant asst_abc123
  auditlog history assistant asst_abc123 --organization org_abc123 \\
    --action updated --json")]
pub struct HistoryArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id. Default: the organization of the API key. A service-wide key needs this option.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG")]
    organization: Option<String>,
    /// Resource type, such as assistant.
    #[arg(value_name = "TYPE")]
    resource_type: String,
    /// Resource id.
    #[arg(value_name = "ID")]
    resource_id: String,
    #[command(flatten)]
    filters: ActivityFilterArgs,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog get log_abc123 --organization org_abc123
  auditlog get log_abc123 --organization org_abc123 --json")]
pub struct GetArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    /// Entry id.
    #[arg(value_name = "ID")]
    id: String,
    /// Print the entry as one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

/// The page and the output format of a list.
#[derive(Args)]
struct PageArgs {
    /// Maximum number of entries to show, 1 or more.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    limit: u32,
    /// Number of the newest matching entries to skip, 0 or more.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), value_name = "N")]
    offset: i64,
    /// Print each entry as one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

impl ListArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, filters, page } = self;
        let filter = Some(filters.message()?);
        let read = async |mut client: AuditLogs, PagePosition { limit, offset, cursor }: PagePosition| {
            let (organization_id, filter) = (organization.clone(), filter.clone());
            let request = pb::ListAuditLogsRequest { organization_id, filter, limit, offset, cursor };
            let answer = client.list_audit_logs(request).await.map(Response::into_inner)?;
            Ok((answer.audit_logs, answer.pagination.unwrap_or_default()))
        };
        page.show(&client, read).await
    }
}

impl HistoryArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, resource_type, resource_id, filters, page } = self;
        let request = pb::GetResourceHistoryRequest {
            organization_id: organization.unwrap_or_default(),
            resource_type,
            path_segment: String::new(),
            resource_id,
            filter: Some(filters.message()?),
            limit: None,
            offset: None,
            cursor: None,
        };
        let read = async |mut client: AuditLogs, PagePosition { limit, offset, cursor }: PagePosition| {
            let request = pb::GetResourceHistoryRequest { limit, offset, cursor, ..request.clone() };
            let answer = client.get_resource_history(request).await.map(Response::into_inner)?;
            Ok((answer.audit_logs, answer.pagination.unwrap_or_default()))
        };
        page.show(&client, read).await
    }
}

impl GetArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, id, json } = self;
        let request = pb::GetAuditLogRequest { organization_id: organization, id };
        let answer = client.connect()?.get_audit_log(request).await;
        let answer = answer.map_err(|status| explained(&status, &client.endpoint))?.into_inner();
        let entry = answer.audit_log.unwrap_or_default();
        match json {
            true => print_json(vec![entry]),
            false => Ok(table::entry(&mut anstream::stdout(), &entry)?),
        }
    }
}

/// The start and the size of one page.
struct PagePosition {
    limit: Option<i32>,
    offset: Option<i64>,
    cursor: Option<String>,
}

impl PageArgs {
    /// Shows page after page by cursor, so that new entries do not shift the pages.
    async fn show(
        &self,
        client: &ClientArgs,
        read: impl AsyncFn(AuditLogs, PagePosition) -> Result<(Vec<AuditLog>, Pagination), Status>,
    ) -> anyhow::Result<()> {
        let (connected, endpoint): (_, &Endpoint) = (client.connect()?, &client.endpoint);
        let mut left = self.limit;
        let (mut offset, mut cursor) = (Some(self.offset), None);
        loop {
            let limit = i32::try_from(left.min(MAX_PAGE)).ok();
            let page =
                read(connected.clone(), PagePosition { limit, offset: offset.take(), cursor: cursor.take() }).await;
            let (entries, pagination) = page.map_err(|status| explained(&status, endpoint))?;
            let shown = u32::try_from(entries.len()).unwrap_or(left);
            left = left.saturating_sub(shown);
            let is_first = left + shown == self.limit;
            match self.json {
                true => print_json(entries)?,
                false => table::list(&mut anstream::stdout(), &entries, is_first)?,
            }
            cursor = pagination.next_cursor;
            if left == 0 || cursor.is_none() {
                self.tell(i64::from(self.limit - left), pagination.total);
                return Ok(());
            }
        }
    }

    /// Prints the range shown and the total, unless the output is JSON.
    fn tell(&self, shown: i64, total: i64) {
        let last = self.offset + shown;
        match (shown, total) {
            _ if self.json => {}
            (_, 0) => tell!("No entries match."),
            (0, total) => tell!("{total} entries match, none after --offset {}.", self.offset),
            (_, total) if last < total => {
                tell!("{} to {last} of {total}; continue with --offset {last}", self.offset + 1);
            }
            _ => tell!("{} to {last} of {total}", self.offset + 1),
        }
    }
}

fn print_json(entries: Vec<AuditLog>) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(&json::lines(&entries)?)?)
}
