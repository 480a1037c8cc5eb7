//! Services that break a rule of the write scheduler or of followers. They need a build with the feature
//! `positive-controls`.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::faults::Fault;
use crate::options::Backend;
use crate::report::Figures;

/// A rule that is broken.
pub struct Control {
    /// Also the value of `AUDITLOG_POSITIVE_CONTROL`.
    pub name: &'static str,
    /// The fault whose checks must detect it.
    fault: Fault,
    /// A part of the finding.
    finding: &'static str,
}

pub fn of(backend: Backend) -> Vec<Control> {
    let starved = Control { name: "starved-queue", fault: Fault::Queue, finding: "had no turn until" };
    let parallel = Control {
        name: "organization-in-two-groups",
        fault: Fault::Queue,
        finding: "in the order of their arrival, the writes have the numbers",
    };
    let unordered = Control { name: "locks-in-arrival-order", fault: Fault::Deadlocks, finding: "deadlock detected" };
    let skipping = Control { name: "followers-skip", fault: Fault::Followers, finding: "but an export has" };
    match backend {
        // It has one committer, and a single lock.
        Backend::Sqlite => vec![starved, skipping],
        Backend::Postgres => vec![starved, parallel, unordered, skipping],
    }
}

/// Returns the findings. Errors: there were none, or others.
pub async fn run(
    control: &Control,
    backend: Backend,
    scratch: &Path,
    seed: u64,
    all: &mut Vec<Figures>,
) -> anyhow::Result<String> {
    let Control { name, fault, finding } = control;
    let mut scene = super::open(name, super::broken_by(name), backend, scratch, seed).await?;
    let outcome = fault.run(&mut scene).await;
    scene.count();
    all.push(scene.figures.clone());
    let found = format!("{:#}", outcome.err().context("the harness found nothing")?);
    ensure!(found.contains(finding), "the harness did not find that {finding:?}, but: {found}");
    Ok(found)
}
