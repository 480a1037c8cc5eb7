//! The commands that `auditlog demo` prints work when pasted.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use crate::support::process::{auditlog, program, text};
use crate::support::{Process, database, say};

/// A demo in `directory`, and the lines of its standard output.
fn demo(directory: &Path, arguments: &[&str]) -> (Process, Vec<String>) {
    let mut command = auditlog();
    command.arg("demo").args(["--listen", "127.0.0.1:0"]).args(arguments).current_dir(directory).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let output: ChildStdout = process.child.stdout.take().expect("a pipe");
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let last = line.starts_with("Ctrl-C");
        lines.push(line);
        if last {
            break;
        }
    }
    (process, lines)
}

#[test]
fn its_commands_work_when_they_are_pasted() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    let (_process, lines) = demo(directory.path(), &[]);
    assert!(lines[0].contains("402 written"), "{lines:?}");
    let exports: Vec<_> = lines.iter().filter(|line| line.starts_with("export ")).map(String::as_str).collect();
    let starts = ["curl ", "echo ", "'/", "grpcurl "];
    let commands: Vec<_> = lines.iter().filter(|line| starts.iter().any(|start| line.starts_with(start))).collect();
    assert_eq!((exports.len(), commands.len()), (2, 11), "{lines:?}");
    let curl = program(&["curl"], &["--version"]).is_some();
    // CI has no package of grpcurl; there, another client makes the same calls through reflection.
    let grpcurl = Command::new("grpcurl").arg("--version").output().is_ok_and(|output| output.status.success());
    if !grpcurl {
        say("grpcurl: NOT TESTED (not installed)");
    }
    for command in commands {
        if (command.starts_with("curl ") && !curl) || (command.starts_with("grpcurl ") && !grpcurl) {
            continue;
        }
        let script = format!("set -o pipefail; {}; {command}", exports.join("; "));
        // In another directory, as in another terminal.
        let run = Command::new("bash")
            .args(["-c", &script])
            .current_dir("/")
            .env("AUDITLOG_LOG", "off")
            .output()
            .expect("bash runs");
        let printed = text(&run.stdout);
        assert!(run.status.success(), "{command}: {}", text(&run.stderr));
        let expected = [
            "\"auditLogs\":[{",
            "1 written",
            "org_abc123\tread,write",
            "org_abc123\tlocalhost/",
            "auditlog.v1.AuditLogService",
            "temperature: 0.",
            "TIME                  ACTION ",
            "\"auditLogs\": [",
        ];
        assert!(expected.iter().any(|expected| printed.contains(expected)), "{command} printed {printed}");
    }
}

#[test]
fn no_file_is_overwritten() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    std::fs::write(directory.path().join("auditlog-demo.db"), "somebody's").expect("a file");
    let (process, lines) = demo(directory.path(), &[]);
    assert!(lines[0].contains("auditlog-demo-2.db"), "{lines:?}");
    drop(process);
    assert_eq!(std::fs::read(directory.path().join("auditlog-demo.db")).expect("it is there"), b"somebody's");
    let named = auditlog()
        .args(["demo", "--file", "auditlog-demo.db"])
        .current_dir(directory.path())
        .output()
        .expect("it runs");
    assert_eq!(named.status.code(), Some(1));
    assert!(text(&named.stderr).contains("overwrites nothing"), "{}", text(&named.stderr));
}
