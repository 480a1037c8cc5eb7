//! The `auditlog` command.

use std::process::ExitCode;

/// Takes less of the processor than the system's allocator, for some more memory; docs/BENCHMARKS.md has both.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    auditlog::cli::run(std::env::args_os().collect())
}
