//! Decodes a row of a page to the same message as the service.

use std::borrow::Cow;

use anyhow::Context;
use auditlog::domain::Erased;
use auditlog::grpc::pb;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;

use crate::data::{ACTIONS, ACTOR_TYPES, OUTCOMES, TYPES, time};

/// The columns of a page, in the order of `src/store/entities/audit_log.rs`.
pub const COLUMNS: [&str; 19] = [
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
    "outcome",
    "actor_type",
    "writer_key_id",
    "organization_id",
    "erased",
];

/// A change in the column `changes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    #[serde(borrow)]
    field: Cow<'a, str>,
    #[serde(borrow)]
    old_value: &'a RawValue,
    #[serde(borrow)]
    new_value: &'a RawValue,
}

impl From<Change<'_>> for pb::Change {
    fn from(Change { field, old_value, new_value }: Change<'_>) -> Self {
        let json = |value: &RawValue| (value.get() != "null").then(|| value.get().to_owned());
        Self { field: field.into_owned(), old_value_json: json(old_value), new_value_json: json(new_value) }
    }
}

/// Decodes a row with the columns [`COLUMNS`].
pub fn decode(row: &Row) -> anyhow::Result<pb::AuditLog> {
    let text = |place: usize| row.try_get::<_, String>(place);
    let optional = |place: usize| row.try_get::<_, Option<String>>(place);
    let instant = |place: usize| row.try_get(place).map(time);
    let changes: Vec<Change<'_>> = serde_json::from_str(row.try_get(11)?)?;
    let erased = Erased(row.try_get(18)?);
    Ok(pb::AuditLog {
        sequence: row.try_get(0)?,
        id: text(1)?,
        timestamp: Some(instant(2)?),
        recorded_at: Some(instant(3)?),
        resource_type: name(&TYPES, row.try_get(4)?)?,
        resource_id: text(5)?,
        resource_name: optional(6)?,
        action: name(&ACTIONS, row.try_get(7)?)?,
        user_id: text(8)?,
        user_name: optional(9)?,
        user_email: optional(10)?,
        changes: changes.into_iter().map(Into::into).collect(),
        metadata: serde_json::from_str(row.try_get(12)?)?,
        trace_id: optional(13)?,
        outcome: optional_name(&OUTCOMES, row.try_get(14)?)?,
        actor_type: optional_name(&ACTOR_TYPES, row.try_get(15)?)?,
        organization_id: text(17)?,
        erased: erased.groups().map(|group| group.name().to_owned()).collect(),
    })
}

/// The name of a code of the catalogue.
fn name(names: &[(&str, f64)], code: i16) -> anyhow::Result<String> {
    let (name, _) = names.get(usize::try_from(code)?).context("a code without a name")?;
    Ok((*name).to_owned())
}

/// Like [`name`]; code 0 is `None`.
fn optional_name(names: &[(&str, f64)], code: i16) -> anyhow::Result<Option<String>> {
    Ok(Some(name(names, code)?).filter(|name| !name.is_empty()))
}
