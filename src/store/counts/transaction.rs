//! The transaction that counts entries: it locks the organization's counting state, reads counts, and writes the
//! changed ones.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter, QueryResult, Statement,
};

use crate::domain::{
    CountKey, Counts, Damaged, EntryKind, Identifier, Name, OrganizationId, Position, PositionRange, Seq, Timestamp,
};
use crate::error::{Error, Result};
use crate::store::connections::Transaction;
use crate::store::counts::snapshot::{counts_statement, place_and_count};
use crate::store::entities::{count_state, key_total, name, running_count};
use crate::store::model::{
    CountState, CountUncounted, EntryNames, KeyCounts, KeyTotal, Lag, LevelPosition, RunningCount, UncountedEntry,
};
use crate::store::rows::kind;
use crate::store::sql::{IndexScan, Sql, prepared};
use crate::store::{Store, dialect};

/// An open transaction that counts entries of one organization, one at a time among all processes. If it is dropped
/// before its commit, nothing has changed.
pub struct CountTransaction {
    transaction: Transaction,
    organization: OrganizationId,
    counted: Seq,
}

impl Store {
    /// The organizations with at least `size` entries and at least `lag` uncounted entries.
    pub async fn lags(&self, size: Seq, lag: Seq) -> Result<Vec<Lag>> {
        let text = "SELECT o.id, o.head_seq, coalesce(s.counted_seq, 0) FROM organizations o \
                    LEFT JOIN count_state s ON s.organization_id = o.id \
                    WHERE o.head_seq >= $1 AND o.head_seq - coalesce(s.counted_seq, 0) >= $2 ORDER BY o.id";
        let backend = self.readers.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, text, [size.into(), lag.into()]);
        let rows = self.readers.query_all_raw(statement).await?;
        let lag = |row: &QueryResult| {
            let (organization, head, counted): (String, Seq, Seq) = row.try_get_many_by_index()?;
            Ok(Lag { organization: OrganizationId::stored(organization), head, counted })
        };
        rows.iter().map(lag).collect()
    }

    /// The last counted number of `organization`; `None` if there is no such organization.
    pub async fn lag(&self, organization: &OrganizationId) -> Result<Option<Lag>> {
        let state = self.snapshot().state(organization, CountUncounted::No, &[], PositionRange::ALL).await?;
        let organization = organization.clone();
        Ok(state.map(|CountState { head, counted, .. }| Lag { organization, head, counted }))
    }

    /// The keys of `organization` that have running counts.
    pub async fn counted_keys(&self, organization: &OrganizationId) -> Result<Vec<CountKey>> {
        let text = "SELECT key FROM key_totals WHERE organization_id = $1 \
                    UNION SELECT key FROM running_counts WHERE organization_id = $1 ORDER BY key";
        let backend = self.readers.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, text, [organization.as_str().into()]);
        let mut keys = Vec::new();
        for row in self.readers.query_all_raw(statement).await? {
            let key: String = row.try_get_by_index(0)?;
            keys.push(CountKey::stored(&key).ok_or(Error::from(Damaged))?);
        }
        Ok(keys)
    }

    /// All counts of `key` at one moment; `None` if it has none.
    pub async fn key_counts(&self, organization: &OrganizationId, key: &CountKey) -> Result<Option<KeyCounts>> {
        let transaction = self.readers.begin().await?;
        let counted = count_state::Entity::find_by_id(organization.as_str()).one(&transaction).await?;
        let id = (organization.to_string(), key.text());
        let total = key_total::Entity::find_by_id(id).one(&transaction).await?;
        let stored = running_count::Entity::find()
            .filter(running_count::Column::OrganizationId.eq(organization.as_str()))
            .filter(running_count::Column::Key.eq(key.text()))
            .all(&transaction)
            .await?;
        transaction.commit().await?;
        let counted = counted.map_or(0, |state| state.counted_seq);
        let total = match total {
            Some(total) => self::total(total)?.1,
            None if stored.is_empty() => return Ok(None),
            // Running counts without a total are an error that the check reports.
            None => KeyTotal::default(),
        };
        let mut running_counts = BTreeMap::new();
        for running_count::Model { organization_id: _, key: _, level, timestamp, seq, counts } in stored {
            let position = Position { timestamp: Timestamp::saturating(timestamp), seq };
            running_counts.insert((level, position), Counts::parse(&counts)?);
        }
        Ok(Some(KeyCounts { counted, total, running_counts }))
    }

    /// At most `limit` entries of `key` in `span` numbered up to `head`, in order.
    pub async fn entries(
        &self,
        organization: &OrganizationId,
        key: &CountKey,
        span: PositionRange,
        head: Seq,
        limit: i64,
    ) -> Result<Vec<(Position, EntryKind)>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let statement = entries_statement(&mut sql, key, span, head, Some(limit));
        self.readers.query_all_raw(sql.statement(statement)).await?.iter().map(counted).collect()
    }

    /// The entries with numbers above `after` and up to `to`, in no order. It takes no lock: committed entries do not
    /// change.
    pub async fn uncounted(&self, organization: &OrganizationId, after: Seq, to: Seq) -> Result<Vec<UncountedEntry>> {
        let mut recent = self.recent.take(organization, to);
        recent.retain(|entry| entry.position.seq > after);
        // The database may have been taken back to an earlier time, and another process have gone on from there.
        for end in [recent.first().cloned(), recent.last().cloned()].into_iter().flatten() {
            let seq = end.position.seq;
            if self.read_uncounted(organization, seq - 1, seq).await?.last() != Some(&end) {
                recent.clear();
            }
        }
        let first = recent.first().map_or(to, |first| first.position.seq - 1);
        if first > after {
            recent.extend(self.read_uncounted(organization, after, first).await?);
        }
        Ok(recent)
    }

    async fn read_uncounted(&self, organization: &OrganizationId, after: Seq, to: Seq) -> Result<Vec<UncountedEntry>> {
        // No index has `recorded_at`: an index with all these columns would look cheaper to the planner than that of
        // numbers.
        let text = "SELECT timestamp, seq, resource_type, action, outcome, user_id, resource_id, recorded_at, user_name, \
                    user_email, resource_name FROM audit_logs WHERE organization_id = $1 AND seq > $2 AND seq <= $3";
        let values = [organization.as_str().into(), after.into(), to.into()];
        let statement = Statement::from_sql_and_values(self.readers.get_database_backend(), text, values);
        let rows = self.readers.query_all_raw(statement).await?;
        let name = |row: &QueryResult, place: usize| -> Result<Option<Name>> {
            Ok(row.try_get_by_index::<Option<String>>(place)?.map(Name::stored))
        };
        let entry = |row: &QueryResult| {
            let (position, kind) = counted(row)?;
            Ok(UncountedEntry {
                position,
                kind,
                user: Identifier::stored(row.try_get_by_index(5)?),
                resource: Identifier::stored(row.try_get_by_index(6)?),
                recorded_at: Timestamp::saturating(row.try_get_by_index(7)?),
                names: EntryNames {
                    user_name: name(row, 8)?,
                    user_email: name(row, 9)?,
                    resource_name: name(row, 10)?,
                },
            })
        };
        rows.iter().map(entry).collect()
    }

    /// Begins to count entries of `organization` above the number `counted`; `None` if another process does so, or has
    /// done so.
    pub async fn begin_counting(
        &self,
        organization: &OrganizationId,
        counted: Seq,
    ) -> Result<Option<CountTransaction>> {
        if counted == 0 {
            // Committed at once: another insert of the same row would wait for the end of this transaction.
            let row = count_state::Model { organization_id: organization.to_string(), counted_seq: 0 };
            let unless_there = OnConflict::column(count_state::Column::OrganizationId).do_nothing().to_owned();
            let insert = count_state::Entity::insert(row.into_active_model()).on_conflict(unless_there);
            insert.exec_without_returning(&self.writers).await?;
        }
        let transaction = self.writers.begin().await?;
        let backend = transaction.get_database_backend();
        let text = format!("SELECT counted_seq FROM count_state WHERE organization_id = $1 {}", dialect::hold(backend));
        let statement = Statement::from_sql_and_values(backend, text, [organization.as_str().into()]);
        let held = transaction.query_one_raw(statement).await?;
        let held: Option<Seq> = held.map(|row| row.try_get_by_index(0)).transpose()?;
        if held != Some(counted) {
            transaction.rollback().await?;
            return Ok(None);
        }
        Ok(Some(CountTransaction { transaction, organization: organization.clone(), counted }))
    }
}

