//! SQL that differs between SQLite and PostgreSQL.

use std::time::Duration;

use sea_orm::{ColumnTrait, ColumnType, ConnectionTrait, DbBackend, DbErr, IdenStatic, Value};

use super::entities::audit_log::Column;

/// The key of our PostgreSQL advisory lock: "auditlog" in ASCII.
const SCHEMA_LOCK: i64 = 0x6175_6469_746c_6f67;

/// `column` of `audit_logs a` in an expression that no index serves.
pub(super) fn unindexed(column: Column) -> String {
    let name = column.as_str();
    match column.def().get_column_type() {
        ColumnType::SmallInteger | ColumnType::BigInteger => format!("a.{name} + 0"),
        _ => format!("coalesce(a.{name}, a.{name})"),
    }
}

/// Limits how long the rest of the transaction waits for each lock. `None` for SQLite, where BEGIN IMMEDIATE has waited
/// already.
pub(super) fn lock_timeout(backend: DbBackend, timeout: Duration) -> Option<sea_orm::Statement> {
    let text = || format!("SET LOCAL lock_timeout = {}", timeout.as_millis().max(1));
    (backend != DbBackend::Sqlite).then(|| sea_orm::Statement::from_string(backend, text()))
}

/// Waits until no other process changes the schema or the catalogue. Holds the lock until the transaction ends.
pub(super) async fn lock_schema(transaction: &impl ConnectionTrait) -> Result<(), DbErr> {
    match transaction.get_database_backend() {
        // BEGIN IMMEDIATE has waited already.
        DbBackend::Sqlite => Ok(()),
        backend => {
            // A migration in another process may take long.
            let patience = sea_orm::Statement::from_string(backend, "SET LOCAL lock_timeout = 0");
            transaction.execute_raw(patience).await?;
            let lock = format!("SELECT pg_advisory_xact_lock({SCHEMA_LOCK})");
            transaction.execute_raw(sea_orm::Statement::from_string(backend, lock)).await.map(|_| ())
        }
    }
}

/// An INSERT of `rows` rows with `columns`.
pub(super) fn insert(backend: DbBackend, table: &str, columns: &[&str], rows: usize) -> String {
    let mut text = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
    for place in 0..rows * columns.len() {
        text.push_str(match place % columns.len() {
            _ if place == 0 => "(",
            0 => "), (",
            _ => ", ",
        });
        match backend {
            // The driver looks up numbered parameters one by one.
            DbBackend::Sqlite => text.push('?'),
            _ => text.push_str(&format!("${}", place + 1)),
        }
    }
    text.push(')');
    text
}

/// The rows of a JSON array as a table `k` with one column `value`.
pub(super) fn elements(backend: DbBackend, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("json_each({parameter}) AS k"),
        _ => format!("json_array_elements(CAST({parameter} AS json)) AS k(value)"),
    }
}

/// The texts in `parameter`, made by [`texts`], as a table `k` with one column `value`.
pub(super) fn each_text(backend: DbBackend, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("json_each({parameter}) AS k"),
        _ => format!("unnest({parameter}) AS k(value)"),
    }
}

/// For each row so far, joins the rows of `table` that `inner` selects, as `alias`. `inner` is the SQL after the
/// table's name, up to its LIMIT.
pub(super) fn lateral(backend: DbBackend, table: &str, alias: &str, inner: &str) -> String {
    match backend {
        // SQLite has no LATERAL, but allows table functions of earlier columns. Rows are then found one by one; with
        // `rowid IN (SELECT …)`, SQLite may test all rows of a small table instead.
        DbBackend::Sqlite => format!(
            "CROSS JOIN json_each((SELECT json_group_array(rowid) FROM (SELECT rowid FROM {table} {inner}))) {alias}_rows \
             CROSS JOIN {table} {alias} ON {alias}.rowid = {alias}_rows.value"
        ),
        _ => format!("JOIN LATERAL (SELECT * FROM {table} {inner}) {alias} ON true"),
    }
}

/// Like [`lateral`], for at most one row. Without a match, the columns are NULL.
pub(super) fn lateral_one(backend: DbBackend, table: &str, alias: &str, inner: &str) -> String {
    match backend {
        DbBackend::Sqlite => {
            format!("LEFT JOIN {table} {alias} ON {alias}.rowid = (SELECT rowid FROM {table} {inner})")
        }
        _ => format!("LEFT JOIN LATERAL (SELECT * FROM {table} {inner}) {alias} ON true"),
    }
}

/// For each row so far, joins the rows of `table` that match `chosen`, as `alias`, by an index.
pub(super) fn each(backend: DbBackend, table: &str, alias: &str, chosen: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("CROSS JOIN {table} {alias} ON {chosen}"),
        // OFFSET 0 is a fence: without it, PostgreSQL may read all rows of an organization and join afterwards.
        _ => format!("JOIN LATERAL (SELECT * FROM {table} {alias} WHERE {chosen} OFFSET 0) {alias} ON true"),
    }
}

