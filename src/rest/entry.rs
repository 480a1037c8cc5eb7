//! An entry as JSON: its fields in the documented order, and their decoding into gRPC requests. The export, the import
//! and the command line's table derive from them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::ErrorResponse;
use crate::domain::{Invalid, Seq, Timestamp, did_you_mean, quoted};
use crate::grpc::wire::{check_changes, check_count};
use crate::grpc::{pb, wire};
use auditlog_verify::merkle::Hash;

/// The documented keys of metadata, in order.
pub const METADATA_KEYS: [&str; 3] = ["ipAddress", "userAgent", "source"];

/// The value of a field of an entry.
#[derive(Debug, Clone, Copy)]
pub enum FieldValue<'e> {
    /// An optional field without a value.
    Absent,
    /// A string.
    Text(&'e str),
    /// An integer.
    Number(i64),
    /// An instant.
    Time(Option<prost_types::Timestamp>),
    /// The changed fields, in the writer's order.
    Changes(&'e [pb::Change]),
    /// The origin of the action, by key.
    Metadata(&'e BTreeMap<String, String>),
    /// The names of the erased groups.
    Groups(&'e [String]),
}

/// The fields of an entry with their public names, in the documented order. Source: api/list-audit-logs.md.
pub fn fields(entry: &pb::AuditLog) -> [(&'static str, FieldValue<'_>); 18] {
    let pb::AuditLog {
        id,
        organization_id,
        sequence,
        timestamp,
        recorded_at,
        resource_type,
        resource_id,
        resource_name,
        action,
        user_id,
        user_name,
        user_email,
        changes,
        metadata,
        trace_id,
        erased,
        outcome,
        actor_type,
    } = entry;
    [
        ("id", FieldValue::Text(id)),
        ("organizationId", FieldValue::Text(organization_id)),
        ("timestamp", FieldValue::Time(*timestamp)),
        ("resourceType", FieldValue::Text(resource_type)),
        ("resourceId", FieldValue::Text(resource_id)),
        ("resourceName", optional_text(resource_name)),
        ("action", FieldValue::Text(action)),
        ("userId", FieldValue::Text(user_id)),
        ("userName", optional_text(user_name)),
        ("userEmail", optional_text(user_email)),
        ("changes", FieldValue::Changes(changes)),
        ("metadata", FieldValue::Metadata(metadata)),
        ("sequence", FieldValue::Number(*sequence)),
        ("recordedAt", FieldValue::Time(*recorded_at)),
        ("traceId", optional_text(trace_id)),
        ("outcome", optional_text(outcome)),
        ("actorType", optional_text(actor_type)),
        ("erased", FieldValue::Groups(erased)),
    ]
}

fn optional_text(text: &Option<String>) -> FieldValue<'_> {
    text.as_deref().map_or(FieldValue::Absent, FieldValue::Text)
}

/// The body of a `POST`: `{"auditLogs":[…]}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WriteBody<'a> {
    #[serde(borrow)]
    audit_logs: Vec<&'a RawValue>,
}

/// One entry. `null` means absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntryBody<'a> {
    id: Option<String>,
    organization_id: Option<String>,
    timestamp: Option<String>,
    resource_type: Option<String>,
    resource_id: Option<String>,
    resource_name: Option<String>,
    action: Option<String>,
    user_id: Option<String>,
    user_name: Option<String>,
    user_email: Option<String>,
    #[serde(borrow)]
    changes: Option<Vec<&'a RawValue>>,
    metadata: Option<MetadataBody>,
    trace_id: Option<String>,
    outcome: Option<String>,
    actor_type: Option<String>,
    erased: Option<Vec<String>>,
    sequence: Option<i64>,
    recorded_at: Option<String>,
    leaf_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChangeBody<'a> {
    field: String,
    #[serde(borrow)]
    old_value: Option<&'a RawValue>,
    #[serde(borrow)]
    new_value: Option<&'a RawValue>,
}

