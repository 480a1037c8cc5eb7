//! Runs the real `auditlog` binary.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::say;

/// A running `auditlog serve`, `gateway` or `demo`. Dropping it kills the process.
pub struct Process {
    pub child: Child,
    pub address: String,
    /// The log lines up to the one that reports the address.
    pub said: Vec<String>,
    /// The log lines after that.
    pub log: mpsc::Receiver<String>,
}

/// The path of the binary.
pub const AUDITLOG: &str = env!("CARGO_BIN_EXE_auditlog");

/// The binary, without the test's own `AUDITLOG_*` variables.
pub fn auditlog() -> Command {
    without_variables(AUDITLOG)
}

/// `program` without the test's own `AUDITLOG_*` variables.
pub fn without_variables(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AUDITLOG_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub fn output<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, environment: &[(&str, &str)]) -> Output {
    auditlog().args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).output().expect("it runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command. Returns its exit code, standard output and standard error.
pub fn ran(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = output(arguments, environment);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The peak memory of process `id`, in KiB; `None` once the process has exited.
pub fn high_water(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Creates an API key with `auditlog keys create`.
pub fn create_key(url: &str, arguments: &[&str]) -> String {
    let output = output([["keys", "create"].as_slice(), arguments].concat(), &[("AUDITLOG_DATABASE_URL", url)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim_end().to_owned()
}

impl Process {
    /// Starts `auditlog serve` on a free port.
    pub fn serve(url: &str) -> Self {
        Self::serve_with(url, &["--listen", "127.0.0.1:0"])
    }

    /// Starts `auditlog serve` with `arguments`.
    pub fn serve_with(url: &str, arguments: &[&str]) -> Self {
        let mut command = auditlog();
        command.arg("serve").args(arguments).env("AUDITLOG_DATABASE_URL", url);
        Self::spawn(command)
    }

    /// Starts `auditlog gateway` on a free port.
    pub fn gateway(upstream: &str, arguments: &[&str]) -> Self {
        let mut command = auditlog();
        command.args(["gateway", "--listen", "127.0.0.1:0", "--upstream", upstream]).args(arguments);
        Self::spawn(command)
    }

    /// Starts a command and waits until it logs its address.
    pub fn spawn(mut command: Command) -> Self {
        #[expect(clippy::zombie_processes, reason = "a process that does not listen fails the test")]
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut said = Vec::new();
        loop {
            let line = log.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("it listens: {said:?}"));
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "listening" {
                let address = event["address"].as_str().expect("an address").to_owned();
                return Self { child, address, said, log };
            }
            said.push(line);
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends SIGKILL and waits.
    pub fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
    }

    /// Sends SIGTERM and returns the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("it ends").code()
    }

    pub fn signal(&self, signal: &str) {
        let killed = Command::new("bash").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first of `programs` for which `check` succeeds. If there is none, a message says so; with
/// `AUDITLOG_TEST_CLIENTS=required` it is an error.
pub fn program<'a>(programs: &[&'a str], check: &[&str]) -> Option<&'a str> {
    let works =
        |program: &&&str| Command::new(program).args(check).output().is_ok_and(|output| output.status.success());
    let found = programs.iter().find(works).copied();
    if found.is_none() {
        let required = std::env::var("AUDITLOG_TEST_CLIENTS").is_ok_and(|value| value == "required");
        assert!(!required, "AUDITLOG_TEST_CLIENTS=required, and there is no {programs:?} that runs {check:?}");
        say(&format!("{}: NOT TESTED (no program that runs {check:?})", programs[0]));
    }
    found
}

/// The Python with the packages that `.ci/install` installs.
pub const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../clients/bin/python3");
