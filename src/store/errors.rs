//! Errors of the database: their meaning and their text.

use sea_orm::sqlx::postgres::PgDatabaseError;
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, sqlx};

use crate::error::Error;

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if is_out_of_time(&error) {
            return Self::Timeout;
        }
        let is_unavailable = is_unavailable(&error);
        let cause = cause(error);
        if is_unavailable { Self::StorageUnavailable(cause) } else { Self::Internal(cause) }
    }
}

/// Converts `error` into the cause of another error.
pub(super) fn cause(error: DbErr) -> anyhow::Error {
    anyhow::Error::msg(match (&error, driver_error(&error)) {
        (DbErr::ConnectionAcquire(ConnAcquireErr::Timeout), _) => {
            "all connections of the pool are in use; waited too long for one".to_owned()
        }
        (_, Some(driver)) => reason(driver),
        (DbErr::Conn(RuntimeErr::Internal(reason)), None) => reason.clone(),
        (_, None) => error.to_string(),
    })
}

/// The database's own message. The driver would add the line of PostgreSQL's source code.
pub(super) fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(postgres) => format!("{} (SQLSTATE {})", postgres.message(), postgres.code()),
            None => error.to_string(),
        },
        sqlx::Error::Io(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

/// An error for a connection that is not available or must not be used.
pub(super) fn unavailable(reason: String) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(reason))
}

/// Whether waiting for a connection timed out.
pub(super) fn is_timeout(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
        || matches!(driver_error(error), Some(sqlx::Error::PoolTimedOut))
}

/// Whether a statement found its connection dead.
pub(super) fn is_dead(error: &DbErr) -> bool {
    // Class 08 is "connection exception". The other codes say that the server ended the session: administrator, crash,
    // idle session.
    const ENDED: [&str; 3] = ["57P01", "57P02", "57P05"];
    match (error, driver_error(error)) {
        (DbErr::Exec(_) | DbErr::Query(_), Some(sqlx::Error::Io(_))) => true,
        (_, Some(sqlx::Error::Database(database))) => {
            database.code().is_some_and(|code| code.len() == 5 && (code.starts_with("08") || ENDED.contains(&&*code)))
        }
        _ => false,
    }
}

/// Whether the role lacks the right. SQLite has no roles.
pub(super) fn is_denied(error: &DbErr) -> bool {
    has_code(error, &["42501"])
}

/// Whether the statement waited too long for a lock.
pub(super) fn is_lock_timeout(error: &DbErr) -> bool {
    has_code(error, &["55P03"])
}

/// Whether the statement reached the time limit of connections that read for requests.
fn is_out_of_time(error: &DbErr) -> bool {
    // PostgreSQL: query_canceled. SQLite: interrupted.
    has_code(error, &["57014", "9"])
}

fn has_code(error: &DbErr, codes: &[&str]) -> bool {
    let Some(sqlx::Error::Database(database)) = driver_error(error) else { return false };
    database.code().is_some_and(|code| codes.contains(&&*code))
}

/// The error of the driver, if there is one.
pub(super) fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => Some(cause),
        _ => None,
    }
}

/// Whether the same statement may succeed later: the database is unreachable, busy or full, or rolled this transaction
/// back in favour of another.
fn is_unavailable(error: &DbErr) -> bool {
    let Some(cause) = driver_error(error) else {
        return matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
    };
    match cause {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| is_passing(&code)),
        _ => false,
    }
}

fn is_passing(code: &str) -> bool {
    // PostgreSQL: connection, resources, operator, system; serialization, deadlock, lock, read-only standby.
    const CLASSES: [&str; 4] = ["08", "53", "57", "58"];
    const STATES: [&str; 4] = ["40001", "40P01", "55P03", "25006"];
    // SQLite's primary codes: busy, locked, read-only, I/O, full, cannot open.
    const SQLITE: [u32; 6] = [5, 6, 8, 10, 13, 14];
    match code.len() {
        5 => CLASSES.contains(&&code[..2]) || STATES.contains(&code),
        _ => code.parse::<u32>().is_ok_and(|code| SQLITE.contains(&(code & 0xff))),
    }
}
