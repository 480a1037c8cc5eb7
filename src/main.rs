//! The `auditlog` command.

use std::process::ExitCode;

/// An answer is many small strings.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    auditlog::cli::run(std::env::args_os().collect())
}
