//! Entries of one resource for tests.

use std::sync::Arc;

use crate::domain::{
    Action, Change, Content, Entry, EntryId, Erased, Identifier, JsonText, Metadata, ResourceType, Seq, Timestamp,
};
use crate::history::model::LifeActions;

pub(super) const CREATED: Action = Action(1);
pub(super) const DELETED: Action = Action(2);
pub(super) const UPDATED: Action = Action(3);
pub(super) const ACCESSED: Action = Action(4);
pub(super) const SHARED: Action = Action(5);

/// The names of all actions.
pub(super) const NAMES: [(Action, &str); 5] =
    [(CREATED, "created"), (DELETED, "deleted"), (UPDATED, "updated"), (ACCESSED, "accessed"), (SHARED, "shared")];

/// The actions of a catalogue that has all of them.
pub(super) const ACTIONS: LifeActions =
    LifeActions { created: Some(CREATED), deleted: Some(DELETED), accessed: Some(ACCESSED) };

/// The content of the entry with this number, by the user `u1`, without an outcome.
pub(super) fn plain_content(seq: Seq, action: Action, changes: Vec<Change>) -> Content {
    Content {
        id: EntryId::stored(format!("e{seq}")),
        resource_type: ResourceType(1),
        resource_id: Identifier::stored("r1".to_owned()),
        resource_name: None,
        action,
        user_id: Identifier::stored("u1".to_owned()),
        user_name: None,
        user_email: None,
        changes,
        metadata: Metadata::default(),
        trace_id: None,
        outcome: None,
        actor_type: None,
    }
}

/// The id of the entry with this number, if the service itself wrote it.
pub(super) fn service_id(seq: Seq) -> EntryId {
    EntryId::stored(format!("auditlog:erasure:{seq}"))
}

/// An entry at `time`, in microseconds.
pub(super) fn stored_entry(seq: Seq, time: i64, content: Content) -> Entry {
    Entry {
        seq,
        timestamp: Timestamp::saturating(time),
        recorded_at: Timestamp::saturating(1_000 + seq),
        writer_key_id: "writer".to_owned(),
        erased: Erased::default(),
        content: Arc::new(content),
    }
}

/// `entry` after an erasure.
pub(super) fn without(entry: &Entry, erased: Erased) -> Entry {
    Entry { erased, content: Arc::new(entry.content.without(erased)), ..entry.clone() }
}

/// A change between two JSON texts.
pub(super) fn change(field: &str, old_value: &str, new_value: &str) -> Change {
    let json = |text: &str| JsonText::parse(text).expect(text);
    Change { field: field.to_owned(), old_value: json(old_value), new_value: json(new_value) }
}
