//! The measured service process and its clients.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use auditlog::app::{Limits, Options, READS, Running, ServiceParts, Serving};
use auditlog::domain::{Clock, Random};
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::history_service_client::HistoryServiceClient;
use auditlog::grpc::pb::{
    AuditLogInput, CountAuditLogsRequest, CountAuditLogsResponse, FollowAuditLogsRequest, FollowAuditLogsResponse,
    ListAuditLogsRequest, ListAuditLogsResponse, WriteAuditLogsRequest, WriteAuditLogsResponse,
};
use auditlog::ingest::QueueLimits;
use auditlog::store::Store;
use tonic::Streaming;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::database::Database;
use crate::raw::Lister;

/// No rate limit for the benchmark's single key.
const RATE: NonZeroU32 = NonZeroU32::MAX;

/// Whether the service counts entries in the background.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    On,
    Off,
}

/// A server on the database. Dropping it kills the process, if it has one of its own.
pub struct Service {
    /// `None` if the server runs inside this process.
    child: Option<Child>,
    pub address: SocketAddr,
    key: String,
}

impl Service {
    /// Starts `auditlog serve` on a free port.
    pub fn start(database: &Database, counting: Counting) -> anyhow::Result<Self> {
        let mut command = serve(Command::new(&database.program), database);
        if counting == Counting::Off {
            command.args(["--running-counts", "off"]);
        }
        Self::spawn(command, database)
    }

    /// Starts `auditlog serve` without counting, with a time limit that no measured request reaches.
    pub fn start_patient(database: &Database) -> anyhow::Result<Self> {
        let mut command = serve(Command::new(&database.program), database);
        command.args(["--running-counts", "off", "--request-timeout", "10m"]);
        Self::spawn(command, database)
    }

    /// Starts `auditlog serve` with a new signing key in `directory`.
    pub fn start_signing(database: &Database, directory: &Path) -> anyhow::Result<Self> {
        let key = directory.join("bench.key");
        database.auditlog(&["signing-key", "create", "--signing-key", &key.display().to_string()])?;
        let mut command = serve(Command::new(&database.program), database);
        command.arg("--signing-key").arg(key).args(["--log-name", "bench.example"]);
        Self::spawn(command, database)
    }

    /// Starts `program serve`, which may be of another build than the database.
    pub fn start_build(program: &Path, database: &Database) -> anyhow::Result<Self> {
        Self::spawn(serve(Command::new(program), database), database)
    }

    /// Starts `program serve` on `cores`, in the syntax of `taskset`.
    pub fn start_on(program: &Path, database: &Database, cores: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", cores]).arg(program);
        Self::spawn(serve(command, database), database)
    }

    /// Starts the naive design, which is a mode of this program.
    pub fn start_naive(database: &Database) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["naive", &database.url]);
        Self::spawn(command, database)
    }

    /// Starts the ceiling of lists, which is a mode of this program, for the requests in a file.
    pub fn start_ceiling(database: &Database, requests: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["ceiling", &database.url]).arg(requests);
        Self::spawn(command, database)
    }

    fn spawn(mut command: Command, database: &Database) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr is a pipe")?).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.wait();
                anyhow::bail!("the service did not start: {}", said.join("\n"));
            };
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "listening" {
                break event["address"].as_str().context("an address")?.parse()?;
            }
            said.push(line);
        };
        // Drain the pipe: a full pipe would block the service.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child: Some(child), address, key: database.key.clone() })
    }

    /// Runs the server inside this process, without counting in the background. The benchmark can then count the
    /// written entries itself.
    pub async fn start_within(database: &Database, store: Store) -> anyhow::Result<(Self, Running)> {
        let parts = ServiceParts { store, clock: Clock::system(), random: Random::system() };
        let second = Duration::from_secs(1);
        let serving = Serving {
            listen: "127.0.0.1:0".to_owned(),
            metrics_listen: None,
            request_timeout: 30 * second,
            drain_delay: Duration::ZERO,
            drain_limit: second,
            cors_origins: Vec::new(),
            viewer: false,
            limits: Limits::default(),
        };
        let options = Options {
            serving,
            rest: false,
            running_counts: false,
            continuity_checks: None,
            queue: QueueLimits::default(),
            reads: READS,
            rate: RATE,
            signing: None,
        };
        let running = auditlog::app::start(parts, options).await?;
        Ok((Self { child: None, address: running.address, key: database.key.clone() }, running))
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or_else(std::process::id, Child::id)
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// A client with its own connection.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let channel = Channel::from_shared(format!("http://{}", self.address))?.connect().await?;
        let grpc = AuditLogServiceClient::new(channel.clone()).max_decoding_message_size(auditlog::grpc::MAX_RESPONSE);
        Ok(Client { grpc, channel, key: format!("Bearer {}", self.key).parse()? })
    }

    /// `count` clients, four per connection.
    pub async fn clients(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let mut clients: Vec<Client> = Vec::with_capacity(count);
        for place in 0..count {
            let client = match clients.last() {
                Some(last) if place % 4 > 0 => last.clone(),
                _ => self.client().await?,
            };
            clients.push(client);
        }
        Ok(clients)
    }
}

/// Adds arguments and environment to `command`. An earlier build may have no `--rate-limit`, so the limit is set in the
/// environment, which such a build ignores.
fn serve(mut command: Command, database: &Database) -> Command {
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("AUDITLOG_DATABASE_URL", &database.url)
        .env("AUDITLOG_RATE_LIMIT", RATE.to_string());
    command
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A client that sends the API key with each call.
#[derive(Clone)]
pub struct Client {
    grpc: AuditLogServiceClient<Channel>,
    channel: Channel,
    key: MetadataValue<Ascii>,
}

impl Client {
    pub async fn list(&mut self, request: ListAuditLogsRequest) -> anyhow::Result<ListAuditLogsResponse> {
        Ok(self.grpc.list_audit_logs(self.with_key(request)).await?.into_inner())
    }

    pub async fn count(&mut self, request: CountAuditLogsRequest) -> anyhow::Result<CountAuditLogsResponse> {
        Ok(self.grpc.count_audit_logs(self.with_key(request)).await?.into_inner())
    }

    pub async fn follow(
        &mut self,
        request: FollowAuditLogsRequest,
    ) -> anyhow::Result<Streaming<FollowAuditLogsResponse>> {
        Ok(self.grpc.follow_audit_logs(self.with_key(request)).await?.into_inner())
    }

    /// A client of the history service on the same connection, without the API key.
    pub fn histories(&self) -> HistoryServiceClient<Channel> {
        HistoryServiceClient::new(self.channel.clone()).max_decoding_message_size(auditlog::grpc::MAX_RESPONSE)
    }

    /// The same client with another API key.
    pub fn authorized(self, key: &str) -> anyhow::Result<Self> {
        Ok(Self { key: format!("Bearer {key}").parse()?, ..self })
    }

    /// A client for load tests that does not decode answers.
    pub fn lister(&self) -> Lister {
        Lister::new(self.channel.clone(), self.key.clone())
    }

    pub async fn write(
        &mut self,
        organization_id: String,
        audit_logs: Vec<AuditLogInput>,
    ) -> anyhow::Result<WriteAuditLogsResponse> {
        let request = self.with_key(WriteAuditLogsRequest { organization_id, audit_logs });
        Ok(self.grpc.write_audit_logs(request).await?.into_inner())
    }

    /// `message` with the API key.
    pub fn with_key<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.key.clone());
        request
    }
}
