//! Values within JSON values: by the exact keys of objects, on their texts, so that numbers stay as they are written.

use std::collections::BTreeMap;

use crate::domain::{JsonMembers, JsonText, MAX_DEPTH};

const NULL: &str = "null";

/// Finds values within one JSON value. It keeps the parsed objects of the last path, because the next path often begins
/// with the same keys.
#[derive(Debug, Default)]
pub(super) struct JsonWalker {
    /// The values along the last path, from the root on.
    steps: Vec<PathStep>,
    /// The bytes of the objects that it has read. It reads an object again if another path came in between.
    pub read: usize,
}

/// A value along a path: the root, or the value of a member.
#[derive(Debug)]
struct PathStep {
    /// The key of the member; empty for the root.
    key: String,
    /// `None` if the value is not an object.
    members: Option<JsonMembers>,
}

impl JsonWalker {
    /// The value at `path` in `root`, which must be the same each time; `null` if it is absent. `None` if `root` does
    /// not show it: the path leads through an array or a scalar, or an object on the path has a key with dots that may
    /// be a part of the path.
    pub fn walk<'j>(&mut self, root: &'j JsonText, path: &str) -> Option<&'j str> {
        let root = root.as_str();
        let (mut range, mut key) = (0..root.len(), "");
        for (depth, segment) in path.split('.').enumerate() {
            let value = &root[range.clone()];
            if value == NULL {
                return Some(NULL);
            }
            if self.steps.get(depth).is_none_or(|step| step.key != key) {
                self.steps.truncate(depth);
                self.read += value.len();
                self.steps.push(PathStep { key: key.to_owned(), members: JsonMembers::parse(value) });
            }
            let members = self.steps.get(depth)?.members.as_ref()?;
            range = match members.get(segment) {
                Some(member) => range.start + member.start..range.start + member.end,
                None if has_dotted_key(members, segment) => return None,
                None => return Some(NULL),
            };
            key = segment;
        }
        Some(&root[range])
    }
}

/// Whether a key begins with `segment` and a dot.
fn has_dotted_key(members: &JsonMembers, segment: &str) -> bool {
    members.has_key_with_prefix(&format!("{segment}."))
}

/// `base` with the values of `below` set in it, which are at paths below it, in the order of paths. Missing members are
/// created, and null becomes an object. `None` if the result nests too deep, or if a value cannot be set: its path
/// leads through an array or a scalar, or an object on the path has a key with dots that may be a part of the path.
pub(super) fn assembled(base: &JsonText, below: Vec<(&str, &JsonText)>) -> Option<JsonText> {
    let below = below.into_iter().map(|(path, value)| (path, value.as_str())).collect();
    let text = with_values(base.as_str(), below, MAX_DEPTH)?;
    JsonText::parse(&text).ok()
}

