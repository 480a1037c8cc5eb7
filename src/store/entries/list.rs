//! The data of a list: head and running counts of one moment, and entries up to that head. Pages use keyset pagination:
//! the next page begins after the position of the last entry.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryResult, QuerySelect, QueryTrait, Statement,
};

use crate::domain::{Entry, EntryId, Filter, OrganizationId, PositionRange, Seq};
use crate::error::Result;
use crate::store::connections::{Connections, Transaction};
use crate::store::entities::audit_log::{self, Column, Entity};
use crate::store::entities::organization;
use crate::store::kinds::numbers_by_kind;
use crate::store::sql::{IndexScan, Sql, bounds, lies_in, number};
use crate::store::{Store, dialect};
use auditlog_verify::merkle::Hash;

/// A view of the database. Committed entries do not change, so entries up to a known head need no transaction. Running
/// counts do change: those of one statement are from one moment; those of several statements are from one moment only
/// if the snapshot is held.
pub struct Snapshot(ReadConnection);

enum ReadConnection {
    Any(Connections),
    Held(Transaction),
}

/// A range of one stream, to count its entries.
#[derive(Debug, Clone, Copy)]
pub struct ScanRange {
    /// The index of the stream in its [`IndexScan`].
    pub stream: usize,
    /// The range of positions.
    pub span: PositionRange,
}

/// A page to read.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The ranges that have the page's entries and the entries to skip.
    pub spans: Vec<PositionRange>,
    /// The number of matching entries in the spans to skip before the page.
    pub offset: i64,
    /// The maximum number of entries of the page.
    pub limit: i64,
    /// Entries with higher numbers are ignored.
    pub head: Seq,
}

impl Snapshot {
    pub(in crate::store) fn any(connection: Connections) -> Self {
        Self(ReadConnection::Any(connection))
    }

    pub(in crate::store) fn held(transaction: Transaction) -> Self {
        Self(ReadConnection::Held(transaction))
    }

    pub(in crate::store) fn backend(&self) -> DbBackend {
        match &self.0 {
            ReadConnection::Any(connection) => connection.get_database_backend(),
            ReadConnection::Held(transaction) => transaction.get_database_backend(),
        }
    }

    pub(in crate::store) fn sql(&self, organization: &OrganizationId) -> Sql {
        Sql::of(self.backend(), organization)
    }

    pub(in crate::store) async fn query(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        Ok(match &self.0 {
            ReadConnection::Any(connection) => connection.query_all_raw(statement).await?,
            ReadConnection::Held(transaction) => transaction.query_all_raw(statement).await?,
        })
    }

    /// For each of `parts`, in order: the number of entries of its stream within its span that match `filter` and have
    /// numbers up to `head`.
    pub async fn count(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        streams: &IndexScan,
        parts: &[ScanRange],
        head: Seq,
    ) -> Result<Vec<i64>> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql(organization);
        let statement = count_statement(&mut sql, filter, streams, parts, head);
        let mut counts = vec![0; parts.len()];
        for row in self.query(sql.statement(statement)).await? {
            let (place, counted): (i64, i64) = row.try_get_many_by_index()?;
            if let Some(count) = usize::try_from(place).ok().and_then(|place| counts.get_mut(place)) {
                *count = counted;
            }
        }
        Ok(counts)
    }

    /// The number of entries in `span` that match `filter` and have numbers after `after` and up to `head`.
    pub async fn count_numbered(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        span: PositionRange,
        after: Seq,
        head: Seq,
    ) -> Result<i64> {
        let mut sql = self.sql(organization);
        let (after, head) = (sql.bind(after), sql.bind(head));
        let statement = format!("SELECT {}", numbered(&mut sql, filter, span, &after, &head));
        let rows = self.query(sql.statement(statement)).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.try_get_by_index(0))?)
    }

    /// The entries of the page `window`, newest first, found by the index scan `streams`.
    pub async fn page(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        streams: &IndexScan,
        window: &PageRequest,
    ) -> Result<Vec<Entry>> {
        let mut sql = self.sql(organization);
        let statement = page_statement(&mut sql, filter, streams, window);
        let rows = self.query(sql.statement(statement)).await?;
        rows.iter().map(audit_log::entry).collect()
    }

    /// Whether several statements see the same running counts.
    pub fn is_held(&self) -> bool {
        matches!(self.0, ReadConnection::Held(_))
    }

    /// Ends the transaction of a held snapshot, so that its connection is free again.
    pub async fn close(self) -> Result<()> {
        match self.0 {
            ReadConnection::Any(_) => Ok(()),
            ReadConnection::Held(transaction) => Ok(transaction.commit().await?),
        }
    }
}

