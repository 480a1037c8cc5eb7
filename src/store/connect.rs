//! Opens and checks the connections to SQLite and to PostgreSQL.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{ConnectOptions as _, Connection};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbBackend, sqlx};

use super::connections::{ConnectionPool, Connections, Origin};
use super::postgres::PostgresPool;
use super::server::PostgresServer;
use super::{ACQUIRE_TIMEOUT, errors, files};
use crate::deadline::Deadline;
use crate::metrics::Pool;
use crate::positive_control;

const OLDEST_POSTGRES: i32 = 150_000;

/// PostgreSQL connections that commit groups of writes.
pub(super) const COMMITTERS: u32 = 4;
/// PostgreSQL connections for other writes.
const WRITERS: u32 = 2;
/// PostgreSQL connections for erasures, if these use a role of their own.
const ERASERS: u32 = 2;

/// The weakest `synchronous_commit` that we accept: with less, a failover to a synchronous replica can lose commits.
const DURABLE: &str = "on";

/// The transactions of connections that only read: all statements of one see the same rows.
const READ_TRANSACTIONS: [(&str, &str); 2] =
    [("default_transaction_isolation", "repeatable read"), ("default_transaction_read_only", "on")];

/// Whether to create a SQLite file that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

/// The connections to a database.
pub(super) struct Opened {
    pub(super) readers: Connections,
    pub(super) writers: Connections,
    /// `None` on SQLite.
    pub(super) committers: Option<Connections>,
}

/// Opens the connections for reads and for writes.
pub(super) async fn connect(url: &str, connections: u32, missing: Missing) -> anyhow::Result<Opened> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("sqlite") => connect_sqlite(url, connections, missing).await,
        Some("postgres" | "postgresql") => connect_postgres(url, connections).await,
        scheme => bail!(
            "the database URL must start with sqlite:// or postgres://, got {}",
            scheme.map_or("no scheme".to_owned(), |scheme| format!("{scheme:?}"))
        ),
    }
}

/// The drivers' own errors show the whole URL, including the password.
fn parse_url<O: FromStr>(url: &str, example: &str) -> anyhow::Result<O> {
    url.parse().map_err(|_| anyhow!("the database URL cannot be read; it must be like {example}"))
}

async fn connect_sqlite(url: &str, connections: u32, missing: Missing) -> anyhow::Result<Opened> {
    let sqlite: SqliteConnectOptions = parse_url(url, "sqlite://auditlog.db")?;
    let path = sqlite.get_filename();
    if url.contains(":memory:") || url.contains("mode=memory") {
        bail!("{url} would be lost with the process; name a file, such as sqlite://auditlog.db");
    }
    if url.contains("mode=ro") || url.contains("immutable=") {
        bail!("{url} can only be read; leave out mode=ro and immutable");
    }
    files::check_writable(path).with_context(|| format!("cannot open {url}"))?;
    let writers = open_sqlite(url, 1, Some(missing), None).await?;
    let readers = open_sqlite(url, connections, None, None).await?;
    let origin = Arc::new(Origin::Files(files::Files::opened(path)?));
    let readers = Connections::readers(readers, Arc::clone(&origin));
    Ok(Opened { readers, writers: Connections::writers(writers, origin), committers: None })
}

/// Connections to SQLite. `writes` makes them write, and says what to do if the file is missing; `None` makes them read
/// only. Statements are interrupted once the connection has been in use for `limit`.
async fn open_sqlite(
    url: &str,
    connections: u32,
    writes: Option<Missing>,
    limit: Option<Duration>,
) -> anyhow::Result<ConnectionPool> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        // Statements contain user data.
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    // SQLite removes its write-ahead log with the last connection, and would create another file. So connections stay
    // open.
    options.idle_timeout(None).max_lifetime(None);
    options.map_sqlx_sqlite_opts(move |sqlite| {
        sqlite
            .create_if_missing(writes == Some(Missing::Create))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(ACQUIRE_TIMEOUT)
            // Erased values are overwritten, not left in free space of the file.
            .pragma("secure_delete", "on")
            .pragma("query_only", if writes.is_some() { "off" } else { "on" })
    });
    // After a failed COMMIT, SQLite has ended the transaction but the driver thinks it is open. The next transaction
    // would be a savepoint inside it, whose COMMIT commits nothing.
    options.map_sqlx_sqlite_before_acquire(move |connection, _| {
        Box::pin(async move {
            let is_clean = !connection.is_in_transaction();
            limit_time(connection, limit).await?;
            Ok(is_clean)
        })
    });
    // `before_acquire` does not run before the first use of a connection.
    options.map_sqlx_sqlite_pool_opts(move |pool| {
        pool.after_connect(move |connection, _| Box::pin(limit_time(connection, limit)))
    });
    let mut pool = Database::connect(options).await.with_context(|| format!("cannot open {url}"))?;
    pool.set_metric_callback(|ran| tracing::trace!(statement = ran.statement.sql, "query"));
    // SQLite opens its write-ahead log at the first read of a connection, and creates it if missing.
    let read = pool.execute_unprepared("SELECT count(*) FROM sqlite_schema").await;
    read.with_context(|| format!("cannot open {url}"))?;
    Ok(ConnectionPool::Sqlite(pool))
}

/// SQLite has no time limit for statements. This handler interrupts it once the connection has been in use for `limit`.
async fn limit_time(connection: &mut SqliteConnection, limit: Option<Duration>) -> Result<(), sqlx::Error> {
    /// Instructions of SQLite's virtual machine between two checks. They take well below a millisecond.
    const EVERY: i32 = 10_000;
    if let Some(deadline) = limit.map(Deadline::after) {
        connection.lock_handle().await?.set_progress_handler(EVERY, move || !deadline.is_over());
    }
    Ok(())
}

