//! The one table of an entry's columns. [`Model`] has their names, types and order; [`Column::erasure`] has the group
//! that each is erased with. [`insert`] and [`entry`] convert entries to rows and back. Statements, row readers and
//! erasures derive from them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use anyhow::anyhow;
use sea_orm::entity::prelude::*;
use sea_orm::sqlx::postgres::PgArguments;
use sea_orm::sqlx::{Arguments, Decode, Postgres, Row};
use sea_orm::{DbBackend, IdenStatic, Iterable, QueryResult, RuntimeErr, Statement, TryGetable, Value, sqlx};
use serde::Deserialize;
use serde::ser::Error as _;
use serde_json::value::RawValue;

use crate::domain::{
    Action, ActorType, Change, Content, Entry, EntryId, Erased, Group, Identifier, JsonText, Metadata, Name,
    OrganizationId, Outcome, ResourceType, Timestamp, write_changes,
};
use crate::error;
use crate::store::dialect;
use crate::store::model::HashedEntry;
use crate::store::rows::{foreign, hash};
use crate::store::sql::prepared;
use auditlog_verify::merkle::{Hash, Salts};

/// An entry. Columns are inserted and read in this order, so a column's index in a row is `column as usize`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_logs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub id: String,
    pub timestamp: i64,
    pub recorded_at: i64,
    pub resource_type: i16,
    pub resource_id: String,
    pub resource_name: Option<String>,
    pub action: i16,
    pub user_id: String,
    pub user_name: Option<String>,
    pub user_email: Option<String>,
    /// `[{"field":…,"oldValue":…,"newValue":…},…]`. Text, because jsonb would change the values.
    pub changes: String,
    /// `{"ipAddress":…,…}`, keys in byte order.
    pub metadata: String,
    pub trace_id: Option<String>,
    /// 0 if absent.
    pub outcome: i16,
    /// 0 if absent.
    pub actor_type: i16,
    pub writer_key_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// One bit for each erased group of values.
    pub erased: i16,
    /// The hash of the leaf. Lists read the columns before this one.
    pub leaf_hash: Vec<u8>,
    /// One salt per group, concatenated. Exports read the columns before this one; proofs read all.
    pub salts: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The change that an erasure of groups makes to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnErasure {
    /// No change: the column has a fact, or binds the entry to its log.
    Never,
    /// The column gets this SQL literal if its group is erased.
    Emptied(Group, &'static str),
    /// The salts of the groups become zeros.
    Zeroed,
    /// The bits of the groups are set.
    Flagged,
}

impl Column {
    /// The number of columns that a list reads, from the first on.
    pub const LISTED: usize = Self::LeafHash as usize;
    /// The number of columns that an export reads, from the first on.
    pub const EXPORTED: usize = Self::Salts as usize;

    /// The change that an erasure makes to this column. A column that it empties must also be in `ERASABLE` of the
    /// first migration, so that PostgreSQL gathers no statistics of it.
    pub fn erasure(self) -> ColumnErasure {
        match self {
            Self::Seq
            | Self::Id
            | Self::Timestamp
            | Self::RecordedAt
            | Self::ResourceType
            | Self::ResourceId
            | Self::Action
            | Self::UserId
            | Self::TraceId
            | Self::Outcome
            | Self::ActorType
            | Self::WriterKeyId
            | Self::OrganizationId
            | Self::LeafHash => ColumnErasure::Never,
            Self::UserName | Self::UserEmail => ColumnErasure::Emptied(Group::Actor, "NULL"),
            Self::Metadata => ColumnErasure::Emptied(Group::Actor, "'{}'"),
            Self::ResourceName => ColumnErasure::Emptied(Group::Content, "NULL"),
            Self::Changes => ColumnErasure::Emptied(Group::Content, "'[]'"),
            Self::Salts => ColumnErasure::Zeroed,
            Self::Erased => ColumnErasure::Flagged,
        }
    }
}

/// A change in the column `changes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeRow<'a> {
    #[serde(borrow)]
    field: Cow<'a, str>,
    #[serde(borrow)]
    old_value: &'a RawValue,
    #[serde(borrow)]
    new_value: &'a RawValue,
}

