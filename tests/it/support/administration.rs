//! The log of the service, and databases that refuse changes of a table.

use auditlog::domain::{Action, Content, Metadata, ResourceType};
use auditlog::store::{HashedEntry, Store};

use super::database::execute;
use super::ingest::organization;
use super::{Backend, Database};

/// The organization whose log records the administration of the service.
pub const SERVICE: &str = "auditlog:service";

/// The kind of a record, and its facts: fields and JSON texts.
pub type Recorded = (String, Vec<(String, String)>);

/// The id of an API key.
pub fn id_of(key: &str) -> &str {
    &key[3..15]
}

/// The records of administration, in order. Checks the values that all of them have.
pub async fn recorded(store: &Store) -> Vec<Recorded> {
    let entries = store.hashed_entries(&organization(SERVICE), 0, i64::MAX, 10_000).await.expect("read");
    let records = entries.into_iter().filter(|one| !one.entry.content.id.as_str().starts_with("auditlog:rotation:"));
    records.map(record).collect()
}

/// The kinds of the records of administration, in order.
pub async fn kinds(store: &Store) -> Vec<String> {
    recorded(store).await.into_iter().map(|(kind, _)| kind).collect()
}

fn record(HashedEntry { entry, .. }: HashedEntry) -> Recorded {
    let Content {
        id,
        resource_type,
        resource_id,
        resource_name,
        action,
        user_id,
        user_name,
        user_email,
        changes,
        metadata,
        trace_id,
        outcome,
        actor_type,
    } = &*entry.content;
    let [_, kind, uuid] = id.as_str().split(':').collect::<Vec<_>>()[..] else { panic!("{id}") };
    assert_eq!(uuid.len(), 36, "{id}");
    assert_eq!((*resource_type, resource_id.as_str(), *action), (ResourceType(6), SERVICE, Action(1)), "{id}");
    assert_eq!((entry.writer_key_id.as_str(), user_id.as_str()), ("-", "system"), "{id}");
    assert_eq!((resource_name, user_name, user_email, metadata), (&None, &None, &None, &Metadata::default()), "{id}");
    assert_eq!((trace_id, outcome, actor_type), (&None, &None, &None), "{id}");
    assert_eq!(entry.timestamp, entry.recorded_at, "{id}");
    assert!(changes.iter().all(|change| change.old_value.as_str() == "null"), "{id}");
    let facts = changes.iter().map(|change| (change.field.clone(), change.new_value.as_str().to_owned()));
    (kind.to_owned(), facts.collect())
}

/// Makes the database refuse new and changed rows of `table`.
pub async fn refuse(database: &Database, table: &str) {
    match database.backend {
        Backend::Sqlite => {
            for change in ["insert", "update"] {
                let trigger = format!("CREATE TRIGGER refuse_{change} BEFORE {change} ON {table}");
                execute(database, &format!("{trigger} BEGIN SELECT RAISE(ABORT, 'refused'); END")).await;
            }
        }
        Backend::Postgres => {
            let statement = format!("ALTER TABLE {table} ADD CONSTRAINT refused CHECK (false) NOT VALID");
            execute(database, &statement).await;
        }
    }
}

/// Undoes [`refuse`].
pub async fn allow(database: &Database, table: &str) {
    match database.backend {
        Backend::Sqlite => {
            for change in ["insert", "update"] {
                execute(database, &format!("DROP TRIGGER refuse_{change}")).await;
            }
        }
        Backend::Postgres => execute(database, &format!("ALTER TABLE {table} DROP CONSTRAINT refused")).await,
    }
}
