//! Connections to PostgreSQL. The next user gets the connection that was used last, because PostgreSQL's process of that
//! one has warm caches. sqlx's pool has the opposite order, and after each use it asks the server whether the connection
//! is alive: without these round trips, the service answers a tenth more lists.

use std::time::Duration;

use deadpool::managed::{
    self, Manager, Metrics, Object, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult,
};
use sea_orm::entity::prelude::async_trait::async_trait;
use sea_orm::sea_query::Values;
use sea_orm::sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgDatabaseError, PgSeverity};
use sea_orm::sqlx::query::Query;
use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, Postgres};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement, sqlx,
};
use sea_query_sqlx::SqlxValues;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::server::LastLoss;
use super::{ACQUIRE_TIMEOUT, errors};
use crate::retry::Backoff;

/// Connections idle for this long are tested before use. Testing at every use costs a round trip.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(10);
/// How long the server may take to answer a test.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections idle for this long are closed at the next use of the pool.
const MAX_IDLE: Duration = Duration::from_secs(600);
/// Connections of this age are not used again.
const MAX_AGE: Duration = Duration::from_secs(1_800);
/// The time limit for the server to end a statement or a transaction that was abandoned. Statements that read for
/// requests have a shorter one.
const ABANDONED_TIMEOUT: Duration = Duration::from_secs(120);
/// The pauses between attempts to connect to a server that is starting.
const CONNECT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));

/// The best plan of each of our statements is the same for all parameter values. So PostgreSQL plans each statement
/// only once, because planning took as long as running. But in a nearly empty table all indexes look alike, and a plan
/// kept from that time reads the whole table later. So plans are made anew while statistics show fewer than 10,000
/// entries. The pool replaces connections every half hour.
const KEEP_PLANS: &str = "SELECT set_config('plan_cache_mode', CASE WHEN coalesce((SELECT reltuples FROM pg_class \
     WHERE oid = to_regclass('audit_logs')), 0) >= 10000 THEN 'force_generic_plan' ELSE 'force_custom_plan' END, false)";

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(super) struct PostgresPool(managed::Pool<Connector>);

/// Opens connections, and decides which ones are used again.
struct Connector {
    options: PgConnectOptions,
    last_loss: LastLoss,
}

/// A connection of the pool.
struct Pooled {
    connection: PgConnection,
    /// Whether a statement was started and not awaited to its end.
    is_running: bool,
    is_in_transaction: bool,
}

impl Pooled {
    /// Ends what was abandoned on the connection.
    async fn clean(&mut self) -> Result<(), sqlx::Error> {
        if self.is_in_transaction {
            self.connection.execute("ROLLBACK").await?;
        }
        // Answered once the statement has ended.
        self.connection.ping().await?;
        (self.is_running, self.is_in_transaction) = (false, false);
        Ok(())
    }
}

impl Manager for Connector {
    type Type = Pooled;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Pooled, sqlx::Error> {
        let mut pauses = CONNECT_BACKOFF;
        loop {
            match PgConnection::connect_with(&self.options).await {
                Ok(mut connection) => {
                    connection.execute(KEEP_PLANS).await?;
                    return Ok(Pooled { connection, is_running: false, is_in_transaction: false });
                }
                Err(error) if is_starting(&error) => {
                    let Some(pause) = pauses.next() else { return Err(error) };
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn recycle(&self, pooled: &mut Pooled, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        let age = metrics.age();
        if age >= MAX_AGE || self.last_loss.is_before(age) {
            return Err(RecycleError::message("too old"));
        }
        if pooled.is_running || pooled.is_in_transaction {
            return Err(RecycleError::message("not clean"));
        }
        if metrics.last_used() >= TEST_AFTER_IDLE {
            let answer = tokio::time::timeout(TEST_TIMEOUT, pooled.connection.ping()).await;
            if !matches!(answer, Ok(Ok(()))) {
                // So the older ones are given up without a test.
                self.last_loss.note();
                return Err(RecycleError::message("dead"));
            }
        }
        Ok(())
    }
}

/// Whether the server may accept connections soon: it refuses all, is starting, or has too many.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(cause) => cause.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(database) => {
            database.code().is_some_and(|code| ["53300", "57P03"].contains(&code.as_ref()))
        }
        _ => false,
    }
}

/// Whether the connection can be used again after `error`.
fn is_usable_after(error: &sqlx::Error) -> bool {
    // Another connection may do better: the server has become read-only, or a statement is no longer prepared there, or
    // has other columns since a migration.
    const OF_CONNECTION: [&str; 3] = ["25006", "26000", "0A000"];
    let sqlx::Error::Database(database) = error else { return false };
    let Some(error) = database.try_downcast_ref::<PgDatabaseError>() else { return false };
    !(matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic) || OF_CONNECTION.contains(&error.code()))
}

impl PostgresPool {
    /// At most `connections` connections. None is opened yet.
    pub(super) fn new(options: PgConnectOptions, connections: u32, last_loss: LastLoss) -> Self {
        let config = PoolConfig { queue_mode: QueueMode::Lifo, ..PoolConfig::new(connections as usize) };
        let pool = managed::Pool::builder(Connector { options, last_loss }).config(config);
        Self(pool.build().expect("a pool without timeouts needs no runtime"))
    }

