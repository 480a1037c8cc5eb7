//! The memory of the process, the size of its program, and its time to the first answer.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::throughput::lists;
use crate::data::random;
use crate::database::Database;
use crate::figure::{Report, Target, Times};
use crate::proc;
use crate::requests::{SHAPES, largest};
use crate::service::{Counting, Service};

const STARTS: usize = 5;

pub async fn memory(database: &Database, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let service = Service::start(database, Counting::On)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    report.add_for("idle", "VmRSS", proc::memory(service.id(), "VmRSS")?, "MB", Target::AtMost(32.0));
    let mut random = random(4);
    let requests: Vec<_> = SHAPES.iter().map(|shape| shape.request(false, &mut random)).collect();
    lists(&service, &requests, 64, Duration::from_secs(4)).await?;
    let name = "under 64 clients that list";
    report.add(name, "VmRSS", proc::memory(service.id(), "VmRSS")?, "MB");
    report.add_for(name, "VmHWM", proc::memory(service.id(), "VmHWM")?, "MB", Target::AtMost(70.0));
    report.add_for("program file, stripped", "size", stripped(&database.program, scratch)?, "MB", Target::AtMost(24.0));
    report.print();
    Ok(())
}

/// The size of a program without symbols, in MB.
fn stripped(program: &Path, scratch: &Path) -> anyhow::Result<f64> {
    let file = tempfile::NamedTempFile::new_in(scratch)?;
    let outcome = Command::new("strip").arg("-o").arg(file.path()).arg(program).status();
    let outcome = outcome.context("strip, which is part of binutils")?;
    ensure!(outcome.success(), "strip ended with {outcome}");
    Ok(file.path().metadata()?.len() as f64 / 1e6)
}

pub async fn start(database: &Database, report: &mut Report) -> anyhow::Result<()> {
    let mut times = Times::default();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let service = Service::start(database, Counting::On)?;
        service.client().await?.list(largest()).await?;
        times.0.push(begun.elapsed());
    }
    report.add_for("start to first list, median", "", times.p50() / 1e3, "s", Target::AtMost(0.3));
    report.add("start to first list, longest", "", times.percentile(1.0) / 1e3, "s");
    report.print();
    Ok(())
}
