//! `auditlog state`: the known fields of a resource at a time.

use std::io::Write;

use anstyle::Style;
use clap::Args;

use super::{
    LogArgs, ResourceArgs, anomalies, basis, entry_cells, print_json, refused, shown, shown_value, tell_source,
};
use crate::cli::table::{FAINT, line, rows, visible};
use crate::domain::{Timestamp, last_of_span};
use crate::grpc::pb::{GetResourceStateRequest, GetResourceStateResponse, ResourceField};
use crate::grpc::wire;
use crate::rest::history::answer;

#[derive(Args)]
#[command(after_help = "\
BASIS says where a value comes from. recorded: the last change up to the time.
inferred: the old value of the first change after the time. uncertain: one of
the two, but an entry in between was erased. partial: fields below changed after
the value did. The time, the user and the id are those of the entry that has the
value. A field that is not listed is unknown. Long values are cut; --json prints
them whole.

Examples:
  auditlog state assistant asst_abc123 --organization org_abc123
  auditlog state assistant asst_abc123 --organization org_abc123 \\
    --at 2025-01-20 --field tools --field temperature
  auditlog state assistant asst_abc123 --organization org_abc123 \\
    --at 2025-01-20T10:29:59Z --json")]
pub struct StateArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    resource: ResourceArgs,
    /// Time of the state, at the precision given: 2025-01-31 is the end of that day. UTC, unless it has an offset.
    /// Default: after all entries that count.
    #[arg(long, value_name = "TIME", value_parser = last_of_span)]
    at: Option<Timestamp>,
    /// Print one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

impl StateArgs {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let Self { log, resource, at, json } = self;
        let LogArgs { client, organization } = log;
        let ResourceArgs { resource_type, resource_id, field, as_of } = resource;
        let request = GetResourceStateRequest {
            organization_id: organization,
            resource_type,
            resource_id,
            at: at.map(wire::time),
            as_of_sequence: as_of,
            field_prefixes: field,
        };
        let state = client.history()?.get_resource_state(request).await;
        let state = state.map_err(|status| refused(&status, &client, &[]))?.into_inner();
        if json {
            return print_json(|text| answer::state(text, &state));
        }
        anstream::stdout().write_all(text(&state).as_bytes())?;
        tell_source(state.entries, state.as_of_sequence);
        Ok(())
    }
}

/// The summary and a line for each field.
fn text(state: &GetResourceStateResponse) -> String {
    let GetResourceStateResponse {
        as_of_sequence: _,
        entries: _,
        summary,
        existence: _,
        since: _,
        fields,
        anomalies: after_deletion,
    } = state;
    let mut text = String::new();
    line(&mut text, format_args!("{}", visible(summary)));
    if !fields.is_empty() {
        let cells: Vec<_> = fields.iter().map(cells).collect();
        text.push('\n');
        text.push_str(&rows(["FIELD", "VALUE", "BASIS", "TIME", "USER", "ID"], &cells, |_, column| match column {
            5 => FAINT,
            _ => Style::new(),
        }));
    }
    text + &anomalies(after_deletion)
}

fn cells(one: &ResourceField) -> [String; 6] {
    let [time, user, id] = entry_cells(one.source.as_ref());
    [shown(&one.field), shown_value(one.value_json.as_deref()), basis(one), time, user, id]
}
