//! Files that survive a crash: written beside, synced, and renamed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Held by whoever changes the key file or what lies beside it. Given back by being dropped, and by the end of the
/// process.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process changes the key file `path` or its state.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let lock = beside(path, ".lock");
        let file = private().create(true).truncate(false).open(&lock);
        let file = file.and_then(|file| owned_as(&file, path).and_then(|()| file.lock()).map(|()| file));
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

/// Where the file `path` lies.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces the file at `path`, so that whenever the machine stops it has all of the old or all of the new text.
/// It is owned as the key file `key` is.
pub(super) fn replace(path: &Path, text: &str, key: &Path) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = private().create(true).truncate(true).open(&new)?;
    owned_as(&file, key)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory(path))?.sync_all()
}

/// Gives a file that root has made to the owner of `key`: the service must be able to read it.
fn owned_as(file: &File, key: &Path) -> io::Result<()> {
    let (key, own) = (fs::metadata(key)?, file.metadata()?);
    // Nobody else can give files away.
    if own.is_file() && own.uid() == 0 && key.uid() != 0 {
        fchown(file, Some(key.uid()), Some(key.gid()))?;
    }
    Ok(())
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn what_is_made_beside_a_key_belongs_to_the_owner_of_the_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = directory.path().join("key");
        fs::write(&key, "").expect("written");
        // As root runs a command beside the service of somebody else. Nobody but root can give files away.
        let _ = chown(&key, Some(65_534), Some(65_534));
        let of = |path: &Path| fs::metadata(path).map(|metadata| (metadata.uid(), metadata.gid())).expect("a file");
        let lock = Lock::of(&key).expect("locked");
        replace(&beside(&key, ".state"), "text", &key).expect("written");
        drop(lock);
        for ending in [".state", ".lock"] {
            assert_eq!(of(&beside(&key, ending)), of(&key), "{ending}");
        }
    }
}