/// A query for one row for each of `parts`: its index in `parts`, and the number of its entries.
fn count_statement(sql: &mut Sql, filter: &Filter, streams: &IndexScan, parts: &[ScanRange], head: Seq) -> String {
    let [k, place, entries] = part_entries(sql, filter, streams, parts, head);
    format!("SELECT {place}, (SELECT count(*) FROM {entries}) FROM {k}")
}

/// The SQL to read the entries of `parts`: a table `k` with a row for each part, the index of a part in `parts`, and
/// the FROM clause, with its conditions, of the entries of the part in the row of `k`.
pub(super) fn part_entries(
    sql: &mut Sql,
    filter: &Filter,
    streams: &IndexScan,
    parts: &[ScanRange],
    head: Seq,
) -> [String; 3] {
    let prefixes = streams.rows();
    let width = prefixes.first().map_or(0, Vec::len);
    let row = |(place, part): (usize, &ScanRange)| {
        let mut row = prefixes.get(part.stream).cloned().unwrap_or_default();
        row.push(place.into());
        row.extend(bounds(part.span).map(Into::into));
        row.into()
    };
    let k = sql.rows(parts.iter().enumerate().map(row).collect());
    let place = number("k", width);
    let within = within_row(width + 1);
    let index = dialect::indexed_by(sql.backend, streams.index());
    let (prefix, up_to, filters) = (streams.prefix(), sql.up_to(head), sql.filters(filter, Some(streams)));
    let entries =
        format!("audit_logs a {index} WHERE a.organization_id = $1{prefix} AND {within} AND {up_to}{filters}");
    [k, place, entries]
}

/// `(SELECT count(…) …)` of the entries with numbers between two SQL expressions. It counts a column that is in no
/// index; otherwise an index with all other columns looks cheaper than the primary key.
pub(in crate::store) fn numbered(
    sql: &mut Sql,
    filter: &Filter,
    span: PositionRange,
    after: &str,
    head: &str,
) -> String {
    let conditions = numbered_conditions(sql, filter, span, after, head);
    format!("(SELECT count(a.recorded_at) FROM audit_logs a WHERE {conditions})")
}

/// Like [`numbered`], by kind: [`numbers_by_kind`].
pub(in crate::store) fn numbered_by_kind(
    sql: &mut Sql,
    filter: &Filter,
    span: PositionRange,
    after: &str,
    head: &str,
) -> String {
    let conditions = numbered_conditions(sql, filter, span, after, head);
    numbers_by_kind("count(a.recorded_at)", &format!("audit_logs a WHERE {conditions}"))
}

/// Selects entries by ranges of numbers, by the primary key alone.
fn range_statement(sql: &mut Sql, filter: &Filter, after: Seq, to: Seq, limit: i64) -> String {
    let (columns, [after, to, limit]) =
        (audit_log::exported_columns("a"), [after, to, limit].map(|bound| sql.bind(bound)));
    let conditions = numbered_conditions(sql, filter, PositionRange::from(filter.time), &after, &to);
    format!("SELECT {columns} FROM audit_logs a WHERE {conditions} ORDER BY a.seq LIMIT {limit}")
}

/// The conditions of entries with numbers between two SQL expressions, in `span`, that match `filter`. Only the primary
/// key serves them. Without a span there is no condition on time: an entry whose time somebody changed to one outside
/// of all spans is still found.
pub(super) fn numbered_conditions(
    sql: &mut Sql,
    filter: &Filter,
    span: PositionRange,
    after: &str,
    head: &str,
) -> String {
    let mut conditions = format!("a.organization_id = $1 AND a.seq > {after} AND a.seq <= {head}");
    if span != PositionRange::ALL {
        let place = [Column::Timestamp, Column::Seq].map(dialect::unindexed).join(", ");
        conditions += &format!(" AND {}", lies_in(&place, bounds(span).map(|bound| sql.bind(bound))));
    }
    conditions + &sql.filters(filter, None)
}

