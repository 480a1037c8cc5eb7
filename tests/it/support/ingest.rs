//! Entries, and an ingest service that writes them without a server.

use std::sync::Arc;

use auditlog::domain::{
    Action, ActorType, Catalogue, CatalogueName, Change, Clock, Content, Entry, EntryId, Filter, Identifier, JsonText,
    Limit, Metadata, Name, Named, NewEntry, Offset, OrganizationId, Outcome, Random, ResourceType,
};
use auditlog::error::Error;
use auditlog::ingest::{Batch, Ingest, QueueLimits, Written};
use auditlog::metrics::Metrics;
use auditlog::query::{Query, Start};
use auditlog::store::Store;

pub const LIMITS: QueueLimits = QueueLimits { entries: 20_000, bytes: 64 * 1024 * 1024 };

pub fn organization(id: &str) -> OrganizationId {
    OrganizationId::parse(id).expect("an id")
}

/// An entry whose content depends only on its id and `variant`.
pub fn entry(id: &str, variant: u64) -> NewEntry {
    let identifier = |text: String| Identifier::parse(text).expect("an id");
    let json = |text: String| JsonText::parse(&text).expect("JSON");
    let content = Content {
        id: EntryId::parse(id).expect("an id"),
        resource_type: ResourceType((variant % 7) as i16),
        resource_id: identifier(format!("res_{}", variant % 5)),
        resource_name: Name::optional(format!("Résumé {variant}")).expect("a name"),
        action: Action((variant % 6) as i16),
        user_id: identifier(format!("uid_{}", variant % 3)),
        user_name: None,
        user_email: None,
        changes: vec![Change {
            field: String::new(),
            old_value: JsonText::null(),
            new_value: json(format!(r#"{{"b":{variant},"a":9007199254740993,"b":"é\u00e9"}}"#)),
        }],
        metadata: Metadata::parse([("source".to_owned(), String::new())].into()).expect("metadata"),
        trace_id: None,
        outcome: Outcome::ALL.get((variant % 4) as usize).copied(),
        actor_type: ActorType::ALL.get((variant % 5) as usize).copied(),
    };
    NewEntry { timestamp: None, content: Arc::new(content) }
}

/// The default catalogue.
pub fn catalogue() -> Arc<Catalogue> {
    fn named<C>(names: &[&str], code: impl Fn(i16) -> C) -> Vec<Named<C>> {
        let named = |(place, name): (usize, &&str)| Named {
            code: code(place as i16),
            name: CatalogueName::parse(*name).expect("a name"),
            path_segment: None,
            is_removed: false,
        };
        names.iter().enumerate().map(named).collect()
    }
    let types = ["assistant", "thread", "vector_store", "rule", "mcp_configuration", "user", "organization"];
    let actions = ["created", "updated", "deleted", "accessed", "shared", "archived"];
    Arc::new(Catalogue { resource_types: named(&types, ResourceType), actions: named(&actions, Action) })
}

pub fn start(store: &Store, clock: Clock) -> Ingest {
    Ingest::start(store.clone(), clock, Random::system(), LIMITS, &Metrics::default()).0
}

/// A query service for `store`.
pub async fn query(store: &Store) -> Query {
    Query::new(store.clone())
}

pub async fn write(ingest: &Ingest, to: &str, entries: Vec<NewEntry>) -> Result<Vec<Written>, Error> {
    let (organization, key_id) = (organization(to), "key".to_owned());
    ingest.write(Batch { organization, key_id, catalogue: catalogue(), entries }).await
}

/// All entries of an organization, newest first.
pub async fn all(store: &Store, of: &str) -> Vec<Entry> {
    let (query, limit) = (query(store).await, Limit::parse(Some(100)).expect("a limit"));
    let mut start = Start::Offset(Offset::default());
    let mut entries = Vec::new();
    loop {
        let page = query.list("key", &organization(of), &Filter::default(), start, limit).await.expect("a page");
        entries.extend(page.entries);
        match page.next_cursor {
            Some(cursor) => start = Start::Cursor(cursor),
            None => return entries,
        }
    }
}
