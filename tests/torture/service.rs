//! The service as a separate process, which can be killed, stopped and restarted at the same address.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::client::Client;
use crate::gauges::Gauges;

pub const LOG_NAME: &str = "torture.example.com";
/// The time limit for the service to be ready after a fault is over.
pub const COMES_BACK: Duration = Duration::from_secs(30);
/// The time limit to exit after SIGTERM: the service's own drain limit, plus time for a busy machine.
pub const ENDS: Duration = Duration::from_secs(60);

/// An `auditlog serve` process and its settings; the process may be stopped.
pub struct Service {
    pub address: String,
    environment: Vec<(&'static str, OsString)>,
    /// The log file, which all restarts append to.
    pub log: PathBuf,
    child: Option<Child>,
    client: Client,
    /// The address of the metrics endpoint.
    pub metrics: String,
    gauges: Gauges,
}

/// The `auditlog` binary, without the caller's `AUDITLOG_*` variables. The kernel kills it when the thread that started
/// it ends, so start it from the main thread.
pub fn program() -> Command {
    let mut command = Command::new("setpriv");
    // The limit on file size must cause an error, not end the process.
    let ignoring = r#"trap "" XFSZ; exec "$0" "$@""#;
    command.args(["--pdeathsig", "KILL", "sh", "-c", ignoring, env!("CARGO_BIN_EXE_auditlog")]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AUDITLOG_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a subcommand to its end and returns its trimmed standard output.
pub fn run(arguments: &[&str], url: &str) -> anyhow::Result<String> {
    run_in(&[], arguments, url)
}

/// Like [`run`], with extra environment variables.
pub fn run_in(environment: &[(&str, String)], arguments: &[&str], url: &str) -> anyhow::Result<String> {
    let mut command = program();
    command.args(arguments).env("AUDITLOG_DATABASE_URL", url).envs(environment.iter().cloned());
    let ran = command.stdin(Stdio::null()).output()?;
    ensure!(ran.status.success(), "auditlog {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?.trim_end().to_owned())
}

impl Service {
    /// Chooses a free port. The log goes to `directory`. Does not start the process.
    pub fn new(name: &str, directory: &Path, url: &str, key: &str) -> anyhow::Result<Self> {
        // Bind both ports at once; otherwise they could be the same port.
        let free = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [address, metrics] = [free[0].local_addr()?.to_string(), free[1].local_addr()?.to_string()];
        drop(free);
        let signing = directory.join(format!("{name}.key"));
        let client = Client::new(&format!("http://{address}"), key)?;
        let environment = vec![
            ("AUDITLOG_DATABASE_URL", url.into()),
            ("AUDITLOG_LISTEN", address.clone().into()),
            ("AUDITLOG_SIGNING_KEY", signing.into()),
            ("AUDITLOG_LOG_NAME", LOG_NAME.into()),
            ("AUDITLOG_DRAIN_DELAY", "100ms".into()),
            ("AUDITLOG_METRICS_LISTEN", metrics.clone().into()),
        ];
        let log = directory.join(format!("{name}.log"));
        Ok(Self { address, environment, log, child: None, client, gauges: Gauges::watch(metrics.clone()), metrics })
    }

    /// Sets an environment variable for the next start.
    pub fn set(&mut self, variable: &'static str, value: impl Into<OsString>) {
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, value.into()));
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn id(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("the service does not run")?.id())
    }

    /// Starts the process and does not wait. The state file beside the key stays.
    pub fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the service is already running");
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = program();
        command.arg("serve").envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    /// Waits until the service is ready and returns the time it took. Errors: the process exited, or is not ready
    /// within `limit`.
    pub async fn ready(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while !self.client.is_ready().await {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("the service exited on its own with {status}; see {}", self.log.display());
            }
            ensure!(begun.elapsed() < limit, "the service is not ready after {limit:?}; see {}", self.log.display());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(begun.elapsed())
    }

    /// Starts the process and waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.start()?;
        self.ready(COMES_BACK).await?;
        Ok(())
    }

    /// Sends SIGKILL and waits for the process to exit.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the service does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Errors: the process has exited on its own.
    pub fn runs(&mut self) -> anyhow::Result<()> {
        let ended = self.child.as_mut().context("the service does not run")?.try_wait()?;
        ensure!(ended.is_none(), "the service exited on its own with {ended:?}; see {}", self.log.display());
        Ok(())
    }

    /// Sends a signal, for example `TERM`.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        signal_all(signal, &[self.id()?])
    }

    /// Waits for the exit status. Errors: the process still runs after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        let child = self.child.as_mut().context("the service does not run")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(begun.elapsed() < limit, "the service has not ended after {limit:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The highest value of a gauge, across all restarts.
    pub fn most(&self, gauge: &str) -> Option<f64> {
        self.gauges.most(gauge)
    }

    /// The log lines that report a panic, across all restarts.
    pub fn panics(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An `auditlog gateway` process, killed on drop.
pub struct Gateway {
    pub address: String,
    pub metrics: String,
    pub log: PathBuf,
    child: Child,
}

impl Gateway {
    /// Starts a gateway in front of the service at `upstream` and waits until it is ready. The log goes to `directory`.
    pub async fn start(directory: &Path, upstream: &str) -> anyhow::Result<Self> {
        let free = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [address, metrics] = [free[0].local_addr()?.to_string(), free[1].local_addr()?.to_string()];
        drop(free);
        let log = directory.join("gateway.log");
        let mut command = program();
        command.args(["gateway", "--listen", &address, "--metrics-listen", &metrics]);
        command.args(["--upstream", &format!("http://{upstream}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).spawn()?;
        let gateway = Self { address, metrics, log, child };
        let (url, begun) = (format!("http://{}/readyz", gateway.address), Instant::now());
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(begun.elapsed() < COMES_BACK, "the gateway is not ready; see {}", gateway.log.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(gateway)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `signal` to all `processes` at once. Skips processes that have exited.
pub fn signal_all(signal: &str, processes: &[u32]) -> anyhow::Result<()> {
    let ids: Vec<_> = processes.iter().map(u32::to_string).collect();
    let sent =
        Command::new("sh").args(["-c", &format!("kill -{signal} {}", ids.join(" "))]).stderr(Stdio::null()).status();
    sent.context("kill")?;
    Ok(())
}
