//! The databases of a scene: a SQLite file, or a separate PostgreSQL server whose processes can be killed. Both take
//! plain SQL.

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

/// The database of one scene.
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

    /// A connection that uses none of the service's code.
    pub async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        let mut options = sea_orm::ConnectOptions::new(self.url());
        options.max_connections(1).sqlx_logging(false).connect_timeout(STARTS).acquire_timeout(STARTS);
        sea_orm::Database::connect(options).await.context("the harness cannot connect to the database")
    }

    pub fn server(&mut self) -> anyhow::Result<&mut Server> {
        match self {
            Self::Postgres(server) => Ok(server),
            Self::Sqlite { .. } => anyhow::bail!("this fault needs PostgreSQL"),
        }
    }

    /// The log lines of PostgreSQL that report a deadlock, across all restarts.
    pub fn deadlocks(&self) -> Vec<String> {
        let Self::Postgres(server) = self else { return Vec::new() };
        let log = fs::read(server.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains("deadlock detected")).map(str::to_owned).collect()
    }
}

/// All rows of a query.
pub async fn rows(
    connection: &impl ConnectionTrait,
    backend: DbBackend,
    sql: &str,
) -> anyhow::Result<Vec<QueryResult>> {
    connection.query_all_raw(Statement::from_string(backend, sql)).await.with_context(|| sql.to_owned())
}

/// The number in the first column of the first row.
pub async fn number(connection: &impl ConnectionTrait, backend: DbBackend, sql: &str) -> anyhow::Result<i64> {
    let row = connection.query_one_raw(Statement::from_string(backend, sql)).await?;
    Ok(row.context("no row")?.try_get_by_index(0)?)
}

/// A PostgreSQL server with its own directory and port. It stops on drop, or when the harness's main thread ends.
pub struct Server {
    programs: PathBuf,
    /// Contains the data and the log.
    directory: PathBuf,
    port: u16,
    /// Extra command-line options of the server.
    options: String,
    child: Option<Child>,
}

impl Server {
    /// Creates a server in `directory` and starts it. The data is copied from `template`, which is created on first
    /// use.
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

    /// Starts the server with the default durability settings and waits until it accepts connections. Call it from the
    /// main thread: the server ends with the thread that started it. There is no Unix socket, because the path of the
    /// directory may be too long for one.
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
                // The server fails to start while a process of the killed one still holds the shared memory; try again.
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

    /// The process ids of the server.
    pub fn processes(&self) -> Vec<u32> {
        let Some(id) = self.child.as_ref().map(Child::id) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        std::iter::once(id).chain(children).collect()
    }

    /// Sends SIGKILL to all processes at once, so the content of their memory is lost.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.stop("KILL")
    }

    /// Sends a signal and waits for the server to exit. KILL goes to all processes; any other signal goes to the first,
    /// which stops the rest.
    pub fn stop(&mut self, signal: &str) -> anyhow::Result<()> {
        let all = self.processes();
        let mut child = self.child.take().context("PostgreSQL does not run")?;
        signal_all(signal, if signal == "KILL" { &all } else { &all[..1] })?;
        child.wait()?;
        Ok(())
    }

    /// Starts the server if it has exited, and waits until it accepts connections.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        // An exiting server still exists for a moment.
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

/// Runs `script` as the user that runs PostgreSQL.
fn shell(script: &str, directory: &Path) -> anyhow::Result<()> {
    let status = as_postgres(script, directory).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "{script}: {status}");
    Ok(())
}