/// The value of an entry in a column.
enum ColumnValue<'e> {
    BigInt(i64),
    SmallInt(i16),
    Text(Cow<'e, str>),
    NullableText(Option<&'e str>),
    Bytes(&'e [u8]),
}

impl From<ColumnValue<'_>> for Value {
    fn from(value: ColumnValue<'_>) -> Self {
        match value {
            ColumnValue::BigInt(number) => number.into(),
            ColumnValue::SmallInt(number) => number.into(),
            ColumnValue::Text(text) => text.into_owned().into(),
            ColumnValue::NullableText(text) => text.into(),
            ColumnValue::Bytes(bytes) => bytes.into(),
        }
    }
}

/// INSERTs of `entries`, each into its organization, into SQLite, with a parameter for each value.
pub(in crate::store) fn inserts(entries: &[(&OrganizationId, HashedEntry)]) -> error::Result<Vec<Statement>> {
    prepared(entries).map(insert_values).collect()
}

fn insert_values(entries: &[(&OrganizationId, HashedEntry)]) -> error::Result<Statement> {
    let mut values: Vec<Value> = Vec::with_capacity(entries.len() * Column::iter().count());
    for (organization, hashed) in entries {
        for column in Column::iter() {
            values.push(value(column, organization, hashed).map_err(damaged)?.into());
        }
    }
    let text = dialect::insert(DbBackend::Sqlite, "audit_logs", &names(), entries.len());
    Ok(Statement::from_sql_and_values(DbBackend::Sqlite, text, values))
}

/// The INSERT for PostgreSQL with [`insert_arguments`]. Its text is the same for any number of entries, so it stays
/// prepared, and PostgreSQL reads few parameters.
pub(in crate::store) fn insert_statement() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let (columns, count) = (names().join(", "), Column::iter().count());
        let arrays = (1..=count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO audit_logs ({columns}) SELECT * FROM unnest({arrays})")
    });
    &TEXT
}

/// The values of `entries`, at least one, each in its organization: an array for each column.
pub(in crate::store) fn insert_arguments(entries: &[(&OrganizationId, HashedEntry)]) -> error::Result<PgArguments> {
    use ColumnValue::{BigInt, Bytes, NullableText, SmallInt, Text};
    let mut arrays = PgArguments::default();
    for column in Column::iter() {
        let values = entries.iter().map(|(organization, hashed)| value(column, organization, hashed));
        let values = values.collect::<serde_json::Result<Vec<_>>>().map_err(damaged)?;
        /// Adds the values if all are of one variant.
        macro_rules! add {
            ($variant:ident) => {{
                let values =
                    values.into_iter().map(|value| if let $variant(value) = value { Some(value) } else { None });
                values.collect::<Option<Vec<_>>>().map(|values| arrays.add(values))
            }};
        }
        let added = match values.first() {
            Some(BigInt(_)) => add!(BigInt),
            Some(SmallInt(_)) => add!(SmallInt),
            Some(Text(_)) => add!(Text),
            Some(NullableText(_)) => add!(NullableText),
            Some(Bytes(_)) => add!(Bytes),
            None => None,
        };
        let added = added.ok_or_else(|| anyhow!("{} has no values, or values of several types", column.as_str()));
        added.and_then(|added| added.map_err(|error| anyhow!(error))).map_err(error::Error::Internal)?;
    }
    Ok(arrays)
}

fn value<'e>(
    column: Column,
    organization: &'e OrganizationId,
    hashed: &'e HashedEntry,
) -> serde_json::Result<ColumnValue<'e>> {
    use ColumnValue::{BigInt, Bytes, NullableText, SmallInt};
    let HashedEntry { entry, salts, leaf } = hashed;
    let Entry { seq, timestamp, recorded_at, writer_key_id, erased, content } = entry;
    let Content {
        id,
        resource_type,
        resource_id,
        resource_name,
        action,
        user_id,
        user_name,
        user_email,
        changes,
        metadata,
        trace_id,
        outcome,
        actor_type,
    } = &**content;
    let name = |name: &'e Option<Name>| NullableText(name.as_ref().map(Name::as_str));
    let text = |text: &'e str| ColumnValue::Text(text.into());
    Ok(match column {
        Column::Seq => BigInt(*seq),
        Column::Id => text(id.as_str()),
        Column::Timestamp => BigInt(timestamp.micros()),
        Column::RecordedAt => BigInt(recorded_at.micros()),
        Column::ResourceType => SmallInt(resource_type.0),
        Column::ResourceId => text(resource_id.as_str()),
        Column::ResourceName => name(resource_name),
        Column::Action => SmallInt(action.0),
        Column::UserId => text(user_id.as_str()),
        Column::UserName => name(user_name),
        Column::UserEmail => name(user_email),
        Column::Changes => ColumnValue::Text(changes_text(changes)?.into()),
        Column::Metadata => ColumnValue::Text(serde_json::to_string(metadata.pairs())?.into()),
        Column::TraceId => NullableText(trace_id.as_ref().map(Identifier::as_str)),
        Column::Outcome => SmallInt(Outcome::code(*outcome)),
        Column::ActorType => SmallInt(ActorType::code(*actor_type)),
        Column::WriterKeyId => text(writer_key_id),
        Column::OrganizationId => text(organization.as_str()),
        Column::Erased => SmallInt(erased.0),
        Column::LeafHash => Bytes(&leaf.0),
        Column::Salts => Bytes(salts.bytes()),
    })
}

/// The names of all columns, in column order.
fn names() -> Vec<&'static str> {
    Column::iter().map(|column| column.as_str()).collect()
}

/// All columns of the table `alias`, for [`hashed_entry`].
pub(in crate::store) fn all_columns(alias: &str) -> String {
    selected(alias, Column::iter())
}

/// The columns of the table `alias` that a list reads, for [`entry`].
pub(in crate::store) fn listed_columns(alias: &str) -> String {
    selected(alias, Column::iter().take(Column::LISTED))
}

