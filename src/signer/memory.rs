//! The last signed tree heads, stored outside of the database, because restoring a database also restores its old
//! checkpoints. One line per log: id, size, root.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::files::{Lock, beside};
use crate::files;
use auditlog_verify::merkle::Hash;

const HEAD: &str = "# What auditlog signed last, log by log: id, size, root. It belongs to the key beside it, and must not be \
                    restored with a database.\n";

/// The size and root of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeHead {
    /// The number of entries.
    pub size: u64,
    /// The root hash.
    pub root: Hash,
}

/// The last signed tree head of each log, by log id.
pub(super) type SignedState = BTreeMap<String, TreeHead>;

/// The state file beside a key file.
#[derive(Clone)]
pub(super) struct StateFile {
    key: PathBuf,
    path: PathBuf,
}

impl StateFile {
    pub(super) fn of(key: &Path) -> Self {
        Self { key: key.to_owned(), path: beside(key, ".state") }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the file if it is missing. The new file says that nothing was signed.
    pub(super) fn create(&self) -> anyhow::Result<()> {
        let _lock = Lock::of(&self.key)?;
        if self.read()?.is_none() {
            self.write(&SignedState::new())?;
        }
        Ok(())
    }

    /// The content; `None` if the file is missing, so that the signed state is unknown.
    pub(super) fn read(&self) -> anyhow::Result<Option<SignedState>> {
        let at = self.path.display();
        let text = match files::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {at}"))?,
        };
        let mut memory = SignedState::new();
        for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let damaged = || anyhow!("{at} is damaged: line {} must be a log's id, size and root", place + 1);
            let (log_id, remembered) = parse(line).ok_or_else(damaged)?;
            memory.insert(log_id, remembered);
        }
        Ok(Some(memory))
    }

    /// Stores `changes`; `None` removes a log. Skips a log whose tree head in the file is not the one in `seen`,
    /// because another process has signed it meanwhile. Durable on return. Returns the changed logs.
    pub(super) fn change(
        &self,
        seen: &SignedState,
        mut changes: BTreeMap<String, Option<TreeHead>>,
    ) -> anyhow::Result<BTreeSet<String>> {
        let locked = self.lock()?;
        changes.retain(|log_id, _| locked.has_seen(seen, log_id));
        locked.write(&changes)?;
        Ok(changes.into_keys().collect())
    }

    /// Locks the file for a change. Waits until no other process holds the lock. Errors: the file is missing.
    pub(super) fn lock(&self) -> anyhow::Result<LockedState> {
        let lock = Lock::of(&self.key)?;
        let memory = self.read()?.with_context(|| format!("{} is missing", self.path.display()))?;
        Ok(LockedState { file: self.clone(), memory, _lock: lock })
    }

    fn write(&self, memory: &SignedState) -> anyhow::Result<()> {
        let lines = memory.iter().map(|(log_id, TreeHead { size, root })| format!("{log_id} {size} {root}\n"));
        let text = HEAD.to_owned() + &lines.collect::<String>();
        files::replace(&self.path, text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The state file while no other process can change it.
pub(super) struct LockedState {
    file: StateFile,
    memory: SignedState,
    _lock: Lock,
}

impl LockedState {
    /// Whether the log's tree head in the file is the one in `seen`. If not, another process has signed the log since.
    pub(super) fn has_seen(&self, seen: &SignedState, log_id: &str) -> bool {
        self.memory.get(log_id) == seen.get(log_id)
    }

    /// Stores `changes`; `None` removes a log. Durable on return.
    pub(super) fn write(self, changes: &BTreeMap<String, Option<TreeHead>>) -> anyhow::Result<()> {
        let mut memory = self.memory.clone();
        for (log_id, now) in changes {
            match now {
                Some(now) => memory.insert(log_id.clone(), *now),
                None => memory.remove(log_id),
            };
        }
        if memory != self.memory { self.file.write(&memory) } else { Ok(()) }
    }
}

fn parse(line: &str) -> Option<(String, TreeHead)> {
    let [log_id, size, root] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let remembered = TreeHead { size: size.parse().ok()?, root: Hash::parse(root).ok()? };
    (!log_id.is_empty()).then(|| (log_id.to_owned(), remembered))
}
