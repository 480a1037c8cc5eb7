//! A fresh database for each test.

use std::path::PathBuf;
use std::time::Duration;

use auditlog::domain::{OrganizationId, Secret, Timestamp};
use auditlog::store::{Append, Store};
use sea_orm::{
    ConnectionTrait, Database as Connections, DatabaseTransaction, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use tempfile::TempDir;

use super::postgres;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// An empty database. Dropping it deletes the directory.
pub struct Database {
    pub backend: Backend,
    pub url: String,
    /// For the files of a test.
    pub directory: TempDir,
}

impl Database {
    /// `None` without PostgreSQL; a message says so.
    pub async fn fresh(backend: Backend) -> Option<Self> {
        let directory = tempfile::tempdir_in(temporary()).expect("a directory");
        let url = match backend {
            Backend::Sqlite => format!("sqlite://{}", directory.path().join("test.db").display()),
            Backend::Postgres => postgres::create_database().await?,
        };
        Some(Self { backend, url, directory })
    }

    /// Opens the store, which creates the schema.
    pub async fn store(&self) -> Store {
        Store::open(&self.secret(), 10).await.expect("the database opens")
    }

    pub fn secret(&self) -> Secret {
        Secret::new(self.url.clone())
    }
}

/// How long a test waits for the lock of a head.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a transaction that locks the head of `organization`, so that its writers wait. Creates the organization if
/// needed.
pub async fn hold_head(store: &Store, organization: &str) -> Append {
    let organization = OrganizationId::parse(organization).expect("an id");
    let holder = store.append().await.expect("a transaction");
    holder.lock_head(&organization, "00", Timestamp::MIN, LOCK_TIMEOUT).await.expect("no error").expect("the lock");
    holder
}

/// A directory on the disk of the build, because /tmp may be small.
pub fn temporary() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Opens a transaction that keeps all others from writing entries. Ends with the returned value.
pub async fn block_writes(database: &Database) -> DatabaseTransaction {
    let connection = Connections::connect(&database.url).await.expect("a connection");
    let mode = (database.backend == Backend::Sqlite).then_some(SqliteTransactionMode::Immediate);
    let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
    let transaction = connection.begin_with_options(options).await.expect("a transaction");
    if database.backend == Backend::Postgres {
        transaction.execute_unprepared("LOCK TABLE audit_logs IN EXCLUSIVE MODE").await.expect("the lock");
    }
    transaction
}

pub fn run(backend: Backend, test: impl AsyncFnOnce(Database)) {
    super::run(async {
        if let Some(database) = Database::fresh(backend).await {
            let url = database.url.clone();
            test(database).await;
            if backend == Backend::Postgres {
                postgres::drop_database(&url).await;
            }
        }
    });
}

/// Runs one statement on a separate connection.
pub async fn execute(database: &Database, statement: &str) {
    let connection = Connections::connect(&database.url).await.expect("the database opens");
    connection.execute_unprepared(statement).await.expect("the statement runs");
    connection.close().await.expect("it closes");
}

/// The first column of all rows of `query`, read on a separate connection.
pub async fn numbers(database: &Database, query: &str) -> Vec<i64> {
    let connection = Connections::connect(&database.url).await.expect("the database opens");
    let query = Statement::from_string(connection.get_database_backend(), query);
    let rows = connection.query_all_raw(query).await.expect("rows");
    connection.close().await.expect("it closes");
    rows.iter().map(|row| row.try_get_by_index(0).expect("a number")).collect()
}

/// Makes the database reject entries of a user named `poison`. It represents any reason to reject one row.
pub async fn poison(database: &Database) {
    let statement = match database.backend {
        Backend::Sqlite => {
            "CREATE TRIGGER poison BEFORE INSERT ON audit_logs WHEN NEW.user_name = 'poison' \
             BEGIN SELECT RAISE(ABORT, 'bitter'); END"
        }
        Backend::Postgres => "ALTER TABLE audit_logs ADD CONSTRAINT bitter CHECK (user_name <> 'poison')",
    };
    execute(database, statement).await;
}
