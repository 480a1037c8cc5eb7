//! `auditlog verify` of the largest organization: its rate, and the memory of client and service.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::data::organization_id;
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::proc;
use crate::service::Service;

/// The time limit for the signer's first pass over all organizations.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(database: &Database, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir_in(scratch)?;
    let organization = organization_id(0);
    let key = database.auditlog(&["keys", "create", "--all-organizations", "--scope", "verify"])?;
    let service = Service::start_signing(database, directory.path())?;
    let signed = signed(database, &organization).await?;
    let before = proc::memory(service.id(), "VmRSS")?;
    let begun = Instant::now();
    let mut client = Command::new(&database.program)
        .args(["verify", "--trust-first-key", "--organization", &organization, "--state"])
        .arg(directory.path().join("verify.state"))
        .env("AUDITLOG_ENDPOINT", format!("http://{}", service.address))
        .env("AUDITLOG_API_KEY", key.trim_end())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut memory: f64 = 0.0;
    let outcome = loop {
        if let Some(outcome) = client.try_wait()? {
            break outcome;
        }
        // A process that has exited has no memory.
        memory = memory.max(proc::memory(client.id(), "VmHWM").unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let elapsed = begun.elapsed();
    ensure!(outcome.success(), "auditlog verify ended with {outcome}");
    let name = "largest organization";
    report.add(name, "", signed as f64, "entries");
    report.add(name, "", elapsed.as_secs_f64(), "s");
    report.add(name, "", signed as f64 / elapsed.as_secs_f64(), "entries/s");
    report.add_for(name, "client VmHWM", memory, "MB", Target::AtMost(60.0));
    report.add(name, "service VmRSS before", before, "MB");
    report.add_for(name, "service VmHWM", proc::memory(service.id(), "VmHWM")?, "MB", Target::AtMost(60.0));
    report.print();
    Ok(())
}

/// Waits until the whole log is signed and returns its size.
async fn signed(database: &Database, organization: &str) -> anyhow::Result<i64> {
    let begun = Instant::now();
    let head = format!("SELECT head_seq FROM organizations WHERE id = '{organization}'");
    let head: i64 = database.value(&head).await?;
    let checkpoint = format!("SELECT COALESCE(MAX(size), 0) FROM checkpoints WHERE organization_id = '{organization}'");
    while database.value::<i64>(&checkpoint).await.context("checkpoints")? < head {
        ensure!(begun.elapsed() < PATIENCE, "nothing is signed after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(head)
}
