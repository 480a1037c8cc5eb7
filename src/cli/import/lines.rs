//! Reads the lines of a file as batches of entries to write.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::domain::{OrganizationId, hex};
use crate::grpc::MAX_REQUEST;
use crate::grpc::pb::AuditLogInput;
use crate::rest::entry::{ExportedEntry, RecordedAs, decode_exported};

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
    pub(super) lines: Vec<ImportLine>,
    /// The number of entries that had lost values before the export.
    pub(super) partial: u64,
}

/// A line with an entry.
pub(super) struct ImportLine {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) entry: AuditLogInput,
    /// The number, time and leaf hash of the entry in its log, by an export. Empty if the line is from the log of another
    /// organization.
    pub(super) recorded: RecordedAs,
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
    for number in 1.. {
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
        let (named, line, is_partial) = match parse(content, number, organization) {
            Ok(parsed) => parsed,
            Err(why) => {
                skip_line(&mut lines, &text)?;
                let full = batch.take().map(|(batch, _)| ImportPiece::Batch(batch));
                for piece in full.into_iter().chain([ImportPiece::Bad { line: number, why }]) {
                    if pieces.blocking_send(piece).is_err() {
                        return Ok(());
                    }
                }
                continue;
            }
        };
        let size = line.entry.encoded_len();
        let fits = |(open, bytes): &(LineBatch, usize)| {
            open.organization == named && open.lines.len() < ENTRIES && bytes + size <= BYTES
        };
        if let Some((full, _)) = batch.take_if(|open| !fits(open))
            && pieces.blocking_send(ImportPiece::Batch(full)).is_err()
        {
            return Ok(());
        }
        let (open, bytes) =
            batch.get_or_insert_with(|| (LineBatch { organization: named, lines: Vec::new(), partial: 0 }, 0));
        open.lines.push(line);
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

/// Parses a line: its organization, its entry, and whether the entry had lost values before the export.
fn parse(text: &[u8], number: usize, organization: Option<&str>) -> Result<(String, ImportLine, bool), String> {
    if text.len() > MAX_REQUEST {
        return Err(format!("is longer than {MAX_REQUEST} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|error| format!("is not UTF-8: {error}"))?;
    let exported = decode_exported(text).map_err(|fault| fault.to_string())?;
    let ExportedEntry { organization_id: named, input: mut entry, erased, recorded } = exported;
    let target = organization.or(named.as_deref());
    let target = target.ok_or("organizationId is missing; add it, or give --organization")?;
    OrganizationId::parse(target).map_err(|why| format!("organizationId: {why}"))?;
    if entry.id.is_empty() {
        entry.id = own_id(number, text);
    }
    // Another organization has another log.
    let recorded = if named.as_deref() == Some(target) { recorded } else { RecordedAs::default() };
    Ok((target.to_owned(), ImportLine { number, entry, recorded }, !erased.is_empty()))
}

/// An id made from the number and the text of a line. It is the same in each run, so an import can be repeated.
fn own_id(line: usize, text: &str) -> String {
    let digest = Sha256::digest(format!("{line} {}", text.trim_ascii()));
    format!("imp_{}", hex(&digest[..16]))
}
