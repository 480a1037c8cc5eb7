//! Numbers of entries by kind, as one text in a row: the codes of each kind and its number, such as `3:1:0:25,3:2:0:7`.

use sea_orm::IdenStatic;

use super::dialect;
use super::entities::audit_log::Column;
use super::rows::{foreign, kind};
use crate::domain::{EntryKind, Invalid};
use crate::error::Result;

/// `(SELECT …)` of the text for the entries `a` that `from` selects, the SQL after FROM; of NULL if there are none.
/// `number` is the SQL that counts them. The columns are hidden from the planner: the index of kinds has them in order,
/// and would look cheaper.
pub(super) fn numbers_by_kind(number: &str, from: &str) -> String {
    let columns = [Column::ResourceType, Column::Action, Column::Outcome];
    let kind = columns.map(|column| format!("{} AS {}", dialect::unindexed(column), column.as_str())).join(", ");
    format!(
        "(SELECT string_agg(concat_ws(':', g.resource_type, g.action, g.outcome, g.entries), ',') \
         FROM (SELECT {kind}, {number} AS entries FROM {from} GROUP BY 1, 2, 3) g)"
    )
}

/// Reads the text of [`numbers_by_kind`].
pub(super) fn kinds_and_numbers(text: Option<&str>) -> Result<Vec<(EntryKind, i64)>> {
    text.iter().flat_map(|text| text.split(',')).map(kind_and_number).collect()
}

fn kind_and_number(text: &str) -> Result<(EntryKind, i64)> {
    let mut parts = text.split(':').map(str::parse::<i64>);
    let mut part = || parts.next().and_then(std::result::Result::ok);
    let mut code = || part().and_then(|code| i16::try_from(code).ok());
    let codes = (code(), code(), code());
    match (codes, part()) {
        ((Some(resource_type), Some(action), Some(outcome)), Some(entries)) => {
            Ok((kind(resource_type, action, outcome)?, entries))
        }
        _ => Err(foreign(Invalid::new("must be a kind and its number", text))),
    }
}
