//! The entries of resources, oldest first, and the resources of selected entries. Each statement reads a piece.
//! Committed entries do not change, apart from erasures, so pieces up to one number are of one moment.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, QueryResult, Statement};
use serde_json::json;

use super::list::numbered_conditions;
use crate::domain::{
    Entry, EntryId, Filter, Identifier, OrganizationId, Position, PositionRange, ResourceKey, ResourceType, Seq,
    Timestamp,
};
use crate::error::Result;
use crate::store::entities::audit_log;
use crate::store::sql::{IndexScan, Sql, number, text};
use crate::store::{Store, dialect};

impl Store {
    /// At most `limit` entries of `resource` after the position `after`, with numbers up to `head`, oldest first.
    pub async fn resource_entries(
        &self,
        organization: &OrganizationId,
        resource: &ResourceKey,
        after: Position,
        head: Seq,
        limit: i64,
    ) -> Result<Vec<Entry>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let stream = IndexScan::Resources(vec![(resource.resource_type, resource.id.clone())]);
        let span = PositionRange { after, to: Position::END };
        let statement = stream_statement(&mut sql, &audit_log::listed_columns("a"), &stream, span, head, limit);
        self.read_entries(sql.statement(statement)).await
    }

    /// At most `limit` entries of the resources of one type, with numbers up to `head`. They are ordered by resource,
    /// in the order of the database, and then oldest first. With `after`, only those after this position of this
    /// resource.
    pub async fn entries_by_resource(
        &self,
        organization: &OrganizationId,
        resource_type: ResourceType,
        after: Option<(&Identifier, Position)>,
        head: Seq,
        limit: i64,
    ) -> Result<Vec<Entry>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let statement = type_statement(&mut sql, resource_type, after, head, limit);
        self.read_entries(sql.statement(statement)).await
    }

    /// The entries with these numbers, in the order of their numbers.
    pub async fn entries_numbered(&self, organization: &OrganizationId, seqs: &[Seq]) -> Result<Vec<Entry>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let k = sql.rows(seqs.iter().map(|seq| json!([seq])).collect());
        let entry = dialect::entry(sql.backend, "a", "$1", "seq", &number("k", 0));
        let statement = format!("SELECT {} FROM {k} {entry}", audit_log::listed_columns("a"));
        let mut entries = self.read_entries(sql.statement(statement)).await?;
        entries.sort_unstable_by_key(|entry| entry.seq);
        Ok(entries)
    }

    /// The resource of each entry with a number after `after` and up to `head`, in no order.
    pub async fn numbered_resources(
        &self,
        organization: &OrganizationId,
        after: Seq,
        head: Seq,
    ) -> Result<Vec<ResourceKey>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let (after, head) = (sql.bind(after), sql.bind(head));
        let conditions = numbered_conditions(&mut sql, &Filter::default(), PositionRange::ALL, &after, &head);
        // No index has `recorded_at`: an index with all these columns would look cheaper to the planner than that of
        // numbers.
        let columns = "a.resource_type, a.resource_id, a.recorded_at";
        let statement = format!("SELECT {columns} FROM audit_logs a WHERE {conditions}");
        let resource = |row: &QueryResult| {
            let (resource_type, id, _): (i16, String, i64) = row.try_get_many_by_index()?;
            Ok(key(resource_type, id))
        };
        self.readers.query_all_raw(sql.statement(statement)).await?.iter().map(resource).collect()
    }

    /// The position and the resource of at most `limit` entries of `stream` in `span`, with numbers up to `head`,
    /// oldest first. `stream` has one stream.
    pub async fn stream_resources(
        &self,
        organization: &OrganizationId,
        stream: &IndexScan,
        span: PositionRange,
        head: Seq,
        limit: i64,
    ) -> Result<Vec<(Position, ResourceKey)>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let columns = "a.timestamp, a.seq, a.resource_type, a.resource_id";
        let statement = stream_statement(&mut sql, columns, stream, span, head, limit);
        let place = |row: &QueryResult| {
            let (timestamp, seq, resource_type, id): (i64, i64, i16, String) = row.try_get_many_by_index()?;
            Ok((Position { timestamp: Timestamp::saturating(timestamp), seq }, key(resource_type, id)))
        };
        self.readers.query_all_raw(sql.statement(statement)).await?.iter().map(place).collect()
    }

    /// The entries that exist, by their ids in `ids`: the number and the resource of each.
    pub async fn resources_of_ids(
        &self,
        organization: &OrganizationId,
        ids: &[EntryId],
    ) -> Result<HashMap<EntryId, (Seq, ResourceKey)>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let k = sql.rows(ids.iter().map(|id| json!([id.as_str()])).collect());
        let entry = dialect::entry(sql.backend, "a", "$1", "id", &text("k", 0));
        let statement = format!("SELECT a.id, a.seq, a.resource_type, a.resource_id FROM {k} {entry}");
        let mut found = HashMap::with_capacity(ids.len());
        for row in self.readers.query_all_raw(sql.statement(statement)).await? {
            let (id, seq, resource_type, resource_id): (String, i64, i16, String) = row.try_get_many_by_index()?;
            found.insert(EntryId::stored(id), (seq, key(resource_type, resource_id)));
        }
        Ok(found)
    }

    async fn read_entries(&self, statement: Statement) -> Result<Vec<Entry>> {
        self.readers.query_all_raw(statement).await?.iter().map(audit_log::entry).collect()
    }
}

fn key(resource_type: i16, id: String) -> ResourceKey {
    ResourceKey { resource_type: ResourceType(resource_type), id: Identifier::stored(id) }
}

/// Selects `columns` of the entries of one stream, oldest first, which is the order of its index.
pub(super) fn stream_statement(
    sql: &mut Sql,
    columns: &str,
    stream: &IndexScan,
    span: PositionRange,
    head: Seq,
    limit: i64,
) -> String {
    let (index, only) = (dialect::indexed_by(sql.backend, stream.index()), stream.only(sql).unwrap_or_default());
    let (within, up_to, limit) = (sql.within(span), sql.up_to(head), sql.bind(limit));
    format!(
        "SELECT {columns} FROM audit_logs a {index} WHERE a.organization_id = $1{only} AND {within} AND {up_to} \
         ORDER BY a.timestamp, a.seq LIMIT {limit}"
    )
}

/// Selects the entries of one type by resource. The type is a constant, because the index of kinds would give all types
/// in order, too.
fn type_statement(
    sql: &mut Sql,
    resource_type: ResourceType,
    after: Option<(&Identifier, Position)>,
    head: Seq,
    limit: i64,
) -> String {
    // No id is empty.
    let (id, Position { timestamp, seq }) =
        after.map_or(("", Position::START), |(id, position)| (id.as_str(), position));
    let index = dialect::indexed_by(sql.backend, "audit_logs_resource");
    let (resource_type, id) = (sql.bind(resource_type.0), sql.bind(id));
    let (timestamp, seq) = (sql.bind(timestamp.micros()), sql.bind(seq));
    let (up_to, limit) = (sql.up_to(head), sql.bind(limit));
    format!(
        "SELECT {columns} FROM audit_logs a {index} WHERE a.organization_id = $1 AND a.resource_type = {resource_type} \
         AND (a.resource_id, a.timestamp, a.seq) > ({id}, {timestamp}, {seq}) AND {up_to} \
         ORDER BY a.resource_id, a.timestamp, a.seq LIMIT {limit}",
        columns = audit_log::listed_columns("a")
    )
}
