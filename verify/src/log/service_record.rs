//! The entries that the service itself writes: their form, and what they record.

use uuid::Uuid;

use super::administration;
use super::disclosed::DisclosedEntry;
use crate::merkle::{ErasureRecord, GroupHash, Hash, KeyEndorsement, SERVICE, SaltedFields, VerifierKey};
use crate::types::{Group, Seq};

/// The prefix of the ids of service entries, and of no others.
const PREFIX: &str = "auditlog:";

/// The content of a service entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Erased groups, and the signature lines for the record, if any.
    Erasure(ErasureRecord, Option<String>),
    /// A new key that signs checkpoints.
    Rotation(KeyEndorsement),
    /// An act of administration: an API key, a name of the catalogue, or an acknowledged rollback.
    Administration,
}

/// A change of a service entry, which never has an old value.
struct RecordedChange<'a> {
    field: &'a str,
    /// JSON text.
    new_value: &'a str,
}

/// The record in `entry` if it is a service entry about `organization`; `None` if it is a normal entry. Errors: it has
/// only a part of the form of a service entry.
pub(super) fn record(entry: &DisclosedEntry, organization: &str) -> Result<Option<Record>, String> {
    let kind = entry.id.strip_prefix(PREFIX);
    let kind = match (kind, entry.writer == SERVICE) {
        (None, false) if organization == administration::ORGANIZATION => {
            return Err("is no entry of the service, which alone writes to this log".to_owned());
        }
        (None, false) => return Ok(None),
        (Some(kind), true) => kind,
        (Some(_), false) => return Err(format!("has an id of the service and the writer {}", entry.writer)),
        (None, true) => return Err("has the service as its writer and no id of the service".to_owned()),
    };
    let (user_id, changes) = changes(entry, organization)?;
    let is_uuid = |text: &str| Uuid::try_parse(text).is_ok();
    match kind.split_once(':') {
        Some(("erasure", uuid)) if is_uuid(uuid) => erasure(entry, user_id, &changes).map(Some),
        Some(("rotation", uuid)) if is_uuid(uuid) => rotation(&changes).map(Some),
        Some((kind, uuid)) if is_uuid(uuid) => administrative(kind, organization, &changes).map(Some),
        _ => Err(unknown()),
    }
}

fn unknown() -> String {
    "is an entry of the service of a kind that this version does not know".to_owned()
}

fn administrative(kind: &str, organization: &str, changes: &[RecordedChange<'_>]) -> Result<Record, String> {
    let changes: Vec<_> = changes.iter().map(|RecordedChange { field, new_value }| (*field, *new_value)).collect();
    let elsewhere = || format!("records administration, as only the log of {} does", administration::ORGANIZATION);
    match administration::is_record(kind, &changes) {
        None => Err(unknown()),
        Some(_) if organization != administration::ORGANIZATION => Err(elsewhere()),
        Some(true) => Ok(Record::Administration),
        Some(false) => Err(format!("is no record of the kind {kind}")),
    }
}

/// The user id and the changes. Errors: other fields are not as the service writes them.
fn changes<'a>(entry: &'a DisclosedEntry, organization: &str) -> Result<(&'a str, Vec<RecordedChange<'a>>), String> {
    let not = |what: &str| Err(format!("is no entry as the service writes them: {what}"));
    let [Some(facts), Some(actor), Some(content)] = Group::ALL.map(|group| entry.fields(group)) else {
        return not("values are missing");
    };
    let [
        ("timestamp", timestamp),
        ("resourceType", resource_type),
        ("resourceId", resource_id),
        ("action", action),
        ("userId", user_id),
    ] = borrowed(facts)[..]
    else {
        return not("it has values beside its changes");
    };
    if (resource_type, action) != ("organization", "updated") || resource_id != organization {
        return not("it is not about the organization");
    }
    if timestamp != entry.recorded_at.exact() {
        return not("its time is not that of recording");
    }
    let is_key = |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if user_id != "system" && !user_id.strip_prefix("key:").is_some_and(is_key) {
        return not("its user is neither a key nor system");
    }
    let content = borrowed(content);
    if !actor.fields.is_empty() || content.first().is_some_and(|(name, _)| !name.starts_with("changes.")) {
        return not("it has values beside its changes");
    }
    let (changes, []) = content.as_chunks() else { return not("its last change is incomplete") };
    let change = |[(_, field), (_, old_value), (_, new_value)]: &[(&'a str, &'a str); 3]| {
        (*old_value == "null").then_some(RecordedChange { field, new_value })
    };
    match changes.iter().map(change).collect() {
        Some(changes) => Ok((user_id, changes)),
        None => not("a change has an old value"),
    }
}

fn borrowed(fields: &SaltedFields) -> Vec<(&str, &str)> {
    fields.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The new value of `change`, if it is a string.
fn new_value(change: &RecordedChange<'_>) -> Option<String> {
    serde_json::from_str(change.new_value).ok()
}

fn erasure(entry: &DisclosedEntry, user_id: &str, changes: &[RecordedChange<'_>]) -> Result<Record, String> {
    let malformed = || "is no record of an erasure".to_owned();
    let (reason, changes) = changes.split_first().ok_or_else(malformed)?;
    if reason.field != "reason" || new_value(reason).is_none() {
        return Err(malformed());
    }
    let (erased, signatures) = match changes.split_last() {
        Some((last, erased)) if last.field == "signatures" => (erased, Some(new_value(last).ok_or_else(malformed)?)),
        _ => (changes, None),
    };
    let one = |change: &RecordedChange<'_>| {
        let (number, group) = change.field.strip_prefix("erased.")?.split_once('.')?;
        let erased: Seq = number.parse().ok().filter(|erased: &Seq| erased.to_string() == number)?;
        let hash = Hash::parse(&new_value(change)?).ok()?;
        (1..entry.seq).contains(&erased).then_some((erased, Group::parse(group).ok()?, GroupHash(hash)))
    };
    let groups: Option<Vec<_>> = erased.iter().map(one).collect();
    let groups = groups.filter(|groups| !groups.is_empty()).ok_or_else(malformed)?;
    let (id, user_id) = (entry.id.clone(), user_id.to_owned());
    let reason = reason.new_value.to_owned();
    Ok(Record::Erasure(ErasureRecord { id, user_id, reason, groups }, signatures))
}

fn rotation(changes: &[RecordedChange<'_>]) -> Result<Record, String> {
    let malformed = || "is no record of a new key".to_owned();
    let value = |change: &RecordedChange<'_>, field| new_value(change).filter(|_| change.field == field);
    let (key, signatures) = match changes {
        [key] => (key, Some(String::new())),
        [key, signatures] => (key, value(signatures, "signatures")),
        _ => return Err(malformed()),
    };
    let key = value(key, "verifierKey").and_then(|text| VerifierKey::parse(&text).ok());
    let (key, signatures) = key.zip(signatures).ok_or_else(malformed)?;
    Ok(Record::Rotation(KeyEndorsement::new(key, signatures)))
}
