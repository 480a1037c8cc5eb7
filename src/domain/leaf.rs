//! The leaf of a stored entry, in the terms of the crate that verifies logs.

use auditlog_verify::merkle::{GroupHash, Hash, Leaf, Salts, Values, group_hashes};

use super::{Catalogue, Content, Entry, Name};

/// The values of all three groups of `entry`, in leaf order. `resource_type` and `action` are its public names.
pub fn entry_values<'a>(entry: &'a Entry, resource_type: &'a str, action: &'a str) -> [Values<'a>; 3] {
    let Entry { seq: _, timestamp, recorded_at: _, writer_key_id: _, erased: _, content } = entry;
    let Content {
        id: _,
        resource_type: _,
        resource_id,
        resource_name,
        action: _,
        user_id,
        user_name,
        user_email,
        changes,
        metadata,
        trace_id,
    } = &**content;
    let name = |name: &'a Option<Name>| name.as_ref().map(Name::as_str);
    [
        Values::Facts {
            timestamp: *timestamp,
            resource_type,
            resource_id: resource_id.as_str(),
            action,
            user_id: user_id.as_str(),
            trace_id: trace_id.as_ref().map(|id| id.as_str()),
        },
        Values::Actor { user_name: name(user_name), user_email: name(user_email), metadata: metadata.pairs() },
        Values::Content { resource_name: name(resource_name), changes },
    ]
}

/// The leaf of `entry` in the log `log_id`; `groups` are its group hashes.
pub fn entry_leaf<'a>(entry: &'a Entry, log_id: &'a str, groups: [GroupHash; 3]) -> Leaf<'a> {
    let Entry { seq, timestamp: _, recorded_at, writer_key_id, erased: _, content } = entry;
    Leaf { log_id, seq: *seq, id: content.id.as_str(), recorded_at: *recorded_at, writer: writer_key_id, groups }
}

/// The hash of the leaf of `entry` in the log `log_id`; `None` if `catalogue` does not name its type or action.
pub fn leaf_hash(entry: &Entry, log_id: &str, catalogue: &Catalogue, salts: &Salts) -> Option<Hash> {
    let resource_type = catalogue.resource_type_name(entry.content.resource_type)?;
    let action = catalogue.action_name(entry.content.action)?;
    let groups = group_hashes(&entry_values(entry, resource_type, action), salts);
    Some(Hash::of_leaf(&entry_leaf(entry, log_id, groups).data()))
}
