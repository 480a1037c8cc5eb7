//! The transaction that moves counts on: hold the organization's state, read what is known, write what changed.

use std::collections::{BTreeMap, HashMap};

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter,
    QueryResult, Statement,
};

use super::counts::{Mark, State, marks_statement, place_and_mark};
use super::entities::{count_key, count_mark, count_state};
use super::sql::{IndexScan, Sql, prepared};
use super::{Store, dialect, rows};
use crate::domain::{
    Action, Counts, Damaged, Entry, EntryKind, Identifier, Key, OrganizationId, Position, PositionRange, ResourceType,
    Seq, Timestamp,
};
use crate::error::{Error, Result};

/// An organization's head, and how far its counts reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The organization.
    pub organization: OrganizationId,
    /// Its last number.
    pub head: Seq,
    /// Entries up to this number are counted.
    pub folded: Seq,
}

/// An entry as counts see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfolded {
    /// Where it lies.
    pub position: Position,
    /// When it was committed.
    pub recorded_at: Timestamp,
    /// The kind of the entry.
    pub leaf: EntryKind,
    /// The user who did it.
    pub user: Identifier,
    /// The resource.
    pub resource: Identifier,
}

/// The whole count of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whole {
    /// Of all its folded entries.
    pub counts: Counts,
    /// The position of its newest folded entry.
    pub newest: Position,
    /// Folded entries after its last mark.
    pub tail: i64,
}

/// All that is known of a key at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMarks {
    /// Entries up to this number are counted.
    pub folded: Seq,
    /// All of them.
    pub whole: Whole,
    /// Those up to each mark, as they are stored.
    pub rungs: BTreeMap<Rung, Counts>,
}

/// A mark's level, 0 for super marks and 1 for those that count from them, and its position.
pub type Rung = (i16, Position);

/// An open transaction that folds one organization, alone. Dropped without a commit, it leaves nothing behind.
pub struct Fold {
    transaction: DatabaseTransaction,
    organization: OrganizationId,
    folded: Seq,
}

