//! What clients meant to write and what they were told, on disk: an intent is synced before its request is sent, an
//! acknowledgement right after it came. So whatever is killed, the file says what the database must have.

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

/// How long the disk may take, also while a fault fills another one.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Record {
    /// A request is about to be sent; it may be sent again, with the same content.
    Intent { organization: String, entries: Vec<Entry> },
    /// The service said that these are durable.
    Acknowledged { organization: String, written: Vec<Written> },
}

/// What the service said of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub id: String,
    pub seq: i64,
    /// Microseconds.
    pub recorded_at: i64,
    /// The hash of its leaf, in base64.
    pub leaf: String,
    pub replayed: bool,
}

struct Line {
    text: String,
    synced: oneshot::Sender<()>,
}

/// The end that is written to. Clones share it.
#[derive(Clone)]
pub struct Journal {
    lines: mpsc::Sender<Line>,
    path: PathBuf,
}

impl Journal {
    /// A new one.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        let (lines, waiting) = mpsc::channel();
        std::thread::spawn(move || write(file, &waiting));
        Ok(Self { lines, path: path.to_owned() })
    }

    /// Appends `record`; it is on disk when this returns.
    pub async fn write(&self, record: &Record) -> anyhow::Result<()> {
        let (synced, done) = oneshot::channel();
        let text = serde_json::to_string(record)? + "\n";
        self.lines.send(Line { text, synced }).context("the journal's thread has ended")?;
        let done = tokio::time::timeout(PATIENCE, done).await.context("the journal's disk does not answer")?;
        done.context("the journal could not be written")
    }

    pub fn reader(&self) -> Ledger {
        Ledger { path: self.path.clone(), read: 0, intended: HashMap::new(), acknowledged: HashMap::new() }
    }
}

/// Writes what has come, syncs it once, and says so to all who wait.
fn write(mut file: File, waiting: &mpsc::Receiver<Line>) {
    while let Ok(first) = waiting.recv() {
        let lines: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            crate::say(&format!("the journal cannot be written: {error}"));
            return;
        }
        for Line { synced, .. } in lines {
            // Whoever waited may have been stopped.
            let _ = synced.send(());
        }
    }
}

/// An organization and the id of an entry.
pub type Name = (String, String);

/// What the journal says, read from its file.
pub struct Ledger {
    path: PathBuf,
    /// The bytes that were read.
    read: u64,
    pub intended: HashMap<Name, Entry>,
    pub acknowledged: HashMap<Name, Written>,
}

impl Ledger {
    /// Reads what was added. A line without an end was being written when its writer was killed.
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
                    ensure!(fresh, "a client used an id twice, which is a fault of this program");
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