impl CountTransaction {
    /// The totals of those `keys` that have running counts.
    pub async fn totals(&self, keys: &[&CountKey]) -> Result<HashMap<CountKey, KeyTotal>> {
        let mut texts: Vec<_> = keys.iter().map(|key| key.text()).collect();
        // Most keys have none, and to look for each key takes longer than to read which ones have some.
        if let Some(counted) = self.keys_with_counts(texts.len() / 4).await? {
            texts.retain(|key| counted.contains(key));
        }
        if texts.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sql = self.sql();
        let texts = sql.bind(dialect::texts(sql.backend, texts));
        let k = dialect::each_text(sql.backend, &texts);
        let each = dialect::each(sql.backend, "key_totals", "c", "c.organization_id = $1 AND c.key = k.value");
        let statement = format!("SELECT c.* FROM {k} {each}");
        let rows = self.query(sql.statement(statement)).await?;
        let mut totals = HashMap::with_capacity(rows.len());
        for row in rows {
            let (key, total) = total(key_total::Model::from_query_result(&row, "")?)?;
            totals.insert(key, total);
        }
        Ok(totals)
    }

    /// All keys that have running counts; `None` if these are more than `max`.
    async fn keys_with_counts(&self, max: usize) -> Result<Option<HashSet<String>>> {
        let mut sql = self.sql();
        let limit = sql.bind(max as i64 + 1);
        let statement = format!("SELECT key FROM key_totals WHERE organization_id = $1 LIMIT {limit}");
        let rows = self.query(sql.statement(statement)).await?;
        match rows.len() > max {
            true => Ok(None),
            false => rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect::<Result<_>>().map(Some),
        }
    }

