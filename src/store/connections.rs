//! A pool of connections to one database. Each use first checks that the database is still the one that was opened. If
//! a connection was dead, a read is retried once on a new connection.

use std::sync::Arc;

use sea_orm::entity::prelude::async_trait::async_trait;
use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, SqlxPostgresConnector, Statement, TransactionOptions, TransactionTrait,
};

use super::files::Files;
use super::postgres::{PostgresPool, PostgresTransaction};
use super::server::{LastLoss, PostgresServer};
use super::{ACQUIRE_TIMEOUT, errors};

/// The location of a database.
pub(super) enum Origin {
    /// The files of a SQLite database.
    Files(Files),
    /// A PostgreSQL server.
    Server(Box<PostgresServer>),
}

impl Origin {
    /// Errors: the database files were removed or replaced, so writes would be lost.
    pub(super) fn check(&self) -> Result<(), DbErr> {
        match self {
            Self::Files(files) => files.check(),
            Self::Server(_) => Ok(()),
        }
    }

    /// When a connection was last found dead.
    pub(super) fn last_loss(&self) -> LastLoss {
        match self {
            Self::Files(_) => LastLoss::default(),
            Self::Server(server) => server.last_loss.clone(),
        }
    }

    fn has_lost(&self, error: &DbErr) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Server(server) => server.has_lost(error),
        }
    }

    pub(super) async fn explain(&self, error: DbErr) -> DbErr {
        match self {
            Self::Files(_) => error,
            Self::Server(server) => server.explain(error).await,
        }
    }
}

/// A pool of connections to either database.
#[derive(Clone)]
pub(super) enum ConnectionPool {
    Sqlite(DatabaseConnection),
    Postgres(PostgresPool),
}

/// An open transaction. Dropping it without a commit undoes it.
pub(super) enum Transaction {
    Sqlite(DatabaseTransaction),
    Postgres(PostgresTransaction),
}

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: ConnectionPool,
    pub(super) origin: Arc<Origin>,
    /// Whether the connections only read, so that a statement may be repeated.
    reads: bool,
}

impl ConnectionPool {
    /// Begins a transaction. All statements of one that only reads see the same rows; another one waits for the locks of
    /// others, and then sees what they committed. PostgreSQL's connections have this as session settings, which saves a
    /// round trip.
    async fn begin(&self, reads: bool) -> Result<Transaction, DbErr> {
        match self {
            Self::Sqlite(pool) => {
                // By default, the transaction is deferred, and keeps the snapshot of its first read.
                let options = if reads { TransactionOptions::default() } else { immediate() };
                pool.begin_with_options(options).await.map(Transaction::Sqlite)
            }
            Self::Postgres(pool) => pool.begin().await.map(Transaction::Postgres),
        }
    }

    /// Like [`Self::begin`], to write, with a transaction of sea-orm, which its migrator needs.
    async fn begin_migration(&self) -> Result<DatabaseTransaction, DbErr> {
        match self {
            Self::Sqlite(pool) => pool.begin_with_options(immediate()).await,
            Self::Postgres(pool) => {
                let options = PoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
                let pool = options.connect_lazy_with(pool.options().clone());
                SqlxPostgresConnector::from_sqlx_postgres_pool(pool).begin().await
            }
        }
    }
}

/// A transaction that waits for SQLite's lock first. A deferred one would fail with "busy" when it turns from reading to
/// writing.
fn immediate() -> TransactionOptions {
    let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
    TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() }
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgres(transaction) => transaction.commit().await,
        }
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await,
            Self::Postgres(transaction) => transaction.rollback().await,
        }
    }
}

impl Connections {
    /// A pool for reads only.
    pub(super) fn readers(pool: ConnectionPool, origin: Arc<Origin>) -> Self {
        Self { pool, origin, reads: true }
    }

    /// A pool for writes.
    pub(super) fn writers(pool: ConnectionPool, origin: Arc<Origin>) -> Self {
        Self { pool, origin, reads: false }
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<Transaction, DbErr> {
        self.origin.check()?;
        // Repeating is safe even for writes: a transaction that did not begin has done nothing.
        self.run(true, || self.pool.begin(self.reads)).await
    }

    /// Begins a transaction that migrations run in.
    pub(super) async fn begin_migration(&self) -> Result<DatabaseTransaction, DbErr> {
        self.origin.check()?;
        self.run(true, || self.pool.begin_migration()).await
    }

    /// Checks that the database answers.
    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        self.origin.check()?;
        let ping = Statement::from_string(self.pool.get_database_backend(), "SELECT 1");
        match self.run(true, || self.pool.query_one_raw(ping.clone())).await {
            // The pool is busy, but the database answers.
            Err(error) if errors::is_timeout(&error) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// Closes all connections.
    pub(super) async fn close(self) -> Result<(), DbErr> {
        match self.pool {
            ConnectionPool::Sqlite(pool) => pool.close().await,
            ConnectionPool::Postgres(pool) => pool.close().await,
        }
    }

    /// Runs one statement. After a write, checks that it went to the present files of the database.
    async fn statement<T, F>(&self, call: impl Fn() -> F + Send + Sync) -> Result<T, DbErr>
    where
        T: Send,
        F: Future<Output = Result<T, DbErr>> + Send,
    {
        self.origin.check()?;
        let outcome = self.run(self.reads, call).await?;
        if !self.reads {
            self.origin.check()?;
        }
        Ok(outcome)
    }

    /// Runs `call`. If its connection was dead and `may_repeat` is set, runs it once more.
    async fn run<T, F>(&self, may_repeat: bool, call: impl Fn() -> F + Send + Sync) -> Result<T, DbErr>
    where
        T: Send,
        F: Future<Output = Result<T, DbErr>> + Send,
    {
        let mut outcome = call().await;
        if let Err(error) = &outcome
            && self.origin.has_lost(error)
            && may_repeat
        {
            outcome = call().await;
        }
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => Err(self.origin.explain(error).await),
        }
    }
}

#[async_trait]
impl ConnectionTrait for Connections {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.statement(|| self.pool.execute_raw(statement.clone())).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.statement(|| self.pool.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.statement(|| self.pool.query_one_raw(statement.clone())).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.statement(|| self.pool.query_all_raw(statement.clone())).await
    }
}

/// Implements `ConnectionTrait` for an enum by that of its variants.
macro_rules! delegate {
    ($name:ident { $($variant:ident),* }) => {
        #[async_trait]
        impl ConnectionTrait for $name {
            fn get_database_backend(&self) -> DbBackend {
                match self { $(Self::$variant(inner) => inner.get_database_backend()),* }
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                match self { $(Self::$variant(inner) => inner.execute_raw(statement).await),* }
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                match self { $(Self::$variant(inner) => inner.execute_unprepared(sql).await),* }
            }

            async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
                match self { $(Self::$variant(inner) => inner.query_one_raw(statement).await),* }
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                match self { $(Self::$variant(inner) => inner.query_all_raw(statement).await),* }
            }
        }
    };
}

delegate!(ConnectionPool { Sqlite, Postgres });
delegate!(Transaction { Sqlite, Postgres });
