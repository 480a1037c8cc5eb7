//! `auditlog rollback-plan`: how to undo entries.

use std::io::Write;

use anstyle::Style;
use clap::{ArgAction, ArgGroup, Args};

use super::{LogArgs, entry_cells, print_json, refused, sequence, shown, tell_source};
use crate::cli::table::{FAINT, NEW, OLD, cut, line, rows, visible};
use crate::cli::{NotVerified, usage};
use crate::domain::{Seq, Timestamp, end_of_span, last_of_span, start_of_span};
use crate::grpc::pb::plan_rollback_request::Selection;
use crate::grpc::pb::{EntryIds, PlanRollbackRequest, PlanRollbackResponse, ResourceAtTime, RollbackStep, UserWindow};
use crate::grpc::wire;
use crate::rest::history::answer;

/// The maximum number of characters of a path or a value in the table.
const CELL: usize = 50;
/// The names of the statuses of steps that need no decision, in the gRPC contract.
const READY: &str = "ready";
const NOOP: &str = "noop";

#[derive(Args)]
#[command(after_help = "\
The plan says how to undo the selected entries, and applies nothing. A line is a
step, in the order in which to apply them: the field, its value just before the
step, and the value to set. Below the table is why a step is not `ready`:
  noop        the resource is already so, or the entries changed nothing
  conflict    an entry outside of the selection changed the same later
  uncertain   an entry was erased that may have changed the same
  broken      the log does not show all changes of the field
  impossible  the entries do not say what they changed
Long values are cut; --json prints them whole. docs/undoing-changes.md explains
the rules, and contrib/apply_rollback_plan.py is an example that applies a plan.

Exit codes: 0 each step is ready or noop, 1 a step is not, or there is no plan,
2 wrong usage.

Examples:
  auditlog rollback-plan --organization org_abc123 --entry log_abc123
  auditlog rollback-plan --organization org_abc123 \\
    --resource assistant asst_abc123 --at 2025-01-19
  auditlog rollback-plan --organization org_abc123 --user uid_user123 \\
    --start-date 2025-01-20T10:00:00Z --end-date 2025-01-20
  auditlog rollback-plan --organization org_abc123 --as-of 402 --json \\
    --trace 4bf92f3577b34da6a3ce929d0e0e4736")]
#[command(group(ArgGroup::new("selection").required(true)))]
pub struct RollbackPlanArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Undo the entry with this id. Repeat the option for more entries, at most 1000.
    #[arg(long, value_name = "ID", group = "selection")]
    entry: Vec<String>,
    /// Undo all entries of this resource after --at.
    #[arg(
        long,
        num_args = 2,
        action = ArgAction::Set,
        value_names = ["TYPE", "ID"],
        group = "selection",
        requires = "at"
    )]
    resource: Vec<String>,
    /// Time to which the resource goes back, at the precision given: 2025-01-31 is the end of that day. UTC, unless it
    /// has an offset.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = last_of_span,
        requires = "resource",
        conflicts_with_all = ["entry", "user", "trace"]
    )]
    at: Option<Timestamp>,
    /// Undo all entries of the user with this id from --start-date to --end-date.
    #[arg(long, value_name = "ID", group = "selection", requires = "start_date", requires = "end_date")]
    user: Option<String>,
    /// Start of the entries of the user, such as 2025-01-31 or 2025-01-31T23:59:59Z. UTC, unless it has an offset.
    #[arg(
        long,
        value_name = "DATE",
        value_parser = start_of_span,
        requires = "user",
        conflicts_with_all = ["entry", "resource", "trace"]
    )]
    start_date: Option<Timestamp>,
    /// End of the entries of the user, inclusive at the precision given: 2025-01-31 includes that whole day.
    #[arg(
        long,
        value_name = "DATE",
        value_parser = end_of_span,
        requires = "user",
        conflicts_with_all = ["entry", "resource", "trace"]
    )]
    end_date: Option<Timestamp>,
    /// Undo all entries of the trace with this id.
    #[arg(long, value_name = "ID", group = "selection")]
    trace: Option<String>,
    /// Only entries up to and including this sequence number count. Default: all entries.
    #[arg(long, value_parser = sequence, allow_negative_numbers = true, value_name = "N")]
    as_of: Option<Seq>,
    /// Print one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

