//! `auditlog state`, `compare`, `continuity`, `rollback-plan` and `around`: how resources changed, and how to undo it.

mod around;
mod compare;
mod continuity;
mod rollback_plan;
mod state;

use std::io::{self, Write};

use clap::Args;

pub(super) use around::AroundArgs;
pub(super) use compare::CompareArgs;
pub(super) use continuity::ContinuityArgs;
pub(super) use rollback_plan::RollbackPlanArgs;
pub(super) use state::StateArgs;

use super::client::ClientArgs;
use super::table::{self, VALUE, cut, line, visible};
use crate::grpc::pb::{EntryReference, ResourceField};

/// The service, and the organization whose log it reads.
#[derive(Args)]
struct LogArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
}

/// A resource, the fields to show, and the entries that count.
#[derive(Args)]
struct ResourceArgs {
    /// Resource type, such as assistant.
    #[arg(value_name = "TYPE")]
    resource_type: String,
    /// Resource id.
    #[arg(value_name = "ID")]
    resource_id: String,
    /// Only this field, the fields below it, and the fields that contain it, such as tools. Repeat the option for more
    /// fields. Default: all fields.
    #[arg(long, value_name = "PATH")]
    field: Vec<String>,
    /// Only entries up to and including this sequence number count. Default: all entries.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..), value_name = "N")]
    as_of: Option<i64>,
}

/// The time, the user and the id of an entry; `-` without an entry.
fn entry_cells(entry: Option<&EntryReference>) -> [String; 3] {
    match entry {
        Some(EntryReference { sequence: _, id, timestamp, user_id }) => {
            [table::time(*timestamp), visible(user_id), visible(id)]
        }
        None => ["-"; 3].map(str::to_owned),
    }
}

/// A path or a value of a line, on one line and not too long.
fn shown(text: &str) -> String {
    cut(visible(text), VALUE)
}

/// A value; `None` if it is left out.
fn shown_value(json: Option<&str>) -> String {
    json.map_or_else(|| "(left out)".to_owned(), shown)
}

/// Where the value of a field comes from.
fn basis(field: &ResourceField) -> String {
    let partial = if field.partial { ", partial" } else { "" };
    format!("{}{partial}", visible(&field.basis))
}

/// The entries that changed a resource after it was deleted; empty without any.
fn anomalies(entries: &[EntryReference]) -> String {
    let mut text = String::new();
    if !entries.is_empty() {
        line(&mut text, format_args!("\nThese entries changed the resource after it was deleted. They do not count:"));
    }
    for entry in entries {
        let [time, user, id] = entry_cells(Some(entry));
        line(&mut text, format_args!("    {time}  {user}  {id}"));
    }
    text
}

/// Prints an answer as one line of JSON, in the format of the REST API. `write` encodes it.
fn print_json(write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> anyhow::Result<()> {
    let mut line = Vec::new();
    write(&mut line)?;
    line.push(b'\n');
    Ok(io::stdout().write_all(&line)?)
}

/// Tells how to get the same answer again.
fn tell_source(entries: i64, as_of_sequence: i64) {
    let read = entry_count(entries);
    tell!("{read} read; --as-of {as_of_sequence} gives the same answer again");
}

fn entry_count(entries: i64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}
