//! Positive controls: services that lose or change entries. The checks must detect each one; otherwise a run without
//! findings proves nothing.

mod losing;
mod tampered;

use std::path::Path;

use crate::options::Backend;
use crate::report::Figures;
use crate::say;

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
        passed &= print_outcome(*backend, "tampered", tampered::run(*backend, scratch, seed, all).await);
    }
    passed
}

fn print_outcome(backend: Backend, name: &str, outcome: anyhow::Result<String>) -> bool {
    match &outcome {
        Ok(found) => say(&format!("{}, {name}: detected, as expected\n{found}", backend.name())),
        Err(error) => say(&format!("FAILED: {}, {name}: {error:#}", backend.name())),
    }
    outcome.is_ok()
}
