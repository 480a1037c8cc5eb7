//! Handwritten SQL for statements that must use a certain index: scans of entries, and their filters. A predicate that
//! must not use an index is hidden from the planner (`+ 0`, `coalesce`).

use sea_orm::{DbBackend, IdenStatic, Statement, Value};

use super::dialect;
use super::entities::audit_log::Column;
use crate::domain::{
    ActorType, CountKey, EntryKind, Filter, Identifier, OrganizationId, Outcome, PositionRange, RequiredSubstring,
    ResourceType, Search, SearchColumn, Seq,
};

/// The parameters of a statement. If it is about one organization, that is `$1`.
pub(super) struct Sql {
    pub(super) backend: DbBackend,
    values: Vec<Value>,
}

/// A scan of entries in index order. Each stream is one prefix of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexScan {
    /// All entries of the organization: one stream.
    Time,
    /// One stream per kind.
    Kinds(Vec<EntryKind>),
    /// One stream per user.
    Users(Vec<Identifier>),
    /// One stream per resource.
    Resources(Vec<(ResourceType, Identifier)>),
    /// One stream per trace.
    Traces(Vec<Identifier>),
}

impl Sql {
    pub(super) fn new(backend: DbBackend) -> Self {
        Self { backend, values: Vec::new() }
    }

    pub(super) fn of(backend: DbBackend, organization: &OrganizationId) -> Self {
        Self { backend, values: vec![organization.as_str().into()] }
    }

    /// Adds a parameter and returns its name.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// Adds rows as one parameter. Returns the table `k` of them; [`number`] and [`text`] name its columns.
    pub(super) fn rows(&mut self, rows: Vec<serde_json::Value>) -> String {
        let rows = self.bind(serde_json::Value::Array(rows).to_string());
        dialect::elements(self.backend, &rows)
    }

    pub(super) fn statement(self, text: String) -> Statement {
        Statement::from_sql_and_values(self.backend, text, self.values)
    }

    /// The position of `a` lies in `span`, as an index range.
    pub(super) fn within(&mut self, span: PositionRange) -> String {
        lies_in("a.timestamp, a.seq", bounds(span).map(|bound| self.bind(bound)))
    }

    /// The number of `a` is at most `head`. Nearly all entries match; without `+ 0`, both planners would scan the
    /// primary key for this.
    pub(super) fn up_to(&mut self, head: Seq) -> String {
        format!("a.seq + 0 <= {}", self.bind(head))
    }

    /// The conditions of `filter` that `streams` do not cover already, except time. The text begins with AND, or is
    /// empty.
    pub(super) fn filters(&mut self, filter: &Filter, streams: Option<&IndexScan>) -> String {
        let Filter { resource_types, resource_ids, actions, outcomes, user_ids, time: _, search } = filter;
        let texts = |ids: &[Identifier]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let kinds = matches!(streams, Some(IndexScan::Kinds(_)));
        let resources = matches!(streams, Some(IndexScan::Resources(_)));
        let users = matches!(streams, Some(IndexScan::Users(_)));
        let backend = self.backend;
        let mut text = String::new();
        let mut codes = |column: Column, codes: Vec<i16>| {
            let test = match codes[..] {
                // No other index has users with actions or outcomes, so a plain condition is safe: the index tests it
                // before the row is read.
                [code] if users && matches!(column, Column::Action | Column::Outcome) => {
                    format!("a.{} = {}", column.as_str(), self.bind(code))
                }
                [code] => dialect::one(backend, column, &self.bind(code)),
                _ => dialect::any(backend, column, &self.bind(dialect::codes(backend, codes))),
            };
            text.push_str(&format!(" AND {test}"));
        };
        if !(resource_types.is_empty() || kinds || resources) {
            codes(Column::ResourceType, resource_types.iter().map(|code| code.0).collect());
        }
        if !(actions.is_empty() || kinds) {
            codes(Column::Action, actions.iter().map(|code| code.0).collect());
        }
        if !(outcomes.is_empty() || kinds) {
            codes(Column::Outcome, outcomes.iter().map(|outcome| Outcome::code(Some(*outcome))).collect());
        }
        let mut ids = |column: Column, ids: &[Identifier]| {
            let test = match ids {
                // The index of resources has users too. That of users would serve this as well, but the type and the id
                // of the resource make it look more expensive.
                [id] if resources => format!("a.{} = {}", column.as_str(), self.bind(id.as_str())),
                [id] => dialect::one(backend, column, &self.bind(id.as_str())),
                _ => dialect::any(backend, column, &self.bind(dialect::texts(backend, texts(ids)))),
            };
            text.push_str(&format!(" AND {test}"));
        };
        if !(resource_ids.is_empty() || resources) {
            ids(Column::ResourceId, resource_ids);
        }
        if !(user_ids.is_empty() || users) {
            ids(Column::UserId, user_ids);
        }
        text + &self.search(search, streams)
    }

    /// The conditions of `search` that SQL can test, exactly or as necessary ones. No index has their columns, except
    /// that of traces. The text begins with AND, or is empty.
    fn search(&mut self, search: &Search, streams: Option<&IndexScan>) -> String {
        let backend = self.backend;
        let mut conditions = Vec::new();
        if !search.actor_types.is_empty() {
            let codes = search.actor_types.iter().map(|one| ActorType::code(Some(*one))).collect();
            conditions.push(dialect::any(backend, Column::ActorType, &self.bind(dialect::codes(backend, codes))));
        }
        if !(search.trace_ids.is_empty() || matches!(streams, Some(IndexScan::Traces(_)))) {
            let ids = search.trace_ids.iter().map(ToString::to_string).collect();
            conditions.push(dialect::any(backend, Column::TraceId, &self.bind(dialect::texts(backend, ids))));
        }
        if let Some(start) = search.recorded.start() {
            conditions.push(format!("a.recorded_at >= {}", self.bind(start.micros())));
        }
        if let Some(end) = search.recorded.end() {
            conditions.push(format!("a.recorded_at < {}", self.bind(end.micros())));
        }
        for RequiredSubstring { column, text } in search.required_substrings() {
            let column = match column {
                SearchColumn::Changes => Column::Changes,
                SearchColumn::Metadata => Column::Metadata,
            };
            conditions.push(dialect::contains(backend, column, &self.bind(text)));
        }
        conditions.iter().map(|condition| format!(" AND {condition}")).collect()
    }
}

