//! Where SQLite and PostgreSQL differ. Every `match` on the database stands here, and in `connections` that on where it is.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{Connection, Executor};
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    IsolationLevel, SqliteTransactionMode, TransactionOptions, Value, sqlx,
};

use super::connections::{Connections, Origin};
use super::server::Server;
use super::sql::UnindexedColumn;
use super::{errors, files};
use crate::deadline::Deadline;
use crate::metrics::Pool;

/// How long to wait for a connection, and for SQLite's lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that sat idle for so long are tested before use; testing all costs 12 % of the CPU.
const IDLE: Duration = Duration::from_secs(10);
/// Names our advisory lock among those of other programs: "auditlog" in ASCII.
const SCHEMA_LOCK: i64 = 0x6175_6469_746c_6f67;
const OLDEST_POSTGRES: i32 = 150_000;

/// Values do not decide our plans, so that PostgreSQL makes them once: to make them took as long as to run them. But of
/// a table that is nearly empty all indexes look alike, and what is kept from then reads all of it later: up to that
/// many entries, known by its statistics, plans are made anew. The pool replaces connections every half hour.
const KEEP_PLANS: &str = "SELECT set_config('plan_cache_mode', CASE WHEN coalesce((SELECT reltuples FROM pg_class \
     WHERE oid = to_regclass('audit_logs')), 0) >= 10000 THEN 'force_generic_plan' ELSE 'force_custom_plan' END, false)";

/// Connections to write with on PostgreSQL: for the writer, and for notes beside it.
const WRITERS: u32 = 3;
/// And to erase with, where a role of its own does.
const ERASERS: u32 = 2;

/// The least `synchronous_commit` with which what is committed survives the server.
const DURABLE: &str = "on";

/// Whether to create a SQLite file that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

/// Connections to read and to write with.
pub(super) async fn connect(
    url: &str,
    connections: u32,
    missing: Missing,
) -> anyhow::Result<(Connections, Connections)> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("sqlite") => connect_sqlite(url, connections, missing).await,
        Some("postgres" | "postgresql") => connect_postgres(url, connections).await,
        scheme => bail!(
            "the database URL must start with sqlite:// or postgres://, got {}",
            scheme.map_or("no scheme".to_owned(), |scheme| format!("{scheme:?}"))
        ),
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(IDLE)
        // Statements hold what people wrote.
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    options
}

/// Statements without their values, which are what people wrote.
fn traced(mut connection: DatabaseConnection) -> DatabaseConnection {
    connection.set_metric_callback(|ran| tracing::trace!(statement = ran.statement.sql, "query"));
    connection
}

/// The drivers' own errors show the whole URL, and the password with it.
fn parse_url<O: FromStr>(url: &str, example: &str) -> anyhow::Result<O> {
    url.parse().map_err(|_| anyhow!("the database URL cannot be read; it must be like {example}"))
}

async fn connect_sqlite(url: &str, connections: u32, missing: Missing) -> anyhow::Result<(Connections, Connections)> {
    let sqlite: SqliteConnectOptions = parse_url(url, "sqlite://auditlog.db")?;
    let path = sqlite.get_filename();
    if url.contains(":memory:") || url.contains("mode=memory") {
        bail!("{url} would be lost with the process; name a file, such as sqlite://auditlog.db");
    }
    if url.contains("mode=ro") || url.contains("immutable=") {
        bail!("{url} can only be read; leave out mode=ro and immutable");
    }
    files::check_writable(path)?;
    let writers = open_sqlite(url, 1, Some(missing), None).await?;
    let readers = open_sqlite(url, connections, None, None).await?;
    let origin = Arc::new(Origin::files(path)?);
    Ok((Connections::readers(readers, Arc::clone(&origin)), Connections::writers(writers, origin)))
}

