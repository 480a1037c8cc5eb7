//! `auditlog tail`: prints entries as they come.

use std::future::pending;
use std::io::{self, Write};

use anyhow::anyhow;
use clap::Args;
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use tonic::Status;

use super::client::{AuditLogs, ClientArgs, Retry, explained, next_message};
use super::filters::FilterArgs;
use super::table;
use crate::grpc::pb::{FollowAuditLogsRequest, FollowAuditLogsResponse};
use crate::rest::json;

#[derive(Args)]
#[command(after_help = "\
Each entry is a line with its time, user, action and resource. Its changes
follow as `field: old → new`. With --json, an entry is one line, which
`auditlog import` accepts. Ctrl-C ends the command.

Examples:
  auditlog tail --organization org_abc123
  auditlog tail --organization org_abc123 --action deleted --action shared
  auditlog tail --organization org_abc123 --resource-type rule --after 0
  auditlog tail --organization org_abc123 --json >> trail.ndjson")]
pub struct TailArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    #[command(flatten)]
    filters: FilterArgs,
    /// Begin after the entry with this sequence number; 0 begins with the first entry. Default: after the last entry
    /// now.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..), value_name = "N")]
    after: Option<i64>,
    /// Print each entry as one line of JSON, in the format of an export.
    #[arg(long)]
    json: bool,
}

impl TailArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, filters, after, json } = self;
        let filter = Some(filters.message()?);
        let request = FollowAuditLogsRequest { organization_id: organization, filter, after_sequence: after };
        let mut tail = Tail { client: client.connect()?, request, json, heard: 0 };
        let status = tokio::select! {
            ended = tail.run() => ended?,
            () = reader_gone() => return Ok(()),
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        let cause = explained(&status, &client.endpoint);
        match tail.request.after_sequence {
            Some(reached) if tail.heard > 0 => Err(anyhow!("{cause:#}; continue with --after {reached}")),
            _ => Err(cause),
        }
    }
}

/// A running tail.
struct Tail {
    client: AuditLogs,
    /// The request for the entries that were not printed yet.
    request: FollowAuditLogsRequest,
    json: bool,
    /// The number of messages so far, of all streams.
    heard: u64,
}

impl Tail {
    /// Prints entries until the service refuses to continue, and returns its reason. Whenever a stream ends otherwise,
    /// the next one begins with the entries that are missing. Errors: the output cannot be written.
    async fn run(&mut self) -> anyhow::Result<Status> {
        let mut retry = Retry::new(&ProgressBar::hidden());
        loop {
            let before = self.heard;
            let status = self.stream().await?;
            if self.heard > before {
                retry.endless();
            }
            if let Err(status) = retry.wait(status).await {
                return Ok(status);
            }
        }
    }

    /// Prints the entries of one stream, and returns why it ended.
    async fn stream(&mut self) -> anyhow::Result<Status> {
        let mut messages = match self.client.follow_audit_logs(self.request.clone()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(status),
        };
        let mut is_resumed = self.heard > 0;
        loop {
            let message = match next_message(&mut messages).await {
                Ok(message) => message,
                Err(status) => return Ok(status),
            };
            if std::mem::take(&mut is_resumed) {
                let reached = self.request.after_sequence.unwrap_or_default();
                tell!("connected again; continuing after {reached}");
            }
            self.print(message)?;
        }
    }

    /// Prints the entries of a message, and advances the request past them.
    fn print(&mut self, message: FollowAuditLogsResponse) -> anyhow::Result<()> {
        let FollowAuditLogsResponse { audit_logs, sequence, head_sequence: _, leaf_hashes } = message;
        match self.json {
            true => {
                let exported = audit_logs.iter().zip(leaf_hashes.iter().map(Vec::as_slice));
                io::stdout().write_all(&json::exported_lines(exported)?)?;
            }
            false => table::followed(&mut anstream::stdout(), &audit_logs)?,
        }
        self.request.after_sequence = Some(sequence);
        self.heard += 1;
        Ok(())
    }
}

/// Waits until nobody reads standard output any more. Without this, the command would find out with the next entry, or
/// never.
async fn reader_gone() {
    let gone = tokio::task::spawn_blocking(|| {
        let stdout = io::stdout();
        // It asks for no event, so only an error or a hang-up ends it.
        retry_on_intr(|| poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None))
    });
    if !matches!(gone.await, Ok(Ok(_))) {
        pending::<()>().await;
    }
}
