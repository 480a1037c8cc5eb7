//! Entries to rows and back, each in one place.

use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::IntoActiveModel;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::entities::audit_log::{ActiveModel, Model};
use crate::domain::{
    Action, Change, Content, Counts, Entry, EntryId, Identifier, JsonText, Metadata, Name, OrganizationId,
    ResourceType, Timestamp,
};
use crate::error::{Error, Result};

/// A change in the column `changes`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeRow<'a> {
    field: String,
    #[serde(borrow)]
    old_value: &'a RawValue,
    #[serde(borrow)]
    new_value: &'a RawValue,
}

pub(super) fn row(organization: &OrganizationId, entry: &Entry) -> Result<ActiveModel> {
    let Entry { seq, timestamp, recorded_at, writer_key_id, content } = entry;
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
    let row = Model {
        organization_id: organization.as_str().to_owned(),
        seq: *seq,
        id: id.to_string(),
        timestamp: timestamp.micros(),
        recorded_at: recorded_at.micros(),
        resource_type: resource_type.0,
        resource_id: resource_id.to_string(),
        resource_name: resource_name.as_ref().map(Name::to_string),
        action: action.0,
        user_id: user_id.to_string(),
        user_name: user_name.as_ref().map(Name::to_string),
        user_email: user_email.as_ref().map(Name::to_string),
        changes: changes_text(changes).map_err(damaged)?,
        metadata: serde_json::to_string(metadata.pairs()).map_err(damaged)?,
        trace_id: trace_id.as_ref().map(Identifier::to_string),
        writer_key_id: writer_key_id.clone(),
        salts: None,
        leaf_hash: None,
    };
    Ok(row.into_active_model())
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
    Ok(Entry { seq, timestamp, recorded_at, writer_key_id, content: Arc::new(content) })
}

fn changes_text(changes: &[Change]) -> serde_json::Result<String> {
    let rows = changes.iter().map(|change| {
        let Change { field, old_value, new_value } = change;
        Ok(ChangeRow {
            field: field.clone(),
            old_value: serde_json::from_str(old_value.as_str())?,
            new_value: serde_json::from_str(new_value.as_str())?,
        })
    });
    serde_json::to_string(&rows.collect::<serde_json::Result<Vec<_>>>()?)
}

fn changes_read(text: &str) -> serde_json::Result<Vec<Change>> {
    let value = |raw: &RawValue| JsonText::stored(raw.get().to_owned());
    let change = |ChangeRow { field, old_value, new_value }: ChangeRow<'_>| Change {
        field,
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
