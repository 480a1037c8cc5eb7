//! Services that acknowledge entries which they may lose. They need a build with the feature `positive-controls`.

use std::path::Path;

use anyhow::bail;

use crate::check::When;
use crate::options::Backend;
use crate::report::Figures;
use crate::scene::Setting;
use crate::service::COMES_BACK;

/// The maximum number of kills until an entry must have been lost.
const TRIES: u32 = 20;

/// A way to lose acknowledged entries.
pub struct Control {
    pub name: &'static str,
    /// The value of `AUDITLOG_POSITIVE_CONTROL`.
    mode: &'static str,
    postgres: &'static str,
    /// Whether to kill PostgreSQL; `false` kills the service.
    kills_postgres: bool,
}

pub fn of(backend: Backend) -> Vec<Control> {
    let early = Control {
        name: "acknowledge-before-commit",
        mode: "acknowledge-before-commit",
        postgres: "",
        kills_postgres: false,
    };
    let weak = Control {
        name: "synchronous-commit-off",
        mode: "skip-durability-check",
        postgres: "-c synchronous_commit=off -c wal_writer_delay=10s",
        kills_postgres: true,
    };
    match backend {
        Backend::Sqlite => vec![early],
        Backend::Postgres => vec![early, weak],
    }
}

/// Returns the findings. Errors: there were none.
pub async fn run(
    control: &Control,
    backend: Backend,
    scratch: &Path,
    seed: u64,
    all: &mut Vec<Figures>,
) -> anyhow::Result<String> {
    let Control { name, mode, postgres, kills_postgres } = control;
    let setting = Setting { postgres, ..super::broken_by(mode) };
    let mut scene = super::open(name, setting, backend, scratch, seed).await?;
    for _ in 0..TRIES {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        if *kills_postgres {
            scene.database.server()?.kill()?;
            scene.database.server()?.start()?;
        } else {
            scene.services[0].kill()?;
            scene.services[0].start()?;
        }
        scene.happened();
        scene.services[0].ready(COMES_BACK).await?;
        let paused = scene.load.shared.paused().await;
        let findings = scene.examine(When::Between).await?;
        drop(paused);
        if !findings.lost.is_empty() {
            scene.figures.lost = findings.lost.len() as u64;
            scene.count();
            all.push(scene.figures.clone());
            return Ok(findings.summary());
        }
    }
    bail!("{TRIES} kills, but the harness found no lost entry")
}
