//! The names that a step adds to the index of names.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{CountKey, Group, IndexedName, Name, NameField, ResourceType, Seq};
use crate::store::{EntryNames, UncountedEntry};

/// The names of `entries`, with the number of entries of each. Many entries have the same names, so each is folded once.
pub(super) fn names_of(entries: &[UncountedEntry]) -> BTreeMap<IndexedName, i64> {
    let mut written: HashMap<(NameField, ResourceType, &str, &str), (&UncountedEntry, i64)> = HashMap::new();
    for entry in entries {
        for (field, name) in fields(entry) {
            let id = match field {
                NameField::UserName | NameField::UserEmail => &entry.user,
                NameField::ResourceName => &entry.resource,
            };
            let key = (field, entry.kind.resource_type, id.as_str(), name.as_str());
            written.entry(key).or_insert((entry, 0)).1 += 1;
        }
    }
    let mut names = BTreeMap::new();
    for ((field, _, _, name), (entry, entries)) in written {
        *names.entry(IndexedName::new(field, name, key_of(entry, field))).or_insert(0) += entries;
    }
    names
}

/// Subtracts the names of the groups that were erased from `entries`.
pub(super) fn subtract(names: &mut BTreeMap<IndexedName, i64>, entries: &[UncountedEntry], erased: &[(Seq, Group)]) {
    if erased.is_empty() {
        return;
    }
    let by_seq: HashMap<Seq, &UncountedEntry> = entries.iter().map(|entry| (entry.position.seq, entry)).collect();
    for (seq, group) in erased {
        let Some(entry) = by_seq.get(seq) else { continue };
        for (field, name) in fields(entry).filter(|(field, _)| field.group() == *group) {
            let name = IndexedName::new(field, name.as_str(), key_of(entry, field));
            if let Some(entries) = names.get_mut(&name) {
                *entries -= 1;
            }
        }
    }
    names.retain(|_, entries| *entries > 0);
}

fn fields(entry: &UncountedEntry) -> impl Iterator<Item = (NameField, &Name)> {
    let EntryNames { user_name, user_email, resource_name } = &entry.names;
    let names = [
        (NameField::UserName, user_name),
        (NameField::UserEmail, user_email),
        (NameField::ResourceName, resource_name),
    ];
    names.into_iter().filter_map(|(field, name)| Some((field, name.as_ref()?)))
}

fn key_of(entry: &UncountedEntry, field: NameField) -> CountKey {
    match field {
        NameField::UserName | NameField::UserEmail => CountKey::User(entry.user.clone()),
        NameField::ResourceName => CountKey::Resource(entry.kind.resource_type, entry.resource.clone()),
    }
}
