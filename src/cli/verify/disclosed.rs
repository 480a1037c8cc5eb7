//! Converts entries of the gRPC contract to entries for the verifier.

use crate::domain::{Change, Invalid, JsonText, Timestamp};
use crate::grpc::pb::{self, log_entry};
use auditlog_verify::log::{Actor, Content, DisclosedEntry, Facts, Part};
use auditlog_verify::merkle::{GroupHash, Hash, Salt};

/// Converts an entry. Errors: it has a value that no entry can have.
pub(in crate::cli) fn disclosed_entry(entry: pb::LogEntry) -> Result<DisclosedEntry, Invalid> {
    let pb::LogEntry { sequence, id, recorded_at, writer_key_id, leaf_hash, facts, actor, content } = entry;
    Ok(DisclosedEntry {
        seq: sequence,
        id,
        recorded_at: time(recorded_at)?,
        writer: writer_key_id,
        leaf: Hash::of_bytes(&leaf_hash)?,
        facts: match facts {
            Some(log_entry::Facts::FactsValues(facts)) => of_facts(facts)?,
            Some(log_entry::Facts::FactsHash(hash)) => gone(&hash)?,
            None => Part::Nothing,
        },
        actor: match actor {
            Some(log_entry::Actor::ActorValues(actor)) => of_actor(actor)?,
            Some(log_entry::Actor::ActorHash(hash)) => gone(&hash)?,
            None => Part::Nothing,
        },
        content: match content {
            Some(log_entry::Content::ContentValues(content)) => of_content(content)?,
            Some(log_entry::Content::ContentHash(hash)) => gone(&hash)?,
            None => Part::Nothing,
        },
    })
}

fn of_facts(facts: pb::Facts) -> Result<Part<Facts>, Invalid> {
    let pb::Facts { salt, timestamp, resource_type, resource_id, action, user_id, trace_id } = facts;
    let timestamp = time(timestamp)?;
    let values = Facts { timestamp, resource_type, resource_id, action, user_id, trace_id };
    Ok(Part::Values { salt: salted(&salt)?, values })
}

fn of_actor(actor: pb::Actor) -> Result<Part<Actor>, Invalid> {
    let pb::Actor { salt, user_name, user_email, metadata } = actor;
    Ok(Part::Values { salt: salted(&salt)?, values: Actor { user_name, user_email, metadata } })
}

fn of_content(content: pb::Content) -> Result<Part<Content>, Invalid> {
    let pb::Content { salt, resource_name, changes } = content;
    let change = |change: pb::Change| {
        let pb::Change { field, old_value_json, new_value_json } = change;
        Ok(Change { field, old_value: json(old_value_json)?, new_value: json(new_value_json)? })
    };
    let changes = changes.into_iter().map(change).collect::<Result<_, Invalid>>()?;
    Ok(Part::Values { salt: salted(&salt)?, values: Content { resource_name, changes } })
}

/// JSON in the exact form that is hashed. Errors: white space between tokens.
fn json(text: Option<String>) -> Result<JsonText, Invalid> {
    let Some(text) = text else { return Ok(JsonText::null()) };
    let json = JsonText::parse(&text)?;
    match json.as_str() == text {
        true => Ok(json),
        false => Err(Invalid("a value must be JSON without white space between its tokens".to_owned())),
    }
}

fn salted(salt: &[u8]) -> Result<Salt, Invalid> {
    salt.try_into().map_err(|_| Invalid::new("a salt must be 16 bytes", salt.len()))
}

fn gone<T>(hash: &[u8]) -> Result<Part<T>, Invalid> {
    Ok(Part::Hash(GroupHash(Hash::of_bytes(hash)?)))
}

fn time(time: Option<prost_types::Timestamp>) -> Result<Timestamp, Invalid> {
    let prost_types::Timestamp { seconds, nanos } = time.ok_or_else(|| Invalid("a time is missing".to_owned()))?;
    let time = Timestamp::from_parts(seconds, nanos)?;
    match time.parts() == (seconds, nanos) {
        true => Ok(time),
        false => Err(Invalid::new("a time must be in microseconds", format_args!("{nanos} nanoseconds"))),
    }
}
