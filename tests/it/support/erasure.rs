//! Erasures, and entries with values to erase.

use std::sync::Arc;
use std::time::Duration;

use auditlog::domain::{
    Action, Change, Clock, Content, EntryId, Erased, ErasureReason, Group, Identifier, JsonText, Metadata, Name,
    NewEntry, Random, ResourceType,
};
use auditlog::ingest::{Eraser, Erasure, Target};
use auditlog::metrics::Metrics;
use auditlog::store::Store;

use super::ingest::organization;

pub const ORG: &str = "org_a";
/// The code of the resource type `user`.
pub const USER: ResourceType = ResourceType(5);
pub const REASON: &str = "Request 4711, article 17";

/// An entry whose personal values all end with `mark`, so that a test can search for them.
pub fn person(id: &str, user: &str, resource: (ResourceType, &str), mark: &str) -> NewEntry {
    let name = |what: &str| Name::optional(format!("{what} {mark}")).expect("a name");
    let json = |text: String| JsonText::parse(&text).expect("JSON");
    let content = Content {
        id: EntryId::parse(id).expect("an id"),
        resource_type: resource.0,
        resource_id: Identifier::parse(resource.1).expect("an id"),
        resource_name: name("Resource"),
        action: Action(1),
        user_id: Identifier::parse(user).expect("an id"),
        user_name: name("Name"),
        user_email: name("Mail"),
        changes: vec![Change {
            field: format!("field_{mark}"),
            old_value: json(format!("\"old {mark}\"")),
            new_value: json(format!("[\"new {mark}\"]")),
        }],
        metadata: Metadata::parse([(format!("key_{mark}"), format!("value {mark}"))].into()).expect("metadata"),
        trace_id: None,
        outcome: None,
        actor_type: None,
    };
    NewEntry { timestamp: None, content: Arc::new(content) }
}

pub fn eraser(store: &Store) -> Eraser {
    Eraser::new(store.clone(), Clock::system(), Random::system(), Duration::from_secs(20), None, &Metrics::default())
}

pub fn of(groups: &[Group]) -> Erased {
    groups.iter().copied().collect()
}

pub fn both() -> Erased {
    of(&[Group::Actor, Group::Content])
}

pub fn erasure(target: Target, groups: Erased) -> Erasure {
    let reason = ErasureReason::parse(REASON.to_owned()).expect("a reason");
    Erasure { organization: organization(ORG), target, groups, reason, key_id: "ErasersKey01".to_owned() }
}

pub fn of_user(user: &str) -> Target {
    Target::User { id: Identifier::parse(user).expect("an id"), resource_type: USER }
}