impl Store {
    /// The organizations of at least `size` entries whose counts are at least `lag` entries behind.
    pub async fn lags(&self, size: Seq, lag: Seq) -> Result<Vec<Lag>> {
        let text = "SELECT o.id, o.head_seq, coalesce(s.folded_seq, 0) FROM organizations o \
                    LEFT JOIN count_state s ON s.organization_id = o.id \
                    WHERE o.head_seq >= $1 AND o.head_seq - coalesce(s.folded_seq, 0) >= $2 ORDER BY o.id";
        let backend = self.readers.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, text, [size.into(), lag.into()]);
        let rows = self.readers.query_all_raw(statement).await?;
        let lag = |row: &QueryResult| {
            let (organization, head, folded): (String, Seq, Seq) = row.try_get_many_by_index()?;
            Ok(Lag { organization: OrganizationId::stored(organization), head, folded })
        };
        rows.iter().map(lag).collect()
    }

    /// How far the counts of `organization` reach; `None` if there is none.
    pub async fn lag(&self, organization: &OrganizationId) -> Result<Option<Lag>> {
        let state = self.snapshot().state(organization, None, &[], PositionRange::ALL).await?;
        let organization = organization.clone();
        Ok(state.map(|State { head, folded, .. }| Lag { organization, head, folded }))
    }

    /// The keys of `organization` that have marks, or a whole count.
    pub async fn marked_keys(&self, organization: &OrganizationId) -> Result<Vec<Key>> {
        let text = "SELECT key FROM count_keys WHERE organization_id = $1 \
                    UNION SELECT key FROM count_marks WHERE organization_id = $1 ORDER BY key";
        let backend = self.readers.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, text, [organization.as_str().into()]);
        let mut keys = Vec::new();
        for row in self.readers.query_all_raw(statement).await? {
            let key: String = row.try_get_by_index(0)?;
            keys.push(Key::stored(&key).ok_or(Error::from(Damaged))?);
        }
        Ok(keys)
    }

    /// All that is known of `key` at one moment; `None` if it has no marks.
    pub async fn key_marks(&self, organization: &OrganizationId, key: &Key) -> Result<Option<KeyMarks>> {
        let options = dialect::snapshot(self.readers.get_database_backend());
        let transaction = self.readers.begin(options).await?;
        let folded = count_state::Entity::find_by_id(organization.as_str()).one(&transaction).await?;
        let id = (organization.to_string(), key.text());
        let whole = count_key::Entity::find_by_id(id).one(&transaction).await?;
        let marks = count_mark::Entity::find()
            .filter(count_mark::Column::OrganizationId.eq(organization.as_str()))
            .filter(count_mark::Column::Key.eq(key.text()))
            .all(&transaction)
            .await?;
        transaction.commit().await?;
        let folded = folded.map_or(0, |state| state.folded_seq);
        let whole = match whole {
            Some(whole) => self::whole(whole)?.1,
            None if marks.is_empty() => return Ok(None),
            // Marks without it are a fault that a check finds.
            None => Whole::default(),
        };
        let mut rungs = BTreeMap::new();
        for count_mark::Model { organization_id: _, key: _, level, timestamp, seq, counts } in marks {
            let position = Position { timestamp: Timestamp::saturating(timestamp), seq };
            rungs.insert((level, position), rows::counts(&counts)?);
        }
        Ok(Some(KeyMarks { folded, whole, rungs }))
    }

    /// At most `limit` entries of `key` in `span` numbered up to `head`, in order.
    pub async fn entries(
        &self,
        organization: &OrganizationId,
        key: &Key,
        span: PositionRange,
        head: Seq,
        limit: i64,
    ) -> Result<Vec<(Position, EntryKind)>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let statement = entries_statement(&mut sql, key, span, head, Some(limit));
        self.readers.query_all_raw(sql.statement(statement)).await?.iter().map(counted).collect()
    }

    /// The entries numbered above `after` and up to `to`, in no order. Committed entries do not change, so that no
    /// lock is needed.
    pub async fn unfolded(&self, organization: &OrganizationId, after: Seq, to: Seq) -> Result<Vec<Unfolded>> {
        let mut recent = self.recent.take(organization, to);
        recent.retain(|entry| entry.position.seq > after);
        // The database may have been taken back to an earlier time, and another process have gone on from there.
        if !recent.is_empty() && self.read_unfolded(organization, to - 1, to).await?.last() != recent.last() {
            recent.clear();
        }
        let first = recent.first().map_or(to, |first| first.position.seq - 1);
        if first > after {
            recent.extend(self.read_unfolded(organization, after, first).await?);
        }
        Ok(recent)
    }

    async fn read_unfolded(&self, organization: &OrganizationId, after: Seq, to: Seq) -> Result<Vec<Unfolded>> {
        // `recorded_at` is in no index: one that had all that is asked for would look cheaper than that of numbers.
        let text = "SELECT timestamp, seq, resource_type, action, user_id, resource_id, recorded_at FROM audit_logs \
                    WHERE organization_id = $1 AND seq > $2 AND seq <= $3";
        let values = [organization.as_str().into(), after.into(), to.into()];
        let statement = Statement::from_sql_and_values(self.readers.get_database_backend(), text, values);
        let rows = self.readers.query_all_raw(statement).await?;
        let unfolded = |row: &QueryResult| {
            let (timestamp, seq, resource_type, action, user, resource, recorded_at): (_, _, _, _, String, String, _) =
                row.try_get_many_by_index()?;
            Ok(Unfolded {
                position: Position { timestamp: Timestamp::saturating(timestamp), seq },
                recorded_at: Timestamp::saturating(recorded_at),
                leaf: (ResourceType(resource_type), Action(action)),
                user: Identifier::stored(user),
                resource: Identifier::stored(resource),
            })
        };
        rows.iter().map(unfolded).collect()
    }

    /// Begins to fold `organization` on from `folded`; `None` if another folder does, or has done so.
    pub async fn fold(&self, organization: &OrganizationId, folded: Seq) -> Result<Option<Fold>> {
        if folded == 0 {
            // Committed at once: whoever inserts the same row waits for the end of the transaction.
            let row = count_state::Model { organization_id: organization.to_string(), folded_seq: 0 };
            let unless_there = OnConflict::column(count_state::Column::OrganizationId).do_nothing().to_owned();
            let insert = count_state::Entity::insert(row.into_active_model()).on_conflict(unless_there);
            insert.exec_without_returning(&self.writers).await?;
        }
        let options = dialect::append(self.writers.get_database_backend());
        let transaction = self.writers.begin(options).await?;
        let backend = transaction.get_database_backend();
        let text = format!("SELECT folded_seq FROM count_state WHERE organization_id = $1 {}", dialect::hold(backend));
        let statement = Statement::from_sql_and_values(backend, text, [organization.as_str().into()]);
        let held = transaction.query_one_raw(statement).await?;
        let held: Option<Seq> = held.map(|row| row.try_get_by_index(0)).transpose()?;
        if held != Some(folded) {
            transaction.rollback().await?;
            return Ok(None);
        }
        Ok(Some(Fold { transaction, organization: organization.clone(), folded }))
    }
}