/// Connections to SQLite: to write with where `writes` says what to do if there is no file, else to read with. Their
/// statements end after `limit`.
async fn open_sqlite(
    url: &str,
    connections: u32,
    writes: Option<Missing>,
    limit: Option<Duration>,
) -> anyhow::Result<DatabaseConnection> {
    let mut options = options(url, connections);
    // SQLite removes its log with the last connection, and would make another one.
    options.idle_timeout(None).max_lifetime(None);
    options.map_sqlx_sqlite_opts(move |sqlite| {
        sqlite
            .create_if_missing(writes == Some(Missing::Create))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE)
            // What is erased is overwritten, and not left in a free place of the file.
            .pragma("secure_delete", "on")
            .pragma("query_only", if writes.is_some() { "off" } else { "on" })
    });
    // After a failed COMMIT, SQLite has ended the transaction and the driver thinks that it goes on:
    // the next one would be a savepoint inside it, whose COMMIT commits nothing.
    options.map_sqlx_sqlite_before_acquire(move |connection, _| {
        Box::pin(async move {
            let is_clean = !connection.is_in_transaction();
            limit_time(connection, limit).await?;
            Ok(is_clean)
        })
    });
    // A new connection is not asked before its first use.
    options.map_sqlx_sqlite_pool_opts(move |pool| {
        pool.after_connect(move |connection, _| Box::pin(limit_time(connection, limit)))
    });
    let pool = Database::connect(options).await.map(traced).with_context(|| format!("cannot open {url}"))?;
    // With the first read of a connection SQLite opens its log, and makes it where it is missing.
    let read = pool.execute_unprepared("SELECT count(*) FROM sqlite_schema").await;
    read.with_context(|| format!("cannot open {url}"))?;
    Ok(pool)
}

/// Has SQLite, which knows no limit of time, ask every so often whether to go on with what the connection is used for.
async fn limit_time(connection: &mut SqliteConnection, limit: Option<Duration>) -> Result<(), sqlx::Error> {
    /// Instructions of its machine, which take well below a millisecond.
    const EVERY: i32 = 10_000;
    if let Some(deadline) = limit.map(Deadline::after) {
        connection.lock_handle().await?.set_progress_handler(EVERY, move || !deadline.is_over());
    }
    Ok(())
}

/// Connections to read with from `origin`, whose statements end after `limit`: the database goes on with a read whose
/// caller has given up, and the connection is busy for as long.
pub(super) async fn connect_readers(
    url: &str,
    connections: u32,
    limit: Duration,
    origin: &Arc<Origin>,
) -> anyhow::Result<Connections> {
    let pool = match url.starts_with("sqlite:") {
        true => open_sqlite(url, connections, None, Some(limit)).await?,
        false => open_postgres(url, connections, None, Some(limit), origin).await?,
    };
    Ok(Connections::readers(pool, Arc::clone(origin)))
}

/// Connections to erase with. A SQLite file has no roles.
pub(super) async fn connect_eraser(url: &str) -> anyhow::Result<Connections> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => {
            let origin = Arc::new(Origin::Server(Box::new(Server::new(postgres_options(url)?))));
            Ok(Connections::writers(open_postgres(url, ERASERS, Some(DURABLE), None, &origin).await?, origin))
        }
        _ => bail!("the database URL to erase by must start with postgres://: a SQLite file has no roles"),
    }
}

fn postgres_options(url: &str) -> anyhow::Result<PgConnectOptions> {
    let example = "postgres://user:password@host/database, with / and @ in a password as %2F and %40";
    parse_url(url, example).map(without_brackets)
}

/// The URL's brackets around an IPv6 address are no part of it; the driver would look for a host of that name.
fn without_brackets(options: PgConnectOptions) -> PgConnectOptions {
    let address = options.get_host().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_owned);
    match address {
        Some(address) => options.host(&address),
        None => options,
    }
}

