//! Test data: a large organization with hot, rare and absent values, and small organizations. It is inserted with SQL
//! and is the same on both databases.

use sea_orm::{ConnectionTrait, Database as Connections, DatabaseConnection, DbBackend};

use super::{LARGE, Statistics};
use crate::support::{Backend, Database};

/// Counted entries of the large organization.
pub const COUNTED: i64 = 80_000;
/// Later entries of the large organization, which are not counted.
pub const UNCOUNTED: i64 = 1_500;
/// The sequence number after which the hot user appears.
const QUIET: i64 = 20_000;
const FIRST: i64 = 1_700_000_000_000_000;

/// Opens a connection for the test itself. On PostgreSQL, open it before plans are logged; otherwise its own plans are
/// logged too.
pub async fn connect(database: &Database) -> DatabaseConnection {
    Connections::connect(&database.url).await.expect("the database opens")
}

async fn run(connection: &DatabaseConnection, statement: &str) {
    connection.execute_unprepared(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Inserts entries of `organization` with sequence numbers above `after` and up to `to`, without moving its head.
///
/// The user `hot` has three in ten entries, and the resource `hot` has one in seven. 60 % are created assistants. One
/// in 25,000 is by user `rare`, of a resource `rare`, and a deleted rule that was denied. None is archived.
async fn add(connection: &DatabaseConnection, organization: &str, after: i64, to: i64) {
    let entries = format!(
        "WITH RECURSIVE n(i) AS (SELECT CAST({after} AS bigint) + 1 UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
         INSERT INTO audit_logs (organization_id, seq, id, timestamp, recorded_at, resource_type, resource_id, \
         action, user_id, changes, metadata, writer_key_id, salts, leaf_hash, outcome, trace_id, user_name) \
         SELECT '{organization}', i, 'e' || CAST(i AS text), \
         {FIRST} + 1000000 * (CASE WHEN i % 97 = 0 THEN (i * 7) % (i + 1) ELSE i END), {FIRST}, \
         CASE WHEN i % 25000 = 7 THEN 3 WHEN (i * 7919) % 1000 < 600 THEN 0 ELSE (i * 7919) % 3 END, \
         CASE WHEN i % 25000 = 7 THEN 'rare' WHEN i % 7 = 0 THEN 'hot' ELSE 'r' || CAST((i * 31) % 9000 AS text) END, \
         CASE WHEN i % 25000 = 7 THEN 2 WHEN (i * 7919) % 1000 < 600 THEN 0 ELSE (i * 7919) % 2 END, \
         CASE WHEN i % 25000 = 7 OR i % 25000 = 8 THEN 'rare' WHEN i % 10 < 3 AND i > {QUIET} THEN 'hot' \
         ELSE 'u' || CAST((i * 17) % 5000 AS text) END, '[]', '{{}}', 'w', '', {leaf}, \
         CASE WHEN i % 25000 = 7 THEN 3 ELSE 0 END, \
         CASE WHEN i % 5 = 0 THEN 't' || CAST(i / 50 AS text) END, \
         CASE WHEN i % 25000 = 7 OR i % 25000 = 8 THEN 'Rare' ELSE 'User ' || CAST(i % 5000 AS text) END FROM n",
        leaf = zeros(connection, 32)
    );
    run(connection, &entries).await;
}

/// So many bytes as SQL.
fn zeros(connection: &DatabaseConnection, bytes: u32) -> String {
    match connection.get_database_backend() {
        DbBackend::Sqlite => format!("zeroblob({bytes})"),
        _ => format!("decode(repeat('00', {bytes}), 'hex')"),
    }
}

async fn move_head(connection: &DatabaseConnection, organization: &str, head: i64) {
    // As many hashes as a compact range of this size has; their values do not matter.
    let bytes = 32 * head.count_ones();
    let edge = zeros(connection, bytes);
    let head = format!(
        "INSERT INTO organizations (id, log_id, head_seq, last_recorded_at, edge, root, created_at) \
         VALUES ('{organization}', '00', {head}, {FIRST}, {edge}, '', {FIRST}) \
         ON CONFLICT (id) DO UPDATE SET head_seq = excluded.head_seq, edge = excluded.edge"
    );
    run(connection, &head).await;
}

/// Adds running counts and tiles of other organizations, which no test reads.
async fn add_counts(connection: &DatabaseConnection) {
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)";
    for (table, columns, values) in [
        ("count_state", "counted_seq", "0"),
        ("key_totals", "key, counts, newest_timestamp, newest_seq, tail", "'o', '', 0, 0, 0"),
        ("running_counts", "key, level, timestamp, seq, counts", "'o', i % 2, i, i, ''"),
        ("log_tiles", "level, tile_index, hashes", "i % 3, i, ''"),
        ("names", "field, folded, key, entries", "i % 3, '', 'u' || CAST(i AS text), 1"),
        ("erasures", "seq, group_code, hash, erased_by", "i, 1, '', i"),
    ] {
        let insert = format!(
            "{numbers} INSERT INTO {table} (organization_id, {columns}) \
             SELECT 'other_' || CAST(i % {groups} AS text), {values} FROM n",
            groups = if ["count_state", "key_totals"].contains(&table) { 20_000 } else { 200 },
        );
        run(connection, &insert).await;
    }
}

/// Inserts the entries to be counted, with statistics of the requested age.
pub async fn fill(connection: &DatabaseConnection, backend: Backend, statistics: Statistics) {
    if backend == Backend::Postgres {
        for table in ["audit_logs", "count_state", "key_totals", "running_counts", "names", "organizations"] {
            run(connection, &format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        }
    }
    for small in 0..10 {
        let organization = format!("org_small_{small}");
        add(connection, &organization, 0, if small == 0 { 40 } else { 500 }).await;
        move_head(connection, &organization, 500).await;
        if small == 0 && statistics == Statistics::OfFewEntries {
            run(connection, "ANALYZE").await;
        }
    }
    add_counts(connection).await;
    add(connection, LARGE, 0, QUIET).await;
    if statistics == Statistics::BeforeTheHotUser {
        run(connection, "ANALYZE").await;
    }
    add(connection, LARGE, QUIET, COUNTED).await;
    move_head(connection, LARGE, COUNTED).await;
    refresh(connection, backend, statistics).await;
}

/// Inserts ten thousand entries and updates the statistics.
pub async fn fill_young(connection: &DatabaseConnection) {
    add(connection, LARGE, 0, 10_000).await;
    move_head(connection, LARGE, 10_000).await;
    run(connection, "ANALYZE").await;
}

/// Inserts the entries after the last count.
pub async fn add_uncounted(connection: &DatabaseConnection, backend: Backend, statistics: Statistics) {
    add(connection, LARGE, COUNTED, COUNTED + UNCOUNTED).await;
    move_head(connection, LARGE, COUNTED + UNCOUNTED).await;
    refresh(connection, backend, statistics).await;
}

async fn refresh(connection: &DatabaseConnection, backend: Backend, statistics: Statistics) {
    if statistics == Statistics::Fresh {
        run(connection, if backend == Backend::Postgres { "VACUUM (ANALYZE)" } else { "ANALYZE" }).await;
    }
}
