//! Running counts for readers: which entries are counted, and the last running count before a position.

use std::collections::BTreeSet;

use sea_orm::{DbBackend, QueryResult, Statement};

use crate::domain::{CountKey, Counts, Filter, OrganizationId, Position, PositionRange, ResourceType, Seq, Timestamp};
use crate::error::{Error, Result};
use crate::store::dialect;
use crate::store::entries::list::{Snapshot, numbered, numbered_by_kind};
use crate::store::kinds::kinds_and_numbers;
use crate::store::model::{CountState, CountUncounted, KeyState, RunningCount};
use crate::store::sql::{Sql, bounds, lies_in, number, text};

/// The number of uncounted entries that a reader counts one by one. If there are more, it does not use running counts.
pub(super) const MAX_UNCOUNTED: Seq = 20_000;

impl Snapshot {
    /// The head of `organization`, and the counts of each of `keys` at the ends of `span`; `None` if there is no such
    /// organization. Also counts entries that are in no running count yet, as `uncounted` says.
    pub async fn state(
        &self,
        organization: &OrganizationId,
        uncounted: CountUncounted<'_>,
        keys: &[CountKey],
        span: PositionRange,
    ) -> Result<Option<CountState>> {
        let mut sql = self.sql(organization);
        let ends = [span.after, span.to];
        let is_bounded = ends.map(|end| end != Position::START && end != Position::END);
        let bounded: Vec<usize> = (0..ends.len()).filter(|end| is_bounded[*end]).collect();
        let statement = state_statement(&mut sql, uncounted, keys, span, &bounded);
        let mut state: Option<CountState> = None;
        for row in self.query(sql.statement(statement)).await? {
            let state = match &mut state {
                Some(state) => state,
                None => state.insert(count_state(&row, keys.len())?),
            };
            let place: Option<i64> = row.try_get_by_index(4)?;
            let Some(place) = place.and_then(|place| usize::try_from(place).ok()) else { continue };
            let Some(key) = state.keys.get_mut(place / 2) else { continue };
            let total: Option<Vec<u8>> = row.try_get_by_index(5)?;
            key.total = total.map(|bytes| Counts::parse(&bytes)).transpose()?;
            if !bounded.is_empty() {
                *(if place % 2 == 0 { &mut key.after } else { &mut key.to }) = last_count(&row, 6)?;
            }
        }
        Ok(state)
    }

    /// The level-0 counts of `keys` up to `to`, each with the index of its key, in order.
    pub async fn level0_counts(
        &self,
        organization: &OrganizationId,
        keys: &[CountKey],
        to: Position,
    ) -> Result<Vec<(usize, RunningCount)>> {
        let spans: Vec<_> = keys.iter().map(|key| (key, PositionRange { after: Position::START, to })).collect();
        self.running_counts(organization, &spans, 0).await
    }

    /// The resource types of the entries of `organization`; all types if too many entries are not counted yet.
    pub async fn types(&self, organization: &OrganizationId) -> Result<Vec<ResourceType>> {
        let (every, key) = (Filter::default(), [CountKey::Organization]);
        let state = self.state(organization, CountUncounted::ByKind(&every), &key, PositionRange::ALL).await?;
        let Some(CountState { uncounted, uncounted_kinds, keys, .. }) = state else { return Ok(Vec::new()) };
        if uncounted.is_none() {
            let codes = "SELECT code FROM catalogue WHERE kind = 'resource_type' ORDER BY code";
            let rows = self.query(Statement::from_string(self.backend(), codes)).await?;
            return rows.iter().map(|row| Ok(ResourceType(row.try_get_by_index(0)?))).collect();
        }
        let counted = keys.iter().filter_map(|key| key.total.as_ref()).flat_map(Counts::kinds);
        let types: BTreeSet<_> = counted.chain(uncounted_kinds).map(|kind| kind.resource_type).collect();
        Ok(types.into_iter().collect())
    }

    /// The running counts of `level` inside `spans`, each with the index of its span, in order.
    pub async fn running_counts(
        &self,
        organization: &OrganizationId,
        spans: &[(&CountKey, PositionRange)],
        level: i16,
    ) -> Result<Vec<(usize, RunningCount)>> {
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql(organization);
        let statement = counts_statement(&mut sql, spans, level);
        let rows = self.query(sql.statement(statement)).await?;
        rows.iter().map(place_and_count).collect()
    }
}

/// The organization in a row of [`state_statement`], with room for `keys`.
fn count_state(row: &QueryResult, keys: usize) -> Result<CountState> {
    let (head, counted, number, kinds): (Seq, Seq, Option<i64>, Option<String>) =
        (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?, row.try_get_by_index(3)?);
    let (mut uncounted, mut uncounted_kinds) = (number, Vec::new());
    for (kind, entries) in kinds_and_numbers(kinds.as_deref())? {
        uncounted = uncounted.map(|uncounted| uncounted + entries);
        uncounted_kinds.push(kind);
    }
    Ok(CountState { head, counted, uncounted, uncounted_kinds, keys: vec![KeyState::default(); keys] })
}

