//! Searches by name: the index of names says which users and resources a name may belong to, so that their entries are
//! the candidates, and not those of the whole organization.

use std::collections::BTreeSet;

use crate::domain::{CountKey, Filter, Identifier, MAX_VALUES, NameField, OrganizationId, Search};
use crate::error::Result;
use crate::store::Snapshot;

/// So many users or resources are worth a scan of each in an organization whose entries can all be tested.
const FEW_NAMED: usize = 10;

/// `filter` with only those users and resources that may have the names of `search`. It stays as it is if the search has
/// no names, if they belong to too many users or resources, or if it selects traces, which have few entries.
pub(super) async fn with_named(
    snapshot: &Snapshot,
    organization: &OrganizationId,
    mut filter: Filter,
    search: &Search,
) -> Result<Filter> {
    let Search { trace_ids, user_name, user_email, resource_name, .. } = search;
    if !trace_ids.is_empty() {
        return Ok(filter);
    }
    let fields = [
        (NameField::UserName, user_name),
        (NameField::UserEmail, user_email),
        (NameField::ResourceName, resource_name),
    ];
    for (field, pattern) in fields {
        let Some(pattern) = pattern else { continue };
        let Some(keys) = snapshot.keys_named(organization, field, pattern, [FEW_NAMED, MAX_VALUES]).await? else {
            continue;
        };
        let (mut users, mut types, mut resources) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for key in keys {
            match key {
                CountKey::Organization => {}
                CountKey::User(id) => _ = users.insert(id),
                CountKey::Resource(code, id) => _ = (types.insert(code), resources.insert(id)),
            }
        }
        let is_possible = match field {
            NameField::UserName | NameField::UserEmail => narrow(&mut filter.user_ids, users),
            NameField::ResourceName => {
                let resources = narrow(&mut filter.resource_ids, resources);
                narrow(&mut filter.resource_types, types) && resources
            }
        };
        if !is_possible {
            // No entry has an empty user id.
            filter.user_ids = vec![Identifier::stored(String::new())];
            break;
        }
    }
    Ok(filter)
}

/// Keeps those of `values` that are in `named`; no values are all values. Returns whether any are left.
fn narrow<T: Ord>(values: &mut Vec<T>, named: BTreeSet<T>) -> bool {
    match values.is_empty() {
        true => *values = named.into_iter().collect(),
        false => values.retain(|value| named.contains(value)),
    }
    !values.is_empty()
}
