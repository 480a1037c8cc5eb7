//! A resource as its writers see it: one JSON document, whose parts have paths.

use serde_json::{Map, Value};

/// The value at `path`; `null` if there is none.
pub(super) fn found(document: &Value, path: &str) -> Value {
    let mut value = document;
    for segment in path.split('.') {
        match value.get(segment) {
            Some(member) => value = member,
            None => return Value::Null,
        }
    }
    value.clone()
}

/// The document with `new` at `path`. An object replaces everything else on the way there.
pub(super) fn changed(document: Value, path: &str, new: Value) -> Value {
    let (segment, rest) = path.split_once('.').map_or((path, None), |(segment, rest)| (segment, Some(rest)));
    let mut members = match document {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let member = members.remove(segment).unwrap_or(Value::Null);
    let member = match rest {
        Some(rest) => changed(member, rest, new),
        None => new,
    };
    members.insert(segment.to_owned(), member);
    Value::Object(members)
}

/// Whether everything above `path` is an object.
pub(super) fn has_place_for(document: &Value, path: &str) -> bool {
    path.match_indices('.').all(|(dot, _)| found(document, &path[..dot]).is_object())
}

/// The value without members that are `null`, which are the same as absent ones.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Object(members) => {
            let known = members.into_iter().filter(|(_, member)| !member.is_null());
            Value::Object(known.map(|(key, member)| (key, without_nulls(member))).collect())
        }
        scalar => scalar,
    }
}
