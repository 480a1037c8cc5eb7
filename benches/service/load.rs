//! Loads the data in bulk: the secondary indexes are dropped and made again after, from what the database says of
//! them, so that they are those of the migrations.

use std::fmt::Write;
use std::fs::File;
use std::time::Instant;

use anyhow::Context;
use sea_orm::sqlx::postgres::PgPoolCopyExt;
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use crate::data::{BEGIN, COLUMNS, Data, Entry, ORGANIZATIONS, organization_id};
use crate::database::{Database, auditlog};
use crate::figure::Report;
use crate::say;

/// Bytes of a message of COPY: the driver waits after each.
const PIECE: usize = 4 << 20;
/// Rows an INSERT, and INSERTs a transaction.
const ROWS: usize = 100;
const STATEMENTS: usize = 200;

/// Loads `database.rows` entries, and lets the service's own folder count them.
pub async fn load(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let name = database.name();
    let begun = Instant::now();
    let indexes = drop_indexes(database).await?;
    let heads = match database.backend() {
        DbBackend::Postgres => copy(database).await?,
        _ => insert(database).await?,
    };
    add_organizations(database, &heads).await?;
    report_rate(report, "load", database.rows, begun);
    say(&format!("{name}: {} rows in {:.1?}; the indexes", database.rows, begun.elapsed()));
    let begun = Instant::now();
    for index in indexes {
        database.execute(&index).await?;
    }
    settle(database).await?;
    report_rate(report, "indexes", database.rows, begun);
    say(&format!("{name}: indexes in {:.1?}; the folder", begun.elapsed()));
    let begun = Instant::now();
    auditlog(&database.url, &["marks", "fold"])?;
    report_rate(report, "fold", database.rows, begun);
    settle(database).await
}

fn report_rate(report: &mut Report, name: &str, rows: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    report.add(name, "", seconds, "s");
    report.add(name, "", rows as f64 / seconds, "rows/s");
}

/// Drops the secondary indexes of the entries, and gives the statements that make them.
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

/// Numbers given out, by the rank of the organization.
type Heads = Vec<(i64, i64)>;

fn move_head(heads: &mut Heads, entry: &Entry) {
    heads[entry.organization as usize] = (entry.seq, entry.recorded_at);
}

async fn copy(database: &Database) -> anyhow::Result<Heads> {
    let mut heads = vec![(0, BEGIN); ORGANIZATIONS.ranks as usize];
    let pool = database.connection.get_postgres_connection_pool();
    let mut copy = pool.copy_in_raw(&format!("COPY audit_logs ({}) FROM STDIN", COLUMNS.join(", "))).await?;
    let mut piece = String::with_capacity(PIECE + 1024);
    for entry in Data::new(database.rows) {
        move_head(&mut heads, &entry);
        for (place, value) in entry.row().into_iter().enumerate() {
            if place > 0 {
                piece.push('\t');
            }
            match value {
                Value::BigInt(Some(number)) => write!(piece, "{number}")?,
                Value::String(Some(text)) => piece.push_str(&text),
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
    Ok(heads)
}

async fn insert(database: &Database) -> anyhow::Result<Heads> {
    let mut heads = vec![(0, BEGIN); ORGANIZATIONS.ranks as usize];
    // Nothing is lost if the load fails: the file goes with the run.
    database.execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY").await?;
    let mut entries = Data::new(database.rows).peekable();
    while entries.peek().is_some() {
        database.execute("BEGIN").await?;
        for _ in 0..STATEMENTS {
            let rows: Vec<_> = entries.by_ref().take(ROWS).inspect(|entry| move_head(&mut heads, entry)).collect();
            if !rows.is_empty() {
                insert_rows(&database.connection, &rows).await?;
            }
        }
        database.execute("COMMIT").await?;
    }
    Ok(heads)
}

/// One INSERT of many rows.
pub async fn insert_rows(connection: &impl ConnectionTrait, entries: &[Entry]) -> anyhow::Result<()> {
    let backend = connection.get_database_backend();
    let row = |row: usize| {
        let place = |column| match backend {
            // SQLite's driver looks a name up among all others.
            DbBackend::Sqlite => "?".to_owned(),
            _ => format!("${}", row * COLUMNS.len() + column + 1),
        };
        format!("({})", (0..COLUMNS.len()).map(place).collect::<Vec<_>>().join(", "))
    };
    let rows = (0..entries.len()).map(row).collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO audit_logs ({}) VALUES {rows}", COLUMNS.join(", "));
    let values = entries.iter().flat_map(Entry::row);
    let statement = Statement::from_sql_and_values(backend, sql, values);
    connection.execute_raw(statement).await.context("cannot insert")?;
    Ok(())
}

async fn add_organizations(database: &Database, heads: &Heads) -> anyhow::Result<()> {
    let row = |(rank, (head, recorded_at)): (usize, &(i64, i64))| {
        format!("('{}', '{rank:032x}', {head}, {recorded_at}, {BEGIN})", organization_id(rank as u32))
    };
    let rows = heads.iter().enumerate().map(row).collect::<Vec<_>>().join(", ");
    let columns = "id, log_id, head_seq, last_recorded_at, created_at";
    database.execute(&format!("INSERT INTO organizations ({columns}) VALUES {rows}")).await
}

/// Leaves the database as one that has run for long.
async fn settle(database: &Database) -> anyhow::Result<()> {
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
