//! Positive controls: what loses or changes entries must be found out, or a run that finds nothing means nothing.

mod losing;
mod tampered;

use std::path::Path;

use crate::options::Backend;
use crate::report::Figures;
use crate::say;

/// Runs those of `backends`. Gives whether each was found out.
pub async fn run(backends: &[Backend], scratch: &Path, seed: u64, all: &mut Vec<Figures>) -> bool {
    if !cfg!(feature = "positive-controls") {
        say("the services that lose need a build with --features positive-controls");
        return false;
    }
    let mut passed = true;
    for backend in backends {
        for control in losing::of(*backend) {
            passed &= told(*backend, control.name, losing::run(&control, *backend, scratch, seed, all).await);
        }
        passed &= told(*backend, "tampered", tampered::run(*backend, scratch, seed, all).await);
    }
    passed
}

fn told(backend: Backend, name: &str, outcome: anyhow::Result<String>) -> bool {
    match &outcome {
        Ok(found) => say(&format!("{}, {name}: found out, as it must be\n{found}", backend.name())),
        Err(error) => say(&format!("FAILED: {}, {name}: {error:#}", backend.name())),
    }
    outcome.is_ok()
}
