//! The torture harness injects faults under load and checks that nothing is lost. docs/torture.md says how to run it
//! and how to read its output.
//!
//! A *scene* is a fresh database with a service, writers (`load`) and readers (`watch`). Each writer records a request
//! in the `journal` before it sends it. The harness applies a *fault* to the scene and then checks everything
//! (`check`). `faults.rs` says how to add a fault.

#[path = "../it/support/as_postgres.rs"]
mod as_postgres;
mod check;
mod client;
mod controls;
mod database;
mod entry;
mod faults;
mod follower;
mod gauges;
mod honest;
mod hostile;
mod journal;
mod load;
mod newcomers;
mod options;
mod proxy;
mod report;
mod scene;
#[path = "../../benches/service/scratch.rs"]
mod scratch;
mod service;
mod watch;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::signal::unix::{SignalKind, signal};

use faults::Fault;
use options::{Backend, Options};
use report::Figures;
use scene::Scene;

/// Prints a line for the user to standard error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    // The main thread runs this itself: databases and services end with the thread that started them.
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = run(&options) => done,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    })
}

async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let scratch = scratch::scratch("torture-")?;
    let seed = options.seed.unwrap_or_else(|| {
        auditlog::domain::Random::system().bytes::<4>().into_iter().fold(0, |seed, byte| seed << 8 | u64::from(byte))
    });
    let mut all = Vec::new();
    let passed = match options.controls {
        true => controls::run(&options.backends(), scratch.path(), seed, &mut all).await,
        false => tortured(options, scratch.path(), seed, &mut all).await,
    };
    report::print(&all);
    say(&format!("total time {:.0?}", begun.elapsed()));
    if !passed || options.keep {
        say(&format!("journals, databases and logs are kept in {}", scratch.keep().display()));
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs each selected fault, once or until the time limit. Returns whether every fault passed.
async fn tortured(options: &Options, scratch: &Path, mut seed: u64, all: &mut Vec<Figures>) -> bool {
    let begun = Instant::now();
    loop {
        say(&format!("seed {seed}"));
        let mut passed = true;
        for backend in options.backends() {
            for fault in Fault::value_variants() {
                if options.asks(*fault, backend) && fault.is_of(backend) {
                    passed &= play(*fault, backend, scratch, seed, all).await;
                }
            }
        }
        if !passed || options.limit().is_none_or(|limit| begun.elapsed() > limit) {
            return passed;
        }
        seed = StdRng::seed_from_u64(seed).next_u64() >> 32;
    }
}

/// Runs one fault, from a fresh database to the last check. Returns whether it passed.
async fn play(fault: Fault, backend: Backend, scratch: &Path, seed: u64, all: &mut Vec<Figures>) -> bool {
    let name = fault.name();
    say(&format!("{}: {name}", backend.name()));
    let outcome = async {
        let directory = scratch.join(format!("{}-{name}-{seed}", backend.name()));
        fs::create_dir(&directory)?;
        let mut scene = Scene::open(backend, &name, &directory, seed, fault.setting(backend, &directory)?).await?;
        let mut outcome = fault.run(&mut scene).await;
        if outcome.is_ok() {
            outcome = scene.finish(fault.excuses()).await;
        }
        scene.count();
        all.push(scene.figures.clone());
        if let (Err(_), Some(disk)) = (&outcome, &scene.disk) {
            disk.keep(&directory);
        }
        outcome
    };
    match outcome.await {
        Ok(()) => true,
        Err(error) => {
            say(&format!("FAILED: {}, {name}, seed {seed}: {error:#}", backend.name()));
            false
        }
    }
}
