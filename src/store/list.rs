//! The read transaction: head, total and page of one moment.

use sea_orm::sea_query::{Condition, Expr, ExprTrait, Func, IntoCondition};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::entities::audit_log::{Column, Entity};
use super::entities::organization;
use super::{Store, rows};
use crate::domain::{Entry, EntryId, Filter, Identifier, Limit, OrganizationId, Seq, Timestamp};
use crate::error::Result;

/// A read-only view of one moment.
pub struct Snapshot(pub(super) DatabaseTransaction);

/// The place of an entry in a list: newest first by these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Its time.
    pub timestamp: Timestamp,
    /// Its number, which orders entries of the same time.
    pub seq: Seq,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// After so many entries.
    Offset(i64),
    /// After this entry.
    After(Position),
}

impl Snapshot {
    pub(super) fn new(transaction: DatabaseTransaction) -> Self {
        Self(transaction)
    }

    /// The last number of `organization`; `None` if there is no such organization.
    pub async fn head(&self, organization: &OrganizationId) -> Result<Option<Seq>> {
        head(&self.0, organization).await
    }

    /// Entries up to number `head` that match.
    pub async fn count(&self, organization: &OrganizationId, filter: &Filter, head: Seq) -> Result<i64> {
        let matching = matching(organization, filter, Expr::col).add(up_to(head));
        let total = Entity::find().filter(matching).count(&self.0).await?;
        // A count of rows numbered by i64.
        Ok(i64::try_from(total).unwrap_or(i64::MAX))
    }

    /// At most `limit` entries up to number `head` that match, newest first.
    pub async fn page(
        &self,
        organization: &OrganizationId,
        filter: &Filter,
        head: Seq,
        begin: Begin,
        limit: Limit,
    ) -> Result<Vec<Entry>> {
        let mut query = Entity::find()
            .filter(matching(organization, filter, Expr::col).add(up_to(head)))
            .order_by_desc(Column::Timestamp)
            .order_by_desc(Column::Seq)
            .limit(u64::from(limit.get()));
        query = match begin {
            Begin::Offset(offset) => query.offset(u64::try_from(offset).unwrap_or(0)),
            Begin::After(Position { timestamp, seq }) => {
                // As a row value, which is an index range; `a < x OR (a = x AND b < y)` is none.
                let place = Expr::tuple([Expr::col(Column::Timestamp), Expr::col(Column::Seq)]);
                query.filter(place.lt(Expr::tuple([timestamp.micros().into(), seq.into()])))
            }
        };
        query.all(&self.0).await?.into_iter().map(rows::entry).collect()
    }

    /// Ends the transaction, so that its connection serves the next one.
    pub async fn close(self) -> Result<()> {
        Ok(self.0.commit().await?)
    }
}

impl Store {
    /// One entry, committed before this call.
    pub async fn entry(&self, organization: &OrganizationId, id: &EntryId) -> Result<Option<Entry>> {
        let row = Entity::find()
            .filter(Column::OrganizationId.eq(organization.as_str()))
            .filter(Column::Id.eq(id.as_str()))
            .one(&self.readers)
            .await?;
        row.map(rows::entry).transpose()
    }

    /// The last number of `organization`; `None` if there is no such organization.
    pub async fn head(&self, organization: &OrganizationId) -> Result<Option<Seq>> {
        head(&self.readers, organization).await
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
        let range = matching(organization, filter, unindexed).add(Column::Seq.gt(after)).add(Column::Seq.lte(to));
        let rows = Entity::find().filter(range).order_by_asc(Column::Seq).limit(limit).all(&self.readers).await?;
        rows.into_iter().map(rows::entry).collect()
    }
}

async fn head<C: ConnectionTrait>(connection: &C, organization: &OrganizationId) -> Result<Option<Seq>> {
    let row = organization::Entity::find_by_id(organization.as_str()).one(connection).await?;
    Ok(row.map(|row| row.head_seq))
}

/// Nearly all entries are up to the head; written plainly, both planners walk the primary key for it.
fn up_to(head: Seq) -> Expr {
    Expr::col(Column::Seq).add(0).lte(head)
}

/// What `filter` asks for, of columns as `column` writes them.
fn matching(organization: &OrganizationId, filter: &Filter, column: fn(Column) -> Expr) -> Condition {
    let Filter { resource_types, resource_ids, actions, user_ids, time } = filter;
    fn any_of<V: Into<sea_orm::Value>>(column: Expr, values: impl ExactSizeIterator<Item = V>) -> Option<Expr> {
        (values.len() > 0).then(|| column.is_in(values.map(Into::into)))
    }
    fn texts(ids: &[Identifier]) -> impl ExactSizeIterator<Item = &str> {
        ids.iter().map(Identifier::as_str)
    }
    Column::OrganizationId
        .eq(organization.as_str())
        .into_condition()
        .add_option(any_of(column(Column::ResourceType), resource_types.iter().map(|code| code.0)))
        .add_option(any_of(column(Column::ResourceId), texts(resource_ids)))
        .add_option(any_of(column(Column::Action), actions.iter().map(|code| code.0)))
        .add_option(any_of(column(Column::UserId), texts(user_ids)))
        .add_option(time.start().map(|start| column(Column::Timestamp).gte(start.micros())))
        .add_option(time.end().map(|end| column(Column::Timestamp).lt(end.micros())))
}

/// A column that no index is used for, so that a range of numbers is read by the primary key alone.
fn unindexed(column: Column) -> Expr {
    Func::coalesce([Expr::col(column), Expr::col(column)]).into()
}
