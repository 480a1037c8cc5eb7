//! The counts that readers start from: how far they reach, and the last mark before a position.

use sea_orm::{QueryResult, Statement};

use super::list::{Snapshot, numbered};
use super::sql::{Sql, bounds, lies_in, number, text};
use super::{dialect, rows};
use crate::domain::{Counts, Filter, Key, OrganizationId, Position, PositionRange, ResourceType, Seq, Timestamp};
use crate::error::{Error, Result};

/// The most entries that are counted one by one because they are not folded yet; beyond, whoever asks does without
/// the marks.
const UNFOLDED: Seq = 20_000;

/// The state of an organization and of some keys at one moment.
#[derive(Debug, Clone)]
pub struct State {
    /// Its last number.
    pub head: Seq,
    /// Entries up to this number are in the counts.
    pub folded: Seq,
    /// Those above that match; `None` where they are too many to count.
    pub unfolded: Option<i64>,
    /// The types that an entry may have; their codes begin with 0.
    pub types: i16,
    /// In the order asked for.
    pub keys: Vec<KeyState>,
}

/// The state of a key.
#[derive(Debug, Clone, Default)]
pub struct KeyState {
    /// The count of all its folded entries; `None` if it has no marks.
    pub whole: Option<Counts>,
    /// The last marks at or before the ends of the span asked for.
    pub after: Mark,
    /// The same of its other end.
    pub to: Mark,
}

/// The count of a key's folded entries up to a position, that included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where.
    pub position: Position,
    /// How many.
    pub counts: Counts,
}

impl Default for Mark {
    /// Before all entries.
    fn default() -> Self {
        Self { position: Position::START, counts: Counts::default() }
    }
}

impl Snapshot {
    /// The head of `organization`, and of each of `keys` the counts at the ends of `span`; `None` if there is no
    /// such organization. With `filter`, those that it asks for and that are not folded yet are counted.
    pub async fn state(
        &self,
        organization: &OrganizationId,
        filter: Option<&Filter>,
        keys: &[Key],
        span: PositionRange,
    ) -> Result<Option<State>> {
        let mut sql = self.sql(organization);
        let ends = [span.after, span.to];
        let is_asked = ends.map(|end| end != Position::START && end != Position::END);
        let asked: Vec<usize> = (0..ends.len()).filter(|end| is_asked[*end]).collect();
        let statement = state_statement(&mut sql, filter, keys, span, &asked);
        let mut state: Option<State> = None;
        for row in self.query(sql.statement(statement)).await? {
            let state = match &mut state {
                Some(state) => state,
                None => state.insert(State {
                    head: row.try_get_by_index(0)?,
                    folded: row.try_get_by_index(1)?,
                    unfolded: row.try_get_by_index(2)?,
                    types: row.try_get_by_index(3)?,
                    keys: vec![KeyState::default(); keys.len()],
                }),
            };
            let place: Option<i64> = row.try_get_by_index(4)?;
            let Some(place) = place.and_then(|place| usize::try_from(place).ok()) else { continue };
            let Some(key) = state.keys.get_mut(place / 2) else { continue };
            let whole: Option<Vec<u8>> = row.try_get_by_index(5)?;
            key.whole = whole.map(|bytes| rows::counts(&bytes)).transpose()?;
            if !asked.is_empty() {
                *(if place % 2 == 0 { &mut key.after } else { &mut key.to }) = mark(&row)?;
            }
        }
        Ok(state)
    }

    /// The super marks of `keys` up to `to`, with the place of their key, in order.
    pub async fn super_marks(
        &self,
        organization: &OrganizationId,
        keys: &[Key],
        to: Position,
    ) -> Result<Vec<(usize, Mark)>> {
        let spans: Vec<_> = keys.iter().map(|key| (key, PositionRange { after: Position::START, to })).collect();
        self.marks(organization, &spans, 0).await
    }

    /// The marks inside of `spans`, which count from the super mark before them, with the place of their span.
    pub async fn inner_marks(
        &self,
        organization: &OrganizationId,
        spans: &[(&Key, PositionRange)],
    ) -> Result<Vec<(usize, Mark)>> {
        self.marks(organization, spans, 1).await
    }

    /// The resource types that an entry may have.
    pub async fn types(&self) -> Result<Vec<ResourceType>> {
        let codes = "SELECT code FROM catalogue WHERE kind = 'resource_type' ORDER BY code";
        let rows = self.query(Statement::from_string(self.backend(), codes)).await?;
        rows.iter().map(|row| Ok(ResourceType(row.try_get_by_index(0)?))).collect()
    }

    async fn marks(
        &self,
        organization: &OrganizationId,
        spans: &[(&Key, PositionRange)],
        level: i16,
    ) -> Result<Vec<(usize, Mark)>> {
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql(organization);
        let statement = marks_statement(&mut sql, spans, level);
        let rows = self.query(sql.statement(statement)).await?;
        rows.iter().map(place_and_mark).collect()
    }
}

