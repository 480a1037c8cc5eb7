//! The files of a SQLite database: whether they are writable, and whether they are still the opened ones.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use sea_orm::DbErr;
use tracing::{error, info};

use super::errors;

/// Files that SQLite keeps beside the open database: its write-ahead log, and the index of that log.
const ENDINGS: [&str; 2] = ["-wal", "-shm"];

/// Files that SQLite has open. If they are removed or replaced, SQLite goes on writing to the old files, and loses that
/// when it closes them.
pub(super) struct Files {
    /// Each file with its identity when it was opened.
    opened: Vec<(PathBuf, Identity)>,
    /// Whether the log already says that a file is missing.
    is_logged: AtomicBool,
}

/// Device and inode of a file. No other file has the same while this one is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        // The file is not opened here: closing it would release the locks that SQLite holds.
        fs::metadata(path).map(|metadata| Self(metadata.dev(), metadata.ino()))
    }
}

impl Files {
    /// The files of the database at `path`. An open connection must have read from it.
    pub(super) fn opened(path: &Path) -> anyhow::Result<Self> {
        let missing = |file: &Path| format!("cannot find {}", file.display());
        let real = fs::canonicalize(path).with_context(|| missing(path))?;
        let files = std::iter::once(path.to_owned()).chain(beside(&real));
        let identity = |file: PathBuf| {
            let identity = Identity::of(&file).with_context(|| missing(&file))?;
            Ok((file, identity))
        };
        let opened = files.map(identity).collect::<anyhow::Result<_>>()?;
        Ok(Self { opened, is_logged: AtomicBool::new(false) })
    }

    /// Checks that each file is still in place. Logs when one first is not, and when all are back.
    pub(super) fn check(&self) -> Result<(), DbErr> {
        let moved = self.opened.iter().find(|(path, identity)| Identity::of(path).ok() != Some(*identity));
        let Some((path, _)) = moved else {
            if self.is_logged.swap(false, Ordering::Relaxed) {
                info!("the database files are back in place");
            }
            return Ok(());
        };
        let file = path.display();
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            error!(
                %file,
                "a file of the database was removed or replaced while it was open; nothing is read or written until it \
                 is back or the service is restarted"
            );
        }
        Err(errors::unavailable(format!("{file} was removed or replaced while the database was open")))
    }
}

/// The files beside the database. `real` must have no symbolic links: SQLite resolves them first.
fn beside(real: &Path) -> impl Iterator<Item = PathBuf> {
    ENDINGS.into_iter().map(move |ending| {
        let mut name = real.to_owned().into_os_string();
        name.push(ending);
        name.into()
    })
}

/// Errors: the directory does not exist, or this process cannot write the database at `path`; without the
/// permission, the error shows the command that grants it. A missing file is no error; SQLite creates it.
pub(super) fn check_writable(path: &Path) -> anyhow::Result<()> {
    // SQLite creates a missing file in this directory.
    let real = fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
    let directory = real.parent().map(Path::to_owned);
    if let Some(directory) = directory.as_ref().filter(|directory| !directory.exists()) {
        bail!("there is no directory {}; create it or name another file", directory.display());
    }
    let files = std::iter::once(real.clone()).chain(beside(&real)).chain(directory);
    for file in files {
        let Ok(metadata) = fs::metadata(&file) else { continue };
        match accessat(CWD, &file, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => {}
            Err(Errno::ROFS) => {
                bail!("{} is on a file system that is mounted read-only; mount it to write, or move it", file.display())
            }
            Err(_) => bail!(
                "{} may not be written by this user, and SQLite needs to; allow it: {}",
                file.display(),
                remedy(&file, &metadata)
            ),
        }
    }
    Ok(())
}

/// The command that lets this user write `file`.
fn remedy(file: &Path, metadata: &Metadata) -> String {
    let (user, file) = (rustix::process::geteuid().as_raw(), file.display());
    match metadata.uid() == user {
        true => format!("chmod u+rw {file}"),
        false => format!("chown {user} {file} && chmod u+rw {file}"),
    }
}