impl From<&Entry> for Unfolded {
    fn from(entry: &Entry) -> Self {
        let Entry { seq, timestamp, recorded_at, writer_key_id: _, erased: _, content } = entry;
        Self {
            position: Position { timestamp: *timestamp, seq: *seq },
            recorded_at: *recorded_at,
            leaf: (content.resource_type, content.action),
            user: content.user_id.clone(),
            resource: content.resource_id.clone(),
        }
    }
}

impl Fold {
    /// The whole counts of those of `keys` that have marks.
    pub async fn wholes(&self, keys: &[&Key]) -> Result<HashMap<Key, Whole>> {
        let mut sql = self.sql();
        let texts = sql.bind(dialect::texts(sql.backend, keys.iter().map(|key| key.text()).collect()));
        let k = dialect::each_text(sql.backend, &texts);
        let each = dialect::each(sql.backend, "count_keys", "c", "c.organization_id = $1 AND c.key = k.value");
        let statement = format!("SELECT c.* FROM {k} {each}");
        let rows = self.query(sql.statement(statement)).await?;
        let mut wholes = HashMap::with_capacity(rows.len());
        for row in rows {
            let (key, whole) = whole(count_key::Model::from_query_result(&row, "")?)?;
            wholes.insert(key, whole);
        }
        Ok(wholes)
    }

