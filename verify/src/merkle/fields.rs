//! The fields of each group: what is hashed, in which order. docs/LEAF_FORMAT.md has the table.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::types::{Change, Group, Invalid, JsonText, Timestamp, quoted};

/// The fields of one change, in order.
const CHANGE_PARTS: [&str; 3] = ["field", "oldValue", "newValue"];

/// Names and values of a group's fields, in the hashed order.
pub type Fields = Vec<(String, String)>;

/// The values of one group. They define what is hashed and in which order, for the writer and for verifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values<'a> {
    /// The group [`Group::Facts`].
    Facts {
        /// When the action happened.
        timestamp: Timestamp,
        /// The public name of the resource type.
        resource_type: &'a str,
        /// The id of the resource.
        resource_id: &'a str,
        /// The public name of the action.
        action: &'a str,
        /// The user who did it.
        user_id: &'a str,
        /// The trace that the action was part of.
        trace_id: Option<&'a str>,
        /// The public name of the outcome.
        outcome: Option<&'a str>,
        /// The public name of the type of actor that the user id names.
        actor_type: Option<&'a str>,
    },
    /// The group [`Group::Actor`].
    Actor {
        /// The name of the user at that time.
        user_name: Option<&'a str>,
        /// The user's e-mail address.
        user_email: Option<&'a str>,
        /// The origin of the action, by REST name. The map is in byte order, which is the hashed order.
        metadata: &'a BTreeMap<String, String>,
    },
    /// The group [`Group::Content`].
    Content {
        /// The name of the resource at that time.
        resource_name: Option<&'a str>,
        /// The changed fields, in the writer's order.
        changes: &'a [Change],
    },
}

impl Values<'_> {
    /// The group of these values.
    pub fn group(&self) -> Group {
        match self {
            Self::Facts { .. } => Group::Facts,
            Self::Actor { .. } => Group::Actor,
            Self::Content { .. } => Group::Content,
        }
    }

    /// Calls `field` with name and value of each present field, in order.
    pub fn each_field(&self, mut field: impl FnMut(&str, &str)) {
        let mut present = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                field(name, value);
            }
        };
        // A buffer for composed names.
        let mut name = String::new();
        match self {
            Self::Facts { timestamp, resource_type, resource_id, action, user_id, trace_id, outcome, actor_type } => {
                present("timestamp", Some(&timestamp.exact()));
                present("resourceType", Some(resource_type));
                present("resourceId", Some(resource_id));
                present("action", Some(action));
                present("userId", Some(user_id));
                present("traceId", *trace_id);
                present("outcome", *outcome);
                present("actorType", *actor_type);
            }
            Self::Actor { user_name, user_email, metadata } => {
                present("userName", *user_name);
                present("userEmail", *user_email);
                for (key, value) in *metadata {
                    write_name(&mut name, format_args!("metadata.{key}"));
                    present(&name, Some(value));
                }
            }
            Self::Content { resource_name, changes } => {
                present("resourceName", *resource_name);
                for (place, Change { field, old_value, new_value }) in changes.iter().enumerate() {
                    for (part, value) in CHANGE_PARTS.into_iter().zip([field, old_value.as_str(), new_value.as_str()]) {
                        write_name(&mut name, format_args!("changes.{place}.{part}"));
                        present(&name, Some(value));
                    }
                }
            }
        }
    }
}

/// Checks that `fields` can be those of `group`. The hash in a leaf does not ensure this: its maker could have hashed
/// other fields.
pub(crate) fn check_fields(group: Group, fields: &[(String, String)]) -> Result<(), Invalid> {
    let (always, optional): (&[&str], &[&str]) = match group {
        Group::Facts => {
            (&["timestamp", "resourceType", "resourceId", "action", "userId"], &["traceId", "outcome", "actorType"])
        }
        Group::Actor => (&[], &["userName", "userEmail"]),
        Group::Content => (&[], &["resourceName"]),
    };
    let mut rest = fields;
    for due in always {
        match rest.split_first() {
            Some(((name, value), after)) if name == due && !value.is_empty() => rest = after,
            other => return Err(wrong(group, other.map(|((name, _), _)| name.as_str()))),
        }
    }
    for due in optional {
        // An absent value is never written as an empty string.
        if let Some(((name, value), after)) = rest.split_first().filter(|((name, _), _)| name == due) {
            if value.is_empty() {
                return Err(wrong(group, Some(name)));
            }
            rest = after;
        }
    }
    let foreign = match group {
        Group::Facts => rest.first(),
        Group::Actor => not_metadata(rest),
        Group::Content => not_a_change(rest),
    };
    match foreign {
        Some((name, _)) => return Err(wrong(group, Some(name))),
        // The last change is incomplete.
        None if group == Group::Content && !rest.len().is_multiple_of(CHANGE_PARTS.len()) => {
            return Err(wrong(group, None));
        }
        None => {}
    }
    match fields.iter().find(|(name, value)| !is_exact(group, name, value)) {
        Some((name, _)) => Err(Invalid(format!("{} has a value of {} that no entry has", group.name(), quoted(name)))),
        None => Ok(()),
    }
}

