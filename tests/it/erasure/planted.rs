//! Plants a value in each field of each group. Before an erasure the database contains all of them; afterwards, only
//! those of the remaining groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use auditlog::domain::{
    ActorType, Change, Clock, Content, Entry, Erased, Group, Identifier, Name, Outcome, ResourceType, hex,
};
use auditlog::store::{HashedEntry, Store};
use sea_orm::{ConnectionTrait, Database as Connections, DatabaseConnection, Statement};
use serde_json::{Map, Value};

use super::traces::traces;
use super::{ORG, both, eraser, erasure, of, of_entries, person};
use crate::support::database::run;
use crate::support::ingest::{organization, start, write};
use crate::support::{Backend, Database, on_every_database};

/// Every value that an erasure may remove, with its group. A new field does not compile until it is planted here.
fn planted(sealed: &HashedEntry) -> Vec<(Group, Vec<u8>)> {
    let HashedEntry { entry, salts, leaf: _ } = sealed;
    let Entry { seq: _, timestamp: _, recorded_at: _, writer_key_id: _, erased: _, content } = entry;
    let Content {
        id,
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
        outcome: _,
        actor_type: _,
    } = &**content;
    fn name(name: &Option<Name>) -> &str {
        name.as_ref().expect("a name").as_str()
    }
    let mut values = vec![
        (Group::Facts, id.as_str()),
        (Group::Facts, resource_id.as_str()),
        (Group::Facts, user_id.as_str()),
        (Group::Facts, trace_id.as_ref().expect("a trace").as_str()),
        (Group::Actor, name(user_name)),
        (Group::Actor, name(user_email)),
        (Group::Content, name(resource_name)),
    ];
    for (key, value) in metadata.pairs() {
        values.extend([key, value].map(|text| (Group::Actor, text.as_str())));
    }
    for Change { field, old_value, new_value } in changes {
        values.extend([field, old_value.as_str(), new_value.as_str()].map(|text| (Group::Content, text)));
    }
    // A table may contain the JSON in another spelling.
    let bytes = |text: &str| text.trim_matches(['"', '[', ']']).as_bytes().to_vec();
    let salts = Group::ALL.map(|group| (group, salts.of(group).to_vec()));
    values.into_iter().map(|(group, text)| (group, bytes(text))).chain(salts).collect()
}

/// Writes entries with unique values and returns them as stored.
async fn plant(store: &Store, count: usize) -> Vec<HashedEntry> {
    let entries = (0..count).map(|number| {
        let [user, resource] = ["user", "resource"].map(|what| format!("{what}_{number}_plant"));
        let mut entry = person(&format!("id_{number}_plant"), &user, (ResourceType(3), &resource), &mark(number));
        let trace = Identifier::parse(format!("trace_{number}_plant")).expect("an id");
        let content = Arc::make_mut(&mut entry.content);
        content.trace_id = Some(trace);
        (content.outcome, content.actor_type) = (Some(Outcome::Denied), Some(ActorType::Service));
        entry
    });
    write(&start(store, Clock::system()), ORG, entries.collect()).await.expect("written");
    store.hashed_entries(&organization(ORG), 0, i64::MAX, 100).await.expect("read")
}

fn mark(number: usize) -> String {
    format!("Plant{number}ed")
}

async fn texts(connection: &DatabaseConnection, statement: &str) -> Vec<String> {
    let rows = connection.query_all_raw(Statement::from_string(connection.get_database_backend(), statement)).await;
    rows.expect("an answer").iter().map(|row| row.try_get_by_index(0).expect("text")).collect()
}

