//! An entry as the input of its leaf, in the shape of the golden vectors of docs/LEAF_FORMAT.md.

use std::collections::BTreeMap;

use anyhow::anyhow;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::json;
use crate::domain::{Group, Seq, Timestamp, hex};
use crate::error::{Error, Result};
use crate::grpc::pb;
use crate::grpc::pb::log_entry_group::Disclosed;

/// An entry with all that its leaf is made of. A value is `null` if the entry does not have it, or if its group was
/// removed.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeafInputBody<'e> {
    log_id: &'e str,
    sequence: Seq,
    id: &'e str,
    recorded_at: Option<String>,
    writer: &'e str,
    timestamp: Option<String>,
    resource_type: Option<&'e str>,
    resource_id: Option<&'e str>,
    resource_name: Option<&'e str>,
    action: Option<&'e str>,
    user_id: Option<&'e str>,
    user_name: Option<&'e str>,
    user_email: Option<&'e str>,
    changes: Vec<HashedChange<'e>>,
    metadata: BTreeMap<&'e str, &'e str>,
    trace_id: Option<&'e str>,
    outcome: Option<&'e str>,
    actor_type: Option<&'e str>,
    /// In hex, of the groups whose values are here.
    salts: BTreeMap<&'static str, String>,
    /// The hashes of the groups whose values were erased, in base64.
    erased: BTreeMap<&'static str, String>,
}

/// A change with its values as the text that is hashed.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct HashedChange<'e> {
    field: &'e str,
    old_value_json: &'e str,
    new_value_json: &'e str,
}

/// The input of the leaf of `entry` in the log `log_id`. Errors: `Internal` if the entry has a field that this version
/// does not know. The leaf would be wrong without it.
pub(super) fn body<'e>(log_id: &'e str, entry: &'e pb::LogEntry) -> Result<LeafInputBody<'e>> {
    // The stored leaf hash is left out: a reader computes it.
    let pb::LogEntry { sequence, id, recorded_at, writer_key_id, leaf_hash: _, facts, actor, content } = entry;
    let mut body = LeafInputBody {
        log_id,
        sequence: *sequence,
        id,
        recorded_at: json::time(*recorded_at),
        writer: writer_key_id,
        ..Default::default()
    };
    for (group, disclosed) in Group::ALL.into_iter().zip([facts, actor, content]) {
        match disclosed.as_ref().and_then(|group| group.disclosed.as_ref()) {
            Some(Disclosed::Values(pb::SaltedFields { salt, fields })) => {
                body.salts.insert(group.name(), hex(salt));
                for pb::HashedField { name, value } in fields {
                    let unknown = || Error::Internal(anyhow!("an entry has a hashed field that this version lacks"));
                    body.set(name, value).ok_or_else(unknown)?;
                }
            }
            Some(Disclosed::Hash(hash)) => {
                body.erased.insert(group.name(), STANDARD.encode(hash));
            }
            None => {}
        }
    }
    Ok(body)
}

impl<'e> LeafInputBody<'e> {
    /// Sets the value of a hashed field; `None` if there is no such field.
    fn set(&mut self, name: &'e str, value: &'e str) -> Option<()> {
        let field = match name {
            "timestamp" => {
                // Written as in other answers: without a fraction of zero.
                self.timestamp = Some(Timestamp::parse(value).ok()?.to_string());
                return Some(());
            }
            "resourceType" => &mut self.resource_type,
            "resourceId" => &mut self.resource_id,
            "resourceName" => &mut self.resource_name,
            "action" => &mut self.action,
            "userId" => &mut self.user_id,
            "userName" => &mut self.user_name,
            "userEmail" => &mut self.user_email,
            "traceId" => &mut self.trace_id,
            "outcome" => &mut self.outcome,
            "actorType" => &mut self.actor_type,
            part => return self.set_part(part, value),
        };
        *field = Some(value);
        Some(())
    }

    /// Sets a value of the metadata, or a part of a change. The parts of changes come in order.
    fn set_part(&mut self, name: &'e str, value: &'e str) -> Option<()> {
        if let Some(key) = name.strip_prefix("metadata.") {
            self.metadata.insert(key, value);
            return Some(());
        }
        let (place, part) = name.strip_prefix("changes.")?.split_once('.')?;
        let place: usize = place.parse().ok()?;
        if place == self.changes.len() {
            self.changes.push(HashedChange::default());
        }
        let HashedChange { field, old_value_json, new_value_json } = self.changes.get_mut(place)?;
        *match part {
            "field" => field,
            "oldValue" => old_value_json,
            "newValue" => new_value_json,
            _ => return None,
        } = value;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(fields: &[(&str, &str)]) -> pb::LogEntry {
        let field = |(name, value): &(&str, &str)| pb::HashedField { name: (*name).into(), value: (*value).into() };
        let fields = fields.iter().map(field).collect();
        let disclosed = Some(Disclosed::Values(pb::SaltedFields { salt: vec![0xab; 2], fields }));
        let erased = Some(Disclosed::Hash(vec![1, 2, 3]));
        pb::LogEntry {
            sequence: 7,
            id: "log_7".to_owned(),
            content: Some(pb::LogEntryGroup { disclosed }),
            actor: Some(pb::LogEntryGroup { disclosed: erased }),
            ..Default::default()
        }
    }

    #[test]
    fn fields_go_to_their_places() {
        let entry = entry(&[
            ("resourceName", "N"),
            ("metadata.a.b", ""),
            ("changes.0.field", "f"),
            ("changes.0.oldValue", "null"),
            ("changes.0.newValue", "1.0"),
            ("changes.1.field", ""),
        ]);
        let body = serde_json::to_value(body("ff", &entry).expect("known fields")).expect("JSON");
        assert_eq!((&body["logId"], &body["resourceName"]), (&json!("ff"), &json!("N")));
        assert_eq!((&body["userName"], &body["timestamp"]), (&Value::Null, &Value::Null));
        assert_eq!(body["metadata"], json!({"a.b": ""}));
        let whole = json!({"field": "f", "oldValueJson": "null", "newValueJson": "1.0"});
        assert_eq!(body["changes"], json!([whole, {"field": "", "oldValueJson": "", "newValueJson": ""}]));
        assert_eq!(body["salts"], json!({"content": "abab"}));
        assert_eq!(body["erased"], json!({"actor": "AQID"}), "a group that is lost is in neither");
    }

    #[test]
    fn a_field_that_is_not_known_is_an_error() {
        for name in ["tenant", "changes", "changes.1.field", "changes.x.field", "changes.0.more", "timestamp"] {
            assert!(body("ff", &entry(&[(name, "x")])).is_err(), "{name}");
        }
    }
}