/// Connections to PostgreSQL; with `commit` as their `synchronous_commit`, whatever becomes of the server's, and with
/// `limit` as their `statement_timeout`.
async fn open_postgres(
    url: &str,
    connections: u32,
    commit: Option<&str>,
    limit: Option<Duration>,
    origin: &Origin,
) -> anyhow::Result<DatabaseConnection> {
    let mut options = options(url, connections);
    let commit = commit.map(|commit| ("synchronous_commit", commit.to_owned()));
    // Milliseconds, of which 0 is no limit.
    let limit = limit.map(|limit| ("statement_timeout", limit.as_millis().clamp(1, i32::MAX as u128).to_string()));
    options.map_sqlx_postgres_opts(move |postgres| {
        without_brackets(postgres).application_name("auditlog").options(commit.clone()).options(limit.clone()).options(
            [
                // A bitmap has no order: where an organization was taken for a small one, a page sorted all of it.
                ("enable_bitmapscan", "off"),
                // Nor must a plan from when a table was small read all of it.
                ("enable_seqscan", "off"),
                ("max_parallel_workers_per_gather", "0"),
                // Compiling a statement took 10 ms where running it takes 0.3.
                ("jit", "off"),
                // Another process that hangs in its transaction must not stop all writes for ever.
                ("lock_timeout", "10s"),
                ("idle_in_transaction_session_timeout", "30s"),
            ],
        )
    });
    let last_loss = origin.last_loss();
    options.map_sqlx_postgres_before_acquire(move |_, made| {
        let is_lost = last_loss.is_before(made.age);
        Box::pin(async move { Ok(!is_lost) })
    });
    options.map_sqlx_postgres_pool_opts(|pool| {
        pool.after_connect(|connection, _| Box::pin(async move { connection.execute(KEEP_PLANS).await.map(|_| ()) }))
    });
    match Database::connect(options).await {
        Ok(connected) => Ok(traced(connected)),
        Err(error) => Err(errors::cause(origin.explain(error).await)),
    }
}

async fn connect_postgres(url: &str, connections: u32) -> anyhow::Result<(Connections, Connections)> {
    let origin = Arc::new(Origin::Server(Box::new(Server::new(postgres_options(url)?))));
    let readers =
        Connections::readers(open_postgres(url, connections, None, None, &origin).await?, Arc::clone(&origin));
    let value = async |expression: &str| -> anyhow::Result<String> {
        let statement = sea_orm::Statement::from_string(DbBackend::Postgres, expression);
        let row = readers.query_one_raw(statement).await.map_err(errors::cause)?;
        Ok(row.with_context(|| format!("{expression} gives a row"))?.try_get_by_index(0)?)
    };
    let setting = async |name: &str| value(&format!("SHOW {name}")).await;
    let version = setting("server_version_num").await?;
    if version.parse::<i32>()? < OLDEST_POSTGRES {
        bail!("PostgreSQL must be 15 or newer, got {}", setting("server_version").await?);
    }
    let encoding = setting("server_encoding").await?;
    if encoding != "UTF8" {
        let name = value("SELECT quote_ident(current_database()::text)").await?;
        bail!(
            "the database {name} has the encoding {encoding}, and must have UTF8; make another one: \
             createdb --encoding=UTF8 --locale=C --template=template0 NAME"
        );
    }
    let commit = setting("synchronous_commit").await?;
    if ![DURABLE, "remote_apply"].contains(&commit.as_str()) && !is_check_skipped() {
        bail!("PostgreSQL's synchronous_commit must be on, so that what is acknowledged is durable, got {commit}");
    }
    for durable in ["fsync", "full_page_writes"] {
        if setting(durable).await? != "on" {
            tracing::warn!("PostgreSQL runs with {durable}=off: a crash of its machine can lose or damage the log");
        }
    }
    // Writes have connections of their own, so that slow reads do not keep them waiting. They keep what was checked: an
    // administrator may change the server's setting while they are open.
    let writers = open_postgres(url, WRITERS, Some(&commit), None, &origin).await?;
    Ok((readers, Connections::writers(writers, origin)))
}

/// Whether a build that is to be found out goes on without durable commits.
fn is_check_skipped() -> bool {
    cfg!(feature = "positive-controls")
        && std::env::var("AUDITLOG_POSITIVE_CONTROL").is_ok_and(|control| control == "skip-durability-check")
}

/// How many connections of a pool are used.
pub(super) fn pool(name: &'static str, connections: &Connections) -> Pool {
    let connection = connections.pool();
    let (open, idle, most) = match connection.get_database_backend() {
        DbBackend::Sqlite => {
            let pool = connection.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        }
        _ => {
            let pool = connection.get_postgres_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        }
    };
    let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(open);
    Pool { name, used: open - idle, idle, most }
}

/// A transaction whose statements all see the same rows.
pub(super) fn snapshot(backend: DbBackend) -> TransactionOptions {
    match backend {
        // A deferred transaction keeps the snapshot of its first read.
        DbBackend::Sqlite => TransactionOptions::default(),
        _ => TransactionOptions {
            isolation_level: Some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly),
            sqlite_transaction_mode: None,
        },
    }
}

