//! `auditlog demo`.

use std::fs;
use std::io::{Cursor, ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::client::{ClientArgs, endpoint};
use super::{import, keys, serve};
use crate::access::{NewKey, Scope, create_key};
use crate::app::{self, Limits, Options, RATE, READS, ServiceParts, Serving};
use crate::domain::{Clock, OrganizationId, Random, Secret};
use crate::files;
use crate::ingest::QueueLimits;
use crate::signer::{CheckpointKeys, Signing};
use crate::store::Store;

/// The examples of the public documentation, and 400 entries of a real audit trail. Source: tests/data.
const ENTRIES: &[u8] = include_bytes!("../../../assets/demo.ndjson.gz");
const ORGANIZATION: &str = "org_abc123";
const FILE: &str = "auditlog-demo.db";
/// Characters of a path that a database URL must percent-encode.
const IN_URL: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'\'');
/// The log name in the checkpoints.
const LOG_NAME: &str = "localhost";
const LISTEN: &str = "127.0.0.1:8080";

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog demo
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
    let (clock, random) = (Clock::system(), Random::system());
    let path = std::path::absolute(file)?.display().to_string();
    let url = format!("sqlite://{}", utf8_percent_encode(&path, IN_URL));
    let store = Store::open(&Secret::new(url.clone()), 4).await?;
    let organization = OrganizationId::parse(ORGANIZATION)?;
    keys::ensure(&store, &organization, &clock, &random).await?;
    let scopes = [Scope::Read, Scope::Write].into();
    let new = NewKey { name: None, organization: Some(organization.clone()), scopes, expires_at: None };
    let key = create_key(&store, &clock, &random, new).await?;
    let shown_key = std::path::absolute(&signing.key_file)?.display().to_string();
    let running = start(&store, clock, random, signing, listen).await?;
    let client = ClientArgs { endpoint: endpoint(&format!("http://{}", running.address))?, api_key: key.clone() };
    let entries = Box::new(Cursor::new(ENTRIES));
    let summary = import::run(client.connect()?, entries, Some(organization), true, ProgressBar::hidden()).await?;
    let commands = commands(&running.address.to_string(), key.expose(), &url, &shown_key);
    Ok((running, format!("{}: {summary}\n\n{commands}", file.display())))
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

async fn start(
    store: &Store,
    clock: Clock,
    random: Random,
    signing: Signing,
    listen: Option<String>,
) -> anyhow::Result<app::Running> {
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
