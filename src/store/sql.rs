//! Statements written by hand, where the index that serves them must be certain: the streams of entries, and
//! what is asked of them. A predicate that no index shall serve is hidden from the planner (`+ 0`, `coalesce`).

use sea_orm::{DbBackend, Statement, Value};

use super::dialect;
use crate::domain::{EntryKind, Filter, Identifier, Key, OrganizationId, PositionRange, ResourceType, Seq};

/// A statement's parameters. Of those that ask an organization, it is `$1`.
pub(super) struct Sql {
    pub(super) backend: DbBackend,
    values: Vec<Value>,
}

/// Entries in the order of an index, each stream with its own beginning of that index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexScan {
    /// All entries of the organization.
    Time,
    /// By type and action.
    Kinds(Vec<EntryKind>),
    /// By who did it.
    Users(Vec<Identifier>),
    /// By what it was done to.
    Resources(Vec<(ResourceType, Identifier)>),
}

/// A column of `audit_logs a` that no index shall be used for.
#[derive(Clone, Copy)]
pub(super) enum UnindexedColumn {
    ResourceType,
    ResourceId,
    Action,
    UserId,
    Timestamp,
}

impl Sql {
    pub(super) fn new(backend: DbBackend) -> Self {
        Self { backend, values: Vec::new() }
    }

    pub(super) fn of(backend: DbBackend, organization: &OrganizationId) -> Self {
        Self { backend, values: vec![organization.as_str().into()] }
    }

    /// Adds a parameter and gives its name.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// Adds rows as a parameter and gives the table `k` of them, whose columns [`number`] and [`text`] name.
    pub(super) fn rows(&mut self, rows: Vec<serde_json::Value>) -> String {
        let rows = self.bind(serde_json::Value::Array(rows).to_string());
        dialect::elements(self.backend, &rows)
    }

    pub(super) fn statement(self, text: String) -> Statement {
        Statement::from_sql_and_values(self.backend, text, self.values)
    }

    /// `a`'s place lies in `span`, as an index range.
    pub(super) fn within(&mut self, span: PositionRange) -> String {
        lies_in("a.timestamp, a.seq", bounds(span).map(|bound| self.bind(bound)))
    }

    /// Nearly all entries are up to `head`; written plainly, both planners walk the primary key for it.
    pub(super) fn up_to(&mut self, head: Seq) -> String {
        format!("a.seq + 0 <= {}", self.bind(head))
    }

    /// The conditions of `filter` that `streams` do not fulfil already, without those on time. Begins with AND, or is empty.
    pub(super) fn filters(&mut self, filter: &Filter, streams: Option<&IndexScan>) -> String {
        let Filter { resource_types, resource_ids, actions, user_ids, time: _ } = filter;
        let texts = |ids: &[Identifier]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let leaves = matches!(streams, Some(IndexScan::Kinds(_)));
        let resources = matches!(streams, Some(IndexScan::Resources(_)));
        let users = matches!(streams, Some(IndexScan::Users(_)));
        let backend = self.backend;
        let mut text = String::new();
        let mut codes = |column: UnindexedColumn, codes: Vec<i16>| {
            let test = match codes[..] {
                // No other index has both users and actions, so that a plain one is tested before the entry is given.
                [code] if users && matches!(column, UnindexedColumn::Action) => {
                    format!("a.action = {}", self.bind(code))
                }
                [code] => dialect::one(backend, column, &self.bind(code)),
                _ => dialect::any(backend, column, &self.bind(dialect::codes(backend, codes))),
            };
            text.push_str(&format!(" AND {test}"));
        };
        if !(resource_types.is_empty() || leaves || resources) {
            codes(UnindexedColumn::ResourceType, resource_types.iter().map(|code| code.0).collect());
        }
        if !(actions.is_empty() || leaves) {
            codes(UnindexedColumn::Action, actions.iter().map(|code| code.0).collect());
        }
        let mut ids = |column: UnindexedColumn, ids: &[Identifier]| {
            let test = match ids {
                [id] => dialect::one(backend, column, &self.bind(id.as_str())),
                _ => dialect::any(backend, column, &self.bind(dialect::texts(backend, texts(ids)))),
            };
            text.push_str(&format!(" AND {test}"));
        };
        if !(resource_ids.is_empty() || resources) {
            ids(UnindexedColumn::ResourceId, resource_ids);
        }
        if !(user_ids.is_empty() || users) {
            ids(UnindexedColumn::UserId, user_ids);
        }
        text
    }
}