/// The columns of the table `alias` that an export reads, for [`entry_with_leaf`].
pub(in crate::store) fn exported_columns(alias: &str) -> String {
    selected(alias, Column::iter().take(Column::EXPORTED))
}

fn selected(alias: &str, columns: impl Iterator<Item = Column>) -> String {
    columns.map(|column| format!("{alias}.{}", column.as_str())).collect::<Vec<_>>().join(", ")
}

/// The value of `column` in a row that begins with all columns up to it. Reads by index: finding a column by name takes
/// as long as reading it.
pub(in crate::store) fn read<T>(row: &QueryResult, column: Column) -> error::Result<T>
where
    T: TryGetable + for<'r> Decode<'r, Postgres>,
{
    match row.try_as_pg_row() {
        // The table has the types of this module; to check that of each value takes as long as to read it.
        Some(row) => row.try_get_unchecked(column as usize).map_err(unreadable),
        None => Ok(row.try_get_by_index(column as usize)?),
    }
}

/// Like [`read`], for a text that is parsed and not kept.
fn read_text(row: &QueryResult, column: Column) -> error::Result<Cow<'_, str>> {
    match row.try_as_pg_row() {
        Some(row) => row.try_get_unchecked(column as usize).map(Cow::Borrowed).map_err(unreadable),
        None => read(row, column).map(Cow::Owned),
    }
}

fn unreadable(error: sqlx::Error) -> error::Error {
    DbErr::Query(RuntimeErr::SqlxError(error.into())).into()
}

/// Reads a row of [`all_columns`].
pub(in crate::store) fn hashed_entry(row: &QueryResult) -> error::Result<HashedEntry> {
    let (salts, leaf): (Vec<u8>, Vec<u8>) = (read(row, Column::Salts)?, read(row, Column::LeafHash)?);
    Ok(HashedEntry { entry: entry(row)?, salts: Salts::parse(&salts).map_err(foreign)?, leaf: hash(leaf)? })
}

/// Reads a row of [`exported_columns`]: the entry and its leaf hash.
pub(in crate::store) fn entry_with_leaf(row: &QueryResult) -> error::Result<(Entry, Hash)> {
    Ok((entry(row)?, hash(read(row, Column::LeafHash)?)?))
}

/// Reads a row of [`listed_columns`], [`exported_columns`] or [`all_columns`].
pub(in crate::store) fn entry(row: &QueryResult) -> error::Result<Entry> {
    let (changes, metadata) = (read_text(row, Column::Changes)?, read_text(row, Column::Metadata)?);
    let content = Content {
        id: EntryId::stored(read(row, Column::Id)?),
        resource_type: ResourceType(read(row, Column::ResourceType)?),
        resource_id: Identifier::stored(read(row, Column::ResourceId)?),
        resource_name: read::<Option<_>>(row, Column::ResourceName)?.map(Name::stored),
        action: Action(read(row, Column::Action)?),
        user_id: Identifier::stored(read(row, Column::UserId)?),
        user_name: read::<Option<_>>(row, Column::UserName)?.map(Name::stored),
        user_email: read::<Option<_>>(row, Column::UserEmail)?.map(Name::stored),
        changes: changes_read(&changes).map_err(damaged)?,
        metadata: Metadata::stored(serde_json::from_str::<BTreeMap<_, _>>(&metadata).map_err(damaged)?),
        trace_id: read::<Option<_>>(row, Column::TraceId)?.map(Identifier::stored),
        outcome: Outcome::stored(read(row, Column::Outcome)?).map_err(foreign)?,
        actor_type: ActorType::stored(read(row, Column::ActorType)?).map_err(foreign)?,
    };
    Ok(Entry {
        seq: read(row, Column::Seq)?,
        timestamp: Timestamp::saturating(read(row, Column::Timestamp)?),
        recorded_at: Timestamp::saturating(read(row, Column::RecordedAt)?),
        writer_key_id: read(row, Column::WriterKeyId)?,
        erased: Erased(read(row, Column::Erased)?),
        content: Arc::new(content),
    })
}

fn change_parts(change: &Change) -> (&str, Option<&str>, Option<&str>) {
    let Change { field, old_value, new_value } = change;
    (field, Some(old_value.as_str()), Some(new_value.as_str()))
}

fn changes_text(changes: &[Change]) -> serde_json::Result<String> {
    let mut text = Vec::new();
    write_changes(&mut text, changes.iter().map(change_parts))?;
    String::from_utf8(text).map_err(serde_json::Error::custom)
}

fn changes_read(text: &str) -> serde_json::Result<Vec<Change>> {
    let value = |raw: &RawValue| JsonText::stored(raw.get().to_owned());
    let change = |ChangeRow { field, old_value, new_value }: ChangeRow<'_>| Change {
        field: field.into_owned(),
        old_value: value(old_value),
        new_value: value(new_value),
    };
    Ok(serde_json::from_str::<Vec<ChangeRow<'_>>>(text)?.into_iter().map(change).collect())
}

fn damaged(error: serde_json::Error) -> error::Error {
    error::Error::Internal(anyhow::Error::new(error).context("a stored entry holds text that is not JSON"))
}
