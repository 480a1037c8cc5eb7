//! The lock of a key file, and the names of the files beside it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::files::{directory, open_lock};

/// The lock for changes to the key file and the files beside it. Released on drop and at the end of the process.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process holds the lock of the key file `path`.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let lock = beside(path, ".lock");
        let file = open_lock(&lock).and_then(|file| file.lock().map(|()| file));
        let missing = || match directory(path).is_dir() {
            true => String::new(),
            false => format!(": there is no directory {}", directory(path).display()),
        };
        Ok(Self { _file: file.with_context(|| format!("cannot lock {}{}", lock.display(), missing()))? })
    }
}

/// `path` with `ending` appended to its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}
