//! Loads the data in bulk. Drops the secondary indexes before and restores them afterwards, from the definitions that
//! the database reports, so that they equal those of the migrations.

use std::fmt::Write;
use std::fs::File;
use std::time::Instant;

use anyhow::Context;
use auditlog::domain::hex;
use sea_orm::sqlx::postgres::PgPoolCopyExt;
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use crate::data::{COLUMNS, Data, Entry};
use crate::database::Database;
use crate::figure::Report;
use crate::logs::Logs;
use crate::say;

/// The size of a COPY message in bytes; the driver waits after each.
const PIECE: usize = 4 << 20;
/// Rows in an INSERT. `STATEMENTS` is the number of INSERTs in a transaction.
const ROWS: usize = 100;
const STATEMENTS: usize = 200;

/// Loads `database.rows` entries and lets the service count them.
pub async fn load(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let name = database.name();
    let begun = Instant::now();
    let indexes = drop_indexes(database).await?;
    let logs = match database.backend() {
        DbBackend::Postgres => copy(database).await?,
        _ => insert(database).await?,
    };
    logs.write(database).await?;
    report_rate(report, "load", database.rows, begun);
    say(&format!("{name}: {} rows in {:.1?}; creating indexes", database.rows, begun.elapsed()));
    let begun = Instant::now();
    for index in indexes {
        database.execute(&index).await?;
    }
    settle(database).await?;
    report_rate(report, "indexes", database.rows, begun);
    say(&format!("{name}: indexes in {:.1?}; counting entries", begun.elapsed()));
    let begun = Instant::now();
    database.auditlog(&["running-counts", "update"])?;
    report_rate(report, "count", database.rows, begun);
    settle(database).await
}

fn report_rate(report: &mut Report, name: &str, rows: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    report.add(name, "", seconds, "s");
    report.add(name, "", rows as f64 / seconds, "rows/s");
}

/// Drops the secondary indexes of the entries and returns the statements that restore them.
async fn drop_indexes(database: &Database) -> anyhow::Result<Vec<String>> {
    let rows = database
        .rows(match database.backend() {
            DbBackend::Postgres => {
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'audit_logs' AND indexname NOT LIKE '%_pkey'"
            }
            _ => "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'audit_logs' AND sql <> ''",
        })
        .await?;
    let mut statements = Vec::new();
    for row in rows {
        let name: String = row.try_get_by_index(0)?;
        database.execute(&format!("DROP INDEX {name}")).await?;
        statements.push(row.try_get_by_index(1)?);
    }
    Ok(statements)
}

async fn copy(database: &Database) -> anyhow::Result<Logs> {
    let mut logs = Logs::new();
    let pool = database.connection.get_postgres_connection_pool();
    let mut copy = pool.copy_in_raw(&format!("COPY audit_logs ({}) FROM STDIN", COLUMNS.join(", "))).await?;
    let mut piece = String::with_capacity(PIECE + 1024);
    for entry in Data::new(database.rows) {
        let seal = entry.seal();
        logs.append(&entry, seal.leaf);
        for (place, value) in entry.row(&seal).into_iter().enumerate() {
            if place > 0 {
                piece.push('\t');
            }
            match value {
                Value::BigInt(Some(number)) => write!(piece, "{number}")?,
                Value::String(Some(text)) => piece.push_str(&text),
                Value::Bytes(Some(bytes)) => write!(piece, "\\\\x{}", hex(&bytes))?,
                other => anyhow::bail!("{other:?} has no place in a row"),
            }
        }
        piece.push('\n');
        if piece.len() >= PIECE {
            copy.send(piece.as_bytes()).await?;
            piece.clear();
        }
    }
    copy.send(piece.as_bytes()).await?;
    copy.finish().await?;
    Ok(logs)
}

async fn insert(database: &Database) -> anyhow::Result<Logs> {
    let mut logs = Logs::new();
    // A failed load loses nothing: the file is deleted with the run.
    database.execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY").await?;
    let mut entries = Data::new(database.rows).peekable();
    while entries.peek().is_some() {
        database.execute("BEGIN").await?;
        for _ in 0..STATEMENTS {
            let row = |entry: Entry| {
                let seal = entry.seal();
                logs.append(&entry, seal.leaf);
                entry.row(&seal)
            };
            let rows: Vec<_> = entries.by_ref().take(ROWS).map(row).collect();
            if !rows.is_empty() {
                insert_rows(&database.connection, rows).await?;
            }
        }
        database.execute("COMMIT").await?;
    }
    Ok(logs)
}

/// Inserts many rows in one statement.
pub async fn insert_rows(
    connection: &impl ConnectionTrait,
    entries: Vec<[Value; COLUMNS.len()]>,
) -> anyhow::Result<()> {
    let backend = connection.get_database_backend();
    let row = |row: usize| {
        let place = |column| match backend {
            // Numbered placeholders are slow here: SQLite's driver looks each name up among all others.
            DbBackend::Sqlite => "?".to_owned(),
            _ => format!("${}", row * COLUMNS.len() + column + 1),
        };
        format!("({})", (0..COLUMNS.len()).map(place).collect::<Vec<_>>().join(", "))
    };
    let rows = (0..entries.len()).map(row).collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO audit_logs ({}) VALUES {rows}", COLUMNS.join(", "));
    let values = entries.into_iter().flatten();
    let statement = Statement::from_sql_and_values(backend, sql, values);
    connection.execute_raw(statement).await.context("cannot insert")?;
    Ok(())
}

/// Vacuums and checkpoints, so that the database is like one that has run for long.
pub async fn settle(database: &Database) -> anyhow::Result<()> {
    match database.url.strip_prefix("sqlite://") {
        None => {
            database.execute("VACUUM ANALYZE").await?;
            database.execute("CHECKPOINT").await
        }
        Some(file) => {
            database.execute("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)").await?;
            Ok(File::open(file)?.sync_all()?)
        }
    }
}
