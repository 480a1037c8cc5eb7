//! The fields of a group: allowed names and their order. docs/LEAF_FORMAT.md has the table.

use crate::types::{Group, Invalid, quoted};

/// Checks that `fields` can be those of `group`. The hash in a leaf does not ensure this: its maker could have hashed
/// other fields.
pub(super) fn check_fields(group: Group, fields: &[(String, String)]) -> Result<(), Invalid> {
    let (always, optional): (&[&str], &[&str]) = match group {
        Group::Facts => (&["timestamp", "resourceType", "resourceId", "action", "userId"], &["traceId"]),
        Group::Actor => (&[], &["userName", "userEmail"]),
        Group::Content => (&[], &["resourceName"]),
    };
    let mut rest = fields;
    for due in always {
        match rest.split_first() {
            Some(((name, _), after)) if name == due => rest = after,
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
        Some((name, _)) => Err(wrong(group, Some(name))),
        // The last change is incomplete.
        None if group == Group::Content && !rest.len().is_multiple_of(3) => Err(wrong(group, None)),
        None => Ok(()),
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
    let parts = ["field", "oldValue", "newValue"];
    let due = |place: usize| format!("changes.{}.{}", place / parts.len(), parts[place % parts.len()]);
    fields.iter().enumerate().find(|(place, (name, _))| *name != due(*place)).map(|(_, field)| field)
}

fn wrong(group: Group, name: Option<&str>) -> Invalid {
    let name = name.map_or("its end".to_owned(), quoted);
    Invalid(format!("{} has {name} where no entry has it", group.name()))
}
