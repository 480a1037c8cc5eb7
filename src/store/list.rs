//! The data of a list: the head and the counts of one moment, and entries up to that head.

use sea_orm::sea_query::{Condition, Expr, Func, IntoCondition};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, QueryTrait, Statement,
};

use super::connections::Connections;
use super::entities::audit_log::{Column, Entity};
use super::entities::organization;
use super::sql::{IndexScan, Sql, UnindexedColumn, bounds, lies_in, number};
use super::{Store, dialect, rows};
use crate::domain::{Entry, EntryId, Filter, Identifier, OrganizationId, PositionRange, Seq};
use crate::error::Result;

/// A view of one moment. Committed entries do not change, so whoever knows a head needs no transaction to see the
/// entries up to it as they were. Counts do change: those that are read together are of one moment, and those of
/// several statements are if the view is held.
pub struct Snapshot(Connection);

enum Connection {
    Any(Connections),
    Held(DatabaseTransaction),
}

/// Where a stream is counted.
#[derive(Debug, Clone, Copy)]
pub struct ScanRange {
    /// The place of the stream among the streams.
    pub stream: usize,
    /// Which of its entries.
    pub span: PositionRange,
}

/// A page to read.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// Where its entries lie, and those of the offset.
    pub spans: Vec<PositionRange>,
    /// Matching entries of the spans that come before it.
    pub offset: i64,
    /// The most entries.
    pub limit: i64,
    /// Entries with higher numbers are not seen.
    pub head: Seq,
}

impl Snapshot {
    pub(super) fn any(connection: Connections) -> Self {
        Self(Connection::Any(connection))
    }

    pub(super) fn held(transaction: DatabaseTransaction) -> Self {
        Self(Connection::Held(transaction))
    }

    pub(super) fn backend(&self) -> DbBackend {
        match &self.0 {
            Connection::Any(connection) => connection.get_database_backend(),
            Connection::Held(transaction) => transaction.get_database_backend(),
        }
    }

    pub(super) fn sql(&self, organization: &OrganizationId) -> Sql {
        Sql::of(self.backend(), organization)
    }

    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        Ok(match &self.0 {
            Connection::Any(connection) => connection.query_all_raw(statement).await?,
            Connection::Held(transaction) => transaction.query_all_raw(statement).await?,
        })
    }

    /// How many entries of each part's stream lie in its span, match `filter`, and have a number up to `head`: in
    /// the order of `parts`.
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

    /// How many entries numbered above `after` and up to `head` lie in `span` and match `filter`.
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

    /// The entries of `window`, newest first, found in `streams`.
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
        rows.iter().map(rows::entry).collect()
    }

    /// Whether several statements see the same counts.
    pub fn is_held(&self) -> bool {
        matches!(self.0, Connection::Held(_))
    }

    /// Gives its connection to the next one.
    pub async fn close(self) -> Result<()> {
        match self.0 {
            Connection::Any(_) => Ok(()),
            Connection::Held(transaction) => Ok(transaction.commit().await?),
        }
    }
}

/// `SELECT place, count`, a row for each of `parts`.
fn count_statement(sql: &mut Sql, filter: &Filter, streams: &IndexScan, parts: &[ScanRange], head: Seq) -> String {
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
    format!(
        "SELECT {place}, (SELECT count(*) FROM audit_logs a {index} WHERE a.organization_id = $1{prefix} \
         AND {within} AND {up_to}{filters}) FROM {k}"
    )
}

/// `(SELECT count(…) …)` of entries by their numbers, which are expressions. It counts a column that no index has,
/// or an index that has all others looks cheaper than that of numbers.
pub(super) fn numbered(sql: &mut Sql, filter: &Filter, span: PositionRange, after: &str, head: &str) -> String {
    let filters = sql.filters(filter, None);
    let place = format!("{}, a.seq + 0", UnindexedColumn::Timestamp.expression());
    let within = lies_in(&place, bounds(span).map(|bound| sql.bind(bound)));
    format!(
        "(SELECT count(a.recorded_at) FROM audit_logs a WHERE a.organization_id = $1 AND a.seq > {after} AND a.seq <= {head} \
         AND {within}{filters})"
    )
}

