//! A PostgreSQL server for this test run, with its own directory and port. It stops with the process. With
//! `AUDITLOG_TEST_POSTGRES=required`, a missing PostgreSQL is an error.

use std::env;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database};

use super::as_postgres::{as_postgres, programs};
use super::say;

/// A running server. It stops when its standard input closes, so also when this process is killed.
pub struct Server {
    pub port: u16,
    log: PathBuf,
    _guard: Mutex<(Child, ChildStdin)>,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();
static NAMES: AtomicU32 = AtomicU32::new(0);

/// The URL of a new database; `None` without PostgreSQL.
pub async fn create_database() -> Option<String> {
    let port = tokio::task::spawn_blocking(|| SERVER.get_or_init(start_or_say).as_ref().map(|server| server.port));
    let server = format!("postgres://postgres@127.0.0.1:{}", port.await.expect("the server starts")?);
    let name = format!("test_{}", NAMES.fetch_add(1, Ordering::Relaxed));
    administer(&server, &format!("CREATE DATABASE {name}")).await;
    Some(format!("{server}/{name}"))
}

/// Drops the database of a test that has passed, because hundreds of databases would fill the disk.
pub async fn drop_database(url: &str) {
    let (server, name) = url.rsplit_once('/').expect("a URL that ends with the database's name");
    administer(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
}

async fn administer(server: &str, statement: &str) {
    let administration = Database::connect(format!("{server}/postgres")).await.expect("PostgreSQL answers");
    administration.execute_unprepared(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    administration.close().await.expect("the connection closes");
}

/// A separate server for tests that change the whole server, for example its roles. `None` without PostgreSQL.
pub fn own_server() -> Option<Server> {
    SERVER.get_or_init(start_or_say).as_ref()?;
    programs().map(|programs| start(&programs))
}

/// The server's log. Each message starts with the name of its database and `=`.
pub fn log() -> &'static Path {
    &SERVER.get().and_then(Option::as_ref).expect("the server runs").log
}

fn start_or_say() -> Option<Server> {
    let Some(programs) = programs() else {
        let asked = env::var("AUDITLOG_TEST_POSTGRES").unwrap_or_default();
        assert!(
            ["", "required"].contains(&asked.as_str()),
            "AUDITLOG_TEST_POSTGRES must be required or unset, got {asked}"
        );
        let required = asked == "required";
        assert!(
            !required,
            "AUDITLOG_TEST_POSTGRES=required, and there is no PostgreSQL: set PG_BIN to its bin directory"
        );
        say("PostgreSQL: NOT TESTED (install it, or set PG_BIN to its bin directory)");
        return None;
    };
    let server = start(&programs);
    say(&format!("PostgreSQL: tested with {}", programs.display()));
    Some(server)
}

fn start(programs: &Path) -> Server {
    let directory = tempfile::Builder::new().prefix("auditlog-pg-").tempdir().expect("a directory").keep();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let log = directory.join("log");
    // Tests do not need to survive a crash of the machine; synchronous_commit stays on. There is no Unix socket,
    // because the path of the directory may be too long for one.
    let options = format!(
        "-p {port} -c unix_socket_directories= -h 127.0.0.1 -F -c full_page_writes=off -c max_connections=400 \
         -c log_line_prefix=%d="
    );
    let script = format!(
        "set -e; trap 'rm -rf {d}' EXIT; cd {d}; {bin}/initdb -D {d}/data -A trust -U postgres --no-sync -E UTF8 --locale=C >{log} 2>&1; \
         {bin}/pg_ctl -D {d}/data -w -l {log} -o '{options}' start >>{log} 2>&1; touch {d}/ready; \
         trap '' INT TERM; cat >/dev/null; {bin}/pg_ctl -D {d}/data -m immediate stop >/dev/null 2>&1",
        d = directory.display(),
        bin = programs.display(),
        log = log.display(),
    );
    let mut command = as_postgres(&script, &directory);
    let mut guard = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the server's shell starts");
    let mut input = guard.stdin.take().expect("its input is a pipe");
    input.flush().expect("the pipe is open");
    let begun = Instant::now();
    while !directory.join("ready").exists() {
        let ended = guard.try_wait().expect("the shell can be asked").is_some();
        assert!(
            !ended && begun.elapsed() < Duration::from_secs(60),
            "PostgreSQL did not start: {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Server { port, log, _guard: Mutex::new((guard, input)) }
}