/// `SELECT head, counted, uncounted, kinds, place, total`, and for the `bounded` ends of the span a level-0 count and a
/// level-1 count. A place is twice the index of its key, and one more for the second end.
fn state_statement(
    sql: &mut Sql,
    uncounted: CountUncounted<'_>,
    keys: &[CountKey],
    span: PositionRange,
    bounded: &[usize],
) -> String {
    let ends = [span.after, span.to];
    let row = |(place, key): (usize, &CountKey)| {
        let text = key.text();
        let at = move |end: usize| {
            let Position { timestamp, seq } = ends[end];
            let place = 2 * place as i64 + end as i64;
            serde_json::json!([place, text, timestamp.micros(), seq])
        };
        match bounded {
            [] => vec![at(0)],
            bounded => bounded.iter().map(|end| at(*end)).collect(),
        }
    };
    let k = sql.rows(keys.iter().enumerate().flat_map(row).collect());
    let if_few =
        |counted: String| format!("CASE WHEN o.head_seq - s.counted_seq <= {MAX_UNCOUNTED} THEN {counted} END");
    let (after, to) = ("s.counted_seq", "o.head_seq");
    let no_kinds = || "CAST(NULL AS text)".to_owned();
    let (matching, kinds) = match uncounted {
        CountUncounted::No => ("CAST(NULL AS bigint)".to_owned(), no_kinds()),
        CountUncounted::Few => (if_few("CAST(0 AS bigint)".to_owned()), no_kinds()),
        CountUncounted::Number(filter) => (if_few(numbered(sql, filter, span, after, to)), no_kinds()),
        // The numbers are beside the kinds.
        CountUncounted::ByKind(filter) => {
            (if_few("CAST(0 AS bigint)".to_owned()), if_few(numbered_by_kind(sql, filter, span, after, to)))
        }
    };
    let total = format!("c WHERE c.organization_id = $1 AND c.key = {} LIMIT 1", text("k", 1));
    let total = dialect::lateral_one(sql.backend, "key_totals", "c", &total);
    let (columns, joins) = match bounded {
        [] => ("", String::new()),
        _ => (", u.timestamp, u.seq, u.counts, i.timestamp, i.seq, i.counts", last_counts(sql.backend)),
    };
    format!(
        "WITH state AS MATERIALIZED (SELECT o.head_seq, coalesce(s.counted_seq, 0) AS counted_seq, \
         {matching} AS uncounted, {kinds} AS kinds FROM organizations o LEFT JOIN count_state s ON s.organization_id = o.id WHERE o.id = $1) \
         SELECT state.head_seq, state.counted_seq, state.uncounted, state.kinds, {}, c.counts{columns} FROM state LEFT JOIN {k} ON true \
         {total} {joins}",
        number("k", 0)
    )
}

/// Joins the last running counts of level 0, as `u`, and of level 1, as `i`, of the key in the row of `k`, at or before
/// the position there.
pub(super) fn last_counts(backend: DbBackend) -> String {
    let last = |level: i16, alias: &str| {
        let inner = format!(
            "m WHERE m.organization_id = $1 AND m.key = {} AND m.level = {level} AND (m.timestamp, m.seq) <= ({}, {}) \
             ORDER BY m.timestamp DESC, m.seq DESC LIMIT 1",
            text("k", 1),
            number("k", 2),
            number("k", 3)
        );
        dialect::lateral_one(backend, "running_counts", alias, &inner)
    };
    format!("{} {}", last(0, "u"), last(1, "i"))
}

/// `SELECT place, timestamp, seq, counts`, in order.
pub(super) fn counts_statement(sql: &mut Sql, spans: &[(&CountKey, PositionRange)], level: i16) -> String {
    let row = |(place, (key, span)): (usize, &(&CountKey, PositionRange))| {
        let [t0, s0, t1, s1] = bounds(*span);
        serde_json::json!([place, key.text(), t0, s0, t1, s1])
    };
    let k = sql.rows(spans.iter().enumerate().map(row).collect());
    let (place, within) = (number("k", 0), lies_in("m.timestamp, m.seq", [2, 3, 4, 5].map(|place| number("k", place))));
    let chosen = format!("m.organization_id = $1 AND m.key = {} AND m.level = {level} AND {within}", text("k", 1));
    let counts = dialect::each(sql.backend, "running_counts", "m", &chosen);
    format!("SELECT {place} AS place, m.timestamp, m.seq, m.counts FROM {k} {counts} ORDER BY 1, 2, 3")
}

pub(super) fn place_and_count(row: &QueryResult) -> Result<(usize, RunningCount)> {
    let place: i64 = row.try_get_by_index(0)?;
    Ok((usize::try_from(place).unwrap_or(0), count_at(row, 1)?))
}

/// The running count in three columns of a row.
fn count_at(row: &QueryResult, first: usize) -> Result<RunningCount> {
    let (timestamp, seq, counts): (i64, i64, Vec<u8>) =
        (row.try_get_by_index(first)?, row.try_get_by_index(first + 1)?, row.try_get_by_index(first + 2)?);
    let position = Position { timestamp: Timestamp::saturating(timestamp), seq };
    Ok(RunningCount { position, counts: Counts::parse(&counts)? })
}

/// The last running count in the columns of [`last_counts`] from `first` on: of level 0, or of level 1 with the level-0
/// count added.
pub(super) fn last_count(row: &QueryResult, first: usize) -> Result<RunningCount> {
    let at = |first: usize| -> Result<Option<RunningCount>> {
        let timestamp: Option<i64> = row.try_get_by_index(first)?;
        timestamp.map(|_| count_at(row, first)).transpose()
    };
    let above = at(first)?.unwrap_or_default();
    match at(first + 3)? {
        Some(RunningCount { position, counts }) if position > above.position => {
            Ok(RunningCount { position, counts: counts.plus(&above.counts).map_err(Error::from)? })
        }
        _ => Ok(above),
    }
}
