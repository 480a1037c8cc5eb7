//! Positive controls: services that lose or change entries, write them in a wrong order, or withhold them from
//! followers. The checks must detect each one; otherwise a run without findings proves nothing.

mod losing;
mod rules;
mod tampered;

use std::fs;
use std::path::Path;

use crate::options::Backend;
use crate::report::Figures;
use crate::say;
use crate::scene::{Scene, Setting};

/// Runs the controls of `backends`. Returns whether every one was detected.
pub async fn run(backends: &[Backend], scratch: &Path, seed: u64, all: &mut Vec<Figures>) -> bool {
    if !cfg!(feature = "positive-controls") {
        say("the positive controls need a build with --features positive-controls");
        return false;
    }
    let mut passed = true;
    for backend in backends {
        for control in losing::of(*backend) {
            passed &= print_outcome(*backend, control.name, losing::run(&control, *backend, scratch, seed, all).await);
        }
        for control in rules::of(*backend) {
            passed &= print_outcome(*backend, control.name, rules::run(&control, *backend, scratch, seed, all).await);
        }
        passed &= print_outcome(*backend, "tampered", tampered::run(*backend, scratch, seed, all).await);
    }
    passed
}

/// Opens a scene for the control `name`, in a directory of its own.
async fn open(name: &str, setting: Setting, backend: Backend, scratch: &Path, seed: u64) -> anyhow::Result<Scene> {
    say(&format!("{}: {name}", backend.name()));
    let directory = scratch.join(format!("{}-{name}-{seed}", backend.name()));
    fs::create_dir(&directory)?;
    Scene::open(backend, name, &directory, seed, setting).await
}

/// The setting of a scene whose services are broken in the way that `mode` names.
fn broken_by(mode: &str) -> Setting {
    Setting { environment: vec![("AUDITLOG_POSITIVE_CONTROL", mode.to_owned())], ..Setting::default() }
}

fn print_outcome(backend: Backend, name: &str, outcome: anyhow::Result<String>) -> bool {
    match &outcome {
        Ok(found) => say(&format!("{}, {name}: detected, as expected\n{found}", backend.name())),
        Err(error) => say(&format!("FAILED: {}, {name}: {error:#}", backend.name())),
    }
    outcome.is_ok()
}