impl From<CountKey> for IndexScan {
    fn from(key: CountKey) -> Self {
        match key {
            CountKey::Organization => Self::Time,
            CountKey::User(user) => Self::Users(vec![user]),
            CountKey::Resource(code, id) => Self::Resources(vec![(code, id)]),
        }
    }
}

impl IndexScan {
    /// The number of streams.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Time => 1,
            Self::Kinds(kinds) => kinds.len(),
            Self::Users(users) => users.len(),
            Self::Resources(resources) => resources.len(),
            Self::Traces(traces) => traces.len(),
        }
    }

    /// The index that has the streams in order.
    pub(super) fn index(&self) -> &'static str {
        match self {
            Self::Time => "audit_logs_time",
            Self::Kinds(_) => "audit_logs_kind",
            Self::Users(_) => "audit_logs_user",
            Self::Resources(_) => "audit_logs_resource",
            Self::Traces(_) => "audit_logs_trace",
        }
    }

    /// Each stream as the first columns of a row of `k`.
    pub(super) fn rows(&self) -> Vec<Vec<serde_json::Value>> {
        match self {
            Self::Time => vec![Vec::new()],
            Self::Kinds(kinds) => kinds.iter().map(|kind| codes(*kind).map(Into::into).to_vec()).collect(),
            Self::Users(ids) | Self::Traces(ids) => ids.iter().map(|id| vec![id.as_str().into()]).collect(),
            Self::Resources(resources) => {
                resources.iter().map(|(code, id)| vec![code.0.into(), id.as_str().into()]).collect()
            }
        }
    }

    /// `a` belongs to the stream in the row of `k`. The text begins with AND, or is empty.
    pub(super) fn prefix(&self) -> String {
        let number = |place| number("k", place);
        match self {
            Self::Time => String::new(),
            Self::Kinds(_) => {
                let [resource_type, action, outcome] = [0, 1, 2].map(number);
                format!(" AND a.resource_type = {resource_type} AND a.action = {action} AND a.outcome = {outcome}")
            }
            Self::Users(_) => format!(" AND a.user_id = {}", text("k", 0)),
            Self::Traces(_) => format!(" AND a.trace_id = {}", text("k", 0)),
            Self::Resources(_) => {
                format!(" AND a.resource_type = {} AND a.resource_id = {}", number(0), text("k", 1))
            }
        }
    }

    /// Like [`Self::prefix`], for a single stream, which the index returns in list order; `None` for several.
    pub(super) fn only(&self, sql: &mut Sql) -> Option<String> {
        Some(match self {
            Self::Time => String::new(),
            Self::Kinds(kinds) => {
                let [kind] = kinds[..] else { return None };
                let [resource_type, action, outcome] = codes(kind).map(|code| sql.bind(code));
                format!(" AND a.resource_type = {resource_type} AND a.action = {action} AND a.outcome = {outcome}")
            }
            Self::Users(users) => {
                let [user] = &users[..] else { return None };
                format!(" AND a.user_id = {}", sql.bind(user.as_str()))
            }
            Self::Traces(traces) => {
                let [trace] = &traces[..] else { return None };
                format!(" AND a.trace_id = {}", sql.bind(trace.as_str()))
            }
            Self::Resources(resources) => {
                let [(code, id)] = &resources[..] else { return None };
                let (code, id) = (sql.bind(code.0), sql.bind(id.as_str()));
                format!(" AND a.resource_type = {code} AND a.resource_id = {id}")
            }
        })
    }
}

/// The columns of `kind`: the codes of its type, its action and its outcome.
fn codes(EntryKind { resource_type, action, outcome }: EntryKind) -> [i16; 3] {
    [resource_type.0, action.0, Outcome::code(outcome)]
}

/// Splits `rows` into pieces of only a few sizes, so that few different INSERT statements are needed and they stay
/// prepared. The sizes are powers of two, and 100, a common batch size. Larger pieces are not faster, and SQLite takes at
/// most 32,766 values.
pub(super) fn prepared<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    const SIZES: [usize; 9] = [128, 100, 64, 32, 16, 8, 4, 2, 1];
    let mut left = rows;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= left.len())?;
        let (piece, rest) = left.split_at(size);
        left = rest;
        Some(piece)
    })
}

/// The bounds of `span` as stored: timestamp and number of its start, then of its end.
pub(super) fn bounds(span: PositionRange) -> [i64; 4] {
    let PositionRange { after, to } = span;
    [after.timestamp.micros(), after.seq, to.timestamp.micros(), to.seq]
}

/// The position `place` lies between the four [`bounds`], which are SQL expressions.
pub(super) fn lies_in(place: &str, [t0, s0, t1, s1]: [String; 4]) -> String {
    format!("({place}) > ({t0}, {s0}) AND ({place}) <= ({t1}, {s1})")
}

/// A number in the row of `k`, at an index from 0.
pub(super) fn number(k: &str, place: usize) -> String {
    format!("CAST({k}.value->>{place} AS bigint)")
}

/// A text in the row of `k`, at an index from 0.
pub(super) fn text(k: &str, place: usize) -> String {
    format!("{k}.value->>{place}")
}
