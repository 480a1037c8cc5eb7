//! CPU time and memory of processes, from Linux's /proc.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// Clock ticks per second in /proc/…/stat, the same on all current Linux platforms.
const TICKS: u64 = 100;

/// CPU time of the running threads of a process, with nanosecond resolution. Zero if the process has exited.
pub fn threads(id: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return Duration::ZERO };
    threads.filter_map(|thread| Some(scheduled(&thread.ok()?.path()))).sum()
}

/// CPU time of a process with one thread, with nanosecond resolution.
pub fn single(id: u32) -> Duration {
    scheduled(Path::new(&format!("/proc/{id}")))
}

fn scheduled(process: &Path) -> Duration {
    let text = fs::read_to_string(process.join("schedstat")).unwrap_or_default();
    let first = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// CPU time of a process, including its exited threads, to a resolution of 10 ms.
pub fn process(id: u32) -> anyhow::Result<Duration> {
    stat(&id.to_string(), [14, 15])
}

/// CPU time of a server with many processes: the running ones and those that have exited.
pub fn tree(root: u32) -> anyhow::Result<Duration> {
    let children = fs::read_to_string(format!("/proc/{root}/task/{root}/children"))?;
    let living = children.split_whitespace().filter_map(|id| id.parse().ok()).map(single).sum::<Duration>();
    Ok(living + stat(&root.to_string(), [16, 17])? + single(root))
}

/// The sum of two fields of /proc/…/stat, numbered from 1.
fn stat(process: &str, fields: [usize; 2]) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is a name that may contain any character. It ends with the last parenthesis.
    let (_, rest) = text.rsplit_once(')').context("a process without a name")?;
    let fields = fields.map(|field| rest.split_whitespace().nth(field - 3).and_then(|ticks| ticks.parse::<u64>().ok()));
    let ticks: u64 = fields.into_iter().map(Option::unwrap_or_default).sum();
    Ok(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// Memory of a process in MB: now (`VmRSS`), or at its peak (`VmHWM`).
pub fn memory(id: u32, field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib: f64 = line.context("no such line")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
