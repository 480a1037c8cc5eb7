//! Reads the lines of a file as batches of entries to write.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::domain::{OrganizationId, hex};
use crate::grpc::MAX_REQUEST;
use crate::grpc::pb::AuditLogInput;
use crate::rest::entry;

/// The maximum number of entries and bytes of a batch. Both are below the limits of one request.
const ENTRIES: usize = 500;
const BYTES: usize = MAX_REQUEST / 2;

/// A part of a file.
pub(super) enum ImportPiece {
    /// Consecutive entries of one organization.
    Batch(LineBatch),
    /// A line that is not an entry: its number from 1, and the reason.
    Bad { line: usize, why: String },
}

/// Entries to write in one request.
pub(super) struct LineBatch {
    pub(super) organization: String,
    /// Each with its line number from 1.
    pub(super) entries: Vec<(usize, AuditLogInput)>,
    /// The number of entries that had lost values before the export.
    pub(super) partial: u64,
}

/// Reads `source`, plain or gzip, into `pieces`, until its end or until the receiver is dropped.
pub(super) fn read(
    source: Box<dyn Read + Send>,
    organization: Option<&str>,
    pieces: &mpsc::Sender<ImportPiece>,
) -> io::Result<()> {
    let mut lines = BufReader::with_capacity(1024 * 1024, unpacked(source)?);
    let mut batch: Option<(LineBatch, usize)> = None;
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        // One byte more than allowed shows that a line is too long.
        let read = (&mut lines).take(MAX_REQUEST as u64 + 1).read_until(b'\n', &mut text);
        if !matches!(read, Ok(1..)) {
            // The entries that were read before an error are good.
            flush(batch.take(), pieces);
            return read.map(|_| ());
        }
        let content = without_marks(&text);
        if content.trim_ascii().is_empty() {
            continue;
        }
        let (named, entry, is_partial) = match entry(content, line, organization) {
            Ok(entry) => entry,
            Err(why) => {
                skip_line(&mut lines, &text)?;
                let full = batch.take().map(|(batch, _)| ImportPiece::Batch(batch));
                for piece in full.into_iter().chain([ImportPiece::Bad { line, why }]) {
                    if pieces.blocking_send(piece).is_err() {
                        return Ok(());
                    }
                }
                continue;
            }
        };
        let size = entry.encoded_len();
        let fits = |(open, bytes): &(LineBatch, usize)| {
            open.organization == named && open.entries.len() < ENTRIES && bytes + size <= BYTES
        };
        if let Some((full, _)) = batch.take_if(|open| !fits(open))
            && pieces.blocking_send(ImportPiece::Batch(full)).is_err()
        {
            return Ok(());
        }
        let (open, bytes) =
            batch.get_or_insert_with(|| (LineBatch { organization: named, entries: Vec::new(), partial: 0 }, 0));
        open.entries.push((line, entry));
        open.partial += u64::from(is_partial);
        *bytes += size;
    }
    Ok(())
}

/// Sends the open batch. A closed channel means that the import has failed elsewhere.
fn flush(batch: Option<(LineBatch, usize)>, pieces: &mpsc::Sender<ImportPiece>) {
    if let Some((last, _)) = batch {
        let _ = pieces.blocking_send(ImportPiece::Batch(last));
    }
}

type Begun = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

/// Unpacks `source` if it is gzip. A gzip file begins with 1f 8b, and JSON never does.
fn unpacked(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::new();
    source.by_ref().take(2).read_to_end(&mut magic)?;
    let packed = magic == [0x1f, 0x8b];
    let whole: Begun = Cursor::new(magic).chain(source);
    Ok(if packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Removes byte order marks from the start of `line`. Some programs begin a file with one, and files may be joined.
fn without_marks(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix("\u{feff}".as_bytes()) {
        line = rest;
    }
    line
}

/// Skips the rest of a line that was too long to be read completely.
fn skip_line(lines: &mut impl BufRead, read: &[u8]) -> io::Result<()> {
    if read.len() > MAX_REQUEST && !read.ends_with(b"\n") {
        lines.skip_until(b'\n')?;
    }
    Ok(())
}

fn entry(text: &[u8], line: usize, organization: Option<&str>) -> Result<(String, AuditLogInput, bool), String> {
    if text.len() > MAX_REQUEST {
        return Err(format!("is longer than {MAX_REQUEST} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|error| format!("is not UTF-8: {error}"))?;
    let (named, mut entry, gone) = entry::decode_exported(text).map_err(|fault| fault.to_string())?;
    let organization = organization.map(str::to_owned).or(named);
    let organization = organization.ok_or("organizationId is missing; add it, or give --organization")?;
    OrganizationId::parse(organization.as_str()).map_err(|why| format!("organizationId: {why}"))?;
    if entry.id.is_empty() {
        entry.id = own_id(line, text);
    }
    Ok((organization, entry, gone.is_some_and(|gone| !gone.is_empty())))
}

/// An id made from the number and the text of a line. It is the same in each run, so an import can be repeated.
fn own_id(line: usize, text: &str) -> String {
    let digest = Sha256::digest(format!("{line} {}", text.trim_ascii()));
    format!("imp_{}", hex(&digest[..16]))
}
