//! The journal of the clients. An intent is synced to disk before its request is sent, and an acknowledgement right
//! after it arrives. Whatever is killed, the file says which entries the database must have.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::entry::Entry;

/// The time limit of a sync, also while a fault fills another disk.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Record {
    /// A request that is about to be sent. It may be sent again with the same content.
    Intent { organization: String, entries: Vec<Entry> },
    /// The service acknowledged these entries as durable.
    Acknowledged { organization: String, written: Vec<Written> },
}

/// The acknowledgement of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub id: String,
    pub seq: i64,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// The leaf hash, in base64.
    pub leaf: String,
    pub replayed: bool,
}

struct Line {
    text: String,
    synced: oneshot::Sender<()>,
}

/// The writing end. Clones share the file.
#[derive(Clone)]
pub struct Journal {
    lines: mpsc::Sender<Line>,
    path: PathBuf,
}

impl Journal {
    /// Creates the file. Errors: it exists.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        let (lines, waiting) = mpsc::channel();
        std::thread::spawn(move || write(file, &waiting));
        Ok(Self { lines, path: path.to_owned() })
    }

    /// Appends `record` and returns after it is synced to disk.
    pub async fn write(&self, record: &Record) -> anyhow::Result<()> {
        let (synced, done) = oneshot::channel();
        let text = serde_json::to_string(record)? + "\n";
        self.lines.send(Line { text, synced }).context("the journal's thread has ended")?;
        let done = tokio::time::timeout(TIMEOUT, done).await.context("the journal's disk does not answer")?;
        done.context("the journal could not be written")
    }

    pub fn reader(&self) -> Ledger {
        Ledger { path: self.path.clone(), read: 0, intended: HashMap::new(), acknowledged: HashMap::new() }
    }
}

/// Writes all waiting lines, syncs once, and wakes all waiting clients.
fn write(mut file: File, waiting: &mpsc::Receiver<Line>) {
    while let Ok(first) = waiting.recv() {
        let lines: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            crate::say(&format!("the journal cannot be written: {error}"));
            return;
        }
        for Line { synced, .. } in lines {
            // The waiting client may have been stopped.
            let _ = synced.send(());
        }
    }
}

/// An organization and the id of an entry.
pub type Name = (String, String);

/// The content of the journal, read from its file.
pub struct Ledger {
    path: PathBuf,
    /// The number of bytes read so far.
    read: u64,
    pub intended: HashMap<Name, Entry>,
    pub acknowledged: HashMap<Name, Written>,
}

impl Ledger {
    /// Reads the lines that were added. A last line without a newline is a write that a kill interrupted, and is not
    /// read.
    pub fn catch_up(&mut self) -> anyhow::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            self.take(serde_json::from_str(line).context("a line of the journal")?)?;
        }
        self.read += whole as u64;
        Ok(())
    }

    fn take(&mut self, record: Record) -> anyhow::Result<()> {
        match record {
            Record::Intent { organization, entries } => {
                for entry in entries {
                    let fresh = self.intended.insert((organization.clone(), entry.id.clone()), entry).is_none();
                    ensure!(fresh, "a client used an id twice, which is a bug in this program");
                }
            }
            Record::Acknowledged { organization, written } => {
                for one in written {
                    match self.acknowledged.entry((organization.clone(), one.id.clone())) {
                        Place::Vacant(place) => drop(place.insert(one)),
                        Place::Occupied(first) => ensure!(
                            Written { replayed: true, ..first.get().clone() } == one,
                            "the service acknowledged {:?} and then {one:?}",
                            first.get()
                        ),
                    }
                }
            }
        }
        Ok(())
    }
}
