//! The output of an export: standard output, or a file that keeps no incomplete line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write, stdout};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use super::csv;
use crate::rest::export::ExportFormat;

pub(super) enum Sink {
    Stdout,
    File {
        file: File,
        name: String,
        /// The length in bytes of all complete lines.
        whole: u64,
    },
}

impl Sink {
    /// Creates a file, or with `after` opens the file that ends with that entry. Errors: the file exists already, or
    /// does not end with that entry.
    pub(super) fn open(path: Option<&Path>, format: ExportFormat, after: Option<&str>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Stdout);
        };
        let name = path.display().to_string();
        let file = match after {
            Some(after) => ending_with(path, format, after).with_context(|| format!("cannot continue {name}"))?,
            None => OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => {
                    anyhow!("{name} already exists; choose another --output, or continue with --after and its last id")
                }
                _ => anyhow!(error).context(format!("cannot create {name}")),
            })?,
        };
        let whole = file.metadata()?.len();
        Ok(Self::File { file, name, whole })
    }

    /// Removes a new file.
    pub(super) fn discard(&mut self) {
        if let Self::File { name, .. } = self {
            // If the file stays, the next try reports it.
            let _ = std::fs::remove_file(name);
        }
    }

    /// Writes complete lines. If that fails, a file keeps none of them.
    pub(super) fn write(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout => {
                let written = stdout().write_all(lines).and_then(|()| stdout().flush());
                written.map_err(|error| match error.kind() {
                    ErrorKind::BrokenPipe => error.into(),
                    _ => anyhow!(error).context("cannot write to standard output"),
                })
            }
            Self::File { file, name, whole } => {
                if let Err(error) = file.write_all(lines) {
                    // If the file cannot be truncated, the next `--after` reports an incomplete line.
                    let _ = file.set_len(*whole);
                    return Err(anyhow!(error).context(format!("cannot write to {name}")));
                }
                *whole += lines.len() as u64;
                Ok(())
            }
        }
    }
}

/// Opens a file for appending. Errors: its last line is incomplete, or is not the entry `after`.
fn ending_with(path: &Path, format: ExportFormat, after: &str) -> anyhow::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let torn = "its last line is incomplete; remove that line, and give the id of the line before as --after";
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last))?;
        if last != *b"\n" {
            bail!(torn);
        }
    }
    file.rewind()?;
    let id = match format {
        ExportFormat::Ndjson => last_id(BufReader::new(&file))?,
        ExportFormat::Csv => csv::last_id(BufReader::new(&file))?,
    };
    match id {
        Some(id) if id == after => Ok(file),
        Some(id) => bail!("its last entry is {id}, but --after is {after}"),
        None => bail!("it has no entry, but --after is {after}"),
    }
}

/// The id in the last line of an NDJSON file; `None` for an empty file.
fn last_id(file: impl BufRead) -> anyhow::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Line {
        id: String,
    }
    let mut last = None;
    for line in file.split(b'\n') {
        last = Some(line?);
    }
    let Some(last) = last else { return Ok(None) };
    let Line { id } = serde_json::from_slice(&last).context("its last line is not an entry")?;
    Ok(Some(id))
}