/// Selects the positions first, which are in the index, and then the rows of the page. With one stream, one span, no
/// other filter and a small offset, selects the rows at once.
fn page_statement(sql: &mut Sql, filter: &Filter, streams: &IndexScan, window: &PageRequest) -> String {
    let PageRequest { spans, offset, limit, head } = window;
    let index = dialect::indexed_by(sql.backend, streams.index());
    let (up_to, filters) = (sql.up_to(*head), sql.filters(filter, Some(streams)));
    let matching = |prefix: &str, within: &str, limit: &str| {
        format!(
            "{index} WHERE a.organization_id = $1{prefix} AND {within} AND {up_to}{filters} \
             ORDER BY a.timestamp DESC, a.seq DESC LIMIT {limit}"
        )
    };
    let end = format!("{} OFFSET {}", sql.bind(*limit), sql.bind(*offset));
    let only = if let [span] = spans[..] { streams.only(sql).map(|prefix| (prefix, sql.within(span))) } else { None };
    let places = match only {
        Some((prefix, within)) if filters.is_empty() && offset <= limit => {
            let columns = audit_log::listed_columns("a");
            return format!("SELECT {columns} FROM audit_logs a {}", matching(&prefix, &within, &end));
        }
        Some((prefix, within)) => {
            format!("SELECT a.timestamp, a.seq FROM audit_logs a {}", matching(&prefix, &within, &end))
        }
        None => {
            let each = sql.bind(offset.saturating_add(*limit));
            let (k, within) = streams_in(sql, streams, spans);
            let inner = format!("a {}", matching(&streams.prefix(), &within, &each));
            let places = dialect::lateral(sql.backend, "audit_logs", "m", &inner);
            format!("SELECT m.timestamp, m.seq FROM {k} {places} ORDER BY m.timestamp DESC, m.seq DESC LIMIT {end}")
        }
    };
    let columns = audit_log::listed_columns("l");
    let entry = dialect::entry(sql.backend, "l", "$1", "seq", "p.seq");
    format!("SELECT {columns} FROM ({places}) p {entry} ORDER BY p.timestamp DESC, p.seq DESC")
}

/// Returns the table `k` with each of `streams` in each of `spans`, and the condition that `a` lies in the span of its
/// row.
pub(super) fn streams_in(sql: &mut Sql, streams: &IndexScan, spans: &[PositionRange]) -> (String, String) {
    let prefixes = streams.rows();
    let width = prefixes.first().map_or(0, Vec::len);
    let with_span = |prefix: &Vec<serde_json::Value>, span: &PositionRange| {
        prefix.iter().cloned().chain(bounds(*span).map(Into::into)).collect::<Vec<_>>().into()
    };
    let rows = prefixes.iter().flat_map(|prefix| spans.iter().map(move |span| with_span(prefix, span)));
    let k = sql.rows(rows.collect());
    (k, within_row(width))
}

/// `a` lies in the span that begins at column `place` of the row of `k`.
fn within_row(place: usize) -> String {
    lies_in("a.timestamp, a.seq", [0, 1, 2, 3].map(|bound| number("k", place + bound)))
}

impl Store {
    /// One entry that was committed before this call.
    pub async fn entry(&self, organization: &OrganizationId, id: &EntryId) -> Result<Option<Entry>> {
        let found = Entity::find()
            .filter(Column::OrganizationId.eq(organization.as_str()))
            .filter(Column::Id.eq(id.as_str()))
            .limit(1)
            .build(self.readers.get_database_backend());
        self.readers.query_one_raw(found).await?.map(|row| audit_log::entry(&row)).transpose()
    }

    /// The last number of `organization`; `None` if there is no such organization.
    pub async fn head(&self, organization: &OrganizationId) -> Result<Option<Seq>> {
        let row = organization::Entity::find_by_id(organization.as_str()).one(&self.readers).await?;
        Ok(row.map(|row| row.head_seq))
    }

    /// At most `limit` matching entries with numbers after `after` and up to `to`, in order of their numbers, each with
    /// its leaf hash. Committed entries do not change, so ranges read one after another show the same moment.
    pub async fn range(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        after: Seq,
        to: Seq,
        limit: i64,
    ) -> Result<Vec<(Entry, Hash)>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let statement = range_statement(&mut sql, filter, after, to, limit);
        self.readers.query_all_raw(sql.statement(statement)).await?.iter().map(audit_log::entry_with_leaf).collect()
    }
}
