//! The PostgreSQL server behind a pool: why it cannot be reached, and which connections are dead.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache;
use sea_orm::sqlx::Connection;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::{DbErr, sqlx};

use super::errors;

/// How long a probe may take: a connection that is only opened to learn why others fail.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the result of a probe is cached.
const PROBE_TTL: Duration = Duration::from_secs(1);

/// A server, and how one role connects to it.
pub(super) struct PostgresServer {
    options: PgConnectOptions,
    pub(super) last_loss: LastLoss,
    /// Why no connection can be opened; `None` if one can.
    probe: Cache<(), Option<String>>,
}

/// When a connection was last found dead. Older connections are not used again. Clones share it.
#[derive(Clone, Default)]
pub(super) struct LastLoss(Arc<Mutex<Option<Instant>>>);

impl LastLoss {
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection of this age was opened before the last one was found dead.
    pub(super) fn is_before(&self, age: Duration) -> bool {
        let loss = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loss.is_some_and(|loss| loss.elapsed() < age)
    }
}

impl PostgresServer {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let probe = Cache::builder().time_to_live(PROBE_TTL).build();
        Self { options, last_loss: LastLoss::default(), probe }
    }

    /// Whether `error` says that a connection was dead. If so, older connections are given up.
    pub(super) fn has_lost(&self, error: &DbErr) -> bool {
        let is_dead = errors::is_dead(error);
        if is_dead {
            self.last_loss.note();
        }
        is_dead
    }

    /// Adds the server's address and its own reason to `error`, if no connection could be opened.
    pub(super) async fn explain(&self, error: DbErr) -> DbErr {
        let reason = match (&error, errors::driver_error(&error)) {
            // The pool's error says only that waiting took too long.
            _ if errors::is_timeout(&error) => match self.probe.get_with((), self.try_to_connect()).await {
                Some(reason) => reason,
                None => return error,
            },
            (DbErr::Conn(_), Some(cause)) => errors::reason(cause),
            (_, Some(sqlx::Error::Io(cause))) => {
                return errors::unavailable(format!("the connection to {self} broke: {cause}"));
            }
            _ => return error,
        };
        errors::unavailable(format!("cannot connect to {self}: {reason}"))
    }

    async fn try_to_connect(&self) -> Option<String> {
        match tokio::time::timeout(PROBE_TIMEOUT, PgConnection::connect_with(&self.options)).await {
            Ok(Ok(connection)) => {
                // A failed close does not matter: the server notices in any case.
                let _ = connection.close().await;
                None
            }
            Ok(Err(error)) => Some(errors::reason(&error)),
            Err(_) => Some(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
        }
    }
}

/// The server's address, without user and password.
impl fmt::Display for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        match self.options.get_socket() {
            Some(directory) => write!(f, "PostgreSQL at {}/.s.PGSQL.{port}", directory.display()),
            None if host.contains(':') => write!(f, "PostgreSQL at [{host}]:{port}"),
            None => write!(f, "PostgreSQL at {host}:{port}"),
        }
    }
}
