//! Reads the end of an exported CSV file, to continue it.

use std::io::Read;

use anyhow::{Context, ensure};
use csv::ReaderBuilder;

use crate::rest::export::csv::columns;

/// The id in the last line of an exported file; `None` if it has no entry. Errors: other columns; a line is incomplete.
pub(super) fn last_id(file: impl Read) -> anyhow::Result<Option<String>> {
    let mut lines = ReaderBuilder::new().from_reader(file);
    let no_csv = "it is not an exported CSV file, or a line is incomplete";
    ensure!(
        *lines.headers().context(no_csv)? == columns()?,
        "its columns are not those of this version; export into a new file"
    );
    let (mut line, mut id) = (csv::StringRecord::new(), None);
    while lines.read_record(&mut line).context(no_csv)? {
        id = line.get(0).map(|cell| cell.strip_prefix('\'').unwrap_or(cell).to_owned());
    }
    Ok(id)
}
