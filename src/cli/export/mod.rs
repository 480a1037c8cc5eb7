//! `auditlog export`: writes all matching entries, in ascending order of `sequence`, to a file for an import or a
//! spreadsheet.

mod csv;
mod sink;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::anyhow;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tonic::Status;

use super::client::{AuditLogs, ClientArgs, Retry, explained};
use super::filters::FilterArgs;
use crate::grpc::pb::{ExportAuditLogsRequest, ExportAuditLogsResponse, GetAuditLogRequest};
use crate::rest::export::ExportFormat;
use sink::Sink;

#[derive(Args)]
#[command(after_help = "\
NDJSON has the fields that `auditlog import` accepts, and the leaf hash of each
entry. CSV has one column per field, separated by commas. A cell that a
spreadsheet would take for a formula gets a ' in front, and so does a cell that
begins with a '.

Examples:
  auditlog export --organization org_abc123 --output trail.ndjson
  auditlog export --organization org_abc123 --format csv \\
    --start-date 2025-01-01 > since-january.csv

After an interruption: remove an incomplete last line, and continue after the
id of the last complete one:
  auditlog export --organization org_abc123 --output trail.ndjson \\
    --after log_abc123")]
pub struct ExportArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    #[command(flatten)]
    filters: FilterArgs,
    /// Output format. Only ndjson can be imported again.
    #[arg(long, value_enum, default_value = "ndjson", value_name = "FORMAT")]
    format: ExportFormat,
    /// Output file. It must not exist yet; with --after, the export appends to it. Default, or -: standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Continue an interrupted export after the entry with this id, the last entry that it wrote. --output must end
    /// with that entry. Give the same filters and format as before.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

impl ValueEnum for ExportFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ExportArgs {
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
        if format == ExportFormat::Csv && after.is_none() {
            sink.write(&format.header()?).inspect_err(|_| sink.discard())?;
        }
        let progress = ProgressBar::new(0);
        progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {eta} left")?);
        let mut export =
            RunningExport { client: connected, request, sink, format, progress, written: 0, last_id: after };
        let begun = Instant::now();
        if let Err(fault) = export.run().await {
            let error = fault.into_error(&export, &client);
            // An empty new file would make the next try fail.
            if export.last_id.is_none() {
                export.sink.discard();
            }
            return Err(error);
        }
        export.progress.finish_and_clear();
        let elapsed = begun.elapsed().as_secs_f64();
        let rate = export.written as f64 / elapsed.max(0.001);
        tell!("{} entries in {elapsed:.1} s ({}/s)", HumanCount(export.written), HumanCount(rate as u64));
        Ok(())
    }
}

/// Why an export ended early.
enum ExportFault {
    Service(Status),
    /// The entries cannot be formatted or written.
    Output(anyhow::Error),
}

impl ExportFault {
    /// The error for a person: the cause, the number of entries written, and how to continue.
    fn into_error(self, export: &RunningExport, client: &ClientArgs) -> anyhow::Error {
        let cause = match self {
            Self::Service(status) => explained(&status, &client.endpoint),
            // Returned as it is: `cli::run` has to see that the reader closed the pipe.
            Self::Output(error) if error.is::<io::Error>() => return error,
            Self::Output(error) => error,
        };
        match &export.last_id {
            Some(id) => anyhow!("{cause:#}; {} entries were written; continue with --after {id}", export.written),
            None => cause,
        }
    }
}

/// A running export.
struct RunningExport {
    client: AuditLogs,
    /// The request for the remaining entries.
    request: ExportAuditLogsRequest,
    sink: Sink,
    format: ExportFormat,
    progress: ProgressBar,
    written: u64,
    last_id: Option<String>,
}

impl RunningExport {
    /// Writes all entries. Whenever the connection breaks, requests the entries that are still missing.
    async fn run(&mut self) -> Result<(), ExportFault> {
        let mut retry = Retry::new(&self.progress);
        loop {
            let before = self.request.after_sequence;
            let status = match self.stream().await {
                Ok(()) => return Ok(()),
                Err(ExportFault::Service(status)) => status,
                Err(fault) => return Err(fault),
            };
            if self.request.after_sequence > before {
                retry.reset();
            }
            retry.wait(status).await.map_err(ExportFault::Service)?;
        }
    }

    async fn stream(&mut self) -> Result<(), ExportFault> {
        let mut pieces =
            self.client.export_audit_logs(self.request.clone()).await.map_err(ExportFault::Service)?.into_inner();
        while let Some(piece) = pieces.message().await.map_err(ExportFault::Service)? {
            self.write(piece).map_err(ExportFault::Output)?;
        }
        Ok(())
    }

    /// Writes the complete lines of a message in one call, and advances the request past them.
    fn write(&mut self, piece: ExportAuditLogsResponse) -> anyhow::Result<()> {
        let ExportAuditLogsResponse { audit_logs, sequence, head_sequence, leaf_hashes } = piece;
        let count = audit_logs.len() as u64;
        let last_id = audit_logs.last().map(|entry| entry.id.clone());
        self.sink.write(&self.format.lines(&audit_logs, &leaf_hashes)?)?;
        self.written += count;
        self.last_id = last_id.or_else(|| self.last_id.take());
        self.request.after_sequence = sequence;
        // A second call then ends at the same entry as the first.
        self.request.through_sequence = Some(head_sequence);
        self.progress.set_length(u64::try_from(head_sequence).unwrap_or(0));
        self.progress.set_position(u64::try_from(sequence).unwrap_or(0));
        self.progress.set_message(format!("{} entries", HumanCount(self.written)));
        Ok(())
    }
}
