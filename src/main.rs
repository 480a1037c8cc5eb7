//! The `auditlog` command.

use std::process::ExitCode;

/// Takes less of the processor than the system's allocator, and as much memory without huge pages; docs/BENCHMARKS.md
/// has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    auditlog::cli::run(std::env::args_os().collect())
}