    /// How its connections are opened.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.0.manager().options
    }

    /// Takes a connection, or opens one.
    pub(super) async fn acquire(&self) -> Result<Session, DbErr> {
        self.0.retain(|_, metrics| metrics.last_used() < MAX_IDLE);
        let connection = match tokio::time::timeout(ACQUIRE_TIMEOUT, self.0.get()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(PoolError::Backend(error))) => return Err(DbErr::Conn(RuntimeErr::SqlxError(error.into()))),
            Ok(Err(PoolError::Closed)) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
            // The pool has no time limits or hooks of its own, so there are no other errors.
            Ok(Err(_)) | Err(_) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        };
        Ok(Session(Some(connection)))
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<PostgresTransaction, DbErr> {
        let mut session = self.acquire().await?;
        // Before the statement, which may be abandoned.
        if let Some(pooled) = &mut session.0 {
            pooled.is_in_transaction = true;
        }
        session.execute_unprepared("BEGIN").await?;
        Ok(PostgresTransaction(Mutex::new(session)))
    }

    /// The numbers of open connections, of idle ones, and the maximum.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        let managed::Status { max_size, size, available, .. } = self.0.status();
        (size, available, max_size)
    }

    /// Closes idle connections now, and the others after their use.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        let idle = self.0.retain(|_, _| false).removed;
        self.0.close();
        for Pooled { connection, .. } in idle {
            connection.close().await.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
        }
        Ok(())
    }
}

/// A connection in use; `None` if it was closed. It goes back to the pool on drop. If its user has abandoned a statement
/// or a transaction, that ends first, so that it does not delay the next user.
pub(super) struct Session(Option<Object<Connector>>);

impl Session {
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<ExecResult, DbErr> {
        let outcome = query(statement).execute(self.start()?).await;
        self.end(outcome).map(Into::into).map_err(DbErr::Exec)
    }

    pub(super) async fn execute_unprepared(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        let outcome = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.start()?).await;
        self.end(outcome).map(Into::into).map_err(DbErr::Exec)
    }

    pub(super) async fn query_one(&mut self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let outcome = query(statement).fetch_optional(self.start()?).await;
        Ok(self.end(outcome).map_err(DbErr::Query)?.map(Into::into))
    }

    pub(super) async fn query_all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let outcome = query(statement).fetch_all(self.start()?).await;
        Ok(self.end(outcome).map_err(DbErr::Query)?.into_iter().map(Into::into).collect())
    }

    fn start(&mut self) -> Result<&mut PgConnection, DbErr> {
        let Some(pooled) = &mut self.0 else {
            return Err(errors::unavailable("the connection was closed".to_owned()));
        };
        pooled.is_running = true;
        Ok(&mut pooled.connection)
    }

    /// Closes the connection after an error that leaves it unusable.
    fn end<T>(&mut self, outcome: Result<T, sqlx::Error>) -> Result<T, RuntimeErr> {
        if let Some(pooled) = &mut self.0 {
            pooled.is_running = false;
        }
        outcome.map_err(|error| {
            if let Some(pooled) = self.0.take_if(|_| !is_usable_after(&error)) {
                drop(Object::take(pooled));
            }
            RuntimeErr::SqlxError(error.into())
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let abandoned = self.0.take_if(|pooled| pooled.is_running || pooled.is_in_transaction);
        if let (Some(mut pooled), Ok(runtime)) = (abandoned, Handle::try_current()) {
            runtime.spawn(async move {
                // After a failure, it goes back to the pool as it is, which does not use it again.
                let _ = tokio::time::timeout(ABANDONED_TIMEOUT, pooled.clean()).await;
            });
        }
    }
}

/// An open transaction. Dropping it without a commit undoes it.
pub(super) struct PostgresTransaction(Mutex<Session>);

impl PostgresTransaction {
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.finish("COMMIT").await
    }

    pub(super) async fn rollback(mut self) -> Result<(), DbErr> {
        match self.0.get_mut() {
            // The server rolls back when a connection closes.
            Session(None) => Ok(()),
            Session(Some(_)) => self.finish("ROLLBACK").await,
        }
    }

    /// Runs a statement whose parameters are encoded already.
    pub(super) async fn execute_with(&self, sql: &'static str, arguments: PgArguments) -> Result<(), DbErr> {
        tracing::trace!(statement = sql, "query");
        let mut session = self.0.lock().await;
        let outcome = sqlx::query_with(sql, arguments).execute(session.start()?).await;
        session.end(outcome).map(|_| ()).map_err(DbErr::Exec)
    }

    async fn finish(self, sql: &str) -> Result<(), DbErr> {
        let mut session = self.0.into_inner();
        session.execute_unprepared(sql).await?;
        if let Some(pooled) = &mut session.0 {
            pooled.is_in_transaction = false;
        }
        Ok(())
    }
}

#[async_trait]
impl ConnectionTrait for PostgresPool {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.acquire().await?.execute(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.acquire().await?.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.acquire().await?.query_one(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.acquire().await?.query_all(statement).await
    }
}

#[async_trait]
impl ConnectionTrait for PostgresTransaction {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.0.lock().await.execute(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.lock().await.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.0.lock().await.query_one(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.0.lock().await.query_all(statement).await
    }
}

/// Takes the values of `statement`; sea-orm's own connections copy them.
fn query(Statement { sql, values, .. }: Statement) -> Query<'static, Postgres, SqlxValues> {
    // Without the values, which are user data.
    tracing::trace!(statement = sql, "query");
    sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values.unwrap_or_else(|| Values(Vec::new()))))
}
