//! The databases: a SQLite file, or a PostgreSQL server of its own whose processes can be killed; and plain SQL to both.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryResult, Statement};

use crate::as_postgres::{as_postgres, programs};
use crate::service::signal_all;

const STARTS: Duration = Duration::from_secs(60);

/// A database for one scene.
pub enum Database {
    Sqlite { file: PathBuf },
    Postgres(Server),
}

impl Database {
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite { file } => format!("sqlite://{}", file.display()),
            Self::Postgres(server) => server.url(),
        }
    }

    /// A connection that knows nothing of the service.
    pub async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        let mut options = sea_orm::ConnectOptions::new(self.url());
        options.max_connections(1).sqlx_logging(false).connect_timeout(STARTS).acquire_timeout(STARTS);
        sea_orm::Database::connect(options).await.context("the harness cannot connect to the database")
    }

    pub fn server(&mut self) -> anyhow::Result<&mut Server> {
        match self {
            Self::Postgres(server) => Ok(server),
            Self::Sqlite { .. } => anyhow::bail!("this fault is one of PostgreSQL"),
        }
    }
}

/// All rows of a statement.
pub async fn rows(
    connection: &impl ConnectionTrait,
    backend: DbBackend,
    sql: &str,
) -> anyhow::Result<Vec<QueryResult>> {
    connection.query_all_raw(Statement::from_string(backend, sql)).await.with_context(|| sql.to_owned())
}

/// The number that a statement gives.
pub async fn number(connection: &impl ConnectionTrait, backend: DbBackend, sql: &str) -> anyhow::Result<i64> {
    let row = connection.query_one_raw(Statement::from_string(backend, sql)).await?;
    Ok(row.context("no row")?.try_get_by_index(0)?)
}

/// A PostgreSQL server with its own directory and port. It ends with this value, and with the harness's main thread.
pub struct Server {
    programs: PathBuf,
    /// Has the data and the log.
    directory: PathBuf,
    port: u16,
    /// What it is started with.
    options: String,
    child: Option<Child>,
}

impl Server {
    /// Makes one in `directory`, with data copied from `template`, which is made if it is not there.
    pub fn create(directory: &Path, template: &Path, options: &str) -> anyhow::Result<Self> {
        let programs = programs().context("there is no PostgreSQL: install it, or set PG_BIN to its bin directory")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if !template.exists() {
            fs::create_dir(template)?;
            shell(
                &format!(
                    "{}/initdb -D {d}/data -A trust -U postgres -E UTF8 --locale=C --no-sync --wal-segsize=1 >{d}/log 2>&1",
                    programs.display(),
                    d = template.display()
                ),
                template,
            )?;
        }
        fs::create_dir_all(directory)?;
        shell(&format!("cp -a {}/data {}/data", template.display(), directory.display()), directory)?;
        let mut server =
            Self { programs, directory: directory.to_owned(), port, options: options.to_owned(), child: None };
        server.start()?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Starts it, durable as by default, and waits until it answers. To be called by the main thread, with which it
    /// ends. There is no Unix socket, whose path may not be as long as that of a directory.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let script = format!(
            "cd {d} && exec setpriv --pdeathsig KILL {bin}/postgres -D {d}/data -p {port} -h 127.0.0.1 \
             -c unix_socket_directories= -c max_connections=100 {options} >>{d}/log 2>&1",
            d = self.directory.display(),
            bin = self.programs.display(),
            port = self.port,
            options = self.options,
        );
        let directory = self.directory.clone();
        let spawn = || as_postgres(&script, &directory).stdin(Stdio::null()).spawn();
        self.child = Some(spawn()?);
        let begun = Instant::now();
        while !self.answers() {
            let ended = self.child.as_mut().context("it was started")?.try_wait()?.is_some();
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            ensure!(begun.elapsed() < STARTS, "PostgreSQL did not start: {}", log());
            if ended {
                // A process of the one that was killed may still hold its memory.
                self.child = Some(spawn()?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        let mut asks = Command::new(self.programs.join("pg_isready"));
        asks.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        asks.status().is_ok_and(|status| status.success())
    }

    /// All of its processes.
    pub fn processes(&self) -> Vec<u32> {
        let Some(id) = self.child.as_ref().map(Child::id) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        std::iter::once(id).chain(children).collect()
    }

    /// SIGKILL to all of its processes at once: what is in their memory is lost.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.stop("KILL")
    }

    /// Sends a signal: KILL to all of its processes, another one to the first, which ends the rest.
    pub fn stop(&mut self, signal: &str) -> anyhow::Result<()> {
        let all = self.processes();
        let mut child = self.child.take().context("PostgreSQL does not run")?;
        signal_all(signal, if signal == "KILL" { &all } else { &all[..1] })?;
        child.wait()?;
        Ok(())
    }

    /// Starts it if it has ended, and waits until it answers.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        // One that ends is still there for a moment.
        let begun = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && child.try_wait()?.is_some()
            {
                self.child = None;
            }
            if self.child.is_none() {
                return self.start();
            }
            if self.answers() {
                return Ok(());
            }
            ensure!(begun.elapsed() < STARTS, "PostgreSQL does not answer; see {}", self.log().display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Runs `script` as PostgreSQL's user.
fn shell(script: &str, directory: &Path) -> anyhow::Result<()> {
    let status = as_postgres(script, directory).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "{script}: {status}");
    Ok(())
}
