//! `auditlog demo`.

mod story;

use std::fs;
use std::io::{Cursor, ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tonic::transport::Endpoint;

use super::client::{ClientArgs, endpoint, explained};
use super::{import, keys, serve, signing_key};
use crate::access::{NewKey, Scope, create_key};
use crate::app::{self, Limits, Options, RATE, READS, ServiceParts, Serving, recorder};
use crate::domain::{Clock, OrganizationId, Random, Secret, Timestamp};
use crate::files;
use crate::grpc::pb::erase_audit_logs_request::Target;
use crate::grpc::pb::{EntryIds, EraseAuditLogsRequest, WriteAuditLogsRequest};
use crate::ingest::{Ingest, QueueLimits};
use crate::metrics::Metrics;
use crate::signer::{CheckpointKeys, Signer, Signing};
use crate::store::Store;
use auditlog_verify::merkle::VerifierKey;

/// The examples of the public documentation, and 400 entries of a real audit trail. Source: tests/data.
const ENTRIES: &[u8] = include_bytes!("../../../assets/demo.ndjson.gz");
const ORGANIZATION: &str = "org_abc123";
/// The organization of the invented company, whose log the viewer shows.
const STORY_ORGANIZATION: &str = "org_demo";
/// How long the key works that this process writes that log with. Microseconds.
const WRITER_LIFETIME: i64 = 10 * 60 * 1_000_000;
/// The entries of one write.
const STORY_BATCH: usize = 500;
const FILE: &str = "auditlog-demo.db";
/// Characters of a path that a database URL must percent-encode.
const IN_URL: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'\'');
/// The log name in the checkpoints.
const LOG_NAME: &str = "localhost";
const LISTEN: &str = "127.0.0.1:8080";

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog demo    # then open http://127.0.0.1:8080/viewer/?organization=org_demo#key=al_…
  auditlog demo --file /tmp/try.db --listen 127.0.0.1:0")]
pub struct DemoArgs {
    /// New database file; it must not exist yet. Default: auditlog-demo.db in the current directory, or the first free
    /// name of auditlog-demo-2.db, auditlog-demo-3.db and so on.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Address to listen on, as host:port. Port 0 takes a free port. Default: 127.0.0.1:8080, or a free port if that is
    /// taken.
    #[arg(long, value_parser = super::serve::address, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl DemoArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let file = fresh(self.file)?;
        let signals = serve::Signals::heard()?;
        // The demo has just created these files, so removing them loses no data of a user.
        let remove = |ends: &[&str]| {
            for end in ends {
                let _ = fs::remove_file(format!("{}{end}", file.display()));
            }
        };
        let key_file = key_of(&file);
        if let Err(error) = CheckpointKeys::create(&key_file, &Random::system()) {
            remove(&[""]);
            return Err(error);
        }
        let signing = Signing { key_file, log_name: LOG_NAME.parse()? };
        let (running, said) = match filled(&file, signing, self.listen).await {
            Ok(filled) => filled,
            Err(error) => {
                remove(&["", "-wal", "-shm", ".key", ".key.state", ".key.lock"]);
                return Err(error);
            }
        };
        writeln!(stdout(), "{said}")?;
        serve::until_signal(running, signals).await
    }
}

/// Starts a service on the database in `file` and imports the entries. Returns the service and the text to print.
async fn filled(file: &Path, signing: Signing, listen: Option<String>) -> anyhow::Result<(app::Running, String)> {
    let path = std::path::absolute(file)?.display().to_string();
    let url = format!("sqlite://{}", utf8_percent_encode(&path, IN_URL));
    let store = Store::open(&Secret::new(url.clone()), 4).await?;
    let parts = ServiceParts { store, clock: Clock::system(), random: Random::system() };
    let organization = OrganizationId::parse(ORGANIZATION)?;
    let key = opened(&parts, &organization, [Scope::Read, Scope::Write], None).await?;
    let running = start(&parts, &signing, listen).await?;
    let client = ClientArgs { endpoint: endpoint(&format!("http://{}", running.address))?, api_key: key.clone() };
    let entries = Box::new(Cursor::new(ENTRIES));
    let summary = import::run(client.connect()?, entries, Some(organization), true, ProgressBar::hidden()).await?;
    let story = write_story(&parts, &signing, &client.endpoint).await?;
    let address = running.address.to_string();
    let shown_key = std::path::absolute(&signing.key_file)?.display().to_string();
    let (link, commands) = (story.shown(&address), commands(&address, key.expose(), &url, &shown_key));
    Ok((running, format!("{link}\n\n{}: {summary}\n{commands}", file.display())))
}

