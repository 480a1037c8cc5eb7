//! `auditlog tail` as a separate process that appends to a file. After a kill, it continues from its file.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::service::program;

/// The maximum length of a line in a finding, in characters. A line begins with the id of its entry.
const LINE: usize = 120;

/// A follower of one organization; the process may be stopped. Dropping it kills the process.
pub struct Follower {
    pub name: String,
    /// The organization and the filters, as arguments of the commands `tail` and `export`.
    selection: &'static [&'static str],
    key: String,
    /// The received entries. All restarts append to it.
    file: PathBuf,
    /// Standard error, across all restarts.
    log: PathBuf,
    child: Option<Child>,
}

impl Follower {
    /// The files go to `directory`. Does not start the process.
    pub fn new(name: String, selection: &'static [&'static str], directory: &Path, key: &str) -> anyhow::Result<Self> {
        let [file, log] = ["ndjson", "log"].map(|ending| directory.join(format!("{name}.{ending}")));
        File::create_new(&file)?;
        Ok(Self { name, selection, key: key.to_owned(), file, log, child: None })
    }

    fn command(&self, name: &str, address: &str) -> Command {
        let mut command = program();
        command.args([name, "--endpoint", &format!("http://{address}")]).args(self.selection);
        command.env("AUDITLOG_API_KEY", &self.key).stdin(Stdio::null());
        command
    }

    /// Starts the process, which follows the service at `address` after the last entry in its file. Does not wait.
    pub fn start(&mut self, address: &str) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "{} is already running", self.name);
        let after = self.last_sequence()?.to_string();
        let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let mut command = self.command("tail", address);
        command.args(["--json", "--after", &after]).stdout(append(&self.file)?).stderr(append(&self.log)?);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Removes an incomplete last line from the file, as a user would. Returns the number of the last entry, 0 if there
    /// is none.
    fn last_sequence(&self) -> anyhow::Result<i64> {
        #[derive(Deserialize)]
        struct Line {
            sequence: i64,
        }
        let received = self.received()?;
        let whole = received.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        OpenOptions::new().write(true).open(&self.file)?.set_len(whole as u64)?;
        // The part after the last newline is empty.
        let Some(last) = received[..whole].rsplit(|byte| *byte == b'\n').nth(1) else { return Ok(0) };
        let Line { sequence } = serde_json::from_slice(last).with_context(|| format!("a line of {}", self.name))?;
        Ok(sequence)
    }

    /// Sends SIGKILL and waits for the process to exit. Errors: it had exited on its own.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.runs()?;
        let mut child = self.child.take().context("the follower does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Errors: the process has exited on its own.
    pub fn runs(&mut self) -> anyhow::Result<()> {
        let ended = self.child.as_mut().context("the follower does not run")?.try_wait()?;
        ensure!(ended.is_none(), "{} exited on its own with {ended:?}; see {}", self.name, self.log.display());
        Ok(())
    }

    /// The number of bytes received.
    pub fn length(&self) -> anyhow::Result<u64> {
        Ok(fs::metadata(&self.file)?.len())
    }

    /// The content of the file. Its last line may be incomplete.
    pub fn received(&self) -> anyhow::Result<Vec<u8>> {
        Ok(fs::read(&self.file)?)
    }

    /// An export of the same entries from the service at `address`.
    pub fn exported(&self, address: &str) -> anyhow::Result<Vec<u8>> {
        let ran = self.command("export", address).args(["--format", "ndjson"]).output()?;
        ensure!(ran.status.success(), "auditlog export: {}", String::from_utf8_lossy(&ran.stderr));
        Ok(ran.stdout)
    }

    /// Whether a stream of the process broke and it connected again.
    pub fn has_resumed(&self) -> anyhow::Result<bool> {
        Ok(fs::read_to_string(&self.log)?.contains("connected again"))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The first line of `received` that differs from the same line of `exported`; `None` if `exported` begins with
/// `received`. The last line of `received` may be incomplete.
pub fn difference(received: &[u8], exported: &[u8]) -> Option<String> {
    let brief = |line: &[u8]| String::from_utf8_lossy(line).trim_end().chars().take(LINE).collect::<String>();
    let mut exported = lines(exported);
    let pairs = lines(received).map(|line| (line, exported.next().unwrap_or_default()));
    let (place, (line, other)) = pairs.enumerate().find(|(_, (line, other))| !other.starts_with(line))?;
    Some(format!("line {} is {:?}, but an export has {:?}", place + 1, brief(line), brief(other)))
}

/// The lines with their newlines.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}
