//! Organizations, their entries and running counts, API keys, and the catalogue with its default types and actions.
//! Times are microseconds since 1970 in UTC. `organization_id` is the first column of every key and index of tables
//! that belong to an organization, so that they can be distributed by it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, small_integer, text, text_null};
use sea_orm_migration::sea_orm::DbBackend;

/// The first migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Organizations {
    Table,
    Id,
    LogId,
    HeadSeq,
    LastRecordedAt,
    Edge,
    Root,
    CreatedAt,
}

#[derive(DeriveIden, Clone, Copy)]
enum AuditLogs {
    Table,
    OrganizationId,
    Seq,
    Id,
    Timestamp,
    RecordedAt,
    ResourceType,
    ResourceId,
    ResourceName,
    Action,
    UserId,
    UserName,
    UserEmail,
    Changes,
    Metadata,
    TraceId,
    Outcome,
    ActorType,
    WriterKeyId,
    Salts,
    LeafHash,
    Erased,
}

#[derive(DeriveIden)]
enum LogTiles {
    Table,
    OrganizationId,
    Level,
    TileIndex,
    Hashes,
}

#[derive(DeriveIden)]
enum Checkpoints {
    Table,
    OrganizationId,
    Size,
    Root,
    Note,
    SignedAt,
}

#[derive(DeriveIden)]
enum LogKeys {
    Table,
    OrganizationId,
    PublicKey,
    Seq,
}

#[derive(DeriveIden)]
enum Erasures {
    Table,
    OrganizationId,
    Seq,
    GroupCode,
    Hash,
    ErasedBy,
}

#[derive(DeriveIden)]
enum CountState {
    Table,
    OrganizationId,
    CountedSeq,
}

#[derive(DeriveIden)]
enum KeyTotals {
    Table,
    OrganizationId,
    Key,
    Counts,
    NewestTimestamp,
    NewestSeq,
    Tail,
}

#[derive(DeriveIden)]
enum RunningCounts {
    Table,
    OrganizationId,
    Key,
    Level,
    Timestamp,
    Seq,
    Counts,
}

#[derive(DeriveIden)]
enum Names {
    Table,
    OrganizationId,
    Field,
    Folded,
    Key,
    Entries,
}

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    Id,
    Name,
    Hash,
    OrganizationId,
    Scopes,
    CreatedAt,
    ExpiresAt,
    RevokedAt,
    LastUsedAt,
}

#[derive(DeriveIden)]
enum Catalogue {
    Table,
    Kind,
    Code,
    Name,
    PathSegment,
    RemovedAt,
}

/// Columns without statistics in PostgreSQL. Statistics are stale for a newer organization, user or resource: the
/// planner expected one row, for which any index serves, and read the whole organization for each row of a page.
/// Without statistics, it expects the same of each value. Types keep theirs: they are few and known early. Many entries
/// per type make the index of resources look cheaper than the index of types.
const UNMEASURED: [(&str, &[&str]); 4] = [
    (
        "audit_logs",
        &["organization_id", "seq", "id", "timestamp", "resource_id", "action", "outcome", "user_id", "trace_id"],
    ),
    ("key_totals", &["organization_id", "key"]),
    ("running_counts", &["organization_id", "key", "level", "timestamp", "seq"]),
    ("names", &["organization_id", "field", "folded", "key"]),
];

/// More columns without statistics in PostgreSQL: statistics would keep values after their erasure.
const ERASABLE: (&str, &[&str]) =
    ("audit_logs", &["resource_name", "user_name", "user_email", "changes", "metadata", "salts"]);

#[derive(DeriveIden)]
enum Secrets {
    Table,
    Name,
    Value,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(organizations()).await?;
        manager.create_table(audit_logs()).await?;
        for index in audit_log_indexes() {
            manager.create_index(index).await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            // Without frequent vacuums, index-only scans visit the heap: p95 4.9 ms against 1.7 ms.
            let often = "ALTER TABLE audit_logs SET (autovacuum_vacuum_insert_scale_factor = 0.02)";
            manager.get_connection().execute_unprepared(often).await?;
        }
        let tables =
            [log_tiles(), checkpoints(), log_keys(), erasures(), count_state(), key_totals(), running_counts()];
        for table in tables.into_iter().chain([names()]) {
            manager.create_table(table).await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            for (table, columns) in UNMEASURED.into_iter().chain([ERASABLE]) {
                let unmeasured = columns
                    .iter()
                    .map(|column| format!("ALTER COLUMN {column} SET STATISTICS 0"))
                    .collect::<Vec<_>>()
                    .join(", ");
                let unmeasured = format!("ALTER TABLE {table} {unmeasured}");
                manager.get_connection().execute_unprepared(&unmeasured).await?;
            }
            // These rows are updated in place: with free room in the page, no index changes.
            for roomy in ["organizations", "count_state", "key_totals", "running_counts", "names"] {
                let roomy = format!("ALTER TABLE {roomy} SET (fillfactor = 70)");
                manager.get_connection().execute_unprepared(&roomy).await?;
            }
        }
        manager.create_table(secrets()).await?;
        manager.create_table(api_keys()).await?;
        manager.create_table(catalogue()).await?;
        manager.execute(default_catalogue()).await
    }
}