/// Creates a key for `organization`, and first the organization if it does not exist.
async fn opened(
    ServiceParts { store, clock, random }: &ServiceParts,
    organization: &OrganizationId,
    scopes: [Scope; 2],
    expires_at: Option<Timestamp>,
) -> anyhow::Result<Secret> {
    keys::ensure(store, organization, clock, random).await?;
    let (organization, scopes) = (Some(organization.clone()), scopes.into());
    Ok(create_key(store, clock, random, NewKey { name: None, organization, scopes, expires_at }).await?)
}

/// The access of a reader to the log of the invented company.
struct StoryAccess {
    organization: OrganizationId,
    key: Secret,
    entries: usize,
    verifier: VerifierKey,
}

impl StoryAccess {
    /// The link to the viewer, and what it shows.
    fn shown(&self, address: &str) -> String {
        let Self { organization, key, entries, verifier } = self;
        format!(
            "Open the viewer, signed in: http://{address}/viewer/?organization={organization}#key={}\n\
             It shows two weeks of an invented company, {entries} entries, with an incident two days ago at noon (UTC).\n\
             The verifier key of this log, to paste where the viewer proves an entry: {}",
            key.expose(),
            verifier.text(),
        )
    }
}

/// Writes the log of the invented company through the service at `endpoint`, signs it, and erases a conversation of it.
async fn write_story(parts: &ServiceParts, signing: &Signing, endpoint: &Endpoint) -> anyhow::Result<StoryAccess> {
    let organization = OrganizationId::parse(STORY_ORGANIZATION)?;
    let now = parts.clock.now();
    let expires_at = Some(now.plus(WRITER_LIFETIME));
    let api_key = opened(parts, &organization, [Scope::Write, Scope::Erase], expires_at).await?;
    let writer = ClientArgs { endpoint: endpoint.clone(), api_key };
    let entries = story::entries(now);
    let mut client = writer.connect()?;
    for batch in entries.chunks(STORY_BATCH) {
        let (organization_id, audit_logs) = (organization.to_string(), batch.to_vec());
        let request = WriteAuditLogsRequest { organization_id, audit_logs };
        client.write_audit_logs(request).await.map_err(|status| explained(&status, endpoint))?;
    }
    sign(parts, signing).await?;
    let request = EraseAuditLogsRequest {
        organization_id: organization.to_string(),
        target: Some(Target::Entries(EntryIds { ids: story::to_erase(&entries) })),
        groups: vec!["content".to_owned()],
        reason: "request 4711".to_owned(),
        dry_run: false,
    };
    writer.erasures()?.erase_audit_logs(request).await.map_err(|status| explained(&status, endpoint))?;
    let key = opened(parts, &organization, [Scope::Read, Scope::Verify], None).await?;
    let verifier = signing_key::main_verifier(&parts.store, signing, &organization).await?;
    Ok(StoryAccess { organization, key, entries: entries.len(), verifier })
}

/// Signs all logs. The service does so once a second, but a log whose first checkpoint comes after an erasure gets an
/// entry that says so, and the reader of the link may ask for a proof at once.
async fn sign(ServiceParts { store, clock, random }: &ServiceParts, signing: &Signing) -> anyhow::Result<()> {
    let limits = QueueLimits::default();
    let (ingest, _) = Ingest::start(store.clone(), clock.clone(), random.clone(), limits, &Metrics::default());
    let signer = Signer::new(store.clone(), clock.clone(), signing.clone(), recorder(ingest))?;
    signer.step().await.map_err(|stopped| anyhow!("{stopped}"))?;
    Ok(())
}

/// The key file for the database in `file`.
fn key_of(file: &Path) -> PathBuf {
    format!("{}.key", file.display()).into()
}