/// Like [`assembled`], on texts. `depth` limits the recursion.
fn with_values(base: &str, below: Vec<(&str, &str)>, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let base = if base == NULL { "{}" } else { base };
    let members = JsonMembers::parse(base)?;
    // By key: the value of the member itself, and the values below it.
    let mut parts = BTreeMap::<&str, (Option<&str>, Vec<_>)>::new();
    for (path, value) in below {
        match path.split_once('.') {
            Some((key, rest)) => parts.entry(key).or_default().1.push((rest, value)),
            None => parts.entry(path).or_default().0 = Some(value),
        }
    }
    let mut changed = BTreeMap::new();
    for (key, (own, deeper)) in parts {
        let present = members.get(key).map(|range| &base[range]);
        if present.is_none() && has_dotted_key(&members, key) {
            return None;
        }
        let value = own.or(present).unwrap_or("{}");
        let value = if deeper.is_empty() { value.to_owned() } else { with_values(value, deeper, depth)? };
        changed.insert(key, value);
    }
    Some(members.with(base, &changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::fixtures::json;

    #[test]
    fn a_walk_follows_exact_keys_and_an_absent_member_is_null() {
        let value = json(r#"{"a":{"b":{"c":1.0}},"b":null,"":{"":2},"x":[{"y":1}],"s":"t","a":{"b":{"c":1e3}}}"#);
        let mut walker = JsonWalker::default();
        for (path, found) in [
            ("a.b.c", Some("1e3")),
            ("a.b", Some(r#"{"c":1e3}"#)),
            ("a.x", Some("null")),
            ("a.x.y.z", Some("null")),
            ("b.c.d", Some("null")),
            (".", Some("2")),
            ("", Some(r#"{"":2}"#)),
            ("a.b.c.d", None),
            ("x.0", None),
            ("x.y", None),
            ("s.t", None),
            ("s", Some(r#""t""#)),
            ("a.b.c", Some("1e3")),
        ] {
            assert_eq!(walker.walk(&value, path), found, "{path}");
            assert_eq!(JsonWalker::default().walk(&value, path), found, "{path} alone");
        }
        assert_eq!(JsonWalker::default().walk(&json("null"), "a.b"), Some("null"));
        assert_eq!(JsonWalker::default().walk(&json("1"), "a"), None);
    }

    #[test]
    fn a_walk_stops_where_a_key_with_dots_may_be_meant() {
        let value = json(r#"{"b.c":1,"d":{"e.f.g":1,"e":{"x":2}},"bc":3}"#);
        let mut walker = JsonWalker::default();
        for (path, found) in [
            ("b.c", None),
            ("b", None),
            ("b.x", None),
            ("d.e.x", Some("2")),
            ("d.e.f.g", Some("null")),
            ("bc", Some("3")),
            ("c", Some("null")),
        ] {
            assert_eq!(walker.walk(&value, path), found, "{path}");
        }
    }

    #[test]
    fn values_are_set_in_objects_and_the_rest_keeps_its_text() {
        let set = |base: &str, below: &[(&str, &str)]| {
            let below: Vec<_> = below.iter().map(|(path, value)| (*path, json(value))).collect();
            let below = below.iter().map(|(path, value)| (*path, value)).collect();
            assembled(&json(base), below).map(String::from)
        };
        type Case = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);
        let cases: [Case; 16] = [
            ("1", &[("b", "null"), ("b.c", "null")], None),
            ("null", &[("b", "null")], Some(r#"{"b":null}"#)),
            ("[1]", &[("0", "null")], None),
            (r#"{"b":1}"#, &[("b", "null"), ("d", "null")], Some(r#"{"b":null,"d":null}"#)),
            ("1", &[("b", "null"), ("c", "2")], None),
            (r#"{"n":1.50,"b":1}"#, &[("b", "2e0")], Some(r#"{"n":1.50,"b":2e0}"#)),
            (r#"{"b":{"c":1,"d":2}}"#, &[("b.c", "null"), ("b.e", "3")], Some(r#"{"b":{"c":null,"d":2,"e":3}}"#)),
            ("{}", &[("b.c.d", "1")], Some(r#"{"b":{"c":{"d":1}}}"#)),
            ("{}", &[("b", r#"{"x":1}"#), ("b.c", "2")], Some(r#"{"b":{"x":1,"c":2}}"#)),
            (r#"{"b":1}"#, &[("b", "{}"), ("b!", "0"), ("b.c", "2")], Some(r#"{"b":{"c":2},"b!":0}"#)),
            (r#"{"b":1}"#, &[("b.c", "2")], None),
            (r#"{"b":[]}"#, &[("b.0", "2")], None),
            (r#"{"b":null}"#, &[("b.c", "2")], Some(r#"{"b":{"c":2}}"#)),
            ("null", &[("b", "2")], Some(r#"{"b":2}"#)),
            (r#"{"b.c":1}"#, &[("b.c", "2")], None),
            ("{}", &[("", "1"), (".", "2")], None),
        ];
        for (base, below, found) in cases {
            assert_eq!(set(base, below).as_deref(), found, "{base} with {below:?}");
        }
        let path = ["a"; 32].join(".");
        assert!(set("{}", &[(path.as_str(), "1")]).is_some());
        assert_eq!(set("{}", &[(format!("{path}.a").as_str(), "1")]), None);
        assert_eq!(set("{}", &[(path.as_str(), "[]")]), None);
    }
}
