//! Sends batches to the service, retries calls that may succeed later, and skips lines that the service refuses.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use indicatif::{HumanCount, ProgressBar};
use tonic::Status;
use tonic_types::StatusExt;

use super::compare::difference;
use super::lines::{ImportLine, LineBatch};
use crate::cli::client::{AuditLogs, Retry};
use crate::cli::table::visible;
use crate::grpc::pb::{WriteAuditLogsRequest, WrittenAuditLog};
use crate::rest::rest_name;

/// The outcome of an import: its lines by result.
pub(in crate::cli) struct Summary {
    written: u64,
    there_already: u64,
    /// Those of `there_already` whose line is not as the log has the entry.
    altered: u64,
    skipped: u64,
    elapsed: Duration,
}

impl Summary {
    /// Whether there were lines and all of them were bad.
    pub(super) fn is_in_vain(&self) -> bool {
        self.skipped > 0 && self.written + self.there_already == 0
    }

    /// Whether at least one line was skipped, or is not as the log has its entry.
    pub(super) fn has_bad_lines(&self) -> bool {
        self.skipped + self.altered > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, there_already, altered, skipped, elapsed } = self;
        let rate = (written + there_already) as f64 / elapsed.as_secs_f64().max(0.001);
        let [written, there_already, skipped, rate] = [*written, *there_already, *skipped, rate as u64].map(HumanCount);
        let (altered, elapsed) = (shown_altered(*altered), elapsed.as_secs_f64());
        write!(
            f,
            "{written} written, {there_already} already there{altered}, {skipped} skipped in {elapsed:.1} s ({rate}/s)"
        )
    }
}

/// Writes one batch after the other, so that the log keeps the order of the file.
pub(super) struct Sender {
    client: AuditLogs,
    strict: bool,
    progress: ProgressBar,
    begun: Instant,
    written: u64,
    there_already: u64,
    altered: u64,
    skipped: u64,
    /// Entries that had lost values before the export.
    partial: u64,
    /// The last line whose entry is durable.
    last_line: usize,
}

impl Sender {
    pub(super) fn new(client: AuditLogs, strict: bool, progress: ProgressBar) -> Self {
        Self {
            client,
            strict,
            progress,
            begun: Instant::now(),
            written: 0,
            there_already: 0,
            altered: 0,
            skipped: 0,
            partial: 0,
            last_line: 0,
        }
    }

    /// Writes `batch`. Lines that the service refuses are bad lines; all others are written. Errors: a bad or altered
    /// line in a strict import; the service stays unavailable, or refuses the whole request.
    pub(super) async fn write(&mut self, mut batch: LineBatch) -> anyhow::Result<()> {
        self.partial += std::mem::take(&mut batch.partial);
        while !batch.lines.is_empty() {
            let status = match self.call(&batch).await {
                Ok(written) => {
                    self.count(&batch, &written);
                    return self.compare(&batch, &written);
                }
                Err(status) => status,
            };
            let refused = refused(&status);
            let Some((first, _)) = refused.first_key_value().filter(|(place, _)| **place < batch.lines.len()) else {
                bail!("{}", self.gave_up(&batch, &status));
            };
            if self.strict {
                let (line, why) = (batch.lines[*first].number, refused[first].clone());
                batch.lines.truncate(*first);
                Box::pin(self.write(batch)).await?;
                return self.bad(line, &why);
            }
            let mut place = 0;
            let mut found = Vec::new();
            batch.lines.retain(|line| {
                let why = refused.get(&place);
                found.extend(why.map(|why| (line.number, why)));
                place += 1;
                why.is_none()
            });
            for (line, why) in found {
                self.bad(line, why)?;
            }
        }
        Ok(())
    }

    /// Reports a bad line, which is skipped. Errors: the import is strict.
    pub(super) fn bad(&mut self, line: usize, why: &str) -> anyhow::Result<()> {
        // It may quote the file, which may hold what a terminal would obey.
        let why = visible(why);
        if self.strict {
            return Err(anyhow!("line {line}: {why}; {}", self.so_far()));
        }
        self.skipped += 1;
        self.progress.suspend(|| tell!("line {line}: {why}; skipped"));
        Ok(())
    }