/// Creates the database file. Errors: `named` exists, or all default names are taken.
fn fresh(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let create = |path: &Path| files::create(path, b"");
    if let Some(path) = named {
        return match create(&path) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(anyhow!(
                "{} already exists, and the demo overwrites nothing; choose another --file",
                path.display()
            )),
            Err(error) => Err(error).with_context(|| format!("cannot create {}", path.display())),
        };
    }
    let numbered = |number: u32| match number {
        1 => PathBuf::from(FILE),
        number => PathBuf::from(FILE.replace(".db", &format!("-{number}.db"))),
    };
    for path in (1..1_000).map(numbered).filter(|path| !key_of(path).exists()) {
        match create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }
    Err(anyhow!("{FILE} and the other default names are taken; choose another --file"))
}

async fn start(parts: &ServiceParts, signing: &Signing, listen: Option<String>) -> anyhow::Result<app::Running> {
    let ServiceParts { store, clock, random } = parts;
    let limit = Duration::from_secs(10);
    let serving = Serving {
        listen: String::new(),
        metrics_listen: None,
        request_timeout: limit,
        drain_delay: Duration::ZERO,
        drain_limit: limit,
        cors_origins: Vec::new(),
        viewer: true,
        limits: Limits::default(),
    };
    let start = async |listen: String| {
        let parts = ServiceParts { store: store.clone(), clock: clock.clone(), random: random.clone() };
        app::start(
            parts,
            Options {
                serving: Serving { listen, ..serving.clone() },
                rest: true,
                running_counts: true,
                continuity_checks: None,
                queue: QueueLimits::default(),
                reads: READS,
                rate: RATE,
                signing: Some(signing.clone()),
            },
        )
        .await
    };
    match listen {
        Some(listen) => start(listen).await,
        None => match start(LISTEN.to_owned()).await {
            Ok(running) => Ok(running),
            Err(_) => start("127.0.0.1:0".to_owned()).await,
        },
    }
}

fn commands(address: &str, key: &str, url: &str, signing_key: &str) -> String {
    let program = std::env::current_exe().map_or("auditlog".to_owned(), |path| path.display().to_string());
    format!(
        r#"Ready at http://{address}. Paste these commands into another terminal:

export AUDITLOG_API_KEY={key}
export AUDITLOG_ENDPOINT=http://{address}

# REST: the newest entries, one filter, one resource's history, one write
curl "http://{address}/v1/{ORGANIZATION}/audit-logs?limit=2" -H "Authorization: Bearer $AUDITLOG_API_KEY"
curl "http://{address}/v1/{ORGANIZATION}/audit-logs?resourceType=rule&action=deleted&startDate=2020-01-01&limit=2" -H "Authorization: Bearer $AUDITLOG_API_KEY"
curl "http://{address}/v1/assistants/asst_abc123/history" -H "Authorization: Bearer $AUDITLOG_API_KEY"
curl "http://{address}/v1/{ORGANIZATION}/audit-logs" -H "Authorization: Bearer $AUDITLOG_API_KEY" -H "Content-Type: application/json" -d '{{"auditLogs":[{{"id":"log_demo_1","resourceType":"assistant","resourceId":"asst_abc123","action":"updated","userId":"uid_user123","changes":[{{"field":"temperature","oldValue":0.9,"newValue":1.1}}]}}]}}'

# gRPC
grpcurl -plaintext {address} list
grpcurl -plaintext -H "authorization: Bearer $AUDITLOG_API_KEY" -d '{{"organization_id":"{ORGANIZATION}","limit":2}}' {address} auditlog.v1.AuditLogService/ListAuditLogs

# Command line
'{program}' list --organization {ORGANIZATION} --limit 3
'{program}' history assistant asst_abc123
echo '{{"id":"log_demo_2","organizationId":"{ORGANIZATION}","resourceType":"user","resourceId":"uid_user456","action":"accessed","userId":"uid_user123"}}' | '{program}' import -
'{program}' keys list --database-url '{url}'
'{program}' signing-key show --signing-key '{signing_key}' --log-name {LOG_NAME} --database-url '{url}'

Ctrl-C stops the demo; the database file stays."#
    )
}
