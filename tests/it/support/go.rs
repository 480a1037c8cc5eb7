//! Runs Go with golang.org/x/mod, both from Debian packages.

use std::process::Command;

use super::process::program;

/// A command that runs a program of `tests/clients/go`. `None` without Go; a message says so.
pub fn go(source: &str) -> Option<Command> {
    let without_modules = ["GO111MODULE=off", "GOPATH=/usr/share/gocode", "go"];
    let check = [&without_modules[..], &["list", "golang.org/x/mod/sumdb/tlog"]].concat();
    let mut command = Command::new(program(&["env"], &check)?);
    command
        .arg(concat!("GOCACHE=", env!("CARGO_TARGET_TMPDIR"), "/go"))
        .args(without_modules)
        .args(["run", &format!("tests/clients/go/{source}")])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    Some(command)
}
