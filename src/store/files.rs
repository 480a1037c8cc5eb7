//! The files of a SQLite database: whether they can be written, and whether they are still those that were opened.

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

/// The files that SQLite keeps beside the database while it is open: its log, and the index of that.
const ENDINGS: [&str; 2] = ["-wal", "-shm"];

/// Files that SQLite has open. It goes on to write to them where they were removed or replaced, and all of that is
/// lost when it closes them.
pub(super) struct Files {
    /// Each with what it was when it was opened.
    opened: Vec<(PathBuf, Identity)>,
    /// Whether the log has been told that they are not there.
    is_told: AtomicBool,
}

/// Device and inode of a file, which no other file has while this one is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        // Never by opening it: to close it again would take away the locks that SQLite holds.
        fs::metadata(path).map(|metadata| Self(metadata.dev(), metadata.ino()))
    }
}

impl Files {
    /// The files of the database at `path`, of which a connection that is open has read.
    pub(super) fn opened(path: &Path) -> anyhow::Result<Self> {
        let missing = |file: &Path| format!("cannot find {}", file.display());
        let real = fs::canonicalize(path).with_context(|| missing(path))?;
        let files = std::iter::once(path.to_owned()).chain(beside(&real));
        let identity = |file: PathBuf| {
            let identity = Identity::of(&file).with_context(|| missing(&file))?;
            Ok((file, identity))
        };
        let opened = files.map(identity).collect::<anyhow::Result<_>>()?;
        Ok(Self { opened, is_told: AtomicBool::new(false) })
    }

    /// Whether each file is still in its place. Logs the first time that one is not, and when all are again.
    pub(super) fn check(&self) -> Result<(), DbErr> {
        let moved = self.opened.iter().find(|(path, identity)| Identity::of(path).ok() != Some(*identity));
        let Some((path, _)) = moved else {
            if self.is_told.swap(false, Ordering::Relaxed) {
                info!("the files of the database are in their place again");
            }
            return Ok(());
        };
        let file = path.display();
        if !self.is_told.swap(true, Ordering::Relaxed) {
            error!(
                %file,
                "a file of the database was removed or replaced while it was open; nothing is read or written until it \
                 is back, or the service has been started again"
            );
        }
        Err(errors::unavailable(format!("{file} was removed or replaced while the database was open")))
    }
}

/// The files beside the database, whose name has no symbolic links in it: SQLite follows them first.
fn beside(real: &Path) -> impl Iterator<Item = PathBuf> {
    ENDINGS.into_iter().map(move |ending| {
        let mut name = real.to_owned().into_os_string();
        name.push(ending);
        name.into()
    })
}

/// Refuses a database at `path` that this process may only read, with the command that mends it. One that is not
/// there is made by SQLite.
pub(super) fn check_writable(path: &Path) -> anyhow::Result<()> {
    // A file that is not there yet is made in its directory.
    let real = fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
    let directory = real.parent().map(Path::to_owned);
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