/// Connections for reads from `origin`, whose statements end after `limit`. Without a limit, the database goes on with
/// a read whose caller has given up, and keeps the connection busy.
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

/// Connections for erasures. SQLite files have no roles, so these need PostgreSQL.
pub(super) async fn connect_eraser(url: &str) -> anyhow::Result<Connections> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => {
            let origin = Arc::new(Origin::Server(Box::new(PostgresServer::new(postgres_options(url)?))));
            Ok(Connections::writers(open_postgres(url, ERASERS, Some(DURABLE), None, &origin).await?, origin))
        }
        _ => bail!("the database URL to erase by must start with postgres://: a SQLite file has no roles"),
    }
}

fn postgres_options(url: &str) -> anyhow::Result<PgConnectOptions> {
    let example = "postgres://user:password@host/database, with / and @ in a password as %2F and %40";
    parse_url(url, example).map(without_brackets)
}

/// Removes the URL's brackets around an IPv6 address; the driver would look for a host of that name.
fn without_brackets(options: PgConnectOptions) -> PgConnectOptions {
    let address = options.get_host().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_owned);
    match address {
        Some(address) => options.host(&address),
        None => options,
    }
}

/// Connections to PostgreSQL. `commit` is the `synchronous_commit` of connections that write, even if the server's
/// setting changes; without it, they only read. `limit` is their `statement_timeout`.
async fn open_postgres(
    url: &str,
    connections: u32,
    commit: Option<&str>,
    limit: Option<Duration>,
    origin: &Origin,
) -> anyhow::Result<ConnectionPool> {
    // As session settings, these save each transaction a round trip.
    let transactions = match commit {
        Some(_) => &[("default_transaction_isolation", "read committed")][..],
        None => &READ_TRANSACTIONS[..],
    };
    // In milliseconds; 0 would mean no limit.
    let limit = limit.map(|limit| limit.as_millis().clamp(1, i32::MAX as u128).to_string());
    let options = postgres_options(url)?
        .application_name("auditlog")
        // Statements contain user data.
        .disable_statement_logging()
        .options(transactions.iter().copied())
        .options(commit.map(|commit| ("synchronous_commit", commit)))
        .options(limit.map(|limit| ("statement_timeout", limit)))
        .options([
            // A bitmap scan has no order. When PostgreSQL underestimated an organization, a page sorted all its
            // entries.
            ("enable_bitmapscan", "off"),
            // A plan from when a table was small must not read all of it later.
            ("enable_seqscan", "off"),
            ("max_parallel_workers_per_gather", "0"),
            // Compiling a statement took 10 ms; running it takes 0.3 ms.
            ("jit", "off"),
            // Another process that hangs in its transaction must not block all writes for ever.
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ]);
    let pool = PostgresPool::new(options, connections, origin.last_loss());
    // Most commands write nothing, and need no connections for it.
    if commit.is_none()
        && let Err(error) = pool.acquire().await
    {
        return Err(errors::cause(origin.explain(error).await));
    }
    Ok(ConnectionPool::Postgres(pool))
}

async fn connect_postgres(url: &str, connections: u32) -> anyhow::Result<Opened> {
    let origin = Arc::new(Origin::Server(Box::new(PostgresServer::new(postgres_options(url)?))));
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
            "the database {name} has the encoding {encoding}, and must have UTF8; create another one: \
             createdb --encoding=UTF8 --locale=C --template=template0 NAME"
        );
    }
    // A connection pooler may drop the settings. Then totals would be of several moments.
    for (name, ours) in READ_TRANSACTIONS {
        let value = setting(name).await?;
        if value != ours {
            bail!(
                "the settings of this connection do not reach PostgreSQL ({name} must be {ours}, got {value}); connect \
                 to it directly, or through a connection pooler that passes the startup parameter options"
            );
        }
    }
    let commit = setting("synchronous_commit").await?;
    let is_durable = [DURABLE, "remote_apply"].contains(&commit.as_str());
    if !is_durable && !positive_control::is("skip-durability-check") {
        bail!("PostgreSQL's synchronous_commit must be on, so that what is acknowledged is durable, got {commit}");
    }
    for durable in ["fsync", "full_page_writes"] {
        if setting(durable).await? != "on" {
            tracing::warn!("PostgreSQL runs with {durable}=off: a crash of its machine can lose or damage the log");
        }
    }
    // Writes have their own connections, so that slow reads do not delay them. They keep the setting that was checked
    // here: an administrator may change the server's setting while they are open.
    let open = async |connections| {
        let pool = open_postgres(url, connections, Some(&commit), None, &origin).await?;
        anyhow::Ok(Connections::writers(pool, Arc::clone(&origin)))
    };
    Ok(Opened { readers, writers: open(WRITERS).await?, committers: Some(open(COMMITTERS).await?) })
}

/// The state of a pool of connections.
pub(super) fn pool(name: &'static str, connections: &Connections) -> Pool {
    let (open, idle, most) = match &connections.pool {
        ConnectionPool::Sqlite(pool) => {
            let pool = pool.get_sqlite_connection_pool();
            (pool.size() as usize, pool.num_idle(), pool.options().get_max_connections() as usize)
        }
        ConnectionPool::Postgres(pool) => pool.size(),
    };
    let [open, idle, most] = [open, idle, most].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let idle = idle.min(open);
    Pool { name, used: open - idle, idle, most }
}