    /// The `keys` with at least `least` entries up to the number `head`.
    pub async fn with_many<'k>(&self, keys: &[&'k CountKey], least: i64, head: Seq) -> Result<Vec<&'k CountKey>> {
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

    /// Writes the totals of keys and their changed running counts; `None` deletes a running count.
    pub async fn save(
        &self,
        totals: Vec<(&CountKey, KeyTotal)>,
        running_counts: Vec<(&CountKey, BTreeMap<LevelPosition, Option<Counts>>)>,
    ) -> Result<()> {
        let organization_id = || self.organization.to_string();
        let key_row = |(key, KeyTotal { counts, newest, tail }): (&CountKey, KeyTotal)| key_total::Model {
            organization_id: organization_id(),
            key: key.text(),
            counts: counts.bytes(),
            newest_timestamp: newest.timestamp.micros(),
            newest_seq: newest.seq,
            tail,
        };
        let key_rows: Vec<_> = totals.into_iter().map(key_row).collect();
        let (mut count_rows, mut gone) = (Vec::new(), Vec::new());
        for (key, counts) in running_counts {
            for ((level, Position { timestamp, seq }), counts) in counts {
                let (organization_id, timestamp) = (organization_id(), timestamp.micros());
                let kept = counts.is_some();
                let counts = counts.map_or_else(Vec::new, |counts| counts.bytes());
                let row = running_count::Model { organization_id, key: key.text(), level, timestamp, seq, counts };
                if kept { count_rows.push(row) } else { gone.push(row) }
            }
        }
        if !key_rows.is_empty() {
            use key_total::Column as C;
            let newer = OnConflict::columns([C::OrganizationId, C::Key])
                .update_columns([C::Counts, C::NewestTimestamp, C::NewestSeq, C::Tail])
                .to_owned();
            for chunk in prepared(&key_rows) {
                let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
                let insert = key_total::Entity::insert_many(rows).on_conflict(newer.clone());
                insert.exec_without_returning(&self.transaction).await?;
            }
        }
        use running_count::Column as C;
        let place = [C::OrganizationId, C::Key, C::Level, C::Timestamp, C::Seq];
        let newer = OnConflict::columns(place).update_column(C::Counts).to_owned();
        for chunk in prepared(&count_rows) {
            let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
            let insert = running_count::Entity::insert_many(rows).on_conflict(newer.clone());
            insert.exec_without_returning(&self.transaction).await?;
        }
        for row in gone {
            running_count::Entity::delete(row.into_active_model()).exec(&self.transaction).await?;
        }
        Ok(())
    }

    /// The running counts of `level` inside `spans`, each with the index of its span, in order.
    pub async fn running_counts(
        &self,
        spans: &[(&CountKey, PositionRange)],
        level: i16,
    ) -> Result<Vec<(usize, RunningCount)>> {
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql();
        let statement = counts_statement(&mut sql, spans, level);
        self.query(sql.statement(statement)).await?.iter().map(place_and_count).collect()
    }

    /// The entries of `key` in `span` numbered up to `head`, in order.
    pub async fn entries(&self, key: &CountKey, span: PositionRange, head: Seq) -> Result<Vec<(Position, EntryKind)>> {
        let mut sql = self.sql();
        let statement = entries_statement(&mut sql, key, span, head, None);
        self.query(sql.statement(statement)).await?.iter().map(counted).collect()
    }

    /// Commits: all entries up to `to` are counted now. Errors: another process has counted, which the lock excludes.
    pub async fn commit(self, to: Seq) -> Result<()> {
        let moved = count_state::Entity::update_many()
            .col_expr(count_state::Column::CountedSeq, to.into())
            .filter(count_state::Column::OrganizationId.eq(self.organization.as_str()))
            .filter(count_state::Column::CountedSeq.eq(self.counted))
            .exec(&self.transaction)
            .await?;
        if moved.rows_affected != 1 {
            return Err(Error::Internal(anyhow::anyhow!("two processes counted one organization")));
        }
        Ok(self.transaction.commit().await?)
    }

    /// Deletes all counts and names of the organization; they are then rebuilt from its entries.
    pub async fn discard(self) -> Result<()> {
        let organization = self.organization.as_str();
        let counts =
            running_count::Entity::delete_many().filter(running_count::Column::OrganizationId.eq(organization));
        counts.exec(&self.transaction).await?;
        let keys = key_total::Entity::delete_many().filter(key_total::Column::OrganizationId.eq(organization));
        keys.exec(&self.transaction).await?;
        let names = name::Entity::delete_many().filter(name::Column::OrganizationId.eq(organization));
        names.exec(&self.transaction).await?;
        self.commit(0).await
    }

    pub(super) fn connection(&self) -> &Transaction {
        &self.transaction
    }

    pub(super) fn organization(&self) -> &OrganizationId {
        &self.organization
    }

    pub(super) fn counted(&self) -> Seq {
        self.counted
    }

    pub(super) fn sql(&self) -> Sql {
        Sql::of(self.transaction.get_database_backend(), &self.organization)
    }

    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        Ok(self.transaction.query_all_raw(statement).await?)
    }
}

