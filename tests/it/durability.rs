//! Acknowledged entries are durable, whatever an administrator changes while the service runs.

use auditlog::domain::Clock;

use crate::support::database::execute;
use crate::support::ingest::{entry, start, write};
use crate::support::{self, Backend};

/// Refuses to insert entries with commits that are not synchronous.
const REFUSES: &str = "
    CREATE FUNCTION refuse_weak_commits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('synchronous_commit') <> 'on' THEN
            RAISE 'synchronous_commit is %', current_setting('synchronous_commit');
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_weak_commits BEFORE INSERT ON audit_logs EXECUTE FUNCTION refuse_weak_commits()";
const WEAKENS: &str =
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";
const CUTS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'auditlog'";

/// SQLite has no such setting for all connections: each connection sets its own.
#[test]
fn commits_stay_synchronous_when_the_setting_of_postgres_is_weakened() {
    support::database::run(Backend::Postgres, async |database| {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        execute(&database, REFUSES).await;
        write(&ingest, "org", vec![entry("before", 1)]).await.expect("written");
        // Connections that are made from now on have the new setting, unless they say otherwise.
        execute(&database, WEAKENS).await;
        execute(&database, CUTS).await;
        write(&ingest, "org", vec![entry("after", 2)])
            .await
            .expect("written by connections that kept what was checked");
    });
}
