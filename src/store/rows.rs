//! Entries to rows and back, each in one place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::{QueryResult, Value};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::append::Sealed;
use super::entities::audit_log::Model;
use crate::domain::{
    Action, Change, Content, Counts, Entry, EntryId, Erased, Group, Identifier, Invalid, JsonText, Metadata, Name,
    OrganizationId, ResourceType, Timestamp,
};
use crate::error::{Error, Result};
use auditlog_verify::merkle::{Hash, Salts};

/// A change in the column `changes`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeRow<'a> {
    #[serde(borrow)]
    field: Cow<'a, str>,
    #[serde(borrow)]
    old_value: &'a RawValue,
    #[serde(borrow)]
    new_value: &'a RawValue,
}

/// An entry as the values of [`SEALED`].
pub(super) fn values(organization: &OrganizationId, sealed: &Sealed) -> Result<[Value; SEALED.len()]> {
    let Sealed { entry, salts, leaf } = sealed;
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
    Ok([
        (*seq).into(),
        id.as_str().into(),
        timestamp.micros().into(),
        recorded_at.micros().into(),
        resource_type.0.into(),
        resource_id.as_str().into(),
        name(resource_name),
        action.0.into(),
        user_id.as_str().into(),
        name(user_name),
        name(user_email),
        changes_text(changes).map_err(damaged)?.into(),
        serde_json::to_string(metadata.pairs()).map_err(damaged)?.into(),
        trace_id.as_ref().map(Identifier::as_str).into(),
        writer_key_id.as_str().into(),
        organization.as_str().into(),
        erased.0.into(),
        salts.bytes().into(),
        leaf.0.as_slice().into(),
    ])
}

/// The columns that an entry is made of, in the order in which [`listed`] takes them.
pub(super) const COLUMNS: &[&str] = SEALED.split_at(17).0;

/// Those, and what binds the entry to its log, in the order in which [`values`] gives and [`sealed`] takes them.
pub(super) const SEALED: [&str; 19] = [
    "seq",
    "id",
    "timestamp",
    "recorded_at",
    "resource_type",
    "resource_id",
    "resource_name",
    "action",
    "user_id",
    "user_name",
    "user_email",
    "changes",
    "metadata",
    "trace_id",
    "writer_key_id",
    "organization_id",
    "erased",
    "salts",
    "leaf_hash",
];

/// `columns` of the table `alias`.
pub(super) fn columns(alias: &str, columns: &[&str]) -> String {
    columns.iter().map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ")
}

/// A row of [`SEALED`].
pub(super) fn sealed(row: &QueryResult) -> Result<(String, Sealed)> {
    let (organization, entry) = listed(row)?;
    let (salts, leaf): (Vec<u8>, Vec<u8>) = (row.try_get_by_index(17)?, row.try_get_by_index(18)?);
    Ok((organization, Sealed { entry, salts: Salts::parse(&salts).map_err(foreign)?, leaf: hash(leaf)? }))
}

/// A hash as it was stored.
pub(super) fn hash(bytes: Vec<u8>) -> Result<Hash> {
    Hash::of_bytes(&bytes).map_err(foreign)
}

/// A group as it was stored.
pub(super) fn group(code: i16) -> Result<Group> {
    Group::of_code(code).ok_or_else(|| foreign(Invalid::new("a group must be 0 to 2", code)))
}

/// What nobody writes was read.
pub(super) fn foreign(error: Invalid) -> Error {
    Error::Internal(anyhow::Error::new(error).context("the database holds what is not of this service"))
}

/// A row of [`COLUMNS`]. By their places, since to find each by its name takes as long as to read it.
pub(super) fn listed(row: &QueryResult) -> Result<(String, Entry)> {
    let model = Model {
        seq: row.try_get_by_index(0)?,
        id: row.try_get_by_index(1)?,
        timestamp: row.try_get_by_index(2)?,
        recorded_at: row.try_get_by_index(3)?,
        resource_type: row.try_get_by_index(4)?,
        resource_id: row.try_get_by_index(5)?,
        resource_name: row.try_get_by_index(6)?,
        action: row.try_get_by_index(7)?,
        user_id: row.try_get_by_index(8)?,
        user_name: row.try_get_by_index(9)?,
        user_email: row.try_get_by_index(10)?,
        changes: row.try_get_by_index(11)?,
        metadata: row.try_get_by_index(12)?,
        trace_id: row.try_get_by_index(13)?,
        writer_key_id: row.try_get_by_index(14)?,
        organization_id: row.try_get_by_index(15)?,
        erased: row.try_get_by_index(16)?,
        salts: Vec::new(),
        leaf_hash: Vec::new(),
    };
    Ok((model.organization_id.clone(), entry(model)?))
}

pub(super) fn entry(row: Model) -> Result<Entry> {
    let Model {
        organization_id: _,
        seq,
        id,
        timestamp,
        recorded_at,
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
        writer_key_id,
        salts: _,
        leaf_hash: _,
        erased,
    } = row;
    let content = Content {
        id: EntryId::stored(id),
        resource_type: ResourceType(resource_type),
        resource_id: Identifier::stored(resource_id),
        resource_name: resource_name.map(Name::stored),
        action: Action(action),
        user_id: Identifier::stored(user_id),
        user_name: user_name.map(Name::stored),
        user_email: user_email.map(Name::stored),
        changes: changes_read(&changes).map_err(damaged)?,
        metadata: Metadata::stored(serde_json::from_str::<BTreeMap<_, _>>(&metadata).map_err(damaged)?),
        trace_id: trace_id.map(Identifier::stored),
    };
    let [timestamp, recorded_at] = [timestamp, recorded_at].map(Timestamp::saturating);
    Ok(Entry { seq, timestamp, recorded_at, writer_key_id, erased: Erased(erased), content: Arc::new(content) })
}

fn changes_text(changes: &[Change]) -> serde_json::Result<String> {
    let rows = changes.iter().map(|change| {
        let Change { field, old_value, new_value } = change;
        Ok(ChangeRow {
            field: field.into(),
            old_value: serde_json::from_str(old_value.as_str())?,
            new_value: serde_json::from_str(new_value.as_str())?,
        })
    });
    serde_json::to_string(&rows.collect::<serde_json::Result<Vec<_>>>()?)
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

/// Counts as they were stored.
pub(super) fn counts(bytes: &[u8]) -> Result<Counts> {
    Ok(Counts::parse(bytes)?)
}

fn damaged(error: serde_json::Error) -> Error {
    Error::Internal(anyhow::Error::new(error).context("a stored entry holds text that is not JSON"))
}
