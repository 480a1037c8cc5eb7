//! The `auditlog` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    auditlog::cli::run(std::env::args_os().collect())
}
