//! Finds PostgreSQL's programs and runs scripts as a user that may start them. The benchmarks use this file too.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `PG_BIN`, or the newest version that Debian has installed.
pub fn programs() -> Option<PathBuf> {
    if let Ok(named) = env::var("PG_BIN") {
        return Some(PathBuf::from(named));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let version = version.ok()?;
            Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, bin)| bin)
}

/// A shell that runs `script` as a user that PostgreSQL accepts, and that owns `directory`.
pub fn as_postgres(script: &str, directory: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if is_root {
        // PostgreSQL refuses to run as root.
        let owned = Command::new("chown").arg("postgres").arg(directory).status();
        assert!(owned.is_ok_and(|status| status.success()), "the directory goes to the user postgres");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "sh", "-c", script]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }
}
