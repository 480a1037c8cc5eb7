//! `auditlog continuity`: the breaks in the history of one resource, or of all.

use std::io::Write;

use anyhow::{anyhow, ensure};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tonic::{Code, Status};

use super::{LogArgs, entry_cells, print_json, refused, sequence, shown, shown_value};
use crate::cli::NotVerified;
use crate::cli::client::{HistoryClient, Retry, next_message};
use crate::cli::table::{FAINT, HEADER, NEW, OLD, line, visible};
use crate::domain::Seq;
use crate::grpc::pb::{CheckContinuityRequest, CheckContinuityResponse, ContinuityBreak};
use crate::rest::history::answer;

#[derive(Args)]
#[command(after_help = "\
A break is a change whose old value is not the value that was written before. Its
class is `order` if the entries came in another order than they happened: an
entry came late, or a clock is wrong. Any other break is `unexplained`: something
changed the field outside of the log, an entry is missing, or an old value is
wrong. A terminal shows the progress.

Exit codes: 0 there is no unexplained break, 1 there is one, or the check did not
end, 2 wrong usage.

Examples:
  auditlog continuity assistant asst_abc123 --organization org_abc123
  auditlog continuity --organization org_abc123
  auditlog continuity --organization org_abc123 --after 80000 --json")]
pub struct ContinuityArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Resource type, such as assistant. Default: all resources of the organization.
    #[arg(value_name = "TYPE", requires = "resource_id", value_parser = NonEmptyStringValueParser::new())]
    resource_type: Option<String>,
    /// Resource id.
    #[arg(value_name = "ID")]
    resource_id: Option<String>,
    /// Report only breaks with an entry after this sequence number. To check what came since the last check, give its
    /// --as-of. Default: 0, which reports all breaks.
    #[arg(
        long,
        default_value_t = 0,
        hide_default_value = true,
        value_parser = sequence,
        allow_negative_numbers = true,
        value_name = "N"
    )]
    after: Seq,
    /// Only entries up to and including this sequence number count. Default: all entries now.
    #[arg(long, value_parser = sequence, allow_negative_numbers = true, value_name = "N")]
    as_of: Option<Seq>,
    /// Continue an interrupted check with the token that it printed. Give the same --after as before.
    #[arg(
        long,
        value_name = "TOKEN",
        conflicts_with = "resource_type",
        value_parser = NonEmptyStringValueParser::new()
    )]
    resume: Option<String>,
    /// Print each message of the service as one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

impl ContinuityArgs {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let Self { log, resource_type, resource_id, after, as_of, resume, json } = self;
        let LogArgs { client, organization } = log;
        let request = CheckContinuityRequest {
            organization_id: organization,
            resource_type: resource_type.unwrap_or_default(),
            resource_id: resource_id.unwrap_or_default(),
            as_of_sequence: as_of,
            after_sequence: after,
            resume_token: resume.unwrap_or_default(),
        };
        let progress = ProgressBar::new_spinner();
        progress.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
        let mut check = RunningCheck { client: client.history()?, request, json, progress, unprinted: Vec::new() };
        let ended = tokio::select! {
            ended = check.run() => Some(ended),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                None
            }
        };
        check.progress.finish_and_clear();
        match ended.transpose()? {
            Some(Ok(last)) => verdict(&last),
            // Nothing was checked, and the same command would fail again.
            Some(Err(status)) if status.code() == Code::InvalidArgument => Err(refused(&status, &client, &[])),
            Some(Err(status)) => Err(check.stopped(refused(&status, &client, &[]))),
            None => Err(check.stopped(anyhow!("interrupted"))),
        }
    }
}

/// The outcome of a check. Errors: `NotVerified` if there is an unexplained break; resources that were not checked.
fn verdict(last: &CheckContinuityResponse) -> anyhow::Result<()> {
    // Only listed breaks have a class.
    if last.break_count > last.order_break_count {
        return Err(NotVerified.into());
    }
    ensure!(last.unchecked_resources == 0, "some resources were not checked, because they have too many fields");
    Ok(())
}

/// A running check.
struct RunningCheck {
    client: HistoryClient,
    /// The request for the resources whose breaks were not printed yet.
    request: CheckContinuityRequest,
    json: bool,
    progress: ProgressBar,
    /// Messages with breaks of resources that a resumed check would report again.
    unprinted: Vec<CheckContinuityResponse>,
}

