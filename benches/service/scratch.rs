//! The directory for the databases of the run. The torture harness uses this file too.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use crate::as_postgres::as_postgres;

/// Creates a directory that the user of PostgreSQL can enter, on the disk of the build if possible.
pub fn scratch(prefix: &str) -> anyhow::Result<TempDir> {
    for parent in [Path::new(env!("CARGO_TARGET_TMPDIR")), &std::env::temp_dir()] {
        fs::create_dir_all(parent)?;
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let enter = format!("cd {}", directory.path().display());
        if as_postgres(&enter, directory.path()).stderr(Stdio::null()).status()?.success() {
            return Ok(directory);
        }
    }
    anyhow::bail!("the user that PostgreSQL runs as can enter neither the build's directory nor the temporary one")
}
