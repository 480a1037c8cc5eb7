//! `auditlog erase`.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{anyhow, bail};
use clap::{ArgGroup, Args};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tonic::{Response, Status};

use super::client::{ClientArgs, Erasures, Retry, explained, is_for};
use super::usage;
use crate::domain::quoted;
use crate::error::Reason;
use crate::grpc::pb::erase_audit_logs_request::Target;
use crate::grpc::pb::{EntryIds, EraseAuditLogsRequest, EraseAuditLogsResponse};

/// Printed if the database files may still hold the erased values.
const TRACES: &str = "The database files may still hold traces of the values. On PostgreSQL, VACUUM FULL \
                      audit_logs, VACUUM FULL names and CHECKPOINT remove them. On SQLite, repeat this command after all earlier reads have ended.";

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog erase --organization org_abc123 --user uid_user123 \\
    --reason 'request 4711' --dry-run
  auditlog erase --organization org_abc123 --entry log_abc123 \\
    --groups content --reason 'request 4711' --yes")]
#[command(group(ArgGroup::new("target").required(true)))]
pub struct EraseArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    /// Id of an entry to erase from. Repeat the option for more entries, at most 1000.
    #[arg(long, value_name = "ID", group = "target")]
    entry: Vec<String>,
    /// Id of a user. Erases the group actor of entries in which the user acted, and the group content of entries in
    /// which the user is the resource.
    #[arg(long, value_name = "ID", group = "target")]
    user: Option<String>,
    /// Groups of values to erase, separated by commas: actor (user name, e-mail, metadata), content (resource name,
    /// changes).
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', default_value = "actor,content")]
    groups: Vec<String>,
    /// Reason for the erasure, 1 to 512 bytes. The log keeps it forever, so it must not hold personal data.
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    /// Show what would be erased, and erase nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Erase without asking.
    #[arg(long)]
    yes: bool,
}

impl EraseArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, entry, user, groups, reason, dry_run, yes } = self;
        let target = match user {
            Some(user) => Target::UserId(user),
            None => Target::Entries(EntryIds { ids: entry }),
        };
        let target = Some(target);
        let request = EraseAuditLogsRequest { organization_id: organization, target, groups, reason, dry_run: true };
        let mut service = client.erasures()?;
        let found = service.erase_audit_logs(request.clone()).await.map(Response::into_inner);
        let found = found.map_err(|status| explained(&status, &client.endpoint))?;
        if let (0, Some(Target::UserId(user))) = (found.groups, &request.target) {
            tell!("no entry by or about the user {} has values left to erase; is the id right?", quoted(user));
        }
        if dry_run {
            writeln!(stdout(), "would erase {}", extent(found.groups, found.entries))?;
            return Ok(());
        }
        if found.groups > 0 && !yes {
            confirm(&found, &request.organization_id)?;
        }
        let mut run = ErasureProgress::new(found.groups)?;
        let request = EraseAuditLogsRequest { dry_run: false, ..request };
        let outcome = run.go(&service, &request).await;
        run.progress.finish_and_clear();
        if let Err(status) = outcome {
            let left = service.erase_audit_logs(EraseAuditLogsRequest { dry_run: true, ..request }).await;
            let left = left.map(Response::into_inner).ok();
            return Err(explained(&status, &client.endpoint).context(run.ended(&found, left, &status)));
        }
        run.tell()
    }
}

fn extent(count: i64, entries: i64) -> String {
    format!("{} of {}", groups(count), counted(entries, "entry", "entries"))
}

fn groups(count: i64) -> String {
    counted(count, "group of values", "groups of values")
}

fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count.unsigned_abs()), if count == 1 { one } else { many })
}

/// Asks for confirmation at the terminal. Errors: there is no terminal, or the answer is not yes.
fn confirm(found: &EraseAuditLogsResponse, organization: &str) -> anyhow::Result<()> {
    let what = extent(found.groups, found.entries);
    if !(stdin().is_terminal() && stderr().is_terminal()) {
        return Err(usage(&format!("this would erase {what} of {organization} forever; confirm with --yes")));
    }
    tell!("This erases {what} of {organization} forever. Type yes to continue:");
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => bail!("nothing was erased"),
    }
}

/// The progress of an erasure.
struct ErasureProgress {
    progress: ProgressBar,
    entries: i64,
    groups: i64,
    recorded: Vec<i64>,
    purged: bool,
}

impl ErasureProgress {
    fn new(groups: i64) -> anyhow::Result<Self> {
        let progress = ProgressBar::new(groups.unsigned_abs());
        progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {pos} of {len} groups, {eta} left")?);
        Ok(Self { progress, entries: 0, groups: 0, recorded: Vec::new(), purged: false })
    }

    /// Calls until all values are erased, and retries while the service is unavailable. A repeated call is safe: it
    /// leaves erased values alone.
    async fn go(&mut self, service: &Erasures, request: &EraseAuditLogsRequest) -> Result<(), Status> {
        loop {
            let call = || {
                let (mut service, request) = (service.clone(), request.clone());
                async move { service.erase_audit_logs(request).await }
            };
            let answer = Retry::new(&self.progress).call(call).await?;
            let EraseAuditLogsResponse { entries, groups, sequences, complete, purged } = answer;
            self.entries += entries;
            self.groups += groups;
            self.recorded.extend(sequences);
            self.purged = purged;
            self.progress.set_position(self.groups.unsigned_abs());
            if complete {
                return Ok(());
            }
        }
    }

    /// Describes how far the erasure came before the call that failed with `status`. `found` is the total at the start,
    /// `left` the total now. The failed call may have erased values too, which only `left` shows.
    fn ended(&self, found: &EraseAuditLogsResponse, left: Option<EraseAuditLogsResponse>, status: &Status) -> String {
        let is_tampered = is_for(status, Reason::TamperedAuditLog);
        let then = if is_tampered { "the rest was tampered with and stays" } else { "run the command again" };
        // Counts groups, not entries: an entry with one of its two groups erased is still among the entries in `left`.
        // The result is at least the count of this run, because new entries may have been written meanwhile.
        let erased = left.as_ref().map_or(0, |left| found.groups - left.groups).max(self.groups);
        if !self.purged && (erased > 0 || left.is_none()) {
            tell!("{TRACES}");
        }
        let erased = groups(erased);
        match left {
            Some(left) => format!("erased {erased}, left: {}; {then}", extent(left.groups, left.entries)),
            None => format!("erased at least {erased}; {then}"),
        }
    }

    fn tell(&self) -> anyhow::Result<()> {
        let recorded = match &self.recorded[..] {
            [] => "nothing is left to erase".to_owned(),
            [only] => format!("erased {}, recorded as number {only}", extent(self.groups, self.entries)),
            [first, .., last] => {
                format!("erased {}, recorded as numbers {first} to {last}", extent(self.groups, self.entries))
            }
        };
        writeln!(stdout(), "{recorded}").map_err(|error| anyhow!(error))?;
        if !self.purged {
            tell!("{TRACES}");
        }
        Ok(())
    }
}