    pub(super) fn finish(self) -> Summary {
        self.progress.finish_and_clear();
        if self.partial > 0 {
            let partial = HumanCount(self.partial);
            tell!("{partial} entries had lost values before the export; the new entries do not show that");
        }
        let Self { written, there_already, altered, skipped, begun, .. } = self;
        Summary { written, there_already, altered, skipped, elapsed: begun.elapsed() }
    }

    /// Sends one request, and retries it while the service is unavailable. Entry ids make that safe.
    async fn call(&self, batch: &LineBatch) -> Result<Vec<WrittenAuditLog>, Status> {
        let call = || {
            let mut client = self.client.clone();
            let request = WriteAuditLogsRequest {
                organization_id: batch.organization.clone(),
                audit_logs: batch.lines.iter().map(|line| line.entry.clone()).collect(),
            };
            async move { client.write_audit_logs(request).await }
        };
        Ok(Retry::new(&self.progress).call(call).await?.audit_logs)
    }

    fn count(&mut self, batch: &LineBatch, answers: &[WrittenAuditLog]) {
        let there_already = answers.iter().filter(|answer| answer.replayed).count();
        self.there_already += there_already as u64;
        self.written += (answers.len() - there_already) as u64;
        self.last_line = batch.lines.last().map_or(self.last_line, |line| line.number);
        let done = self.written + self.there_already;
        let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        self.progress.set_message(format!("{} entries, {}/s", HumanCount(done), HumanCount(rate as u64)));
    }

    /// Reports the lines of a written batch whose entry the log has with another number, time or leaf hash than it had
    /// at the export. Errors: there is such a line, and the import is strict.
    fn compare(&mut self, batch: &LineBatch, answers: &[WrittenAuditLog]) -> anyhow::Result<()> {
        for (line, answer) in batch.lines.iter().zip(answers).filter(|(_, answer)| answer.replayed) {
            let ImportLine { number, entry, recorded } = line;
            let Some(difference) = difference(recorded, answer) else { continue };
            self.altered += 1;
            let report = format!("line {number}: {}: {difference}; the file or the log was altered", entry.id);
            if self.strict {
                return Err(anyhow!("{report}; {}", self.so_far()));
            }
            self.progress.suspend(|| tell!("{report}"));
        }
        Ok(())
    }

    /// The progress of the import, and how to continue it.
    pub(super) fn so_far(&self) -> String {
        let Self { written, there_already, altered, skipped, last_line, .. } = self;
        let altered = shown_altered(*altered);
        format!(
            "up to line {last_line}: {written} written, {there_already} already there{altered}, {skipped} skipped. \
             Repeat the same import to continue"
        )
    }

    fn gave_up(&self, batch: &LineBatch, status: &Status) -> String {
        let line = batch.lines.first().map_or(0, |line| line.number);
        let (organization, code, message) = (&batch.organization, status.code(), status.message());
        format!("the write for {organization} from line {line} on failed ({code:?}: {message}); {}", self.so_far())
    }
}

/// ` (2 altered)`, or nothing if no line is.
fn shown_altered(altered: u64) -> String {
    if altered > 0 { format!(" ({} altered)", HumanCount(altered)) } else { String::new() }
}

/// The entries that the service refused: their index in the request, and the reason.
fn refused(status: &Status) -> BTreeMap<usize, String> {
    let violations = status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
    let place = |field: &str| field.strip_prefix("audit_logs[")?.split(']').next()?.parse().ok();
    let refused = violations.into_iter().filter_map(|one| {
        let field = one.field.split_once("].").map_or_else(|| "entry".to_owned(), |(_, field)| rest_name(field));
        Some((place(&one.field)?, format!("{field}: {}", one.description)))
    });
    refused.collect()
}
