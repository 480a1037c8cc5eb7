//! Files of this program. New files have mode 0600. Links are not followed, so another user with write access to the
//! directory cannot redirect a write.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::bail;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;
use tempfile::NamedTempFile;

/// The mode of every new file.
const PRIVATE: u32 = 0o600;

/// Opens a lock file, and creates it if missing. Errors: `path` is a link or not a regular file.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let file = no_follow().write(true).create(true).truncate(false).mode(PRIVATE).open(path).map_err(link_named)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "it is no file")),
    }
}

/// Reads a text file. Errors: `path` is a link.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    no_follow().read(true).open(path).map_err(link_named)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Creates the file at `path` atomically: after a crash, the file is absent or complete. Errors: `AlreadyExists` if the
/// name is taken, even by a link.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    staged(path, content)?.persist_noclobber(path)?;
    sync_directory(path)
}

/// Replaces the file at `path` atomically: after a crash, it has all of the old or all of the new content.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    staged(path, content)?.persist(path)?;
    sync_directory(path)
}

/// A temporary file with `content` beside `path`, ready to take its name. A process killed meanwhile may leave it
/// there, as `.NAME.….new`.
fn staged(path: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    // Created exclusively, with a random name and mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".new")
        .tempfile_in(directory(path))
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes created and renamed files in the directory of `path` durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// The directory that has the file `path`.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks that files beside `path` may be written. Errors: the process is root, and `path` or its directory belongs to
/// another user, who could exchange files while root writes them. The error says how to run `command` as that user.
pub fn check_owner(path: &Path, command: &str) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = |path: &Path| path.symlink_metadata().ok().map(|metadata| metadata.uid()).filter(|uid| *uid != 0);
    let parent: PathBuf = directory(path).canonicalize().unwrap_or_else(|_| directory(path).to_owned());
    let found = [parent.as_path(), path].into_iter().find_map(|path| Some((path, owner(path)?)));
    if let Some((at, uid)) = found {
        bail!(
            "{} belongs to user {uid}, so root writes nothing there; run `sudo -u '#{uid}' auditlog {command}` instead",
            at.display()
        );
    }
    Ok(())
}

fn no_follow() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options
}

/// Gives the error for a link a message that says so.
fn link_named(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => {
            io::Error::new(ErrorKind::InvalidInput, "it is a symbolic link, and links are not followed")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn files_are_replaced_atomically_with_owner_only_access_and_without_following_links() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let [target, link, file] = ["target", "link", "file"].map(path);
        fs::write(&target, "target").expect("written");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).expect("changed");
        symlink(&target, &link).expect("a link");
        for refused in [read(&link).map(drop), open_lock(&link).map(drop)] {
            assert!(refused.is_err_and(|error| error.to_string().contains("symbolic link")));
        }
        for taken in [&link, &target] {
            assert_eq!(create(taken, b"new").expect_err("there is one").kind(), ErrorKind::AlreadyExists);
        }
        create(&path("created"), b"new").expect("created");
        assert_eq!(read(&path("created")).expect("read"), "new");
        fs::remove_file(path("created")).expect("removed");
        // `replace` replaces the link itself, not its target.
        for path in [&link, &file, &file] {
            replace(path, b"new").expect("replaced");
            let metadata = path.symlink_metadata().expect("a file");
            assert!(metadata.is_file() && metadata.permissions().mode() & 0o777 == 0o600, "{metadata:?}");
            assert_eq!(read(path).expect("read"), "new");
        }
        assert_eq!(fs::read_to_string(&target).expect("read"), "target");
        assert_eq!(fs::read_dir(directory.path()).expect("files").count(), 3, "nothing else is left there");
    }
}
