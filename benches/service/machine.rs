//! The machine and the software that the figures were measured on.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::database::Database;
use crate::figure::{Report, Times};

const WRITES: usize = 300;
/// About the size of a page in both databases, in bytes.
const BYTES: usize = 8 * 1024;

/// Records the machine, the fsync latency of its disk, and the commit.
pub fn note(scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism()?;
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    fact(report, "commit", &commit);
    fact(report, "CPU", &format!("{}, {cores} cores", model.map_or("unknown", |(_, model)| model)));
    let load = fs::read_to_string("/proc/loadavg")?;
    fact(report, "load before", load.split(' ').next().unwrap_or_default());
    fact(report, "directory of the data", &scratch.parent().unwrap_or(scratch).display().to_string());
    report.begin("disk");
    let times = syncs(scratch)?;
    report.add("8 KiB written and fdatasync", "p50", times.p50(), "ms");
    report.add("8 KiB written and fdatasync", "p99", times.p99(), "ms");
    report.print();
    Ok(())
}

/// Records the version of the database.
pub async fn note_database(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let (name, sql) = match &database.server {
        Some(_) => ("PostgreSQL", "SHOW server_version"),
        None => ("SQLite", "SELECT sqlite_version()"),
    };
    let version: String = database.value(sql).await?;
    fact(report, name, &version);
    Ok(())
}

fn fact(report: &mut Report, name: &str, value: &str) {
    println!("{name}: {value}");
    report.facts.insert(name.to_owned(), value.to_owned());
}

fn syncs(directory: &Path) -> anyhow::Result<Times> {
    let mut file = tempfile::tempfile_in(directory)?;
    let mut times = Times::default();
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[7; BYTES])?;
        file.sync_data()?;
        times.0.push(begun.elapsed());
    }
    Ok(times)
}
