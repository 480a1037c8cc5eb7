//! Paths of fields and texts of JSON values, as the definitions have them.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// The paths above `path`.
pub fn beginnings(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(move |(dot, _)| &path[..dot])
}

/// The part of `path` after `above` and a dot. `None` if `path` is not below `above`.
pub fn rest<'p>(above: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(above)?.strip_prefix('.')
}

/// Whether the paths are equal, or one is above the other.
pub fn overlap(one: &str, other: &str) -> bool {
    one == other || rest(one, other).is_some() || rest(other, one).is_some()
}

/// The text of the part of `json` at `path`, by the exact keys of objects; `null` if it is absent. `None` if the value
/// does not show it: an array or a scalar is on the way, or a key with dots that may be a part of the path.
pub fn part<'j>(json: &'j str, path: &str) -> Option<&'j str> {
    let mut json = json;
    for segment in path.split('.') {
        if json == "null" {
            return Some("null");
        }
        if !json.starts_with('{') {
            return None;
        }
        let members: BTreeMap<String, &'j RawValue> = serde_json::from_str(json).expect("an object");
        let dotted = format!("{segment}.");
        json = match members.get(segment) {
            Some(member) => member.get(),
            None if members.keys().any(|key| key.starts_with(&dotted)) => return None,
            None => return Some("null"),
        };
    }
    Some(json)
}

/// Whether two JSON texts have the same value. All numbers of the trail are integers, so they need no other form.
pub fn are_equal(one: &str, other: &str) -> bool {
    let value = |json: &str| serde_json::from_str::<Value>(json).expect("JSON");
    one == other || value(one) == value(other)
}
