//! `auditlog state`, `compare`, `continuity`, `rollback-plan` and `around`: how resources changed, and how to undo it.

mod around;
mod compare;
mod continuity;
mod rollback_plan;
mod state;

use std::io::{self, Write};

use clap::Args;
use tonic::Status;

pub(super) use around::AroundArgs;
pub(super) use compare::CompareArgs;
pub(super) use continuity::ContinuityArgs;
pub(super) use rollback_plan::RollbackPlanArgs;
pub(super) use state::StateArgs;

use super::client::{ClientArgs, explained_with};
use super::table::{self, VALUE, cut, line, visible};
use crate::domain::{Invalid, Seq, quoted};
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
    #[arg(long, value_parser = sequence, allow_negative_numbers = true, value_name = "N")]
    as_of: Option<Seq>,
}

/// Parses a sequence number, or 0 for the beginning.
fn sequence(text: &str) -> Result<Seq, Invalid> {
    let number = text.parse::<Seq>().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| Invalid::new("must be a sequence number, 0 or more", quoted(text)))
}

/// An error that explains to a person why the service refuses a command. `entries` are the ids after `--entry`.
fn refused(status: &Status, client: &ClientArgs, entries: &[String]) -> anyhow::Error {
    explained_with(status, &client.endpoint, |field| option(field, entries))
}

/// The option or the argument that sets a gRPC field of a request. An entry is named by its id.
fn option(field: &str, entries: &[String]) -> String {
    let (name, place) = field.split_once('[').unwrap_or((field, ""));
    let option = match name {
        "organization_id" => "--organization",
        "resource_type" => "<TYPE>",
        "resource_id" | "id" => "<ID>",
        "as_of_sequence" => "--as-of",
        "after_sequence" => "--after",
        "resume_token" => "--resume",
        "field_prefixes" => "--field",
        "resource.resource_type" | "resource.resource_id" => "--resource",
        "resource.at" => "--at",
        "user.user_id" => "--user",
        "user.start_time" => "--start-date",
        "user.end_time" => "--end-date",
        "trace_id" => "--trace",
        "entries.ids" => {
            let place = place.trim_end_matches(']').parse::<usize>().ok();
            let id = place.and_then(|place| entries.get(place)).filter(|id| !id.is_empty());
            return id.map_or_else(|| "--entry".to_owned(), |id| format!("--entry {}", shown(id)));
        }
        other => return format!("--{}", other.replace('_', "-")),
    };
    option.to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_by_their_options() {
        let entries = ["log_1", "", "log\n3"].map(str::to_owned);
        for (field, name) in [
            ("organization_id", "--organization"),
            ("resource_type", "<TYPE>"),
            ("resource_id", "<ID>"),
            ("id", "<ID>"),
            ("at", "--at"),
            ("from", "--from"),
            ("to", "--to"),
            ("as_of_sequence", "--as-of"),
            ("after_sequence", "--after"),
            ("resume_token", "--resume"),
            ("field_prefixes", "--field"),
            ("field_prefixes[3]", "--field"),
            ("resource.resource_type", "--resource"),
            ("resource.resource_id", "--resource"),
            ("resource.at", "--at"),
            ("user.user_id", "--user"),
            ("user.start_time", "--start-date"),
            ("user.end_time", "--end-date"),
            ("trace_id", "--trace"),
            ("entries.ids", "--entry"),
            ("entries.ids[0]", "--entry log_1"),
            ("entries.ids[1]", "--entry"),
            ("entries.ids[3]", "--entry"),
            ("minutes", "--minutes"),
            ("limit", "--limit"),
        ] {
            assert_eq!(option(field, &entries), name, "{field}");
        }
        assert!(!option("entries.ids[2]", &entries).contains('\n'), "an id is shown on one line");
    }

    #[test]
    fn a_sequence_number_is_0_or_more() {
        assert_eq!(["0", "7", "9223372036854775807"].map(sequence), [Ok(0), Ok(7), Ok(i64::MAX)]);
        for text in ["-1", "", "x", "1.5", "9223372036854775808"] {
            let refused = sequence(text).expect_err(text);
            assert_eq!(refused.0, format!("must be a sequence number, 0 or more, got {text:?}"));
        }
    }
}