impl RollbackPlanArgs {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let Self { log, entry, resource, at, user, start_date, end_date, trace, as_of, json } = self;
        let LogArgs { client, organization } = log;
        if let (Some(start), Some(end)) = (start_date, end_date)
            && start >= end
        {
            return Err(usage("--start-date must not be after --end-date"));
        }
        let selection = match (<[String; 2]>::try_from(resource), user, trace) {
            (Ok([resource_type, resource_id]), _, _) => {
                Selection::Resource(ResourceAtTime { resource_type, resource_id, at: at.map(wire::time) })
            }
            (_, Some(user_id), _) => {
                let (start_time, end_time) = (start_date.map(wire::time), end_date.map(wire::time));
                Selection::User(UserWindow { user_id, start_time, end_time })
            }
            (_, _, Some(trace)) => Selection::TraceId(trace),
            _ => Selection::Entries(EntryIds { ids: entry.clone() }),
        };
        let request =
            PlanRollbackRequest { organization_id: organization, as_of_sequence: as_of, selection: Some(selection) };
        let plan = client.history()?.plan_rollback(request).await;
        let plan = plan.map_err(|status| refused(&status, &client, &entry))?.into_inner();
        if json {
            print_json(|text| answer::plan(text, &plan))?;
        } else {
            anstream::stdout().write_all(text(&plan).as_bytes())?;
            tell_source(plan.entries, plan.as_of_sequence);
        }
        let needs_decision = |step: &RollbackStep| ![READY, NOOP].contains(&step.status.as_str());
        if plan.steps.iter().any(needs_decision) { Err(NotVerified.into()) } else { Ok(()) }
    }
}

/// The summary, the table of steps, and the explanations of those that are not ready.
fn text(plan: &PlanRollbackResponse) -> String {
    let PlanRollbackResponse { as_of_sequence: _, entries: _, selected_entries: _, resources: _, summary, steps } =
        plan;
    let mut text = String::new();
    line(&mut text, format_args!("{}", visible(summary)));
    if steps.is_empty() {
        return text;
    }
    let numbered = || steps.iter().enumerate().map(|(place, step)| (place + 1, step));
    let cells: Vec<_> = numbered().map(|(number, step)| cells(number, step)).collect();
    text.push('\n');
    text.push_str(&rows(["STEP", "RESOURCE", "CHANGE", "STATUS"], &cells, |cells, column| {
        match (column, &*cells[3]) {
            (3, READY) => NEW,
            (3, NOOP) => FAINT,
            (3, _) => OLD,
            _ => Style::new(),
        }
    }));
    for (number, step) in numbered().filter(|(_, step)| step.status != READY) {
        let (status, explanation) = (visible(&step.status), visible(&step.explanation));
        line(&mut text, format_args!("\nStep {number}, {status}: {explanation}"));
        if let Some(cause) = &step.cause {
            let [time, user, id] = entry_cells(Some(cause));
            line(&mut text, format_args!("    {FAINT}{time}  {user}  {id}{FAINT:#}"));
        }
    }
    text
}

fn cells(number: usize, step: &RollbackStep) -> [String; 4] {
    let resource = format!("{} {}", visible(&step.resource_type), shown(&step.resource_id));
    [number.to_string(), resource, change(step), visible(&step.status)]
}

/// The change that a step makes: for a field, `field: now → restore`.
fn change(step: &RollbackStep) -> String {
    match step.action.as_str() {
        "restore" => {
            let field = cut(visible(step.field.as_deref().unwrap_or_default()), CELL);
            let now = value(step, step.expected_json.as_deref(), "expected_json");
            format!("{field}: {now} → {}", value(step, step.restore_json.as_deref(), "restore_json"))
        }
        "recreate" => {
            let unknown = match step.unknown_fields.len() {
                0 => String::new(),
                unknown => format!(", without {unknown} unknown"),
            };
            format!("create again, {}{unknown}", fields(step.fields.len()))
        }
        other => visible(other),
    }
}

/// A value of a step; `name` is its field in the gRPC contract.
fn value(step: &RollbackStep, json: Option<&str>, name: &str) -> String {
    match json {
        Some(json) => cut(visible(json), CELL),
        None if step.left_out.iter().any(|left_out| left_out == name) => "(left out)".to_owned(),
        None => "(unknown)".to_owned(),
    }
}

fn fields(number: usize) -> String {
    if number == 1 { "1 field".to_owned() } else { format!("{number} fields") }
}
