//! A durable PostgreSQL server for this run, with its own directory and port. It stops with this process.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::as_postgres::{as_postgres, programs};

/// A running server. It stops when its standard input closes, so also when this process is killed.
pub struct Server {
    port: u16,
    directory: PathBuf,
    guard: Child,
    input: Option<ChildStdin>,
}

impl Server {
    /// Starts a server in a new directory of `parent`. `rows` decides the size of its shared buffers.
    pub fn start(parent: &Path, rows: u64) -> anyhow::Result<Self> {
        let programs = programs().context("there is no PostgreSQL: install it, or set PG_BIN to its bin directory")?;
        let directory = tempfile::Builder::new().prefix("pg-").tempdir_in(parent)?.keep();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let script = script(&programs, &directory, port, rows);
        let mut command = as_postgres(&script, &directory);
        let mut guard = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let input = guard.stdin.take();
        let mut server = Self { port, directory, guard, input };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.directory.join("ready").exists() {
            let ended = self.guard.try_wait()?.is_some();
            let said = || fs::read_to_string(self.log()).unwrap_or_default();
            ensure!(!ended && begun.elapsed() < Duration::from_secs(60), "PostgreSQL did not start: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The path of the server's log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The process id of the postmaster, the parent of all other processes.
    pub fn postmaster(&self) -> anyhow::Result<u32> {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid"))?;
        Ok(file.lines().next().context("postmaster.pid is empty")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.guard.wait();
    }
}

/// The script that runs the server until standard input closes, and then removes its directory.
fn script(programs: &Path, directory: &Path, port: u16, rows: u64) -> String {
    let buffers = if rows >= 10_000_000 { "4GB" } else { "1GB" };
    // The default durability settings. The larger sizes keep the bulk load and checkpoints out of the figures. There is
    // no Unix socket, because the path of the directory may be too long for one.
    let options = format!(
        "-p {port} -h 127.0.0.1 -c unix_socket_directories= -c max_connections=200 -c shared_buffers={buffers} \
         -c max_wal_size=8GB -c maintenance_work_mem=512MB -c log_line_prefix=\"[%p] \" -c log_checkpoints=off"
    );
    format!(
        "set -e; trap 'rm -rf {d}' EXIT; cd {d}; {bin}/initdb -D {d}/data -A trust -U postgres -E UTF8 --locale=C >{d}/log 2>&1; \
         {bin}/pg_ctl -D {d}/data -w -l {d}/log -o '{options}' start >>{d}/log 2>&1; touch {d}/ready; \
         trap '' INT TERM; cat >/dev/null; {bin}/pg_ctl -D {d}/data -m immediate stop >/dev/null 2>&1",
        d = directory.display(),
        bin = programs.display(),
    )
}

/// Creates a directory in `parent` that PostgreSQL can write to.
pub fn directory(parent: &Path) -> anyhow::Result<PathBuf> {
    let directory = tempfile::Builder::new().prefix("databases-").tempdir_in(parent)?.keep();
    ensure!(as_postgres("true", &directory).status()?.success(), "cannot prepare {}", directory.display());
    Ok(directory)
}
