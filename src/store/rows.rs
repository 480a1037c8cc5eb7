//! Converts entries to rows and back, each in one place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::{IdenStatic, Iterable, QueryResult, TryGetable, Value};
use serde::Deserialize;
use serde::ser::Error as _;
use serde_json::value::RawValue;

use super::entities::audit_log::Column;
use super::model::HashedEntry;
use crate::domain::{
    Action, Change, Content, Entry, EntryId, Erased, Group, Identifier, Invalid, JsonText, Metadata, Name,
    OrganizationId, ResourceType, Timestamp, write_changes,
};
use crate::error::{Error, Result};
use auditlog_verify::merkle::{Hash, Salts};

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

/// An entry as the values of all columns, in column order.
pub(super) fn values(organization: &OrganizationId, hashed: &HashedEntry) -> impl Iterator<Item = Result<Value>> {
    Column::iter().map(|column| value(column, organization, hashed).map_err(damaged))
}

fn value(column: Column, organization: &OrganizationId, hashed: &HashedEntry) -> serde_json::Result<Value> {
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
    } = &**content;
    let name = |name: &Option<Name>| name.as_ref().map(Name::as_str).into();
    Ok(match column {
        Column::Seq => (*seq).into(),
        Column::Id => id.as_str().into(),
        Column::Timestamp => timestamp.micros().into(),
        Column::RecordedAt => recorded_at.micros().into(),
        Column::ResourceType => resource_type.0.into(),
        Column::ResourceId => resource_id.as_str().into(),
        Column::ResourceName => name(resource_name),
        Column::Action => action.0.into(),
        Column::UserId => user_id.as_str().into(),
        Column::UserName => name(user_name),
        Column::UserEmail => name(user_email),
        Column::Changes => changes_text(changes)?.into(),
        Column::Metadata => serde_json::to_string(metadata.pairs())?.into(),
        Column::TraceId => trace_id.as_ref().map(Identifier::as_str).into(),
        Column::WriterKeyId => writer_key_id.as_str().into(),
        Column::OrganizationId => organization.as_str().into(),
        Column::Erased => erased.0.into(),
        Column::Salts => salts.bytes().into(),
        Column::LeafHash => leaf.0.as_slice().into(),
    })
}

/// The names of all columns, in column order.
pub(super) fn names() -> Vec<&'static str> {
    Column::iter().map(|column| column.as_str()).collect()
}

/// All columns of the table `alias`, for [`hashed_entry`].
pub(super) fn all_columns(alias: &str) -> String {
    selected(alias, Column::iter())
}

/// The columns of the table `alias` that a list reads, for [`entry`].
pub(super) fn listed_columns(alias: &str) -> String {
    selected(alias, Column::iter().take(Column::LISTED))
}

fn selected(alias: &str, columns: impl Iterator<Item = Column>) -> String {
    columns.map(|column| format!("{alias}.{}", column.as_str())).collect::<Vec<_>>().join(", ")
}

/// The value of `column` in a row that begins with all columns up to it. Reads by index: finding a column by name takes
/// as long as reading it.
pub(super) fn read<T: TryGetable>(row: &QueryResult, column: Column) -> Result<T> {
    Ok(row.try_get_by_index(column as usize)?)
}

/// Reads a row of [`all_columns`].
pub(super) fn hashed_entry(row: &QueryResult) -> Result<HashedEntry> {
    let (salts, leaf): (Vec<u8>, Vec<u8>) = (read(row, Column::Salts)?, read(row, Column::LeafHash)?);
    Ok(HashedEntry { entry: entry(row)?, salts: Salts::parse(&salts).map_err(foreign)?, leaf: hash(leaf)? })
}

/// Reads a row of [`listed_columns`] or of [`all_columns`].
pub(super) fn entry(row: &QueryResult) -> Result<Entry> {
    let (changes, metadata): (String, String) = (read(row, Column::Changes)?, read(row, Column::Metadata)?);
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

/// Reads a stored hash.
pub(super) fn hash(bytes: Vec<u8>) -> Result<Hash> {
    Hash::of_bytes(&bytes).map_err(foreign)
}

/// Reads a stored group code.
pub(super) fn group(code: i16) -> Result<Group> {
    Group::of_code(code).ok_or_else(|| foreign(Invalid::new("a group must be 0 to 2", code)))
}

/// The error for a row that this service does not write.
pub(super) fn foreign(error: Invalid) -> Error {
    Error::Internal(anyhow::Error::new(error).context("the database has a value that this service does not write"))
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

fn damaged(error: serde_json::Error) -> Error {
    Error::Internal(anyhow::Error::new(error).context("a stored entry holds text that is not JSON"))
}
