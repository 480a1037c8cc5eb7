//! A file's lines as batches to write.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::domain::{OrganizationId, hex};
use crate::grpc::MAX_REQUEST;
use crate::grpc::pb::AuditLogInput;
use crate::rest::body;

/// A batch is closed when it has so many entries or bytes, below the limits of one request.
const ENTRIES: usize = 500;
const BYTES: usize = MAX_REQUEST / 2;

/// What a file is read as.
pub(super) enum Piece {
    /// Lines that follow each other and belong to one organization.
    Batch(Batch),
    /// A line that is no entry.
    Bad { line: usize, why: String },
}

/// Entries to write in one request.
pub(super) struct Batch {
    pub(super) organization: String,
    /// With their line numbers, from 1.
    pub(super) entries: Vec<(usize, AuditLogInput)>,
    /// How many of them were no longer whole when they were exported.
    pub(super) partial: u64,
}

/// Reads `source`, plain or gzip, into `pieces`, until the other side has enough.
pub(super) fn read(
    source: Box<dyn Read + Send>,
    organization: Option<&str>,
    pieces: &mpsc::Sender<Piece>,
) -> io::Result<()> {
    let mut lines = BufReader::with_capacity(1024 * 1024, unpacked(source)?);
    let mut batch: Option<(Batch, usize)> = None;
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        // One byte more than allowed tells a line that is too long.
        let read = (&mut lines).take(MAX_REQUEST as u64 + 1).read_until(b'\n', &mut text);
        if !matches!(read, Ok(1..)) {
            // What was read before a fault is good.
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
                let full = batch.take().map(|(batch, _)| Piece::Batch(batch));
                for piece in full.into_iter().chain([Piece::Bad { line, why }]) {
                    if pieces.blocking_send(piece).is_err() {
                        return Ok(());
                    }
                }
                continue;
            }
        };
        let size = entry.encoded_len();
        let fits = |(open, bytes): &(Batch, usize)| {
            open.organization == named && open.entries.len() < ENTRIES && bytes + size <= BYTES
        };
        if let Some((full, _)) = batch.take_if(|open| !fits(open))
            && pieces.blocking_send(Piece::Batch(full)).is_err()
        {
            return Ok(());
        }
        let (open, bytes) =
            batch.get_or_insert_with(|| (Batch { organization: named, entries: Vec::new(), partial: 0 }, 0));
        open.entries.push((line, entry));
        open.partial += u64::from(is_partial);
        *bytes += size;
    }
    Ok(())
}

/// Hands on the open batch. A closed channel means that the import has failed elsewhere.
fn flush(batch: Option<(Batch, usize)>, pieces: &mpsc::Sender<Piece>) {
    if let Some((last, _)) = batch {
        let _ = pieces.blocking_send(Piece::Batch(last));
    }
}

type Begun = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

/// `source` itself, or what it packs: gzip begins with 1f 8b, which no JSON does.
fn unpacked(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::new();
    source.by_ref().take(2).read_to_end(&mut magic)?;
    let packed = magic == [0x1f, 0x8b];
    let whole: Begun = Cursor::new(magic).chain(source);
    Ok(if packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// `line` without the byte order marks at its beginning: some programs begin a file with one, and files are joined.
fn without_marks(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix("\u{feff}".as_bytes()) {
        line = rest;
    }
    line
}

/// Passes over what is left of a line that was too long to be read whole.
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
    let (named, mut entry, gone) = body::exported(text).map_err(|fault| fault.to_string())?;
    let organization = organization.map(str::to_owned).or(named);
    let organization = organization.ok_or("organizationId is missing; add it, or name one with --organization")?;
    OrganizationId::parse(organization.as_str()).map_err(|why| format!("organizationId: {why}"))?;
    if entry.id.is_empty() {
        entry.id = own_id(line, text);
    }
    Ok((organization, entry, gone.is_some_and(|gone| !gone.is_empty())))
}

/// The same for the same line of the same file, so that an import can be repeated.
fn own_id(line: usize, text: &str) -> String {
    let digest = Sha256::digest(format!("{line} {}", text.trim_ascii()));
    format!("imp_{}", hex(&digest[..16]))
}
