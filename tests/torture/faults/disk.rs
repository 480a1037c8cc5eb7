//! The database's disk is full: a tmpfs of its own where this program may mount one, and else a limit of the size of
//! files, which is nearly the same and is told.

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
/// How long writes may go on before the disk is noticed.
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
            true => say("  a tmpfs is filled"),
            false => {
                say("  NO TMPFS can be mounted here: a limit of the size of files (prlimit) stands for a full disk")
            }
        }
        Ok(Self { directory, is_mounted })
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }

    /// From now on nothing more can be written by `processes`.
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

    /// Copies what would go with the disk.
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
            // Also where a process that ends still has files there.
            let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
        }
    }
}

fn limit(processes: &[u32], size: &str) -> anyhow::Result<()> {
    let mut is_set = false;
    for process in processes {
        // By its own user, since root may not everywhere. One that has ended has no limit.
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
        // It calls a file that is too large an internal error (XX000), which a full disk (53100) is not.
        scene.tell("NOT TESTED: a limit of the size of files is no full disk for PostgreSQL; run it where tmpfs can be mounted");
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
            ensure!(begun.elapsed() < NOTICED, "the disk is full, and no client hears of it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scene.wait(500..1_500).await;
        scene.services[0].runs()?;
        let processes = writers(scene)?;
        disk(scene)?.free(&processes)?;
        scene.happened();
        if let Database::Postgres(server) = &mut scene.database {
            // It gives up where it cannot even write its log, and is started by whoever made room.
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
