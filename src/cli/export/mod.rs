//! `auditlog export`: all entries that match, in the order of their numbers, to a file that an import takes or
//! a spreadsheet opens.

mod csv;
mod sink;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tonic::Status;

use super::client::{AuditLogs, Client, Retry, explained};
use super::filters::Filters;
use crate::grpc::pb::{AuditLog, ExportAuditLogsRequest, ExportAuditLogsResponse, GetAuditLogRequest};
use crate::rest::json;
use sink::Sink;

/// What to export, and where to.
#[derive(Args)]
#[command(after_help = "\
NDJSON has the fields that `auditlog import` takes. CSV has a column a field,
separated by commas; a cell that a spreadsheet would take for a formula gets a
' before it, and so does one that begins with a '.

Examples:
  auditlog export --organization org_abc123 --output trail.ndjson
  auditlog export --organization org_abc123 --format csv \\
    --start-date 2025-01-01 > since-january.csv

After a kill, without the last line if it is torn, from the last whole one on:
  auditlog export --organization org_abc123 --output trail.ndjson \\
    --after log_abc123")]
pub struct Export {
    #[command(flatten)]
    client: Client,
    /// The organization.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    #[command(flatten)]
    filters: Filters,
    /// What to write.
    #[arg(long, value_enum, default_value = "ndjson", value_name = "FORMAT")]
    format: Format,
    /// The file, which must not be there yet; with --after it gets the rest appended. Without it, or as -, standard
    /// output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on after the entry of this id: the last one that an export wrote before it ended, and the last of --output.
    /// Give the same filters and format.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

impl Format {
    /// The lines of `entries`.
    fn lines(self, entries: Vec<AuditLog>) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Ndjson => Ok(json::lines(&entries, json::Form::Import)?),
            Self::Csv => csv::lines(entries),
        }
    }
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, filters, format, output, after } = self;
        let mut connected = client.connect()?;
        let after_sequence = match &after {
            Some(id) => {
                let request = GetAuditLogRequest { organization_id: organization.clone(), id: id.clone() };
                let found = connected.get_audit_log(request).await;
                let found =
                    found.map_err(|status| explained(&status, &client.endpoint).context(format!("--after {id}")))?;
                found.into_inner().audit_log.unwrap_or_default().sequence
            }
            None => 0,
        };
        let filter = Some(filters.message()?);
        let request =
            ExportAuditLogsRequest { organization_id: organization, filter, after_sequence, through_sequence: None };
        let output = output.filter(|path| path.as_os_str() != "-");
        let mut sink = Sink::open(output.as_deref(), format, after.as_deref())?;
        if format == Format::Csv && after.is_none() {
            sink.write(&csv::header()?).inspect_err(|_| sink.discard())?;
        }
        let progress = ProgressBar::new(0);
        progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {eta} left")?);
        let mut walk = Walk { client: connected, request, sink, format, progress, written: 0, last_id: after };
        let begun = Instant::now();
        if let Err(fault) = walk.run().await {
            let told = fault.told(&walk, &client);
            // A new file without entries would only be in the way of the next try.
            if walk.last_id.is_none() {
                walk.sink.discard();
            }
            return Err(told);
        }
        walk.progress.finish_and_clear();
        let elapsed = begun.elapsed().as_secs_f64();
        let rate = walk.written as f64 / elapsed.max(0.001);
        tell!("{} entries in {elapsed:.1} s ({}/s)", HumanCount(walk.written), HumanCount(rate as u64));
        Ok(())
    }
}

/// Why an export ended early.
enum Fault {
    Service(Status),
    /// Where the entries go to.
    Output(anyhow::Error),
}

impl Fault {
    /// With how far it got, and how to go on.
    fn told(self, walk: &Walk, client: &Client) -> anyhow::Error {
        let cause = match self {
            Self::Service(status) => explained(&status, &client.endpoint),
            // Whoever reads our output may have had enough.
            Self::Output(error) if error.is::<io::Error>() => return error,
            Self::Output(error) => error,
        };
        match &walk.last_id {
            Some(id) => anyhow!("{cause:#}; {} entries were written, go on with --after {id}", walk.written),
            None => cause,
        }
    }
}

/// An export under way.
struct Walk {
    client: AuditLogs,
    /// What is left to ask for.
    request: ExportAuditLogsRequest,
    sink: Sink,
    format: Format,
    progress: ProgressBar,
    written: u64,
    last_id: Option<String>,
}

impl Walk {
    /// Writes all there is, and asks again for the rest where the connection breaks.
    async fn run(&mut self) -> Result<(), Fault> {
        let mut retry = Retry::new(&self.progress);
        loop {
            let before = self.request.after_sequence;
            let status = match self.stream().await {
                Ok(()) => return Ok(()),
                Err(Fault::Service(status)) => status,
                Err(fault) => return Err(fault),
            };
            if self.request.after_sequence > before {
                retry.reset();
            }
            retry.wait(status).await.map_err(Fault::Service)?;
        }
    }

    async fn stream(&mut self) -> Result<(), Fault> {
        let mut pieces =
            self.client.export_audit_logs(self.request.clone()).await.map_err(Fault::Service)?.into_inner();
        while let Some(piece) = pieces.message().await.map_err(Fault::Service)? {
            self.write(piece).map_err(Fault::Output)?;
        }
        Ok(())
    }

    /// Writes a piece, whole lines in one go, and remembers that it need not come again.
    fn write(&mut self, piece: ExportAuditLogsResponse) -> anyhow::Result<()> {
        let ExportAuditLogsResponse { audit_logs, sequence, head_sequence } = piece;
        let count = audit_logs.len() as u64;
        let last_id = audit_logs.last().map(|entry| entry.id.clone());
        self.sink.write(&self.format.lines(audit_logs)?)?;
        self.written += count;
        self.last_id = last_id.or_else(|| self.last_id.take());
        self.request.after_sequence = sequence;
        // So that a second call ends where the first would have.
        self.request.through_sequence = Some(head_sequence);
        self.progress.set_length(u64::try_from(head_sequence).unwrap_or(0));
        self.progress.set_position(u64::try_from(sequence).unwrap_or(0));
        self.progress.set_message(format!("{} entries", HumanCount(self.written)));
        Ok(())
    }
}
