//! The lock of a key file, and the names of the files beside it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::files::{directory, open_lock};

/// Held by whoever changes the key file or what lies beside it. Given back by being dropped, and by the end of the
/// process.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process changes the key file `path` or its state.
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

/// `path` with `ending` after its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}
