//! Fills the disk of the database: a separate tmpfs if this program may mount one. Otherwise a limit on file size,
//! which is nearly the same; the harness prints which one it uses.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Fault, STORAGE};
use crate::database::Database;
use crate::say;
use crate::scene::{Scene, Setting};

const ROUNDS: u32 = 3;
const MIB: u32 = 192;
/// The time limit until a client sees the full disk.
const NOTICED: Duration = Duration::from_secs(30);

/// A disk that can be filled.
pub struct Disk {
    pub directory: PathBuf,
    is_mounted: bool,
}

impl Disk {
    fn new(directory: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&directory)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={MIB}m,mode=755"), "tmpfs"]).arg(&directory);
        let is_mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        match is_mounted {
            true => say("  the fault fills a tmpfs"),
            false => say("  NO TMPFS can be mounted here: a limit on file size (prlimit) replaces the full disk"),
        }
        Ok(Self { directory, is_mounted })
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }

    /// Makes every further write of `processes` fail.
    fn fill(&self, processes: &[u32]) -> anyhow::Result<()> {
        if !self.is_mounted {
            return limit(processes, "0:unlimited");
        }
        let mut file = File::create(self.filler())?;
        let zeros = vec![0; 64 * 1024];
        loop {
            match file.write(&zeros) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn free(&self, processes: &[u32]) -> anyhow::Result<()> {
        match self.is_mounted {
            true => Ok(fs::remove_file(self.filler())?),
            false => limit(processes, "unlimited:unlimited"),
        }
    }

    /// Copies the files to `directory`, because they are lost with the tmpfs.
    pub fn keep(&self, directory: &Path) {
        if self.is_mounted {
            let _ = fs::remove_file(self.filler());
            let _ = Command::new("cp").arg("-a").arg(&self.directory).arg(directory.join("kept-disk")).status();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // A lazy unmount also works while an exiting process still has files open.
            let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
        }
    }
}

fn limit(processes: &[u32], size: &str) -> anyhow::Result<()> {
    let mut is_set = false;
    for process in processes {
        // Run as the owner of the process, because root may lack the right. A process that has exited has no limit.
        let owner = fs::metadata(format!("/proc/{process}")).map(|process| (process.uid(), process.gid()));
        let Ok((user, group)) = owner else { continue };
        let mut command = Command::new("prlimit");
        command.args([format!("--pid={process}"), format!("--fsize={size}")]).stderr(Stdio::null());
        let set = command.uid(user).gid(group).status().context("prlimit (util-linux)")?;
        is_set |= set.success();
    }
    ensure!(is_set || size.starts_with("unlimited"), "no process took the limit");
    Ok(())
}

pub fn setting(directory: &Path) -> anyhow::Result<Setting> {
    Ok(Setting { disk: Some(Disk::new(directory.join("disk"))?), ..Setting::default() })
}

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    if matches!(scene.database, Database::Postgres(_)) && !disk(scene)?.is_mounted {
        // PostgreSQL reports a file that is too large as an internal error (XX000), unlike a full disk (53100).
        scene.tell("NOT TESTED: PostgreSQL reports a limit on file size differently from a full disk; run it where tmpfs can be mounted");
        scene.load_runs().await?;
        scene.wait(1_000..1_500).await;
        return Ok(());
    }
    for _ in 0..ROUNDS {
        scene.load_runs().await?;
        let processes = writers(scene)?;
        disk(scene)?.fill(&processes)?;
        let begun = Instant::now();
        while !scene.load.shared.saw(STORAGE) {
            ensure!(begun.elapsed() < NOTICED, "the disk is full, but no client got an error");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scene.wait(500..1_500).await;
        scene.services[0].runs()?;
        let processes = writers(scene)?;
        disk(scene)?.free(&processes)?;
        scene.happened();
        if let Database::Postgres(server) = &mut scene.database {
            // PostgreSQL exits when it cannot write its log; an administrator who made room would restart it.
            server.start_again()?;
        }
        scene.check(Fault::Disk.excuses()).await?;
    }
    Ok(())
}

fn disk(scene: &Scene) -> anyhow::Result<&Disk> {
    scene.disk.as_ref().context("the scene has a disk")
}

/// The processes that write to the database.
fn writers(scene: &mut Scene) -> anyhow::Result<Vec<u32>> {
    match &mut scene.database {
        Database::Sqlite { .. } => Ok(vec![scene.services[0].id()?]),
        Database::Postgres(server) => Ok(server.processes()),
    }
}
