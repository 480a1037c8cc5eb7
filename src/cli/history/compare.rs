//! `auditlog compare`: the fields of a resource that differ between two times.

use std::io::Write;

use clap::Args;

use super::{
    LogArgs, ResourceArgs, anomalies, basis, entry_cells, print_json, refused, shown, shown_value, tell_source,
};
use crate::cli::table::{FAINT, NEW, OLD, line, visible};
use crate::cli::usage;
use crate::domain::{Timestamp, last_of_span};
use crate::grpc::pb::{CompareResourceStatesRequest, CompareResourceStatesResponse, FieldDifference, ResourceField};
use crate::grpc::wire;
use crate::rest::history::answer;

#[derive(Args)]
#[command(after_help = "\
Each field that differs is a line with its value at the two times. The lines
below it say where the two values come from: the basis, as in `auditlog state`,
and the time, the user and the id of the entry.

Examples:
  auditlog compare assistant asst_abc123 --organization org_abc123 \\
    --from 2025-01-19 --to 2025-01-20
  auditlog compare assistant asst_abc123 --organization org_abc123 \\
    --from 2025-01-20T10:29:59Z --field tools --json")]
pub struct CompareArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    resource: ResourceArgs,
    /// Earlier time, at the precision given: 2025-01-31 is the end of that day. UTC, unless it has an offset.
    #[arg(long, value_name = "TIME", value_parser = last_of_span)]
    from: Timestamp,
    /// Later time, in the same way. Default: after all entries that count.
    #[arg(long, value_name = "TIME", value_parser = last_of_span)]
    to: Option<Timestamp>,
    /// Print one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

impl CompareArgs {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let Self { log, resource, from, to, json } = self;
        let LogArgs { client, organization } = log;
        let ResourceArgs { resource_type, resource_id, field, as_of } = resource;
        if to.is_some_and(|to| to < from) {
            return Err(usage("--to must not be before --from"));
        }
        let request = CompareResourceStatesRequest {
            organization_id: organization,
            resource_type,
            resource_id,
            from: Some(wire::time(from)),
            to: to.map(wire::time),
            as_of_sequence: as_of,
            field_prefixes: field,
        };
        let comparison = client.history()?.compare_resource_states(request).await;
        let comparison = comparison.map_err(|status| refused(&status, &client, &[]))?.into_inner();
        if json {
            return print_json(|text| answer::comparison(text, &comparison));
        }
        anstream::stdout().write_all(text(&comparison).as_bytes())?;
        tell_source(comparison.entries, comparison.as_of_sequence);
        Ok(())
    }
}

/// The summary and the lines of each field that differs.
fn text(comparison: &CompareResourceStatesResponse) -> String {
    let CompareResourceStatesResponse {
        as_of_sequence: _,
        entries: _,
        summary,
        existence_before,
        existence_after,
        since: _,
        differences,
        anomalies: after_deletion,
        erased_entries: _,
    } = comparison;
    let mut text = String::new();
    line(&mut text, format_args!("{}", visible(summary)));
    if !differences.is_empty() {
        text.push('\n');
    }
    for FieldDifference { field, before, after, explanation: _ } in differences {
        let (old, new) = (side(before.as_ref(), existence_before), side(after.as_ref(), existence_after));
        line(&mut text, format_args!("{}: {OLD}{old}{OLD:#} → {NEW}{new}{NEW:#}", shown(field)));
        for (name, one) in [("before:", before), ("after: ", after)] {
            if let Some(one) = one {
                let ([time, user, id], basis) = (entry_cells(one.source.as_ref()), basis(one));
                line(&mut text, format_args!("    {FAINT}{name} {basis}  {time}  {user}  {id}{FAINT:#}"));
            }
        }
    }
    text + &anomalies(after_deletion)
}

/// The value of a field at one of the times.
fn side(field: Option<&ResourceField>, existence: &str) -> String {
    match field {
        Some(field) => shown_value(field.value_json.as_deref()),
        None if existence == "deleted" => "(deleted)".to_owned(),
        None => "(unknown)".to_owned(),
    }
}
