//! A pool of connections to one database. Each use first checks that the database is still the one that was opened. If
//! a connection was dead, a read is retried once on a new connection.

use std::sync::Arc;

use sea_orm::entity::prelude::async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    TransactionOptions, TransactionTrait,
};

use super::errors;
use super::files::Files;
use super::server::{LastLoss, PostgresServer};

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

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: DatabaseConnection,
    pub(super) origin: Arc<Origin>,
    /// Whether the connections only read, so that a statement may be repeated.
    reads: bool,
}

impl Connections {
    /// A pool for reads only.
    pub(super) fn readers(pool: DatabaseConnection, origin: Arc<Origin>) -> Self {
        Self { pool, origin, reads: true }
    }

    /// A pool for writes.
    pub(super) fn writers(pool: DatabaseConnection, origin: Arc<Origin>) -> Self {
        Self { pool, origin, reads: false }
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self, options: TransactionOptions) -> Result<DatabaseTransaction, DbErr> {
        self.origin.check()?;
        // Repeating is safe even for writes: a transaction that did not begin has done nothing.
        self.run(true, || self.pool.begin_with_options(options)).await
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
        self.pool.close().await
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