/// For each row so far, joins the entry of `organization` whose `column`, `id` or `seq`, equals `value`, as `alias`.
pub(super) fn entry(backend: DbBackend, alias: &str, organization: &str, column: &str, value: &str) -> String {
    match backend {
        DbBackend::Sqlite => {
            let index = if column == "id" { indexed_by(backend, "audit_logs_id") } else { String::new() };
            format!(
                "CROSS JOIN audit_logs {alias} {index} \
                 ON {alias}.organization_id = {organization} AND {alias}.{column} = {value}"
            )
        }
        // ORDER BY and LIMIT select the only index that begins with these columns. If the table was small at planning
        // time, another index looks as cheap, and reading the whole table looks cheaper.
        _ => format!(
            "JOIN LATERAL (SELECT * FROM audit_logs {alias} WHERE {alias}.organization_id = {organization} \
             AND {alias}.{column} >= {value} AND {alias}.{column} <= {value} ORDER BY {alias}.{column} LIMIT 1) {alias} \
             ON true"
        ),
    }
}

/// Pins the index that SQLite uses. PostgreSQL has no such hint; there, no other index serves the predicates.
pub(super) fn indexed_by(backend: DbBackend, index: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("INDEXED BY {index}"),
        _ => String::new(),
    }
}

/// `column` equals `parameter`, tested without an index.
pub(super) fn one(backend: DbBackend, column: Column, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("{} = {parameter}", unindexed(column)),
        // No index supports this operator, and it costs no extra time.
        _ => format!("a.{} IS NOT DISTINCT FROM {parameter}", column.as_str()),
    }
}

/// `column` is one of the values in `parameter`, made by [`codes`] or [`texts`], tested without an index.
pub(super) fn any(backend: DbBackend, column: Column, parameter: &str) -> String {
    let expression = unindexed(column);
    match backend {
        DbBackend::Sqlite => format!("{expression} IN (SELECT value FROM json_each({parameter}))"),
        _ => format!("{expression} = ANY({parameter})"),
    }
}

/// `column` contains the text `parameter`, byte for byte.
pub(super) fn contains(backend: DbBackend, column: Column, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("instr(a.{}, {parameter}) > 0", column.as_str()),
        _ => format!("strpos(a.{}, {parameter}) > 0", column.as_str()),
    }
}

/// `column` is one of the values in `parameter`, made by [`texts`], tested by an index.
pub(super) fn among(backend: DbBackend, column: &str, parameter: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("{column} IN (SELECT value FROM json_each({parameter}))"),
        _ => format!("{column} = ANY({parameter})"),
    }
}

/// `expression`, a text, as an order by its bytes, whatever the collation of the database is.
pub(super) fn by_bytes(backend: DbBackend, expression: &str) -> String {
    match backend {
        DbBackend::Sqlite => expression.to_owned(),
        _ => format!("{expression} COLLATE \"C\""),
    }
}

/// Codes as one parameter of [`any`].
pub(super) fn codes(backend: DbBackend, codes: Vec<i16>) -> Value {
    match backend {
        DbBackend::Sqlite => serde_json::Value::from(codes).to_string().into(),
        _ => Value::from(codes.into_iter().map(i32::from).collect::<Vec<i32>>()),
    }
}

/// Texts as one parameter of [`any`].
pub(super) fn texts(backend: DbBackend, texts: Vec<String>) -> Value {
    match backend {
        DbBackend::Sqlite => serde_json::Value::from(texts).to_string().into(),
        _ => Value::from(texts),
    }
}

/// The bytes of `expression`, which is a text of hex digits.
pub(super) fn bytes(backend: DbBackend, expression: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("unhex({expression})"),
        _ => format!("decode({expression}, 'hex')"),
    }
}

/// Asks whether the connection's role may change `columns` of `table`. `None` for SQLite, which has no roles.
pub(super) fn may_change(backend: DbBackend, table: &str, columns: &[&str]) -> Option<sea_orm::Statement> {
    match backend {
        DbBackend::Sqlite => None,
        _ => {
            let columns = columns.iter().map(|column| format!("has_column_privilege('{table}', '{column}', 'UPDATE')"));
            let text = format!("SELECT {}", columns.collect::<Vec<_>>().join(" AND "));
            Some(sea_orm::Statement::from_string(backend, text))
        }
    }
}

/// Removes overwritten values from the files beside the database. The first column of the result is 0 on success.
/// `None` if a service cannot do this.
pub(super) fn purge(backend: DbBackend) -> Option<sea_orm::Statement> {
    match backend {
        // Copies the write-ahead log into the file and truncates it. Waits for readers of the log.
        DbBackend::Sqlite => Some(sea_orm::Statement::from_string(backend, "PRAGMA wal_checkpoint(TRUNCATE)")),
        _ => None,
    }
}

/// The hex digits of the bytes in `column`.
pub(super) fn hex(backend: DbBackend, column: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("hex({column})"),
        _ => format!("encode({column}, 'hex')"),
    }
}

/// The clause that locks the rows of a SELECT, and skips rows that others have locked.
pub(super) fn hold(backend: DbBackend) -> &'static str {
    match backend {
        // BEGIN IMMEDIATE locks the whole database.
        DbBackend::Sqlite => "",
        _ => "FOR UPDATE SKIP LOCKED",
    }
}

/// The clause that locks the rows of a SELECT, and waits for rows that others have locked.
pub(super) fn wait(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => "",
        _ => "FOR UPDATE",
    }
}