/// `SELECT head, folded, unfolded, types, place, whole`, and where ends are `asked` for, a super mark and a mark after it.
/// A place is twice that of its key, and one more for the second end.
fn state_statement(
    sql: &mut Sql,
    filter: Option<&Filter>,
    keys: &[Key],
    span: PositionRange,
    asked: &[usize],
) -> String {
    let ends = [span.after, span.to];
    let row = |(place, key): (usize, &Key)| {
        let text = key.text();
        let at = move |end: usize| {
            let Position { timestamp, seq } = ends[end];
            let place = 2 * place as i64 + end as i64;
            serde_json::json!([place, text, timestamp.micros(), seq])
        };
        match asked {
            [] => vec![at(0)],
            asked => asked.iter().map(|end| at(*end)).collect(),
        }
    };
    let k = sql.rows(keys.iter().enumerate().flat_map(row).collect());
    let unfolded = match filter {
        Some(filter) => {
            let unfolded = numbered(sql, filter, span, "s.folded_seq", "o.head_seq");
            format!("CASE WHEN o.head_seq - s.folded_seq <= {UNFOLDED} THEN {unfolded} END")
        }
        None => "CAST(NULL AS bigint)".to_owned(),
    };
    let last = |sql: &mut Sql, level: i16, alias: &str| {
        let inner = format!(
            "m WHERE m.organization_id = $1 AND m.key = {} AND m.level = {level} AND (m.timestamp, m.seq) <= ({}, {}) \
             ORDER BY m.timestamp DESC, m.seq DESC LIMIT 1",
            text("k", 1),
            number("k", 2),
            number("k", 3)
        );
        dialect::lateral_one(sql.backend, "count_marks", alias, &inner)
    };
    let whole = format!("c WHERE c.organization_id = $1 AND c.key = {} LIMIT 1", text("k", 1));
    let whole = dialect::lateral_one(sql.backend, "count_keys", "c", &whole);
    let (columns, joins) = match asked {
        [] => ("", String::new()),
        _ => (
            ", u.timestamp, u.seq, u.counts, i.timestamp, i.seq, i.counts",
            format!("{} {}", last(sql, 0, "u"), last(sql, 1, "i")),
        ),
    };
    format!(
        "WITH state AS MATERIALIZED (SELECT o.head_seq, coalesce(s.folded_seq, 0) AS folded_seq, \
         {unfolded} AS unfolded, \
         (SELECT CAST(max(code) + 1 AS smallint) FROM catalogue WHERE kind = 'resource_type') AS types \
         FROM organizations o LEFT JOIN count_state s ON s.organization_id = o.id WHERE o.id = $1) \
         SELECT state.head_seq, state.folded_seq, state.unfolded, state.types, {}, c.counts{columns} FROM state LEFT JOIN {k} ON true \
         {whole} {joins}",
        number("k", 0)
    )
}

/// `SELECT place, timestamp, seq, counts`, in order.
pub(super) fn marks_statement(sql: &mut Sql, spans: &[(&Key, PositionRange)], level: i16) -> String {
    let row = |(place, (key, span)): (usize, &(&Key, PositionRange))| {
        let [t0, s0, t1, s1] = bounds(*span);
        serde_json::json!([place, key.text(), t0, s0, t1, s1])
    };
    let k = sql.rows(spans.iter().enumerate().map(row).collect());
    let (place, within) = (number("k", 0), lies_in("m.timestamp, m.seq", [2, 3, 4, 5].map(|place| number("k", place))));
    let chosen = format!("m.organization_id = $1 AND m.key = {} AND m.level = {level} AND {within}", text("k", 1));
    let marks = dialect::each(sql.backend, "count_marks", "m", &chosen);
    format!("SELECT {place} AS place, m.timestamp, m.seq, m.counts FROM {k} {marks} ORDER BY 1, 2, 3")
}

pub(super) fn place_and_mark(row: &QueryResult) -> Result<(usize, Mark)> {
    let place: i64 = row.try_get_by_index(0)?;
    Ok((usize::try_from(place).unwrap_or(0), mark_at(row, 1)?))
}

/// The mark in three columns of a row.
fn mark_at(row: &QueryResult, first: usize) -> Result<Mark> {
    let (timestamp, seq, counts): (i64, i64, Vec<u8>) =
        (row.try_get_by_index(first)?, row.try_get_by_index(first + 1)?, row.try_get_by_index(first + 2)?);
    let position = Position { timestamp: Timestamp::saturating(timestamp), seq };
    Ok(Mark { position, counts: rows::counts(&counts)? })
}

/// The last mark of a row of [`state_statement`]: the super mark, or the mark after it, which counts from it.
fn mark(row: &QueryResult) -> Result<Mark> {
    let at = |first: usize| -> Result<Option<Mark>> {
        let timestamp: Option<i64> = row.try_get_by_index(first)?;
        timestamp.map(|_| mark_at(row, first)).transpose()
    };
    let above = at(6)?.unwrap_or_default();
    match at(9)? {
        Some(Mark { position, counts }) if position > above.position => {
            Ok(Mark { position, counts: counts.plus(&above.counts).map_err(Error::from)? })
        }
        _ => Ok(above),
    }
}