fn organizations() -> TableCreateStatement {
    use Organizations as C;
    Table::create()
        .table(C::Table)
        .col(text(C::Id).primary_key())
        .col(text(C::LogId))
        .col(big_integer(C::HeadSeq))
        .col(big_integer(C::LastRecordedAt))
        .col(binary(C::Edge))
        .col(binary(C::Root))
        .col(big_integer(C::CreatedAt))
        .take()
}

fn audit_logs() -> TableCreateStatement {
    use AuditLogs as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId))
        .col(big_integer(C::Seq))
        .col(text(C::Id))
        .col(big_integer(C::Timestamp))
        .col(big_integer(C::RecordedAt))
        .col(small_integer(C::ResourceType))
        .col(text(C::ResourceId))
        .col(text_null(C::ResourceName))
        .col(small_integer(C::Action))
        .col(text(C::UserId))
        .col(text_null(C::UserName))
        .col(text_null(C::UserEmail))
        .col(text(C::Changes))
        .col(text(C::Metadata))
        .col(text_null(C::TraceId))
        .col(small_integer(C::Outcome).default(0))
        .col(small_integer(C::ActorType).default(0))
        .col(text(C::WriterKeyId))
        .col(binary(C::Salts))
        .col(binary(C::LeafHash))
        .col(small_integer(C::Erased).default(0))
        .primary_key(Index::create().col(C::OrganizationId).col(C::Seq))
        .take()
}

fn audit_log_indexes() -> Vec<IndexCreateStatement> {
    use AuditLogs as C;
    let index = |name: &str, columns: &[C]| {
        let mut index = Index::create().name(name).table(C::Table).take();
        for column in columns {
            index.col(*column);
        }
        index
    };
    vec![
        index("audit_logs_id", &[C::OrganizationId, C::Id]).unique().take(),
        index("audit_logs_time", &[C::OrganizationId, C::Timestamp, C::Seq, C::ResourceType, C::Action, C::Outcome]),
        index(
            "audit_logs_user",
            &[
                C::OrganizationId,
                C::UserId,
                C::Timestamp,
                C::Seq,
                C::ResourceType,
                C::Action,
                C::ResourceId,
                C::Outcome,
            ],
        ),
        index(
            "audit_logs_resource",
            &[
                C::OrganizationId,
                C::ResourceType,
                C::ResourceId,
                C::Timestamp,
                C::Seq,
                C::Action,
                C::UserId,
                C::Outcome,
            ],
        ),
        index("audit_logs_kind", &[C::OrganizationId, C::ResourceType, C::Action, C::Outcome, C::Timestamp, C::Seq]),
        index("audit_logs_trace", &[C::OrganizationId, C::TraceId, C::Timestamp, C::Seq])
            .and_where(Expr::col(C::TraceId).is_not_null())
            .take(),
    ]
}

/// The hashes of each log's tree, in tiles. A tile of leaf hashes is stored once it is full; until then, the entries
/// have its hashes.
fn log_tiles() -> TableCreateStatement {
    use LogTiles as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId))
        .col(small_integer(C::Level))
        .col(big_integer(C::TileIndex))
        .col(binary(C::Hashes))
        .primary_key(Index::create().col(C::OrganizationId).col(C::Level).col(C::TileIndex))
        .take()
}

/// The last checkpoint of each log.
fn checkpoints() -> TableCreateStatement {
    use Checkpoints as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId).primary_key())
        .col(big_integer(C::Size))
        .col(binary(C::Root))
        .col(text(C::Note))
        .col(big_integer(C::SignedAt))
        .take()
}

/// The keys that sign for each log, with the number of the entry that introduced them: 0 for the first key.
fn log_keys() -> TableCreateStatement {
    use LogKeys as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId))
        .col(binary(C::PublicKey))
        .col(big_integer(C::Seq))
        .primary_key(Index::create().col(C::OrganizationId).col(C::PublicKey))
        .take()
}