/// A transaction that waits for the locks of others, and then sees what they committed.
pub(super) fn append(backend: DbBackend) -> TransactionOptions {
    match backend {
        // Deferred, it would fail with "busy" when it turns from reading to writing.
        DbBackend::Sqlite => TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        },
        _ => TransactionOptions { isolation_level: Some(IsolationLevel::ReadCommitted), ..Default::default() },
    }
}

/// Waits until no other process changes the schema or the catalogue; holds until the transaction ends.
pub(super) async fn lock_schema(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    match transaction.get_database_backend() {
        // BEGIN IMMEDIATE has waited already.
        DbBackend::Sqlite => Ok(()),
        backend => {
            // Another process may take its time to migrate.
            let patience = sea_orm::Statement::from_string(backend, "SET LOCAL lock_timeout = 0");
            transaction.execute_raw(patience).await?;
            let lock = format!("SELECT pg_advisory_xact_lock({SCHEMA_LOCK})");
            transaction.execute_raw(sea_orm::Statement::from_string(backend, lock)).await.map(|_| ())
        }
    }
}

/// Inserts `rows` rows of `columns`.
pub(super) fn insert(backend: DbBackend, table: &str, columns: &[&str], rows: usize) -> String {
    let mut text = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
    for place in 0..rows * columns.len() {
        text.push_str(match place % columns.len() {
            _ if place == 0 => "(",
            0 => "), (",
            _ => ", ",
        });
        match backend {
            // The driver looks numbered parameters up one by one.
            DbBackend::Sqlite => text.push('?'),
            _ => text.push_str(&format!("${}", place + 1)),
        }
    }
    text.push(')');
    text
}

/// The rows of a JSON array as a table `k` with one column `value`.
pub(super) fn elements(backend: DbBackend, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("json_each({parameter}) AS k"),
        _ => format!("json_array_elements(CAST({parameter} AS json)) AS k(value)"),
    }
}

/// The texts in `parameter`, which [`texts`] made, as a table `k` with one column `value`.
pub(super) fn each_text(backend: DbBackend, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("json_each({parameter}) AS k"),
        _ => format!("unnest({parameter}) AS k(value)"),
    }
}

/// Joins the rows of `table` that `inner` chooses for each row before them, as `alias`. `inner` is what follows the
/// table's name, up to its LIMIT.
pub(super) fn lateral(backend: DbBackend, table: &str, alias: &str, inner: &str) -> String {
    match backend {
        // It knows no LATERAL, but functions of what stands before them. Rows are then found one by one: of
        // `rowid IN (SELECT …)` it may think that all rows of a small table are tested faster.
        DbBackend::Sqlite => format!(
            "CROSS JOIN json_each((SELECT json_group_array(rowid) FROM (SELECT rowid FROM {table} {inner}))) {alias}_rows \
             CROSS JOIN {table} {alias} ON {alias}.rowid = {alias}_rows.value"
        ),
        _ => format!("JOIN LATERAL (SELECT * FROM {table} {inner}) {alias} ON true"),
    }
}

/// The same of the only row that `inner` chooses, or of none.
pub(super) fn lateral_one(backend: DbBackend, table: &str, alias: &str, inner: &str) -> String {
    match backend {
        DbBackend::Sqlite => {
            format!("LEFT JOIN {table} {alias} ON {alias}.rowid = (SELECT rowid FROM {table} {inner})")
        }
        _ => format!("LEFT JOIN LATERAL (SELECT * FROM {table} {inner}) {alias} ON true"),
    }
}

/// Joins the rows of `table` that are `chosen` for each row before them, as `alias`, found by an index.
pub(super) fn each(backend: DbBackend, table: &str, alias: &str, chosen: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("CROSS JOIN {table} {alias} ON {chosen}"),
        // It might read all that an organization has, and join it then; the fence keeps it from that.
        _ => format!("JOIN LATERAL (SELECT * FROM {table} {alias} WHERE {chosen} OFFSET 0) {alias} ON true"),
    }
}

