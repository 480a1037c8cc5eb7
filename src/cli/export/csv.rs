//! Entries as CSV: one column per field, and no cell that a spreadsheet would evaluate as a formula.

use std::io::Read;

use anyhow::Context;
use csv::{QuoteStyle, ReaderBuilder, WriterBuilder};

use crate::grpc::pb;
use crate::rest::json;

const COLUMNS: [&str; 19] = [
    "id",
    "organizationId",
    "sequence",
    "timestamp",
    "recordedAt",
    "resourceType",
    "resourceId",
    "resourceName",
    "action",
    "userId",
    "userName",
    "userEmail",
    "changes",
    "ipAddress",
    "userAgent",
    "source",
    "metadata",
    "traceId",
    "erased",
];

/// The header line.
pub(super) fn header() -> anyhow::Result<Vec<u8>> {
    written([COLUMNS.map(str::to_owned).to_vec()].into_iter().map(Ok))
}

/// The id in the last line of an exported file; `None` if it has no entry. Errors: a line is incomplete.
pub(super) fn last_id(file: impl Read) -> anyhow::Result<Option<String>> {
    let mut lines = ReaderBuilder::new().from_reader(file);
    let (mut line, mut id) = (csv::StringRecord::new(), None);
    while lines.read_record(&mut line).context("it is not an exported CSV file, or a line is incomplete")? {
        id = line.get(0).map(|cell| cell.strip_prefix('\'').unwrap_or(cell).to_owned());
    }
    Ok(id)
}

/// `entries` as CSV lines.
pub(super) fn lines(entries: Vec<pb::AuditLog>) -> anyhow::Result<Vec<u8>> {
    written(entries.into_iter().map(cells))
}

fn written(rows: impl Iterator<Item = anyhow::Result<Vec<String>>>) -> anyhow::Result<Vec<u8>> {
    // All cells are quoted: a spreadsheet that separates cells by `;` then splits none of them.
    let mut writer = WriterBuilder::new().quote_style(QuoteStyle::Always).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row?.iter().map(|cell| harmless(cell)))?;
    }
    writer.into_inner().context("writing to memory")
}

fn cells(entry: pb::AuditLog) -> anyhow::Result<Vec<String>> {
    let pb::AuditLog {
        id,
        organization_id,
        sequence,
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
        mut metadata,
        trace_id,
        erased,
    } = entry;
    let [ip_address, user_agent, source] =
        ["ipAddress", "userAgent", "source"].map(|key| metadata.remove(key).unwrap_or_default());
    Ok(vec![
        id,
        organization_id,
        sequence.to_string(),
        json::time(timestamp).unwrap_or_default(),
        json::time(recorded_at).unwrap_or_default(),
        resource_type,
        resource_id,
        resource_name.unwrap_or_default(),
        action,
        user_id,
        user_name.unwrap_or_default(),
        user_email.unwrap_or_default(),
        String::from_utf8(json::changes(&changes)?)?,
        ip_address,
        user_agent,
        source,
        serde_json::to_string(&metadata)?,
        trace_id.unwrap_or_default(),
        erased.join(" "),
    ])
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

    #[test]
    fn every_column_has_a_name() {
        assert_eq!(cells(pb::AuditLog::default()).expect("cells").len(), COLUMNS.len());
    }
}