/// The hashes of erased groups of values, and the number of the entry that records the erasure.
fn erasures() -> TableCreateStatement {
    use Erasures as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId))
        .col(big_integer(C::Seq))
        .col(small_integer(C::GroupCode))
        .col(binary(C::Hash))
        .col(big_integer(C::ErasedBy))
        .primary_key(Index::create().col(C::OrganizationId).col(C::Seq).col(C::GroupCode))
        .take()
}

/// The last number that an organization's running counts cover. Not in the head's row: a job that locked that row would
/// block writers.
fn count_state() -> TableCreateStatement {
    use CountState as C;
    Table::create().table(C::Table).col(text(C::OrganizationId).primary_key()).col(big_integer(C::CountedSeq)).take()
}

/// The total counts of each key that has running counts.
fn key_totals() -> TableCreateStatement {
    use KeyTotals as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId))
        .col(text(C::Key))
        .col(binary(C::Counts))
        .col(big_integer(C::NewestTimestamp))
        .col(big_integer(C::NewestSeq))
        .col(big_integer(C::Tail))
        .primary_key(Index::create().col(C::OrganizationId).col(C::Key))
        .take()
}

/// Running counts at positions of each key's entries.
fn running_counts() -> TableCreateStatement {
    use RunningCounts as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId))
        .col(text(C::Key))
        .col(small_integer(C::Level))
        .col(big_integer(C::Timestamp))
        .col(big_integer(C::Seq))
        .col(binary(C::Counts))
        .primary_key(Index::create().col(C::OrganizationId).col(C::Key).col(C::Level).col(C::Timestamp).col(C::Seq))
        .take()
}

/// The names of users and resources that counted entries have, and the number of these entries. A name is stored as
/// bytes, so that its order is the same on all databases.
fn names() -> TableCreateStatement {
    use Names as C;
    Table::create()
        .table(C::Table)
        .col(text(C::OrganizationId))
        .col(small_integer(C::Field))
        .col(binary(C::Folded))
        .col(text(C::Key))
        .col(big_integer(C::Entries))
        .primary_key(Index::create().col(C::OrganizationId).col(C::Field).col(C::Folded).col(C::Key))
        .take()
}

/// Secrets that the services of this database share, by name and version. The services fill the table.
fn secrets() -> TableCreateStatement {
    use Secrets as C;
    Table::create().table(C::Table).col(text(C::Name).primary_key()).col(binary(C::Value)).take()
}

fn api_keys() -> TableCreateStatement {
    use ApiKeys as C;
    Table::create()
        .table(C::Table)
        .col(text(C::Id).primary_key())
        .col(text_null(C::Name))
        .col(text(C::Hash))
        .col(text_null(C::OrganizationId))
        .col(text(C::Scopes))
        .col(big_integer(C::CreatedAt))
        .col(big_integer_null(C::ExpiresAt))
        .col(big_integer_null(C::RevokedAt))
        .col(big_integer_null(C::LastUsedAt))
        .take()
}

fn catalogue() -> TableCreateStatement {
    use Catalogue as C;
    Table::create()
        .table(C::Table)
        .col(text(C::Kind))
        .col(small_integer(C::Code))
        .col(text(C::Name))
        .col(text_null(C::PathSegment))
        .col(big_integer_null(C::RemovedAt))
        .primary_key(Index::create().col(C::Kind).col(C::Code))
        .index(Index::create().unique().name("catalogue_name").col(C::Kind).col(C::Name))
        .index(Index::create().unique().name("catalogue_path_segment").col(C::PathSegment))
        .take()
}

/// The types and actions of the public documentation. A code is a position in its list and never changes.
/// Source: tests/data/list-audit-logs.md.
fn default_catalogue() -> InsertStatement {
    use Catalogue as C;
    let resource_types = [
        ("assistant", Some("assistants")),
        ("thread", Some("threads")),
        ("vector_store", Some("vector-stores")),
        ("rule", Some("rules")),
        ("mcp_configuration", Some("mcp-configurations")),
        ("user", None),
        ("organization", None),
    ];
    let actions = ["created", "updated", "deleted", "accessed", "shared", "archived"].map(|name| (name, None));
    let mut insert = Query::insert();
    insert.into_table(C::Table).columns([C::Kind, C::Code, C::Name, C::PathSegment]);
    for (kind, names) in [("resource_type", &resource_types[..]), ("action", &actions[..])] {
        for (code, (name, segment)) in (0i16..).zip(names) {
            insert.values_panic([kind.into(), code.into(), (*name).into(), (*segment).into()]);
        }
    }
    insert.take()
}