/// Strings by key. A duplicate key is an error; a plain map would silently keep one of the two values.
struct MetadataBody(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for MetadataBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = MetadataBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<MetadataBody, M::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
                    if pairs.contains_key(&key) {
                        return Err(M::Error::custom(format_args!("duplicate key {}", quoted(&key))));
                    }
                    pairs.insert(key, value);
                }
                Ok(MetadataBody(pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Why an entry, or another body, is refused.
#[derive(Debug)]
pub struct EntryFault {
    /// The field, such as `changes[2].field`; empty for the whole.
    field: String,
    why: String,
    /// Whether the JSON has the right shape but breaks a field's rule.
    is_rule: bool,
}

impl EntryFault {
    fn shape(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into(), is_rule: false }
    }

    pub(super) fn rule(field: &str, why: impl Into<String>) -> Self {
        Self { field: field.to_owned(), why: why.into(), is_rule: true }
    }

    /// The same fault, which is of `whole` if it names no field.
    pub(super) fn or_of(self, whole: &str) -> Self {
        if self.field.is_empty() { Self { field: whole.to_owned(), ..self } } else { self }
    }

    /// The same fault, with `place` before the field's path.
    pub(super) fn within(self, place: &str) -> Self {
        let joint = if self.field.is_empty() { "" } else { "." };
        Self { field: format!("{place}{joint}{}", self.field), ..self }
    }
}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.why),
            field => write!(f, "{field}: {}", self.why),
        }
    }
}

impl From<EntryFault> for ErrorResponse {
    fn from(fault: EntryFault) -> Self {
        match fault.is_rule {
            true => Self::parameter(&fault.field, fault.why),
            false => Self::body(fault.to_string()),
        }
    }
}

/// Parses an object. serde alone would also accept an array of the fields' values.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, EntryFault> {
    if !json.trim_start().starts_with('{') {
        return Err(EntryFault::shape("", format!("must be an object, got {}", quoted(json))));
    }
    let mut parser = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        let path = error.path().to_string();
        // The path does not help at the top level, before any name, or if the message has the name already.
        let is_redundant =
            [".", "?"].contains(&path.as_str()) || error.inner().to_string().starts_with("unknown field");
        let field = if is_redundant { "" } else { &path };
        EntryFault::shape(field, explained(error.inner()))
    })?;
    parser.end().map_err(|error| EntryFault::shape("", explained(&error)))?;
    Ok(value)
}

/// The message of serde. For an unknown field, adds the most similar known one: serde lists the known fields in
/// backticks.
fn explained(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if error.is_data() {
        // The field is named already, and a position within one entry does not help.
        text = text.replace(&format!(" at line {} column {}", error.line(), error.column()), "");
    }
    // serde names numbers by their Rust types.
    text = text.replace("expected i64", "expected an integer");
    let mut names = text.split('`').skip(1).step_by(2);
    let hint = match names.next() {
        Some(sent) if text.starts_with("unknown field") => did_you_mean(sent, names),
        _ => String::new(),
    };
    format!("{text}{hint}")
}

/// The text of a body.
pub(super) fn utf8(body: &[u8]) -> Result<&str, ErrorResponse> {
    std::str::from_utf8(body).map_err(|error| ErrorResponse::body(format!("The body must be UTF-8: {error}")))
}

