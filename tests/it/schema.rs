//! The schema is created once, and refused if it is not of this version.

use auditlog::store::Store;

use crate::support::database::execute;
use crate::support::{Backend, Database, on_every_database};

async fn refusal(database: &Database) -> String {
    let refused = Store::open(&database.secret(), 2).await.err().expect("the schema is refused");
    format!("{refused:#}")
}

on_every_database! {
    async fn replicas_that_start_together_migrate_once(database: &Database) {
        if database.backend == Backend::Sqlite {
            // The first connection creates the file; here the test creates it beforehand.
            execute(database_with_create(database).await, "SELECT 1").await;
        }
        let replicas = (0..8).map(|_| async {
            let store = Store::connect(&database.secret(), 2).await.expect("it connects");
            store.migrate().await.expect("it migrates or waits")
        });
        let steps: usize = futures::future::join_all(replicas).await.into_iter().sum();
        assert_eq!(steps, 1);
    }

    async fn a_second_start_finds_nothing_to_do(database: &Database) {
        let store = database.store().await;
        assert_eq!(store.migrate().await.expect("it is up to date"), 0);
    }

    async fn a_newer_schema_is_refused_with_the_name_of_its_migration(database: &Database) {
        database.store().await.close().await;
        execute(database, "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m0999_future', 0)").await;
        let refusal = refusal(database).await;
        assert!(refusal.contains("newer than this auditlog") && refusal.contains("m0999_future"), "{refusal}");
    }

    async fn a_damaged_schema_is_refused_with_the_name_of_the_table(database: &Database) {
        database.store().await.close().await;
        execute(database, "ALTER TABLE audit_logs DROP COLUMN actor_type").await;
        let refusal = refusal(database).await;
        assert!(refusal.contains("damaged") && refusal.contains("audit_logs"), "{refusal}");
    }

    async fn a_missing_table_is_refused(database: &Database) {
        database.store().await.close().await;
        execute(database, "DROP TABLE api_keys").await;
        let refusal = refusal(database).await;
        assert!(refusal.contains("damaged") && refusal.contains("api_keys"), "{refusal}");
    }

    async fn a_failed_migration_leaves_nothing(database: &Database) {
        if database.backend == Backend::Sqlite {
            database_with_create(database).await;
        }
        execute(database, "CREATE TABLE catalogue (other INTEGER)").await;
        let refusal = refusal(database).await;
        assert!(refusal.contains("cannot create the schema"), "{refusal}");
        execute(database, "DROP TABLE catalogue").await;
        assert_eq!(database.store().await.migrate().await.expect("it is whole"), 0);
    }
}

/// Creates SQLite's file, which a plain connection does not.
async fn database_with_create(database: &Database) -> &Database {
    let path = database.url.trim_start_matches("sqlite://");
    std::fs::File::create(path).expect("the file is made");
    database
}
