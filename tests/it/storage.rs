//! Database problems: databases that are refused at startup, and the loss of a database at run time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditlog::domain::{Clock, EntryId};
use auditlog::store::Store;
use sea_orm::{ConnectionTrait, Database as Connections, TransactionTrait};
use serde_json::{Value, json};

use crate::support::as_postgres::as_postgres;
use crate::support::database::{execute, hold_head, temporary};
use crate::support::ingest::{self, entry, organization};
use crate::support::process::{create_key, ran, text};
use crate::support::until;
use crate::support::{Backend, Database, Process, database, on_every_database};

/// Ends the service's sessions, as a restart of the server does.
const CUTS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'auditlog'";

/// The time limit for what waits for no lock.
const LOCK_FREE_TIMEOUT: Duration = Duration::from_secs(10);

/// A service on a database, with a REST client.
struct Asked {
    process: Process,
    http: reqwest::Client,
    key: String,
}

impl Asked {
    fn start(url: &str) -> Self {
        let key = create_key(url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        Self { process: Process::serve(url), http: reqwest::Client::new(), key }
    }

    async fn write(&self, id: &str) -> u16 {
        let entry = json!({"id": id, "resourceType": "rule", "resourceId": "r", "action": "created", "userId": "u"});
        let request = self.http.post(self.process.url("/v1/org_a/audit-logs")).json(&json!({"auditLogs": [entry]}));
        request.bearer_auth(&self.key).send().await.expect("an answer").status().as_u16()
    }

    async fn status(&self, path: &str) -> u16 {
        let request = self.http.get(self.process.url(path)).bearer_auth(&self.key);
        request.send().await.expect("an answer").status().as_u16()
    }

    fn health(&self) -> (Option<i32>, String) {
        let (code, stdout, stderr) = ran(&["health", "--endpoint", &self.process.url("")], &[]);
        (code, stdout + &stderr)
    }

    /// The new log events of a level since the last call.
    fn logged(&self, level: &str) -> Vec<Value> {
        let events = self.process.log.try_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        events.filter(|event| event["level"] == level).collect()
    }

    /// Waits until `auditlog health` exits with `code`, and returns its output.
    async fn until_health(&self, code: i32) -> String {
        let begun = std::time::Instant::now();
        loop {
            let (now, said) = self.health();
            if now == Some(code) {
                return said;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn file_of(database: &Database) -> PathBuf {
    database.url.trim_start_matches("sqlite://").into()
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", file.display()).into()
}

/// Damages the file of a SQLite database with `lose` while a service runs.
fn a_write_is_refused_once(lose: impl Fn(&Path)) {
    database::run(Backend::Sqlite, async |database| {
        let service = Asked::start(&database.url);
        assert_eq!(service.write("log_before").await, 201);
        assert_eq!(service.status("/readyz").await, 200);
        lose(&file_of(&database));
        for id in ["log_1", "log_2", "log_3"] {
            assert_eq!(service.write(id).await, 503, "{id}");
        }
        assert_eq!(service.status("/v1/org_a/audit-logs").await, 503, "what was read would not be the database's");
        let said = service.until_health(1).await;
        assert!(said.contains("runs, but its database does not answer; the log of the service says why"), "{said}");
        assert_eq!((service.status("/readyz").await, service.status("/livez").await), (503, 200));
        let errors = service.logged("ERROR");
        let errors =
            errors.iter().filter(|event| event["message"].to_string().contains("was removed or replaced while"));
        assert_eq!(errors.count(), 1);
    });
}

#[test]
fn writes_to_a_sqlite_file_that_was_removed_are_refused() {
    a_write_is_refused_once(|file| fs::remove_file(file).expect("it is removed"));
}

#[test]
fn writes_to_a_sqlite_file_that_was_replaced_are_refused() {
    a_write_is_refused_once(|file| {
        let other = beside(file, ".other");
        fs::copy(file, &other).expect("a copy");
        fs::rename(&other, file).expect("it is replaced");
    });
}

#[test]
fn writes_to_a_sqlite_log_that_was_removed_are_refused() {
    a_write_is_refused_once(|file| fs::remove_file(beside(file, "-wal")).expect("it is removed"));
}

#[test]
fn a_sqlite_file_that_is_put_back_is_written_again() {
    database::run(Backend::Sqlite, async |database| {
        let (service, file) = (Asked::start(&database.url), file_of(&database));
        let elsewhere = beside(&file, ".moved");
        fs::rename(&file, &elsewhere).expect("it is moved");
        assert_eq!(service.write("log_1").await, 503);
        service.until_health(1).await;
        fs::rename(&elsewhere, &file).expect("it is put back");
        service.until_health(0).await;
        assert_eq!(service.write("log_1").await, 201);
        assert_eq!(service.process.terminate(), Some(0));
        let service = Asked::start(&database.url);
        assert_eq!(service.status("/v1/org_a/audit-logs/log_1").await, 200, "what was acknowledged is there");
    });
}

#[test]
fn a_sqlite_file_that_may_only_be_read_is_refused_with_the_command_that_allows_it() {
    // Root may write all files, so the program runs as another user.
    let directory = tempfile::tempdir_in(temporary()).expect("a directory");
    let program = directory.path().join("auditlog");
    fs::copy(env!("CARGO_BIN_EXE_auditlog"), &program).expect("a copy");
    let script = |prepare: &str| {
        let script = format!(
            "cd {d} && rm -rf data && mkdir data && export AUDITLOG_DATABASE_URL=sqlite://data/test.db && \
             ./auditlog migrate >/dev/null && {prepare} && exec ./auditlog migrate",
            d = directory.path().display(),
        );
        let output = as_postgres(&script, directory.path()).env_clear().env("PATH", "/usr/bin:/bin").output();
        let output = output.expect("a shell runs");
        assert_eq!(output.status.code(), Some(1), "{prepare}: {}", text(&output.stderr));
        text(&output.stderr)
    };
    let data = fs::canonicalize(directory.path()).expect("a path").join("data");
    for (prepare, file) in [("chmod 0400 data/test.db", data.join("test.db")), ("chmod 0500 data", data.clone())] {
        let said = script(prepare);
        assert!(said.contains(&format!("allow it: chmod u+rw {}\n", file.display())), "{said}");
    }
    let url = format!("sqlite://{}?mode=ro", data.join("test.db").display());
    let (code, _, said) = ran(&["migrate"], &[("AUDITLOG_DATABASE_URL", &url)]);
    assert_eq!(code, Some(1));
    assert!(said.contains("can only be read; leave out mode=ro"), "{said}");
}

#[test]
fn a_database_that_is_not_in_utf_8_is_refused_with_the_command_that_makes_another() {
    database::run(Backend::Postgres, async |database| {
        let latin = format!("{}_latin1", database.url);
        let name = latin.rsplit('/').next().expect("a name");
        let makes = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
        execute(&database, &makes).await;
        let (code, _, said) = ran(&["migrate"], &[("AUDITLOG_DATABASE_URL", &latin)]);
        assert_eq!(code, Some(1));
        let expected = format!("the database {name} has the encoding LATIN1, and must have UTF8");
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("createdb --encoding=UTF8 --locale=C --template=template0"), "{said}");
    });
}

#[test]
fn ipv6_addresses_work_for_database_service_and_gateway() {
    database::run(Backend::Postgres, async |database| {
        // The server of the tests listens on IPv4 only.
        let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else { return };
        let port = listener.local_addr().expect("an address").port();
        let (authority, name) = database.url.rsplit_once('/').expect("a URL");
        let server = authority.rsplit('@').next().expect("an address").to_owned();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(server).await.expect("it connects");
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        let service =
            Process::serve_with(&format!("postgres://postgres@[::1]:{port}/{name}"), &["--listen", "[::1]:0"]);
        assert!(service.address.starts_with("[::1]:"), "{}", service.address);
        assert_eq!(ran(&["health", "--endpoint", &service.url("")], &[]).0, Some(0));
        let gateway = Process::gateway(&service.url(""), &[]);
        assert_eq!(ran(&["health", "--endpoint", &gateway.url("")], &[]).0, Some(0));
    });
    let gone = "postgres://nobody:hunter2@[::1]:1/none";
    let (_, _, said) = ran(&["migrate"], &[("AUDITLOG_DATABASE_URL", gone)]);
    assert!(said.contains("cannot connect to PostgreSQL at [::1]:1: "), "{said}");
}

#[test]
fn a_failed_postgres_connection_is_reported_with_its_reason() {
    let gone = "postgres://nobody:hunter2@127.0.0.1:1/none";
    let (_, _, said) = ran(&["migrate"], &[("AUDITLOG_DATABASE_URL", gone)]);
    assert!(said.contains("error: cannot connect to PostgreSQL at 127.0.0.1:1: Connection refused"), "{said}");
    database::run(Backend::Postgres, async |database| {
        let (authority, name) = database.url.rsplit_once('/').expect("a URL");
        let server = authority.rsplit('@').next().expect("an address");
        let role = format!("limited_{name}");
        execute(&database, &format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")).await;
        let limited = format!("postgres://{role}:hunter2@{server}/{name}");
        let (_, _, said) = ran(&["migrate"], &[("AUDITLOG_DATABASE_URL", &limited)]);
        let reason = format!("too many connections for role \"{role}\" (SQLSTATE 53300)");
        assert!(said.ends_with(&format!("error: cannot connect to PostgreSQL at {server}: {reason}\n")), "{said}");
        let missing = format!("postgres://postgres:hunter2@{server}/missing_{name}");
        let (_, _, said) = ran(&["migrate"], &[("AUDITLOG_DATABASE_URL", &missing)]);
        assert!(said.contains(&format!("database \"missing_{name}\" does not exist (SQLSTATE 3D000)\n")), "{said}");
    });
}

#[test]
fn health_checks_report_an_unreachable_database_and_the_log_says_why() {
    database::run(Backend::Postgres, async |database| {
        let service = Asked::start(&database.url);
        assert_eq!(service.health(), (Some(0), "serving\n".to_owned()));
        let (authority, name) = database.url.rsplit_once('/').expect("a URL");
        let server = authority.rsplit('@').next().expect("an address");
        // From another database, because the statement ends the sessions of this one.
        let elsewhere = Connections::connect(format!("{authority}/postgres")).await.expect("it connects");
        let run = async |statement: String| elsewhere.execute_unprepared(&statement).await.expect("it runs");
        run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
        run(CUTS.replace("current_database()", &format!("'{name}'"))).await;
        assert_eq!(service.write("log_1").await, 503);
        let said = service.until_health(1).await;
        assert!(said.contains("runs, but its database does not answer; the log of the service says why"), "{said}");
        assert!(!said.contains(server), "whoever asks needs no key: {said}");
        assert_eq!((service.status("/readyz").await, service.status("/livez").await), (503, 200));
        let errors = service.logged("ERROR");
        let reason =
            format!("cannot connect to PostgreSQL at {server}: database \"{name}\" is not currently accepting");
        let says =
            |event: &Value, field: &str, text: &str| event[field].as_str().is_some_and(|said| said.contains(text));
        let tells = |event: &Value, message: &str| says(event, "message", message) && says(event, "error", &reason);
        assert_eq!(errors.iter().filter(|event| tells(event, "the database does not answer")).count(), 1, "{errors:?}");
        assert!(errors.iter().any(|event| tells(event, "storage is unavailable")), "{errors:?}");
        run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
        service.until_health(0).await;
        assert_eq!((service.write("log_1").await, service.status("/readyz").await), (201, 200));
    });
}

#[test]
fn reads_succeed_after_idle_connections_were_closed() {
    database::run(Backend::Postgres, async |database| {
        let store = database.store().await;
        let several = async || {
            let mut held = Vec::new();
            for _ in 0..5 {
                held.push(store.held_snapshot().await.expect("a snapshot"));
            }
            for snapshot in held {
                snapshot.close().await.expect("it ends");
            }
        };
        let idle = || store.pools().iter().find(|pool| pool.name == "readers").map_or(0, |pool| pool.idle);
        // Once with a statement, once with a transaction.
        for begins in [false, true] {
            several().await;
            until("they are idle", async || (idle() >= 5).then_some(())).await;
            execute(&database, CUTS).await;
            match begins {
                false => drop(store.head(&organization("org_a")).await.expect("it is read by a new connection")),
                true => {
                    store.held_snapshot().await.expect("it begins on a new connection").close().await.expect("it ends")
                }
            }
            for _ in 0..5 {
                store.head(&organization("org_a")).await.expect("the others that died are not used");
            }
        }
    });
}

#[test]
fn an_abandoned_read_keeps_its_connection_until_it_ends_and_delays_no_other() {
    database::run(Backend::Postgres, async |database| {
        let store = Store::open(&database.secret(), 2).await.expect("it opens");
        let used = || store.pools().iter().find(|pool| pool.name == "readers").map_or(0, |pool| pool.used);
        let other = Connections::connect(&database.url).await.expect("a connection");
        let lock = other.begin().await.expect("a transaction");
        lock.execute_unprepared("LOCK TABLE organizations").await.expect("the lock");
        let (id, read) = (organization("org_a"), Duration::from_millis(200));
        tokio::time::timeout(read, store.head(&id)).await.expect_err("it waits for the lock");
        let first = EntryId::parse("1").expect("an id");
        let next =
            tokio::time::timeout(LOCK_FREE_TIMEOUT, store.entry(&id, &first)).await.expect("it waits for nothing");
        assert_eq!(next.expect("it is read"), None);
        assert_eq!(used(), 1, "the abandoned read still runs");
        lock.rollback().await.expect("it ends");
        until("the connection is free", async || (used() == 0).then_some(())).await;
    });
}

#[test]
fn an_abandoned_transaction_is_rolled_back() {
    database::run(Backend::Postgres, async |database| {
        let store = database.store().await;
        let writer = ingest::start(&store, Clock::system());
        ingest::write(&writer, "org_a", vec![entry("1", 0)]).await.expect("written");
        drop(hold_head(&store, "org_a").await);
        let used = || store.pools().iter().find(|pool| pool.name == "writers").map_or(0, |pool| pool.used);
        until("the connection is free", async || (used() == 0).then_some(())).await;
        let write = ingest::write(&writer, "org_a", vec![entry("2", 0)]);
        let written = tokio::time::timeout(LOCK_FREE_TIMEOUT, write).await.expect("nothing holds the lock");
        written.expect("written");
    });
}

on_every_database! {
    async fn a_database_that_answers_is_healthy_while_all_connections_are_in_use(database: &Database) {
        let store = Store::open(&database.secret(), 2).await.expect("it opens");
        let held = [store.held_snapshot().await.expect("one"), store.held_snapshot().await.expect("the other")];
        store.ping().await.expect("it is busy, and there");
        drop(held);
    }
}

#[test]
fn no_file_that_is_made_can_be_read_by_others() {
    use std::os::unix::fs::PermissionsExt;
    database::run(Backend::Sqlite, async |database| {
        let directory = fs::canonicalize(database.directory.path()).expect("a path");
        let at = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
        let created = ran(&["signing-key", "create", "--signing-key", &at("log.key")], &[]);
        assert_eq!(created.0, Some(0), "{}", created.2);
        let service = Asked::start(&database.url);
        assert_eq!(service.write("log_1").await, 201);
        let endpoint = service.process.url("");
        let environment = [("AUDITLOG_API_KEY", service.key.as_str()), ("AUDITLOG_ENDPOINT", endpoint.as_str())];
        let exported = ran(&["export", "--organization", "org_a", "--output", &at("export.ndjson")], &environment);
        assert_eq!(exported.0, Some(0), "{}", exported.2);
        let mut made = Vec::new();
        for file in fs::read_dir(&directory).expect("a directory") {
            let file = file.expect("a file");
            let mode = file.metadata().expect("a file").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.path().display());
            made.push(file.file_name().into_string().expect("UTF-8"));
        }
        for name in ["export.ndjson", "log.key", "test.db", "test.db-shm", "test.db-wal"] {
            assert!(made.iter().any(|made| made == name), "{name} is not among {made:?}");
        }
    });
}
