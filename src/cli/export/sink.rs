//! Where an export's lines go: to standard output, or to a file that never keeps half a line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write, stdout};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use super::{Format, csv};

pub(super) enum Sink {
    Stdout,
    File {
        file: File,
        name: String,
        /// The bytes of whole lines.
        whole: u64,
    },
}

impl Sink {
    /// Without `after` a new file; with it, one that ends with that entry.
    pub(super) fn open(path: Option<&Path>, format: Format, after: Option<&str>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Stdout);
        };
        let name = path.display().to_string();
        let file = match after {
            Some(after) => ending_with(path, format, after).with_context(|| format!("cannot go on with {name}"))?,
            None => OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => {
                    anyhow!("{name} is there already; name another --output, or go on with --after and its last id")
                }
                _ => anyhow!(error).context(format!("cannot create {name}")),
            })?,
        };
        let whole = file.metadata()?.len();
        Ok(Self::File { file, name, whole })
    }

    /// Takes a new file away again.
    pub(super) fn discard(&mut self) {
        if let Self::File { name, .. } = self {
            // What stays is told at the next try.
            let _ = std::fs::remove_file(name);
        }
    }

    /// Writes whole lines, or none of them where that is a file.
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
                    // What cannot be cut off is told at the next try to go on.
                    let _ = file.set_len(*whole);
                    return Err(anyhow!(error).context(format!("cannot write to {name}")));
                }
                *whole += lines.len() as u64;
                Ok(())
            }
        }
    }
}

/// A file to append to, whose last line is that of the entry `after`.
fn ending_with(path: &Path, format: Format, after: &str) -> anyhow::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let torn = "its last line is torn; remove that line, and name the id of the one before in --after";
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last))?;
        if last != *b"\n" {
            bail!(torn);
        }
    }
    file.rewind()?;
    let id = match format {
        Format::Ndjson => last_id(BufReader::new(&file))?,
        Format::Csv => csv::last_id(BufReader::new(&file))?,
    };
    match id {
        Some(id) if id == after => Ok(file),
        Some(id) => bail!("its last entry is {id}, and --after says {after}"),
        None => bail!("it holds no entry, and --after says {after}"),
    }
}

/// The id in the last line of NDJSON.
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
    let Line { id } = serde_json::from_slice(&last).context("its last line is no entry")?;
    Ok(Some(id))
}
