//! `auditlog list`, `auditlog history` and `auditlog get`.

use std::io::Write;

use clap::Args;
use tonic::transport::Endpoint;
use tonic::{Response, Status};

use super::client::{AuditLogs, Client, explained};
use super::filters::{ActivityFilters, Filters};
use super::table;
use crate::grpc::pb::{self, AuditLog, Pagination};
use crate::rest::json;

/// The most entries that the service gives at once.
const MAX_PAGE: u32 = 100;

/// Lists entries, newest first.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog list --organization org_abc123
  auditlog list --organization org_abc123 --resource-type rule \\
    --action deleted --start-date 2025-01-01 --limit 20
  auditlog list --organization org_abc123 --user-id uid_user123 --json")]
pub struct List {
    #[command(flatten)]
    client: Client,
    /// The organization.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    page: Page,
}

/// Lists the entries of one resource, newest first.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog history assistant asst_abc123
  auditlog history assistant asst_abc123 --organization org_abc123 \\
    --action updated --json")]
pub struct History {
    #[command(flatten)]
    client: Client,
    /// The organization. Without it, the key's own.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG")]
    organization: Option<String>,
    /// The resource's type, such as assistant.
    #[arg(value_name = "TYPE")]
    resource_type: String,
    /// The resource's id.
    #[arg(value_name = "ID")]
    resource_id: String,
    #[command(flatten)]
    filters: ActivityFilters,
    #[command(flatten)]
    page: Page,
}

/// Shows one entry with all of its changes.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog get log_abc123 --organization org_abc123
  auditlog get log_abc123 --organization org_abc123 --json")]
pub struct Get {
    #[command(flatten)]
    client: Client,
    /// The organization.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    /// The entry's id.
    #[arg(value_name = "ID")]
    id: String,
    /// Print the entry as REST gives it, as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// How much to show, and how.
#[derive(Args)]
struct Page {
    /// Entries to show at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    limit: u32,
    /// Entries to skip.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), value_name = "N")]
    offset: i64,
    /// Print each entry as REST gives it, a line of JSON each.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, filters, page } = self;
        let filter = Some(filters.message()?);
        let walk = async |mut client: AuditLogs, Place { limit, offset, cursor }: Place| {
            let (organization_id, filter) = (organization.clone(), filter.clone());
            let request = pb::ListAuditLogsRequest { organization_id, filter, limit, offset, cursor };
            let answer = client.list_audit_logs(request).await.map(Response::into_inner)?;
            Ok((answer.audit_logs, answer.pagination.unwrap_or_default()))
        };
        page.show(&client, walk).await
    }
}

impl History {
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
        let walk = async |mut client: AuditLogs, Place { limit, offset, cursor }: Place| {
            let request = pb::GetResourceHistoryRequest { limit, offset, cursor, ..request.clone() };
            let answer = client.get_resource_history(request).await.map(Response::into_inner)?;
            Ok((answer.audit_logs, answer.pagination.unwrap_or_default()))
        };
        page.show(&client, walk).await
    }
}

impl Get {
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

/// Where a page of a walk begins.
struct Place {
    limit: Option<i32>,
    offset: Option<i64>,
    cursor: Option<String>,
}

impl Page {
    /// Shows pages one after the other, so that what is written meanwhile moves nothing.
    async fn show(
        &self,
        client: &Client,
        walk: impl AsyncFn(AuditLogs, Place) -> Result<(Vec<AuditLog>, Pagination), Status>,
    ) -> anyhow::Result<()> {
        let (connected, endpoint): (_, &Endpoint) = (client.connect()?, &client.endpoint);
        let mut left = self.limit;
        let (mut offset, mut cursor) = (Some(self.offset), None);
        loop {
            let limit = i32::try_from(left.min(MAX_PAGE)).ok();
            let page = walk(connected.clone(), Place { limit, offset: offset.take(), cursor: cursor.take() }).await;
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

    /// How much of the whole that was, for people.
    fn tell(&self, shown: i64, total: i64) {
        let last = self.offset + shown;
        match (shown, total) {
            _ if self.json => {}
            (_, 0) => tell!("No entries match."),
            (0, total) => tell!("{total} entries match, none beyond --offset {}.", self.offset),
            (_, total) if last < total => {
                tell!("{} to {last} of {total}; go on with --offset {last}", self.offset + 1);
            }
            _ => tell!("{} to {last} of {total}", self.offset + 1),
        }
    }
}

fn print_json(entries: Vec<AuditLog>) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(&json::lines(&entries, json::Form::Documented)?)?)
}