/// Whether the value is written in the one form that is hashed.
fn is_exact(group: Group, name: &str, value: &str) -> bool {
    let is_json = || JsonText::parse(value).is_ok_and(|json| json.as_str() == value);
    match group {
        Group::Facts if name == "timestamp" => Timestamp::parse(value).is_ok_and(|time| time.exact() == value),
        Group::Content if name.ends_with(".oldValue") || name.ends_with(".newValue") => is_json(),
        _ => true,
    }
}

/// The first field that is not metadata, or whose key is not greater than the one before.
fn not_metadata(fields: &[(String, String)]) -> Option<&(String, String)> {
    let mut before = None;
    fields.iter().find(|(name, _)| {
        let key = name.strip_prefix("metadata.");
        let is_next = key.is_some_and(|key| before.is_none_or(|before| before < key));
        before = key;
        !is_next
    })
}

/// The first field that is not the expected part of a change.
fn not_a_change(fields: &[(String, String)]) -> Option<&(String, String)> {
    let due =
        |place: usize| format!("changes.{}.{}", place / CHANGE_PARTS.len(), CHANGE_PARTS[place % CHANGE_PARTS.len()]);
    fields.iter().enumerate().find(|(place, (name, _))| *name != due(*place)).map(|(_, field)| field)
}

fn wrong(group: Group, name: Option<&str>) -> Invalid {
    let name = name.map_or("its end".to_owned(), quoted);
    Invalid(format!("{} has {name} where no entry has it", group.name()))
}

fn write_name(name: &mut String, parts: fmt::Arguments<'_>) {
    name.clear();
    // Writing to a string cannot fail.
    let _ = name.write_fmt(parts);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::SaltedFields;

    fn json(text: &str) -> JsonText {
        JsonText::parse(text).expect("JSON")
    }

    #[test]
    fn fields_of_an_entry_are_accepted_in_their_order_and_form_alone() {
        let metadata = BTreeMap::from(["a", "b"].map(|key| (key.to_owned(), "v".to_owned())));
        let change = Change { field: "f".to_owned(), old_value: json("[1]"), new_value: json("{}") };
        let all = [
            Values::Facts {
                timestamp: Timestamp::saturating(0),
                resource_type: "rule",
                resource_id: "r",
                action: "created",
                user_id: "u",
                trace_id: Some("t"),
                outcome: Some("denied"),
                actor_type: Some("service"),
            },
            Values::Actor { user_name: Some("n"), user_email: Some("e"), metadata: &metadata },
            Values::Content { resource_name: Some("n"), changes: &[change.clone(), change] },
        ];
        for values in &all {
            let (group, SaltedFields { salt: _, fields }) = (values.group(), SaltedFields::new(values, [0; 16]));
            assert_eq!(check_fields(group, &fields), Ok(()));
            for place in 1..fields.len() {
                let mut moved = fields.clone();
                moved.swap(place - 1, place);
                assert!(check_fields(group, &moved).is_err(), "{moved:?}");
            }
            for place in 0..fields.len() {
                let doubled = [&fields[..=place], &fields[place..]].concat();
                assert!(check_fields(group, &doubled).is_err(), "{doubled:?}");
                let mut other = fields.clone();
                other[place].1.insert(0, ' ');
                let name = &other[place].0;
                let is_free = !(name == "timestamp" || name.ends_with("Value"));
                assert_eq!(check_fields(group, &other).is_ok(), is_free, "{other:?}");
            }
            for (place, (name, _)) in fields.iter().enumerate() {
                let mut empty = fields.clone();
                empty[place].1.clear();
                let may_be_empty = name.starts_with("metadata.") || name.ends_with(".field");
                assert_eq!(check_fields(group, &empty).is_ok(), may_be_empty, "{empty:?}");
            }
        }
    }
}
