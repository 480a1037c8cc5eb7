//! Shared helpers: databases, services, processes, and the sample trail.

pub mod as_postgres;
pub mod database;
pub mod go;
pub mod log;
pub mod postgres;
pub mod process;
pub mod service;
pub mod surfaces;
pub mod trail;
pub mod upstream;

pub use database::{Backend, Database};
pub use process::Process;
pub use service::Service;
pub use upstream::Upstream;

/// Defines each test twice: on SQLite and on PostgreSQL, each with a fresh database.
macro_rules! on_every_database {
    ($($(#[$meta:meta])* async fn $name:ident($database:ident: &Database) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn check($database: &Database) $body

            #[test]
            fn sqlite() {
                crate::support::database::run(Backend::Sqlite, async |database| check(&database).await);
            }

            #[test]
            fn postgres() {
                crate::support::database::run(Backend::Postgres, async |database| check(&database).await);
            }
        }
    )+};
}
pub(crate) use on_every_database;

/// Runs a test that needs no database of its own.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(test)
}

/// Prints a line that the test harness does not capture.
pub fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
