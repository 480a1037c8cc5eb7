//! Entries of one resource, for the tests of this folder.

use std::sync::Arc;

use super::LifeActions;
use crate::domain::{
    Action, Change, Content, Entry, EntryId, Erased, Group, Identifier, JsonText, Metadata, Outcome, ResourceType, Seq,
    Timestamp,
};

pub(super) const CREATED: Action = Action(1);
pub(super) const DELETED: Action = Action(2);
pub(super) const UPDATED: Action = Action(3);
pub(super) const ACCESSED: Action = Action(4);
pub(super) const ACTIONS: LifeActions =
    LifeActions { created: Some(CREATED), deleted: Some(DELETED), accessed: Some(ACCESSED) };

/// The instant of an entry whose number is its time.
pub(super) fn second(number: i64) -> Timestamp {
    Timestamp::saturating(number * 1_000_000)
}

/// `text` must be minified. It is not checked, since that takes long for the largest ones.
pub(super) fn json(text: &str) -> JsonText {
    JsonText::stored(text.to_owned())
}

/// The entry `seq`, at that second. Its changes are path, old and new value.
pub(super) fn entry(seq: Seq, action: Action, changes: &[(&str, &str, &str)]) -> Entry {
    let change = |(field, old, new): &(&str, &str, &str)| Change {
        field: (*field).to_owned(),
        old_value: json(old),
        new_value: json(new),
    };
    let content = Content {
        id: EntryId::parse(format!("log_{seq}")).expect("an id"),
        resource_type: ResourceType(1),
        resource_id: Identifier::parse("asst_7").expect("an id"),
        resource_name: None,
        action,
        user_id: Identifier::parse("u-42").expect("an id"),
        user_name: None,
        user_email: None,
        changes: changes.iter().map(change).collect(),
        metadata: Metadata::default(),
        trace_id: None,
        outcome: None,
        actor_type: None,
    };
    Entry {
        seq,
        timestamp: second(seq),
        recorded_at: second(seq),
        writer_key_id: "writer".to_owned(),
        erased: Erased::default(),
        content: Arc::new(content),
    }
}

/// An update, the entry `seq`.
pub(super) fn update(seq: Seq, changes: &[(&str, &str, &str)]) -> Entry {
    entry(seq, UPDATED, changes)
}

/// `entry` at another time.
pub(super) fn at(seconds: i64, entry: Entry) -> Entry {
    Entry { timestamp: second(seconds), ..entry }
}

/// `entry` after its changes were erased.
pub(super) fn erased(entry: Entry) -> Entry {
    let erased = Erased::default().with(Group::Content);
    Entry { erased, content: Arc::new(entry.content.without(erased)), ..entry }
}

pub(super) fn with_outcome(entry: Entry, outcome: Outcome) -> Entry {
    let content = Content { outcome: Some(outcome), ..(*entry.content).clone() };
    Entry { content: Arc::new(content), ..entry }
}

/// `entry` as one that the service itself wrote.
pub(super) fn of_service(entry: Entry) -> Entry {
    let id = EntryId::parse(format!("auditlog:erasure:{}", entry.seq)).expect("an id");
    Entry { content: Arc::new(Content { id, ..(*entry.content).clone() }), ..entry }
}
