//! What is erased leaves no trace in the database's files, and none in logs.

use std::fs;
use std::path::{Path, PathBuf};

use auditlog::domain::{Clock, Group, ResourceType};
use auditlog::store::Store;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sea_orm::{ConnectionTrait, Database as Connections, Statement};

use super::{ORG, USER, both, eraser, erasure, of_user, person};
use crate::ingest::{organization, start, write};
use crate::log::check_log;
use crate::support::{Backend, Database, on_every_database, postgres};

/// The files that hold the database, and the server's own among them.
async fn files(database: &Database) -> Vec<PathBuf> {
    let directory = match database.backend {
        Backend::Sqlite => database.directory.path().to_owned(),
        Backend::Postgres => {
            let connection = Connections::connect(&database.url).await.expect("it connects");
            let asked = "SELECT oid::text FROM pg_database WHERE datname = current_database()";
            let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), asked)).await;
            let oid: String = row.expect("an answer").expect("a row").try_get_by_index(0).expect("text");
            connection.close().await.expect("it closes");
            postgres::log().parent().expect("a directory").join("data/base").join(oid)
        }
    };
    fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Which of `whats` are in which files.
async fn traces(database: &Database, whats: &[Vec<u8>]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in files(database).await {
        // PostgreSQL may remove one meanwhile.
        let Ok(bytes) = fs::read(&path) else { continue };
        for what in whats.iter().filter(|what| has(&bytes, what)) {
            found.push((path.clone(), what.clone()));
        }
    }
    found
}

async fn run(database: &Database, statements: &[&str]) {
    let connection = Connections::connect(&database.url).await.expect("it connects");
    for statement in statements {
        connection.execute_unprepared(statement).await.expect("it runs");
    }
    connection.close().await.expect("it closes");
}

/// The salts of the groups of the entries whose id begins so.
async fn salts(store: &Store, prefix: &str) -> Vec<Vec<u8>> {
    let sealed = store.sealed(&organization(ORG), 0, i64::MAX, 100_000).await.expect("read");
    let own = sealed.iter().filter(|sealed| sealed.entry.content.id.as_str().starts_with(prefix));
    own.flat_map(|sealed| [Group::Actor, Group::Content].map(|group| sealed.salts.of(group).to_vec())).collect()
}