impl RunningCheck {
    /// Prints breaks until the check is complete, and returns its last message, or why the service refuses to continue.
    /// Whenever a stream ends early, the next one begins with the resources that are missing. Errors: the output cannot
    /// be written.
    async fn run(&mut self) -> anyhow::Result<Result<CheckContinuityResponse, Status>> {
        let mut retry = Retry::new(&self.progress);
        loop {
            let reached = self.request.resume_token.clone();
            let status = match self.stream().await? {
                Ok(last) => return Ok(Ok(last)),
                Err(status) => status,
            };
            if self.request.resume_token != reached {
                retry.reset();
            }
            self.unprinted.clear();
            if let Err(status) = retry.wait(status).await {
                return Ok(Err(status));
            }
        }
    }

    /// Prints the breaks of one stream. Returns the last message of the check, or why the stream ended before.
    async fn stream(&mut self) -> anyhow::Result<Result<CheckContinuityResponse, Status>> {
        let mut messages = match self.client.check_continuity(self.request.clone()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            let message = match next_message(&mut messages).await {
                Ok(message) => message,
                Err(status) => return Ok(Err(status)),
            };
            if let Some(last) = self.take(message)? {
                return Ok(Ok(last));
            }
        }
    }

    /// Prints a message once the check can continue after it, so that no break is printed twice. Returns the last
    /// message of the check.
    fn take(&mut self, message: CheckContinuityResponse) -> anyhow::Result<Option<CheckContinuityResponse>> {
        let [resources, entries, breaks] =
            [message.resources, message.entries, message.break_count].map(|count| HumanCount(count.unsigned_abs()));
        self.progress.set_message(format!("{resources} resources, {entries} entries, {breaks} breaks"));
        self.progress.tick();
        // A repeated stream then has the same entries.
        self.request.as_of_sequence = Some(message.as_of_sequence);
        let can_continue = message.complete || !message.resume_token.is_empty();
        if !message.resume_token.is_empty() {
            self.request.resume_token.clone_from(&message.resume_token);
        }
        self.unprinted.push(message);
        if !can_continue && self.unprinted.iter().any(|message| !message.breaks.is_empty()) {
            return Ok(None);
        }
        let mut last = None;
        for message in std::mem::take(&mut self.unprinted) {
            self.print(&message)?;
            last = Some(message).filter(|message| message.complete);
        }
        Ok(last)
    }

    fn print(&self, message: &CheckContinuityResponse) -> anyhow::Result<()> {
        self.progress.suspend(|| match self.json {
            true => print_json(|text| answer::continuity(text, message)),
            false => Ok(anstream::stdout().write_all(text(message).as_bytes())?),
        })
    }

    /// Adds to `cause` how to continue.
    fn stopped(&self, cause: anyhow::Error) -> anyhow::Error {
        let token = &self.request.resume_token;
        let after = match self.request.after_sequence {
            0 => String::new(),
            after => format!(" --after {after}"),
        };
        match token.is_empty() {
            true => cause,
            false => anyhow!("{cause:#}; continue with --resume {token}{after}"),
        }
    }
}

/// A paragraph for each break, and the summary of the last message.
fn text(message: &CheckContinuityResponse) -> String {
    let mut text = String::new();
    for one in &message.breaks {
        paragraph(&mut text, one);
    }
    if message.complete {
        line(&mut text, format_args!("{}", visible(&message.summary)));
    }
    text
}

fn paragraph(text: &mut String, one: &ContinuityBreak) {
    let ContinuityBreak {
        resource_type,
        resource_id,
        field,
        earlier_field,
        earlier,
        later,
        written_json,
        found_json,
        left_out: _,
        class,
        explanation,
    } = one;
    let (resource_type, resource_id, class) = (shown(resource_type), shown(resource_id), visible(class));
    let path = match field == earlier_field {
        true => shown(field),
        false => format!("{} (before: {})", shown(field), shown(earlier_field)),
    };
    line(text, format_args!("{HEADER}{resource_type} {resource_id}{HEADER:#}  {path}  {class}"));
    for (name, style, value, entry) in [("written", OLD, written_json, earlier), ("found", NEW, found_json, later)] {
        let ([time, user, id], value) = (entry_cells(entry.as_ref()), shown_value(value.as_deref()));
        line(text, format_args!("    {name:<7} {style}{value}{style:#}  {FAINT}{time}  {user}  {id}{FAINT:#}"));
    }
    line(text, format_args!("    {}\n", visible(explanation)));
}
