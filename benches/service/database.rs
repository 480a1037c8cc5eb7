//! A database of the run, and plain SQL for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, QueryResult, Statement, TryGetable};

use crate::postgres::Server;

/// A SQLite file, or a database of the server that this run started.
pub struct Database {
    pub url: String,
    pub connection: DatabaseConnection,
    pub server: Option<Server>,
    /// The number of loaded entries.
    pub rows: u64,
    /// An API key to read and write all organizations.
    pub key: String,
    /// The `auditlog` program that serves the database.
    pub program: PathBuf,
}

impl Database {
    /// Creates an empty database with the schema of this build, and an API key.
    pub async fn create(backend: DbBackend, directory: &Path, rows: u64) -> anyhow::Result<Self> {
        Self::create_by(program(), backend, directory, rows).await
    }

    /// Like [`Self::create`], with the schema of any build.
    pub async fn create_by(program: PathBuf, backend: DbBackend, directory: &Path, rows: u64) -> anyhow::Result<Self> {
        let (url, server) = match backend {
            DbBackend::Postgres => {
                let server = Server::start(directory, rows)?;
                connect(&server.url("postgres")).await?.execute_unprepared("CREATE DATABASE bench").await?;
                (server.url("bench"), Some(server))
            }
            _ => (format!("sqlite://{}", directory.join(format!("bench-{rows}.db")).display()), None),
        };
        let key = create_key(&program, &url)?;
        Ok(Self { connection: connect(&url).await?, url, server, rows, key, program })
    }

    /// Runs a subcommand and returns its standard output.
    pub fn auditlog(&self, arguments: &[&str]) -> anyhow::Result<String> {
        auditlog(&self.program, &self.url, arguments)
    }

    /// Another API key to read and write all organizations.
    pub fn create_key(&self) -> anyhow::Result<String> {
        create_key(&self.program, &self.url)
    }

    pub fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    pub fn name(&self) -> &'static str {
        if self.server.is_some() { "postgres" } else { "sqlite" }
    }

    pub async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        self.connection.execute_unprepared(sql).await.with_context(|| sql.to_owned())?;
        Ok(())
    }

    pub async fn rows(&self, sql: &str) -> anyhow::Result<Vec<QueryResult>> {
        let statement = Statement::from_string(self.backend(), sql);
        self.connection.query_all_raw(statement).await.with_context(|| sql.to_owned())
    }

    /// The first column of all rows.
    pub async fn column<T: TryGetable>(&self, sql: &str) -> anyhow::Result<Vec<T>> {
        self.rows(sql).await?.into_iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
    }

    /// The first column of the first row. Errors: there is no row.
    pub async fn value<T: TryGetable>(&self, sql: &str) -> anyhow::Result<T> {
        self.column(sql).await?.into_iter().next().with_context(|| format!("{sql} gives no row"))
    }

    /// The PostgreSQL processes that serve the service's connections; empty on SQLite.
    pub async fn backends(&self) -> anyhow::Result<Vec<u32>> {
        if self.server.is_none() {
            return Ok(Vec::new());
        }
        let ids = self.column::<i32>("SELECT pid FROM pg_stat_activity WHERE application_name = 'auditlog'").await?;
        ids.into_iter().map(|id| Ok(u32::try_from(id)?)).collect()
    }
}

fn auditlog(program: &Path, url: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).env("AUDITLOG_DATABASE_URL", url).output()?;
    let [said, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "auditlog {} failed: {error}", arguments.join(" "));
    Ok(said)
}

fn create_key(program: &Path, url: &str) -> anyhow::Result<String> {
    let arguments = ["keys", "create", "--all-organizations", "--scope", "read", "--scope", "write"];
    Ok(auditlog(program, url, &arguments)?.trim_end().to_owned())
}

/// Opens one connection; on SQLite it has the same durability as the service's.
pub async fn connect(url: &str) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options).await.with_context(|| format!("cannot connect to {url}"))
}

/// The measured program.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_auditlog"))
}
