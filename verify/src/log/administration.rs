//! The entries that record the administration of the service: which facts each kind has, in which order, and the form of
//! each. docs/LEAF_FORMAT.md has the table.

use serde_json::Value;

use crate::merkle::Hash;
use crate::types::Timestamp;

/// The organization whose log has these entries. Only the service itself writes to it.
pub(super) const ORGANIZATION: &str = "auditlog:service";

/// A fact of a record: the field of its change, and the form of the new value.
struct Fact {
    field: &'static str,
    /// Whether the change may be missing.
    is_optional: bool,
    has_form: fn(&Value) -> bool,
}

const fn fact(field: &'static str, has_form: fn(&Value) -> bool) -> Fact {
    Fact { field, is_optional: false, has_form }
}

/// An API key.
const KEY: [Fact; 5] = [
    fact("id", is_key_id),
    Fact { is_optional: true, ..fact("name", is_text) },
    fact("scopes", are_texts),
    fact("organization", |value| value.is_null() || is_text(value)),
    fact("expiresAt", |value| value.is_null() || is_time(value)),
];

/// A name of the catalogue.
const NAME: [Fact; 3] = [
    fact("kind", |value| value == "resource_type" || value == "action"),
    fact("name", is_text),
    fact("history", |value| value.is_null() || is_text(value)),
];

/// A log whose signed state was given up.
const ROLLBACK: [Fact; 6] = [
    fact("organization", |value| value.is_null() || is_text(value)),
    fact("log", is_log_id),
    fact("findings", are_texts),
    fact("stateFile", |value| value.is_null() || is_tree_head(value)),
    fact("checkpoint", |value| value.is_null() || is_tree_head(value)),
    fact("head", |value| value.is_null() || is_tree_head(value)),
];

/// Whether the changes, as pairs of a field and the JSON text of its new value, are those of a record of `kind`. `None`
/// if there is no such kind.
pub(super) fn is_record(kind: &str, changes: &[(&str, &str)]) -> Option<bool> {
    let facts: &[Fact] = match kind {
        "key-created" | "key-revoked" => &KEY,
        "catalogue-added" | "catalogue-removed" => &NAME,
        "rollback-acknowledged" => &ROLLBACK,
        _ => return None,
    };
    let mut rest = changes.iter().peekable();
    for Fact { field, is_optional, has_form } in facts {
        match rest.next_if(|(own, _)| own == field) {
            Some((_, json)) if serde_json::from_str::<Value>(json).is_ok_and(|value| has_form(&value)) => {}
            None if *is_optional => {}
            _ => return Some(false),
        }
    }
    Some(rest.next().is_none())
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn are_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|values| values.iter().all(is_text))
}

/// Whether it is the id of an API key, as a leaf has it.
fn is_key_id(value: &Value) -> bool {
    let is_id = |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    value.as_str().is_some_and(is_id)
}

/// Whether it is a time with six digits of fraction.
fn is_time(value: &Value) -> bool {
    let time = |text: &str| Timestamp::parse(text).is_ok_and(|time| time.exact() == text);
    value.as_str().is_some_and(time)
}

fn is_log_id(value: &Value) -> bool {
    let is_hex = |id: &str| id.len() == 32 && id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    value.as_str().is_some_and(is_hex)
}

/// Whether it is the size and the root of a tree.
fn is_tree_head(value: &Value) -> bool {
    let Some((size, root)) = value.as_str().and_then(|head| head.split_once(' ')) else { return false };
    size.parse::<u64>().is_ok_and(|number| number.to_string() == size) && Hash::parse(root).is_ok()
}
