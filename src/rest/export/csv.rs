//! Entries as CSV: one column per field, and no cell that a spreadsheet would evaluate as a formula.

use std::collections::BTreeMap;

use anyhow::Context;
use csv::{QuoteStyle, WriterBuilder};

use crate::grpc::pb;
use crate::rest::entry::{FieldValue, METADATA_KEYS, fields};
use crate::rest::json;

/// The names of the columns. Errors: none, in practice.
pub fn columns() -> anyhow::Result<Vec<String>> {
    Ok(cells(&pb::AuditLog::default())?.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// The header line.
pub(super) fn header() -> anyhow::Result<Vec<u8>> {
    written([columns().map(Vec::into_iter)].into_iter())
}

/// `entries` as CSV lines.
pub(super) fn lines(entries: &[pb::AuditLog]) -> anyhow::Result<Vec<u8>> {
    written(entries.iter().map(|entry| Ok(cells(entry)?.into_iter().map(|(_, cell)| cell))))
}

fn written<R: Iterator<Item = String>>(rows: impl Iterator<Item = anyhow::Result<R>>) -> anyhow::Result<Vec<u8>> {
    // All cells are quoted: a spreadsheet that separates cells by `;` then splits none of them.
    let mut writer = WriterBuilder::new().quote_style(QuoteStyle::Always).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row?.map(|cell| harmless(&cell)))?;
    }
    writer.into_inner().context("writing to memory")
}

/// The columns of an entry with their names: its fields, and the documented metadata apart from the rest.
fn cells(entry: &pb::AuditLog) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut cells = Vec::new();
    for (name, value) in fields(entry) {
        let cell = match value {
            FieldValue::Absent => String::new(),
            FieldValue::Text(text) => text.to_owned(),
            FieldValue::Number(number) => number.to_string(),
            FieldValue::Time(time) => json::time(time).unwrap_or_default(),
            FieldValue::Changes(changes) => String::from_utf8(json::changes(changes)?)?,
            FieldValue::Metadata(pairs) => {
                cells.extend(METADATA_KEYS.map(|key| (key, pairs.get(key).cloned().unwrap_or_default())));
                let others = pairs.iter().filter(|(key, _)| !METADATA_KEYS.contains(&key.as_str()));
                serde_json::to_string(&others.collect::<BTreeMap<_, _>>())?
            }
            FieldValue::Groups(groups) => groups.join(" "),
        };
        cells.push((name, cell));
    }
    Ok(cells)
}

/// Puts a `'` before a cell that begins like a formula, so that a spreadsheet takes it for text. A cell that begins
/// with `'` gets another one, so that readers can always remove the first. Source: OWASP, "CSV Injection".
fn harmless(cell: &str) -> String {
    const FORMULA: [char; 12] =
        ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}', '\''];
    match cell.starts_with(FORMULA) {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_begins_like_a_formula_is_text() {
        for (cell, shown) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("＝1", "'＝1"),
            ("'quoted", "''quoted"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(harmless(cell), shown);
        }
    }
}