fn total(row: key_total::Model) -> Result<(CountKey, KeyTotal)> {
    let key_total::Model { organization_id: _, key, counts, newest_timestamp, newest_seq, tail } = row;
    let newest = Position { timestamp: Timestamp::saturating(newest_timestamp), seq: newest_seq };
    let key = CountKey::stored(&key).ok_or(Damaged)?;
    Ok((key, KeyTotal { counts: Counts::parse(&counts)?, newest, tail }))
}

/// `SELECT timestamp, seq, resource_type, action, outcome` of the entries of `key`, in order.
fn entries_statement(sql: &mut Sql, key: &CountKey, span: PositionRange, head: Seq, limit: Option<i64>) -> String {
    let streams = IndexScan::from(key.clone());
    let (index, only) = (dialect::indexed_by(sql.backend, streams.index()), streams.only(sql).unwrap_or_default());
    let (within, up_to) = (sql.within(span), sql.up_to(head));
    let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {}", sql.bind(limit)));
    format!(
        "SELECT a.timestamp, a.seq, a.resource_type, a.action, a.outcome FROM audit_logs a {index} \
         WHERE a.organization_id = $1{only} AND {within} AND {up_to} ORDER BY a.timestamp, a.seq{limit}"
    )
}

/// The position and the kind of a row that begins with `timestamp, seq, resource_type, action, outcome`.
fn counted(row: &QueryResult) -> Result<(Position, EntryKind)> {
    let (timestamp, seq, resource_type, action, outcome) = row.try_get_many_by_index()?;
    Ok((Position { timestamp: Timestamp::saturating(timestamp), seq }, kind(resource_type, action, outcome)?))
}
