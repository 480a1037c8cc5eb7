//! `auditlog erase`.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{anyhow, bail};
use clap::{ArgGroup, Args};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tonic::{Response, Status};

use super::client::{Client, Erasures, Retry, explained, is_for};
use super::usage;
use crate::domain::quoted;
use crate::error::Reason;
use crate::grpc::pb::erase_audit_logs_request::Target;
use crate::grpc::pb::{EntryIds, EraseAuditLogsRequest, EraseAuditLogsResponse};

/// What is to be done where files were not cleaned.
const TRACES: &str = "The files of the database may still hold traces of the values. On PostgreSQL, VACUUM FULL audit_logs \
                      and CHECKPOINT take them away; on SQLite, the same command again once nobody reads what was before.";

/// What to erase, and why. The key needs the scope `erase`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog erase --organization org_abc123 --user uid_user123 \\
    --reason 'request 4711' --dry-run
  auditlog erase --organization org_abc123 --entry log_abc123 \\
    --groups content --reason 'request 4711' --yes")]
#[command(group(ArgGroup::new("target").required(true)))]
pub struct Erase {
    #[command(flatten)]
    client: Client,
    /// The organization.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    /// An entry, by its id. Repeat it for more, 1,000 at most.
    #[arg(long, value_name = "ID", group = "target")]
    entry: Vec<String>,
    /// A user: the actor of entries where the user acted, and the content of those where the user is the resource.
    #[arg(long, value_name = "ID", group = "target")]
    user: Option<String>,
    /// What to erase: actor (name, e-mail, metadata), content (the resource's name, changes), or both.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', default_value = "actor,content")]
    groups: Vec<String>,
    /// Why. The log keeps it for ever, so it must not say anything about a person.
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    /// Only show what would be erased.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Erase without asking.
    #[arg(long)]
    yes: bool,
}

impl Erase {
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
            tell!("no entry has values left that user {} wrote or is; is the id right?", quoted(user));
        }
        if dry_run {
            writeln!(stdout(), "would erase {}", told(found.groups, found.entries))?;
            return Ok(());
        }
        if found.groups > 0 && !yes {
            confirm(&found, &request.organization_id)?;
        }
        let mut run = Run::new(found.groups)?;
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

fn told(count: i64, entries: i64) -> String {
    format!("{} of {}", groups(count), counted(entries, "entry", "entries"))
}

fn groups(count: i64) -> String {
    counted(count, "group of values", "groups of values")
}

fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count.unsigned_abs()), if count == 1 { one } else { many })
}

/// Asks whoever sits at the terminal.
fn confirm(found: &EraseAuditLogsResponse, organization: &str) -> anyhow::Result<()> {
    let what = told(found.groups, found.entries);
    if !(stdin().is_terminal() && stderr().is_terminal()) {
        return Err(usage(&format!("this would erase {what} of {organization} for ever; say --yes to do so")));
    }
    tell!("This erases {what} of {organization} for ever. Type yes to go on:");
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => bail!("nothing was erased"),
    }
}

/// How far it is.
struct Run {
    progress: ProgressBar,
    entries: i64,
    groups: i64,
    recorded: Vec<i64>,
    purged: bool,
}

impl Run {
    fn new(groups: i64) -> anyhow::Result<Self> {
        let progress = ProgressBar::new(groups.unsigned_abs());
        progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {pos} of {len} groups, {eta} left")?);
        Ok(Self { progress, entries: 0, groups: 0, recorded: Vec::new(), purged: false })
    }

    /// Calls until all is erased, and again while the service is away: what is erased is left alone.
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

    /// How far it came before the call that failed with `status`, of all that was `found`. That call may have erased
    /// some, too, which shows in what is `left`.
    fn ended(&self, found: &EraseAuditLogsResponse, left: Option<EraseAuditLogsResponse>, status: &Status) -> String {
        let is_tampered = is_for(status, Reason::TamperedAuditLog);
        let then = if is_tampered { "the rest stays, since it was tampered with" } else { "the same command goes on" };
        // Others may have written meanwhile, and an entry that lost one of its groups is left as one.
        let erased = left.as_ref().map_or(0, |left| found.groups - left.groups).max(self.groups);
        if !self.purged && (erased > 0 || left.is_none()) {
            tell!("{TRACES}");
        }
        let erased = groups(erased);
        match left {
            Some(left) => format!("erased {erased}, left are {}; {then}", told(left.groups, left.entries)),
            None => format!("erased {erased} at least; {then}"),
        }
    }

    fn tell(&self) -> anyhow::Result<()> {
        let recorded = match &self.recorded[..] {
            [] => "nothing is left to erase".to_owned(),
            [only] => format!("erased {}, recorded as number {only}", told(self.groups, self.entries)),
            [first, .., last] => {
                format!("erased {}, recorded as numbers {first} to {last}", told(self.groups, self.entries))
            }
        };
        writeln!(stdout(), "{recorded}").map_err(|error| anyhow!(error))?;
        if !self.purged {
            tell!("{TRACES}");
        }
        Ok(())
    }
}
