//! Shared helpers: databases, services, processes, and the sample trail.

pub mod administration;
pub mod as_postgres;
pub mod check_log;
pub mod database;
pub mod erasure;
pub mod go;
pub mod ingest;
pub mod json;
pub mod log;
pub mod metrics;
pub mod postgres;
pub mod process;
pub mod service;
pub mod signer;
pub mod surfaces;
pub mod trail;
pub mod upstream;

use std::time::{Duration, Instant};

pub use database::{Backend, Database};
pub use process::Process;
pub use service::Service;
pub use upstream::Upstream;

/// A time limit that is generous even on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

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

/// Calls `probe` until it returns a value. `what` describes it in the failure after [`TIMEOUT`].
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < TIMEOUT, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
