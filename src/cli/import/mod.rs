//! `auditlog import`: writes the lines of a file through the API of a running service, in the order of the file.

mod compare;
mod lines;
mod send;

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::client::{AuditLogs, ClientArgs};
use crate::domain::OrganizationId;
use lines::ImportPiece;
use send::Sender;
pub(super) use send::Summary;

/// Pieces that are read ahead while one is written.
const AHEAD: usize = 2;

#[derive(Args)]
#[command(after_help = "\
Each line is an entry in the format of the REST API, with its organization:
  {\"id\":\"log_1\",\"organizationId\":\"org_abc123\",
   \"timestamp\":\"2025-01-20T10:30:00Z\",\"action\":\"updated\",
   \"resourceType\":\"assistant\",\"resourceId\":\"asst_abc123\",
   \"userId\":\"uid_user123\",
   \"changes\":[{\"field\":\"temperature\",\"oldValue\":0.7,\"newValue\":0.9}]}

Examples:
  auditlog import trail.ndjson.gz
  zcat trail.ndjson.gz | auditlog import - --organization org_abc123 --strict")]
pub struct ImportArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// NDJSON file, plain or gzip; - for standard input.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Write all entries to this organization, and ignore organizationId in the lines.
    #[arg(long, value_name = "ORG")]
    organization: Option<OrganizationId>,
    /// Stop at the first bad or altered line instead of reporting it and going on.
    #[arg(long)]
    strict: bool,
}

/// Lines were reported: bad ones, which were skipped, or altered ones. All others are written.
#[derive(Debug, thiserror::Error)]
#[error("there were bad or altered lines")]
pub(super) struct BadLines;

impl ImportArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, file, organization, strict } = self;
        let (source, progress): (Box<dyn Read + Send>, _) = if file.as_os_str() == "-" {
            let progress = ProgressBar::new_spinner();
            progress.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
            (Box::new(stdin()), progress)
        } else {
            let opened = File::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let metadata = opened.metadata()?;
            if metadata.is_dir() {
                bail!("{} is a directory", file.display());
            }
            let progress = ProgressBar::new(metadata.len());
            progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {eta} left")?);
            (Box::new(progress.wrap_read(opened)), progress)
        };
        let summary = run(client.connect()?, source, organization, strict, progress).await?;
        writeln!(stdout(), "{summary}")?;
        if summary.is_in_vain() {
            bail!("no line is an entry; an import takes one JSON object per line, as `auditlog export` writes them");
        }
        if summary.has_bad_lines() { Err(BadLines.into()) } else { Ok(()) }
    }
}

/// Imports `source`, and returns the counts. Errors: the import stopped; the entries before are written.
pub(super) async fn run(
    client: AuditLogs,
    source: Box<dyn Read + Send>,
    organization: Option<OrganizationId>,
    strict: bool,
    progress: ProgressBar,
) -> anyhow::Result<Summary> {
    let (pieces, mut read) = mpsc::channel(AHEAD);
    let organization = organization.map(String::from);
    let reader = tokio::task::spawn_blocking(move || lines::read(source, organization.as_deref(), &pieces));
    let mut sender = Sender::new(client, strict, progress);
    while let Some(piece) = read.recv().await {
        match piece {
            ImportPiece::Batch(batch) => sender.write(batch).await?,
            ImportPiece::Bad { line, why } => sender.bad(line, &why)?,
        }
    }
    reader.await?.with_context(|| format!("reading stopped; {}", sender.so_far()))?;
    Ok(sender.finish())
}
