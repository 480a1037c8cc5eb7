//! Paths and JSON values, as the definitions have them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::domain::JsonText;

fn segments(path: &str) -> Vec<&str> {
    path.split('.').collect()
}

/// Whether `path` is above `other`.
pub(super) fn is_above(path: &str, other: &str) -> bool {
    let (above, below) = (segments(path), segments(other));
    below.len() > above.len() && below[..above.len()] == above[..]
}

/// Whether the paths are equal, or one is above the other.
pub(super) fn overlaps(path: &str, other: &str) -> bool {
    path == other || is_above(path, other) || is_above(other, path)
}

/// The segments of `below` after those of `above`, which is equal to it or above it.
pub(super) fn rest<'p>(above: &str, below: &'p str) -> Vec<&'p str> {
    segments(below).split_off(segments(above).len())
}

/// The value of a text with small numbers. Equal values are equal, and have the same text.
pub(super) fn value(json: &JsonText) -> Value {
    normalized(serde_json::from_str(json.as_str()).expect("JSON"))
}

fn normalized(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(normalized).collect()),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.into_iter().map(|(key, member)| (key, normalized(member))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        other => other,
    }
}

/// Whether a key that contains dots may be the one that `segment` begins.
fn has_dotted_key(members: &Map<String, Value>, segment: &str) -> bool {
    let beginning = format!("{segment}.");
    members.keys().any(|key| key.starts_with(&beginning))
}

/// The part of `value` at `path`; `None` if the value does not show it.
pub(super) fn walk(value: &Value, path: &[&str]) -> Option<Value> {
    let Some((segment, rest)) = path.split_first() else {
        return Some(value.clone());
    };
    match value {
        Value::Null => Some(Value::Null),
        Value::Object(members) => match members.get(*segment) {
            Some(member) => walk(member, rest),
            None if has_dotted_key(members, segment) => None,
            None => Some(Value::Null),
        },
        _ => None,
    }
}

/// `whole` with `part` at `path`; `None` if it has no place there. What is absent or null becomes an object.
pub(super) fn with_part(whole: Value, path: &[&str], part: Value) -> Option<Value> {
    let Some((segment, rest)) = path.split_first() else {
        return Some(part);
    };
    let mut members = match whole {
        Value::Null => Map::new(),
        Value::Object(members) => members,
        _ => return None,
    };
    let member = match members.remove(*segment) {
        Some(member) => member,
        None if has_dotted_key(&members, segment) => return None,
        None => Value::Null,
    };
    members.insert((*segment).to_owned(), with_part(member, rest, part)?);
    Some(Value::Object(members))
}
