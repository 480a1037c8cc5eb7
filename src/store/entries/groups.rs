//! Entries counted by group: by kind in an index, by user, and by resource; and how far the entries of a range reach.

use sea_orm::{IdenStatic, QueryResult};

use super::list::{ScanRange, Snapshot, numbered_conditions, part_entries, streams_in};
use crate::domain::{EntryKind, Filter, Identifier, OrganizationId, PositionRange, ResourceType, Seq, Timestamp};
use crate::error::Result;
use crate::store::dialect;
use crate::store::entities::audit_log::Column;
use crate::store::kinds::{kinds_and_numbers, numbers_by_kind};
use crate::store::rows::kind;
use crate::store::sql::{IndexScan, Sql};

/// A scan whose entries are counted by user or by resource.
#[derive(Debug, Clone, Copy)]
pub struct TopScan<'a> {
    /// The entries that match.
    pub filter: &'a Filter,
    /// The streams that have them.
    pub streams: &'a IndexScan,
    /// The range of positions.
    pub span: PositionRange,
    /// Entries with higher numbers are ignored.
    pub head: Seq,
    /// The number of entries that match, or more.
    pub entries: i64,
    /// The number of groups to return.
    pub top: u8,
}

impl Snapshot {
    /// Like [`Snapshot::count`], by kind: the index of a part, a kind that occurs there, and the number of its entries.
    pub async fn count_kinds(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        streams: &IndexScan,
        parts: &[ScanRange],
        head: Seq,
    ) -> Result<Vec<(usize, EntryKind, i64)>> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql(organization);
        let statement = kinds_statement(&mut sql, filter, streams, parts, head);
        let mut counts = Vec::new();
        for row in self.query(sql.statement(statement)).await? {
            let (place, kinds): (i64, Option<String>) = row.try_get_many_by_index()?;
            for (kind, entries) in kinds_and_numbers(kinds.as_deref())? {
                counts.push((usize::try_from(place).unwrap_or(usize::MAX), kind, entries));
            }
        }
        Ok(counts)
    }

    /// The timestamps and the kinds of the entries in `span` that match `filter` and have numbers after `after` and up
    /// to `head`, in no order.
    pub async fn numbered_kinds(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        span: PositionRange,
        after: Seq,
        head: Seq,
    ) -> Result<Vec<(Timestamp, EntryKind)>> {
        let mut sql = self.sql(organization);
        let (after, head) = (sql.bind(after), sql.bind(head));
        let conditions = numbered_conditions(&mut sql, filter, span, &after, &head);
        // No index has `recorded_at`: an index with all these columns would look cheaper to the planner than that of
        // numbers.
        let columns = "a.timestamp, a.resource_type, a.action, a.outcome, a.recorded_at";
        let statement = format!("SELECT {columns} FROM audit_logs a WHERE {conditions}");
        let entry = |row: &QueryResult| {
            let (timestamp, resource_type, action, outcome): (i64, i16, i16, i16) = row.try_get_many_by_index()?;
            Ok((Timestamp::saturating(timestamp), kind(resource_type, action, outcome)?))
        };
        self.query(sql.statement(statement)).await?.iter().map(entry).collect()
    }

    /// The timestamps of the oldest and the newest entry in `span` numbered up to `head`; `None` if there is none.
    pub async fn extent(
        &self,
        organization: &OrganizationId,
        span: PositionRange,
        head: Seq,
    ) -> Result<Option<(Timestamp, Timestamp)>> {
        let mut sql = self.sql(organization);
        let statement = extent_statement(&mut sql, span, head);
        let rows = self.query(sql.statement(statement)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let ends: (Option<i64>, Option<i64>) = row.try_get_many_by_index()?;
        let (Some(oldest), Some(newest)) = ends else { return Ok(None) };
        Ok(Some((Timestamp::saturating(oldest), Timestamp::saturating(newest))))
    }

    /// The users with most entries, and their numbers: the highest number first, and equal ones by the user's id.
    pub async fn top_users(&self, organization: &OrganizationId, scan: TopScan<'_>) -> Result<Vec<(Identifier, i64)>> {
        let mut sql = self.sql(organization);
        let statement = top_statement(&mut sql, scan, &[Column::UserId]);
        let user = |row: &QueryResult| {
            let (user, entries): (String, i64) = row.try_get_many_by_index()?;
            Ok((Identifier::stored(user), entries))
        };
        self.query(sql.statement(statement)).await?.iter().map(user).collect()
    }

    /// The resources with most entries, like [`Snapshot::top_users`]. Resources with the same id are in the order of
    /// their types.
    pub async fn top_resources(
        &self,
        organization: &OrganizationId,
        scan: TopScan<'_>,
    ) -> Result<Vec<(ResourceType, Identifier, i64)>> {
        let mut sql = self.sql(organization);
        let statement = top_statement(&mut sql, scan, &[Column::ResourceId, Column::ResourceType]);
        let resource = |row: &QueryResult| {
            let (id, code, entries): (String, i16, i64) = row.try_get_many_by_index()?;
            Ok((ResourceType(code), Identifier::stored(id), entries))
        };
        self.query(sql.statement(statement)).await?.iter().map(resource).collect()
    }
}