/// Joins the entry of `organization` whose `column`, `id` or `seq`, is `value`, as `alias`, for each row before it.
pub(super) fn entry(backend: DbBackend, alias: &str, organization: &str, column: &str, value: &str) -> String {
    match backend {
        DbBackend::Sqlite => {
            let index = if column == "id" { indexed_by(backend, "audit_logs_id") } else { String::new() };
            format!(
                "CROSS JOIN audit_logs {alias} {index} \
                 ON {alias}.organization_id = {organization} AND {alias}.{column} = {value}"
            )
        }
        // In the order of the one index that begins so: of a table that was small when the plan was made, another
        // index looks as cheap, and a plan that reads all of it and joins then cheaper.
        _ => format!(
            "JOIN LATERAL (SELECT * FROM audit_logs {alias} WHERE {alias}.organization_id = {organization} \
             AND {alias}.{column} >= {value} AND {alias}.{column} <= {value} ORDER BY {alias}.{column} LIMIT 1) {alias} \
             ON true"
        ),
    }
}

/// Pins the index that SQLite uses. PostgreSQL has no such hint; there, the others do not serve.
pub(super) fn indexed_by(backend: DbBackend, index: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("INDEXED BY {index}"),
        _ => String::new(),
    }
}

/// `column` is `parameter`, tested where no index serves it.
pub(super) fn one(backend: DbBackend, column: UnindexedColumn, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("{} = {parameter}", column.expression()),
        // What it has no index operator for, and takes no time to hide.
        _ => format!("{} IS NOT DISTINCT FROM {parameter}", column.column()),
    }
}

/// `column` is one of the values in `parameter`, which `codes` or `texts` made, tested where no index serves it.
pub(super) fn any(backend: DbBackend, column: UnindexedColumn, parameter: &str) -> String {
    let expression = column.expression();
    match backend {
        DbBackend::Sqlite => format!("{expression} IN (SELECT value FROM json_each({parameter}))"),
        _ => format!("{expression} = ANY({parameter})"),
    }
}

/// Codes as one parameter of [`any`].
pub(super) fn codes(backend: DbBackend, codes: Vec<i16>) -> Value {
    match backend {
        DbBackend::Sqlite => serde_json::Value::from(codes).to_string().into(),
        _ => Value::from(codes.into_iter().map(i32::from).collect::<Vec<i32>>()),
    }
}

/// Texts as one parameter of [`any`].
pub(super) fn texts(backend: DbBackend, texts: Vec<String>) -> Value {
    match backend {
        DbBackend::Sqlite => serde_json::Value::from(texts).to_string().into(),
        _ => Value::from(texts),
    }
}

/// The bytes that `expression` has as hex digits.
pub(super) fn bytes(backend: DbBackend, expression: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("unhex({expression})"),
        _ => format!("decode({expression}, 'hex')"),
    }
}

/// Asks whether the role of the connection may change `columns` of `table`. `None` where there are no roles.
pub(super) fn may_change(backend: DbBackend, table: &str, columns: &[&str]) -> Option<sea_orm::Statement> {
    match backend {
        DbBackend::Sqlite => None,
        _ => {
            let columns = columns.iter().map(|column| format!("has_column_privilege('{table}', '{column}', 'UPDATE')"));
            let text = format!("SELECT {}", columns.collect::<Vec<_>>().join(" AND "));
            Some(sea_orm::Statement::from_string(backend, text))
        }
    }
}

/// Takes what was overwritten out of the files, beside the database; its first column is 0 where it could. `None`
/// where a service cannot.
pub(super) fn purge(backend: DbBackend) -> Option<sea_orm::Statement> {
    match backend {
        // The log is copied into the file and cut to nothing. It waits for readers that still read it.
        DbBackend::Sqlite => Some(sea_orm::Statement::from_string(backend, "PRAGMA wal_checkpoint(TRUNCATE)")),
        _ => None,
    }
}

/// The hex digits of the bytes that `column` has.
pub(super) fn hex(backend: DbBackend, column: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("hex({column})"),
        _ => format!("encode({column}, 'hex')"),
    }
}

/// The clause that locks the rows of a SELECT and skips the rows that others have locked.
pub(super) fn hold(backend: DbBackend) -> &'static str {
    match backend {
        // BEGIN IMMEDIATE holds the whole database.
        DbBackend::Sqlite => "",
        _ => "FOR UPDATE SKIP LOCKED",
    }
}