impl UnindexedColumn {
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::ResourceType => "a.resource_type",
            Self::Action => "a.action",
            Self::ResourceId => "a.resource_id",
            Self::UserId => "a.user_id",
            Self::Timestamp => "a.timestamp",
        }
    }

    pub(super) fn expression(self) -> &'static str {
        match self {
            Self::ResourceType => "a.resource_type + 0",
            Self::Action => "a.action + 0",
            Self::ResourceId => "coalesce(a.resource_id, a.resource_id)",
            Self::UserId => "coalesce(a.user_id, a.user_id)",
            Self::Timestamp => "a.timestamp + 0",
        }
    }
}

impl From<Key> for IndexScan {
    fn from(key: Key) -> Self {
        match key {
            Key::Organization => Self::Time,
            Key::User(user) => Self::Users(vec![user]),
            Key::Resource(code, id) => Self::Resources(vec![(code, id)]),
        }
    }
}

impl IndexScan {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Time => 1,
            Self::Kinds(leaves) => leaves.len(),
            Self::Users(users) => users.len(),
            Self::Resources(resources) => resources.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index that has them in order.
    pub(super) fn index(&self) -> &'static str {
        match self {
            Self::Time => "audit_logs_time",
            Self::Kinds(_) => "audit_logs_leaf",
            Self::Users(_) => "audit_logs_user",
            Self::Resources(_) => "audit_logs_resource",
        }
    }

    /// Each stream as the first columns of a row of `k`.
    pub(super) fn rows(&self) -> Vec<Vec<serde_json::Value>> {
        match self {
            Self::Time => vec![Vec::new()],
            Self::Kinds(leaves) => leaves.iter().map(|(code, action)| vec![code.0.into(), action.0.into()]).collect(),
            Self::Users(users) => users.iter().map(|user| vec![user.as_str().into()]).collect(),
            Self::Resources(resources) => {
                resources.iter().map(|(code, id)| vec![code.0.into(), id.as_str().into()]).collect()
            }
        }
    }

    /// `a` is of the stream that is the row of `k`. Begins with AND, or is empty.
    pub(super) fn prefix(&self) -> String {
        let number = |place| number("k", place);
        match self {
            Self::Time => String::new(),
            Self::Kinds(_) => {
                format!(" AND a.resource_type = {} AND a.action = {}", number(0), number(1))
            }
            Self::Users(_) => format!(" AND a.user_id = {}", text("k", 0)),
            Self::Resources(_) => {
                format!(" AND a.resource_type = {} AND a.resource_id = {}", number(0), text("k", 1))
            }
        }
    }

    /// The same of the only stream, which the index then gives in the order of the list.
    pub(super) fn only(&self, sql: &mut Sql) -> Option<String> {
        Some(match self {
            Self::Time => String::new(),
            Self::Kinds(leaves) => {
                let [(code, action)] = leaves[..] else { return None };
                let (code, action) = (sql.bind(code.0), sql.bind(action.0));
                format!(" AND a.resource_type = {code} AND a.action = {action}")
            }
            Self::Users(users) => {
                let [user] = &users[..] else { return None };
                format!(" AND a.user_id = {}", sql.bind(user.as_str()))
            }
            Self::Resources(resources) => {
                let [(code, id)] = &resources[..] else { return None };
                let (code, id) = (sql.bind(code.0), sql.bind(id.as_str()));
                format!(" AND a.resource_type = {code} AND a.resource_id = {id}")
            }
        })
    }
}

/// `rows` in pieces of few sizes, so that their INSERTs stay prepared: powers of two, and what many writers send. Larger
/// ones are not faster, and SQLite takes at most 32,766 values.
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

/// The ends of `span` as the database has them: time and number of the one, then of the other.
pub(super) fn bounds(span: PositionRange) -> [i64; 4] {
    let PositionRange { after, to } = span;
    [after.timestamp.micros(), after.seq, to.timestamp.micros(), to.seq]
}

/// The place of two columns lies between [`bounds`], which are expressions.
pub(super) fn lies_in(place: &str, [t0, s0, t1, s1]: [String; 4]) -> String {
    format!("({place}) > ({t0}, {s0}) AND ({place}) <= ({t1}, {s1})")
}

/// A number in the row of `k`, counted from 0.
pub(super) fn number(k: &str, place: usize) -> String {
    format!("CAST({k}.value->>{place} AS bigint)")
}

/// A text in the row of `k`.
pub(super) fn text(k: &str, place: usize) -> String {
    format!("{k}.value->>{place}")
}