/// A query for one row for each of `parts`: its index, and the text of [`numbers_by_kind`].
fn kinds_statement(sql: &mut Sql, filter: &Filter, streams: &IndexScan, parts: &[ScanRange], head: Seq) -> String {
    let [k, place, entries] = part_entries(sql, filter, streams, parts, head);
    format!("SELECT {place}, {} FROM {k}", numbers_by_kind("count(*)", &entries))
}

/// `SELECT oldest, newest`.
fn extent_statement(sql: &mut Sql, span: PositionRange, head: Seq) -> String {
    let (within, up_to) = (sql.within(span), sql.up_to(head));
    let index = dialect::indexed_by(sql.backend, IndexScan::Time.index());
    let end = |order: &str| {
        format!(
            "(SELECT a.timestamp FROM audit_logs a {index} WHERE a.organization_id = $1 AND {within} AND {up_to} \
             ORDER BY a.timestamp {order}, a.seq {order} LIMIT 1)"
        )
    };
    format!("SELECT {}, {}", end("ASC"), end("DESC"))
}

/// Reads the entries as a page does, with a limit that only keeps the planner from joining in another way.
fn top_statement(sql: &mut Sql, scan: TopScan<'_>, columns: &[Column]) -> String {
    let TopScan { filter, streams, span, head, entries, top } = scan;
    let (k, within) = streams_in(sql, streams, &[span]);
    let (index, prefix) = (dialect::indexed_by(sql.backend, streams.index()), streams.prefix());
    let (up_to, filters) = (sql.up_to(head), sql.filters(filter, Some(streams)));
    let (limit, top) = (sql.bind(entries), sql.bind(i64::from(top)));
    let inner = format!(
        "a {index} WHERE a.organization_id = $1{prefix} AND {within} AND {up_to}{filters} \
         ORDER BY a.timestamp DESC, a.seq DESC LIMIT {limit}"
    );
    let entries = dialect::lateral(sql.backend, "audit_logs", "m", &inner);
    let counted = match streams {
        // Their indexes have users and resources.
        IndexScan::Users(_) | IndexScan::Resources(_) => Column::Seq,
        // No index has this column; otherwise the index of users looks cheaper, all of which would be read.
        IndexScan::Time | IndexScan::Kinds(_) | IndexScan::Traces(_) => Column::RecordedAt,
    };
    let name = |column: &Column| format!("m.{}", column.as_str());
    let order = |column: &Column| match column {
        Column::ResourceType => name(column),
        _ => dialect::by_bytes(sql.backend, &name(column)),
    };
    let names = columns.iter().map(name).collect::<Vec<_>>().join(", ");
    let order = columns.iter().map(order).collect::<Vec<_>>().join(", ");
    let count = format!("count(m.{})", counted.as_str());
    format!("SELECT {names}, {count} FROM {k} {entries} GROUP BY {names} ORDER BY {count} DESC, {order} LIMIT {top}")
}