    /// Which of `keys` have at least `least` entries numbered up to `head`.
    pub async fn with_many<'k>(&self, keys: &[&'k Key], least: i64, head: Seq) -> Result<Vec<&'k Key>> {
        let mut with_many = Vec::new();
        for key in keys {
            let mut sql = self.sql();
            let entries = entries_statement(&mut sql, key, PositionRange::ALL, head, Some(least));
            let statement = format!("SELECT count(*) FROM ({entries}) counted");
            let rows = self.query(sql.statement(statement)).await?;
            let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get_by_index(0))?;
            if count >= least {
                with_many.push(*key);
            }
        }
        Ok(with_many)
    }

    /// Writes the whole count of `key`, and its marks as far as they differ: `None` takes a mark away.
    pub async fn save(
        &self,
        wholes: Vec<(&Key, Whole)>,
        marks: Vec<(&Key, BTreeMap<Rung, Option<Counts>>)>,
    ) -> Result<()> {
        let organization_id = || self.organization.to_string();
        let key_row = |(key, Whole { counts, newest, tail }): (&Key, Whole)| count_key::Model {
            organization_id: organization_id(),
            key: key.text(),
            counts: counts.bytes(),
            newest_timestamp: newest.timestamp.micros(),
            newest_seq: newest.seq,
            tail,
        };
        let key_rows: Vec<_> = wholes.into_iter().map(key_row).collect();
        let (mut mark_rows, mut gone) = (Vec::new(), Vec::new());
        for (key, marks) in marks {
            for ((level, Position { timestamp, seq }), counts) in marks {
                let (organization_id, timestamp) = (organization_id(), timestamp.micros());
                let kept = counts.is_some();
                let counts = counts.map_or_else(Vec::new, |counts| counts.bytes());
                let row = count_mark::Model { organization_id, key: key.text(), level, timestamp, seq, counts };
                if kept { mark_rows.push(row) } else { gone.push(row) }
            }
        }
        if !key_rows.is_empty() {
            use count_key::Column as C;
            let newer = OnConflict::columns([C::OrganizationId, C::Key])
                .update_columns([C::Counts, C::NewestTimestamp, C::NewestSeq, C::Tail])
                .to_owned();
            for chunk in prepared(&key_rows) {
                let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
                let insert = count_key::Entity::insert_many(rows).on_conflict(newer.clone());
                insert.exec_without_returning(&self.transaction).await?;
            }
        }
        use count_mark::Column as C;
        let place = [C::OrganizationId, C::Key, C::Level, C::Timestamp, C::Seq];
        let newer = OnConflict::columns(place).update_column(C::Counts).to_owned();
        for chunk in prepared(&mark_rows) {
            let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
            let insert = count_mark::Entity::insert_many(rows).on_conflict(newer.clone());
            insert.exec_without_returning(&self.transaction).await?;
        }
        for row in gone {
            count_mark::Entity::delete(row.into_active_model()).exec(&self.transaction).await?;
        }
        Ok(())
    }

    /// The marks of `level` inside of `spans`, with the place of their span, in order.
    pub async fn marks(&self, spans: &[(&Key, PositionRange)], level: i16) -> Result<Vec<(usize, Mark)>> {
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql();
        let statement = marks_statement(&mut sql, spans, level);
        self.query(sql.statement(statement)).await?.iter().map(place_and_mark).collect()
    }

    /// The entries of `key` in `span` numbered up to `head`, in order.
    pub async fn entries(&self, key: &Key, span: PositionRange, head: Seq) -> Result<Vec<(Position, EntryKind)>> {
        let mut sql = self.sql();
        let statement = entries_statement(&mut sql, key, span, head, None);
        self.query(sql.statement(statement)).await?.iter().map(counted).collect()
    }

    /// Counts reach up to `to` now, for all to see. Errors if another folder was there, which cannot be.
    pub async fn commit(self, to: Seq) -> Result<()> {
        let moved = count_state::Entity::update_many()
            .col_expr(count_state::Column::FoldedSeq, to.into())
            .filter(count_state::Column::OrganizationId.eq(self.organization.as_str()))
            .filter(count_state::Column::FoldedSeq.eq(self.folded))
            .exec(&self.transaction)
            .await?;
        if moved.rows_affected != 1 {
            return Err(Error::Internal(anyhow::anyhow!("two folders were at work on one organization")));
        }
        Ok(self.transaction.commit().await?)
    }

    /// Takes all counts of the organization away; they are made again from its entries.
    pub async fn forget(self) -> Result<()> {
        let organization = self.organization.as_str();
        let marks = count_mark::Entity::delete_many().filter(count_mark::Column::OrganizationId.eq(organization));
        marks.exec(&self.transaction).await?;
        let keys = count_key::Entity::delete_many().filter(count_key::Column::OrganizationId.eq(organization));
        keys.exec(&self.transaction).await?;
        self.commit(0).await
    }

    fn sql(&self) -> Sql {
        Sql::of(self.transaction.get_database_backend(), &self.organization)
    }

    async fn query(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        Ok(self.transaction.query_all_raw(statement).await?)
    }
}

fn whole(row: count_key::Model) -> Result<(Key, Whole)> {
    let count_key::Model { organization_id: _, key, counts, newest_timestamp, newest_seq, tail } = row;
    let newest = Position { timestamp: Timestamp::saturating(newest_timestamp), seq: newest_seq };
    let key = Key::stored(&key).ok_or(Damaged)?;
    Ok((key, Whole { counts: rows::counts(&counts)?, newest, tail }))
}

/// `SELECT timestamp, seq, resource_type, action` of the entries of `key`, in order.
fn entries_statement(sql: &mut Sql, key: &Key, span: PositionRange, head: Seq, limit: Option<i64>) -> String {
    let streams = IndexScan::from(key.clone());
    let (index, only) = (dialect::indexed_by(sql.backend, streams.index()), streams.only(sql).unwrap_or_default());
    let (within, up_to) = (sql.within(span), sql.up_to(head));
    let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {}", sql.bind(limit)));
    format!(
        "SELECT a.timestamp, a.seq, a.resource_type, a.action FROM audit_logs a {index} \
         WHERE a.organization_id = $1{only} AND {within} AND {up_to} ORDER BY a.timestamp, a.seq{limit}"
    )
}

/// A row of `timestamp, seq, resource_type, action`.
fn counted(row: &QueryResult) -> Result<(Position, EntryKind)> {
    let (timestamp, seq, resource_type, action) = row.try_get_many_by_index()?;
    let position = Position { timestamp: Timestamp::saturating(timestamp), seq };
    Ok((position, (ResourceType(resource_type), Action(action))))
}