/// First the places alone, which the index has, then the rows of those of the page. Where every entry of the only
/// stream is one of the page, its rows at once.
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
            let columns = rows::listed_columns("a");
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
    let columns = rows::listed_columns("l");
    let entry = dialect::entry(sql.backend, "l", "$1", "seq", "p.seq");
    format!("SELECT {columns} FROM ({places}) p {entry} ORDER BY p.timestamp DESC, p.seq DESC")
}

/// Each of `streams` in each of `spans` as the table `k`, and that `a` lies in the span of its row.
fn streams_in(sql: &mut Sql, streams: &IndexScan, spans: &[PositionRange]) -> (String, String) {
    let prefixes = streams.rows();
    let width = prefixes.first().map_or(0, Vec::len);
    let with_span = |prefix: &Vec<serde_json::Value>, span: &PositionRange| {
        prefix.iter().cloned().chain(bounds(*span).map(Into::into)).collect::<Vec<_>>().into()
    };
    let rows = prefixes.iter().flat_map(|prefix| spans.iter().map(move |span| with_span(prefix, span)));
    let k = sql.rows(rows.collect());
    (k, within_row(width))
}

/// `a` lies in the span that begins at `place` in the row of `k`.
fn within_row(place: usize) -> String {
    lies_in("a.timestamp, a.seq", [0, 1, 2, 3].map(|bound| number("k", place + bound)))
}

impl Store {
    /// One entry, committed before this call.
    pub async fn entry(&self, organization: &OrganizationId, id: &EntryId) -> Result<Option<Entry>> {
        let found = Entity::find()
            .filter(Column::OrganizationId.eq(organization.as_str()))
            .filter(Column::Id.eq(id.as_str()))
            .limit(1)
            .build(self.readers.get_database_backend());
        self.readers.query_one_raw(found).await?.map(|row| rows::entry(&row)).transpose()
    }

    /// The last number of `organization`; `None` if there is no such organization.
    pub async fn head(&self, organization: &OrganizationId) -> Result<Option<Seq>> {
        let row = organization::Entity::find_by_id(organization.as_str()).one(&self.readers).await?;
        Ok(row.map(|row| row.head_seq))
    }

    /// At most `limit` of the entries numbered above `after` and up to `to` that match, in the order of
    /// their numbers. Committed entries do not change, so that ranges read one after the other are those of
    /// one moment.
    pub async fn range(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        after: Seq,
        to: Seq,
        limit: u64,
    ) -> Result<Vec<Entry>> {
        let range = matching(organization, filter).add(Column::Seq.gt(after)).add(Column::Seq.lte(to));
        let found = Entity::find().filter(range).order_by_asc(Column::Seq).limit(limit);
        let rows = self.readers.query_all_raw(found.build(self.readers.get_database_backend())).await?;
        rows.iter().map(rows::entry).collect()
    }
}

/// The conditions of `filter`, served by no index but that of numbers.
fn matching(organization: &OrganizationId, filter: &Filter) -> Condition {
    let Filter { resource_types, resource_ids, actions, user_ids, time } = filter;
    fn any_of<V: Into<sea_orm::Value>>(column: Column, values: impl ExactSizeIterator<Item = V>) -> Option<Expr> {
        use sea_orm::sea_query::ExprTrait;
        (values.len() > 0).then(|| unindexed(column).is_in(values.map(Into::into)))
    }
    fn texts(ids: &[Identifier]) -> impl ExactSizeIterator<Item = &str> {
        ids.iter().map(Identifier::as_str)
    }
    use sea_orm::sea_query::ExprTrait;
    Column::OrganizationId
        .eq(organization.as_str())
        .into_condition()
        .add_option(any_of(Column::ResourceType, resource_types.iter().map(|code| code.0)))
        .add_option(any_of(Column::ResourceId, texts(resource_ids)))
        .add_option(any_of(Column::Action, actions.iter().map(|code| code.0)))
        .add_option(any_of(Column::UserId, texts(user_ids)))
        .add_option(time.start().map(|start| unindexed(Column::Timestamp).gte(start.micros())))
        .add_option(time.end().map(|end| unindexed(Column::Timestamp).lt(end.micros())))
}

/// A column that no index is used for, so that a range of numbers is read by the primary key alone.
fn unindexed(column: Column) -> Expr {
    Func::coalesce([Expr::col(column), Expr::col(column)]).into()
}