/// All rows of all tables in lower case, with bytes as hex digits.
async fn dump(database: &Database) -> String {
    let connection = Connections::connect(&database.url).await.expect("the database opens");
    let tables = match database.backend {
        Backend::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'table'",
        Backend::Postgres => "SELECT CAST(tablename AS text) FROM pg_tables WHERE schemaname = current_schema()",
    };
    let mut rows = Vec::new();
    for table in texts(&connection, tables).await {
        let row = match database.backend {
            Backend::Sqlite => {
                let columns = format!("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')");
                texts(&connection, &columns).await.join(" || ' ' || ")
            }
            Backend::Postgres => format!("CAST(row_to_json({table}) AS text)"),
        };
        rows.extend(texts(&connection, &format!("SELECT {row} FROM {table}")).await);
    }
    connection.close().await.expect("it closes");
    rows.join("\n").to_lowercase()
}

/// Whether `dump` contains `value`, as text in any case or as bytes.
fn has(dump: &str, value: &[u8]) -> bool {
    dump.contains(&String::from_utf8_lossy(value).to_lowercase()) || dump.contains(&hex(value))
}

on_every_database! {
    async fn each_value_of_an_erased_group_is_gone_from_all_tables_and_no_other(database: &Database) {
        let store = database.store().await;
        let erasures = [Erased::default(), of(&[Group::Actor]), of(&[Group::Content]), both()];
        let entries = plant(&store, erasures.len()).await;
        let before = dump(database).await;
        for (_, value) in entries.iter().flat_map(planted) {
            assert!(has(&before, &value), "{:?} is found while it is there", String::from_utf8_lossy(&value));
        }
        let eraser = eraser(&store);
        for (entry, groups) in entries.iter().zip(erasures).filter(|(_, groups)| !groups.is_empty()) {
            let id = entry.entry.content.id.as_str();
            let forgotten = eraser.erase(erasure(of_entries(&[id]), groups)).await.expect("erased");
            assert!(forgotten.is_complete);
        }
        let (after, left) = (dump(database).await, store.hashed_entries(&organization(ORG), 0, i64::MAX, 100).await.expect("read"));
        let mut gone = Vec::new();
        for ((entry, groups), left) in entries.iter().zip(erasures).zip(left) {
            assert_eq!(*left.entry.content, entry.entry.content.without(groups));
            assert_eq!(left.salts, entry.salts.without(groups));
            for (group, value) in planted(entry) {
                let shown = String::from_utf8_lossy(&value);
                assert_eq!(has(&after, &value), !groups.has(group), "{shown:?} of {group:?}, where {groups:?} was erased");
                gone.extend(groups.has(group).then_some(value));
            }
        }
        assert!(gone.len() >= 16, "{} values are gone", gone.len());
        if database.backend == Backend::Sqlite {
            assert_eq!(traces(database, &gone).await, [], "nor are they in its files");
        }
    }
}

/// Statistics would keep erased values. The migration has its own list of columns; this test compares it with the
/// store's.
#[test]
fn postgresql_gathers_no_statistics_of_a_column_that_an_erasure_empties() {
    run(Backend::Postgres, async |database| {
        let store = database.store().await;
        let entries = plant(&store, 1).await;
        let connection = Connections::connect(&database.url).await.expect("the database opens");
        let row = async || -> Map<String, Value> {
            let asked = "SELECT CAST(row_to_json(audit_logs) AS text) FROM audit_logs WHERE seq = 1";
            serde_json::from_str(&texts(&connection, asked).await[0]).expect("JSON")
        };
        let before = row().await;
        let id = entries[0].entry.content.id.as_str();
        eraser(&store).erase(erasure(of_entries(&[id]), both())).await.expect("erased");
        let after = row().await;
        let emptied = before.keys().filter(|column| before[*column] != after[*column] && *column != "erased");
        let emptied: BTreeSet<_> = emptied.cloned().collect();
        let unmeasured = "SELECT CAST(attname AS text) FROM pg_attribute \
                          WHERE attrelid = CAST('audit_logs' AS regclass) AND attstattarget = 0";
        let unmeasured: BTreeSet<_> = texts(&connection, unmeasured).await.into_iter().collect();
        connection.close().await.expect("it closes");
        assert!(emptied.len() >= 6 && emptied.is_subset(&unmeasured), "{emptied:?}, {unmeasured:?}");
    });
}