/// Decodes the entries of a `POST` to `organization_id`.
pub(super) fn audit_logs(body: &[u8], organization_id: &str) -> Result<Vec<pb::AuditLogInput>, ErrorResponse> {
    let WriteBody { audit_logs } = object(utf8(body)?)
        .map_err(|fault| ErrorResponse::body(format!(r#"The body must be {{"auditLogs":[…]}}: {fault}"#)))?;
    // Checked first: decoding a body of empty objects would take a hundred times its size.
    check_count(audit_logs.len()).map_err(|Invalid(why)| ErrorResponse::parameter("auditLogs", why))?;
    let read = |(place, raw): (usize, &RawValue)| {
        let at = |fault: EntryFault| fault.within(&format!("auditLogs[{place}]"));
        let (named, input) = decode(raw.get()).map_err(at)?;
        match named {
            Some(named) if named != organization_id => {
                let why = format!("must be that of the path, {}, got {}", quoted(organization_id), quoted(&named));
                Err(at(EntryFault::rule("organizationId", why)).into())
            }
            _ => Ok(input),
        }
    };
    audit_logs.into_iter().enumerate().map(read).collect()
}

/// Decodes one entry, and the organization that it names. Only the number of changes is limited here; the service
/// checks the other limits.
pub fn decode(json: &str) -> Result<(Option<String>, pb::AuditLogInput), EntryFault> {
    let (organization_id, input, read_only) = split(json)?;
    let ReadOnlyFields { erased, sequence, recorded_at, leaf_hash } = read_only;
    let sent = [
        ("erased", erased.is_some()),
        ("sequence", sequence.is_some()),
        ("recordedAt", recorded_at.is_some()),
        ("leafHash", leaf_hash.is_some()),
    ];
    match sent.into_iter().find(|(_, is_sent)| *is_sent) {
        Some((name, _)) => Err(EntryFault::shape(name, "is only in responses; leave it out of a new entry")),
        None => Ok((organization_id, input)),
    }
}

/// An entry from an export.
#[derive(Debug)]
pub struct ExportedEntry {
    /// The organization that it names.
    pub organization_id: Option<String>,
    /// The values that a writer sends.
    pub input: pb::AuditLogInput,
    /// The names of the groups that were erased.
    pub erased: Vec<String>,
    /// Its number, time and leaf hash in the log that it was exported from.
    pub recorded: RecordedAs,
}

/// The number, time and leaf hash of an entry in a log. A field is `None` if the line lacks it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedAs {
    /// The number of the entry, 1 or more.
    pub sequence: Option<Seq>,
    /// When the service committed to the entry.
    pub recorded_at: Option<Timestamp>,
    /// The hash of the entry's leaf.
    pub leaf_hash: Option<Hash>,
}

/// Like [`decode`], for an entry from an export, which has the fields that only the service sets.
pub fn decode_exported(json: &str) -> Result<ExportedEntry, EntryFault> {
    let (organization_id, input, read_only) = split(json)?;
    let ReadOnlyFields { erased, sequence, recorded_at, leaf_hash } = read_only;
    if let Some(sequence) = sequence.filter(|sequence| *sequence < 1) {
        return Err(EntryFault::rule("sequence", format!("must be 1 or more, got {sequence}")));
    }
    let leaf_hash = leaf_hash.map(|text| Hash::parse(&text)).transpose();
    let recorded = RecordedAs {
        sequence,
        recorded_at: time("recordedAt", recorded_at)?,
        leaf_hash: leaf_hash.map_err(|why| EntryFault::rule("leafHash", why.to_string()))?,
    };
    Ok(ExportedEntry { organization_id, input, erased: erased.unwrap_or_default(), recorded })
}

/// The fields of an [`EntryBody`] that only the service sets.
struct ReadOnlyFields {
    erased: Option<Vec<String>>,
    sequence: Option<Seq>,
    recorded_at: Option<String>,
    leaf_hash: Option<String>,
}

fn time(field: &str, text: Option<String>) -> Result<Option<Timestamp>, EntryFault> {
    let time = text.map(|text| Timestamp::parse(&text)).transpose();
    time.map_err(|why| EntryFault::rule(field, why.to_string()))
}

/// Decodes the fields that a writer sends, and keeps the others apart.
fn split(json: &str) -> Result<(Option<String>, pb::AuditLogInput, ReadOnlyFields), EntryFault> {
    let EntryBody {
        id,
        organization_id,
        timestamp,
        resource_type,
        resource_id,
        resource_name,
        action,
        user_id,
        user_name,
        user_email,
        changes,
        metadata,
        trace_id,
        outcome,
        actor_type,
        erased,
        sequence,
        recorded_at,
        leaf_hash,
    } = object(json)?;
    let timestamp = time("timestamp", timestamp)?.map(wire::time);
    let changes = changes.unwrap_or_default();
    check_changes(changes.len()).map_err(|Invalid(why)| EntryFault::rule("changes", why))?;
    let change = |(place, raw): (usize, &RawValue)| {
        let change = object(raw.get()).map_err(|fault| fault.within(&format!("changes[{place}]")));
        let ChangeBody { field, old_value, new_value } = change?;
        let json = |value: &RawValue| value.get().to_owned();
        Ok(pb::Change { field, old_value_json: old_value.map(json), new_value_json: new_value.map(json) })
    };
    let input = pb::AuditLogInput {
        id: id.unwrap_or_default(),
        timestamp,
        resource_type: resource_type.unwrap_or_default(),
        resource_id: resource_id.unwrap_or_default(),
        resource_name: resource_name.unwrap_or_default(),
        action: action.unwrap_or_default(),
        user_id: user_id.unwrap_or_default(),
        user_name: user_name.unwrap_or_default(),
        user_email: user_email.unwrap_or_default(),
        changes: changes.into_iter().enumerate().map(change).collect::<Result<_, EntryFault>>()?,
        metadata: metadata.map(|MetadataBody(pairs)| pairs).unwrap_or_default(),
        trace_id: trace_id.unwrap_or_default(),
        outcome: outcome.unwrap_or_default(),
        actor_type: actor_type.unwrap_or_default(),
    };
    Ok((organization_id, input, ReadOnlyFields { erased, sequence, recorded_at, leaf_hash }))
}
