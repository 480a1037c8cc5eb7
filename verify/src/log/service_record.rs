//! The entries that the service itself writes: their form, and what they record.

use uuid::Uuid;

use super::disclosed::{Actor, Content, DisclosedEntry, Facts, Part};
use crate::merkle::{ErasureRecord, GroupHash, Hash, KeyEndorsement, SERVICE, VerifierKey};
use crate::types::{Change, Group, Seq};

/// The prefix of the ids of service entries, and of no others.
const PREFIX: &str = "auditlog:";

/// The content of a service entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Erased groups, and the signature lines for the record, if any.
    Erasure(ErasureRecord, Option<String>),
    /// A new key that signs checkpoints.
    Rotation(KeyEndorsement),
}

/// The record in `entry` if it is a service entry about `organization`; `None` if it is a normal entry. Errors: it has
/// only a part of the form of a service entry.
pub(super) fn record(entry: &DisclosedEntry, organization: &str) -> Result<Option<Record>, String> {
    let kind = entry.id.strip_prefix(PREFIX);
    let kind = match (kind, entry.writer == SERVICE) {
        (None, false) => return Ok(None),
        (Some(kind), true) => kind,
        (Some(_), false) => return Err(format!("has an id of the service and the writer {}", entry.writer)),
        (None, true) => return Err("has the service as its writer and no id of the service".to_owned()),
    };
    let (user_id, changes) = changes(entry, organization)?;
    let is_uuid = |text: &str| Uuid::try_parse(text).is_ok();
    match kind.split_once(':') {
        Some(("erasure", uuid)) if is_uuid(uuid) => erasure(entry, user_id, changes).map(Some),
        Some(("rotation", uuid)) if is_uuid(uuid) => rotation(changes).map(Some),
        _ => Err("is an entry of the service of a kind that this version does not know".to_owned()),
    }
}

/// The user id and the changes. Errors: other values are not as the service writes them.
fn changes<'a>(entry: &'a DisclosedEntry, organization: &str) -> Result<(&'a str, &'a [Change]), String> {
    let not = |what: &str| Err(format!("is no entry as the service writes them: {what}"));
    let (Part::Values { values: facts, .. }, Part::Values { values: actor, .. }, Part::Values { values: content, .. }) =
        (&entry.facts, &entry.actor, &entry.content)
    else {
        return not("values are missing");
    };
    let Facts { timestamp, resource_type, resource_id, action, user_id, trace_id } = facts;
    let Actor { user_name, user_email, metadata } = actor;
    let Content { resource_name, changes } = content;
    if (resource_type.as_str(), action.as_str()) != ("organization", "updated") || resource_id != organization {
        return not("it is not about the organization");
    }
    if *timestamp != entry.recorded_at {
        return not("its time is not that of recording");
    }
    let is_key = |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if user_id != "system" && !user_id.strip_prefix("key:").is_some_and(is_key) {
        return not("its user is neither a key nor system");
    }
    if trace_id.is_some() || user_name.is_some() || user_email.is_some() || resource_name.is_some() {
        return not("it has values beside its changes");
    }
    if !metadata.is_empty() {
        return not("it has metadata");
    }
    if changes.iter().any(|change| change.old_value.as_str() != "null") {
        return not("a change has an old value");
    }
    Ok((user_id, changes))
}

/// The new value of `change`, if it is a string.
fn new_value(change: &Change) -> Option<String> {
    serde_json::from_str(change.new_value.as_str()).ok()
}

fn erasure(entry: &DisclosedEntry, user_id: &str, changes: &[Change]) -> Result<Record, String> {
    let malformed = || "is no record of an erasure".to_owned();
    let (reason, changes) = changes.split_first().ok_or_else(malformed)?;
    if reason.field != "reason" || new_value(reason).is_none() {
        return Err(malformed());
    }
    let (erased, signatures) = match changes.split_last() {
        Some((last, erased)) if last.field == "signatures" => (erased, Some(new_value(last).ok_or_else(malformed)?)),
        _ => (changes, None),
    };
    let one = |change: &Change| {
        let (number, group) = change.field.strip_prefix("erased.")?.split_once('.')?;
        let erased: Seq = number.parse().ok().filter(|erased: &Seq| erased.to_string() == number)?;
        let hash = Hash::parse(&new_value(change)?).ok()?;
        (1..entry.seq).contains(&erased).then_some((erased, Group::parse(group).ok()?, GroupHash(hash)))
    };
    let groups: Option<Vec<_>> = erased.iter().map(one).collect();
    let groups = groups.filter(|groups| !groups.is_empty()).ok_or_else(malformed)?;
    let (id, user_id) = (entry.id.clone(), user_id.to_owned());
    let reason = reason.new_value.as_str().to_owned();
    Ok(Record::Erasure(ErasureRecord { id, user_id, reason, groups }, signatures))
}

fn rotation(changes: &[Change]) -> Result<Record, String> {
    let malformed = || "is no record of a new key".to_owned();
    let value = |change: &Change, field| new_value(change).filter(|_| change.field == field);
    let (key, signatures) = match changes {
        [key] => (key, Some(String::new())),
        [key, signatures] => (key, value(signatures, "signatures")),
        _ => return Err(malformed()),
    };
    let key = value(key, "verifierKey").and_then(|text| VerifierKey::parse(&text).ok());
    let (key, signatures) = key.zip(signatures).ok_or_else(malformed)?;
    Ok(Record::Rotation(KeyEndorsement::new(key, signatures)))
}
