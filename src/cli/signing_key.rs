//! `auditlog signing-key`.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgGroup, Args, Subcommand};
use tracing::warn;

use super::DatabaseArgs;
use crate::app::recorder;
use crate::domain::{Clock, OrganizationId, Random};
use crate::files::check_owner;
use crate::ingest::{Ingest, QueueLimits};
use crate::metrics::Metrics;
use crate::signer::{CheckpointKeys, Rollback, Signing, TreeHead, acknowledge, rollbacks};
use crate::store::{LogHead, Store};
use auditlog_verify::merkle::{LogName, VerifierKey};

#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  auditlog signing-key create --signing-key auditlog.key
  auditlog signing-key show --signing-key auditlog.key --log-name audit.example.com
  auditlog signing-key rotate --signing-key auditlog.key")]
pub(super) enum SigningKeyCommand {
    /// Create a key file that only its owner can read, and print the public key. An existing file is not overwritten.
    #[command(after_help = "\
Examples:
  auditlog signing-key create --signing-key auditlog.key")]
    Create {
        #[command(flatten)]
        file: KeyFileArgs,
    },
    /// Print the public keys, or with --log-name the verifier keys of each log.
    ///
    /// The line of a public key has the algorithm, the key, and the time until which it signs. The first key, with - as
    /// its time, is the main key. The line of a verifier key has the organization, the key, and the number of the entry
    /// that introduced the key: 0 for the first key of a log, - for a log that is not signed yet. The main key comes
    /// last. Keys that are only in the database are reported on standard error. Give a verifier key to everyone who
    /// verifies the log, over a channel that you trust.
    #[command(after_help = "\
Examples:
  auditlog signing-key show --signing-key auditlog.key
  auditlog signing-key show --signing-key auditlog.key --log-name audit.example.com --organization org_abc123")]
    Show {
        #[command(flatten)]
        file: KeyFileArgs,
        #[command(flatten)]
        database: DatabaseArgs,
        /// Name of the service in checkpoints. With it, the command reads the database and prints verifier keys.
        #[arg(long, env = "AUDITLOG_LOG_NAME", value_name = "NAME")]
        log_name: Option<LogName>,
        /// With --log-name: print only the verifier keys of this organization's log. Default: all logs.
        #[arg(long, value_name = "ORG")]
        organization: Option<OrganizationId>,
    },
    /// Add a new main key to the file, and print the public keys. The former key signs too until the overlap ends.
    ///
    /// A running service notices within seconds. It adds an entry with the new key to each log before the key first
    /// signs that log. If several processes have a copy of the file, copy it to all of them before the overlap ends.
    #[command(after_help = "\
Examples:
  auditlog signing-key rotate --signing-key auditlog.key
  auditlog signing-key rotate --signing-key auditlog.key --overlap 30d")]
    Rotate {
        #[command(flatten)]
        file: KeyFileArgs,
        /// How long the former key still signs, such as 12h or 30d. Verifiers need this time to learn the new key.
        #[arg(long, default_value = "7d", value_parser = super::positive, value_name = "DURATION")]
        overlap: Duration,
    },
    /// Give up the signed state of a log, and sign the log in the database instead.
    ///
    /// Use it for a service that has stopped signing, because a backup of the database was restored and nothing newer
    /// is left, or because a key is lost. Verifiers that have seen the earlier checkpoints will report a rollback. The
    /// command shows the state that it gives up, asks for confirmation, and records the acknowledgement in the log of
    /// auditlog:service.
    #[command(after_help = "\
Examples:
  auditlog signing-key acknowledge-rollback --organization org_abc123 \\
    --signing-key auditlog.key --log-name audit.example.com
  auditlog signing-key acknowledge-rollback --all --yes \\
    --signing-key auditlog.key --log-name audit.example.com")]
    AcknowledgeRollback(AcknowledgeArgs),
}

#[derive(Args)]
pub(super) struct KeyFileArgs {
    /// File with the signing keys.
    #[arg(long, env = "AUDITLOG_SIGNING_KEY", value_name = "FILE")]
    signing_key: PathBuf,
}

#[derive(Args)]
#[command(group(ArgGroup::new("logs").args(["organization", "all"]).required(true)))]
pub(super) struct AcknowledgeArgs {
    #[command(flatten)]
    file: KeyFileArgs,
    /// Name of the service in checkpoints.
    #[arg(long, env = "AUDITLOG_LOG_NAME", value_name = "NAME")]
    log_name: LogName,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Organization whose log is affected.
    #[arg(long, value_name = "ORG")]
    organization: Option<OrganizationId>,
    /// All affected logs, including those that are missing from the database.
    #[arg(long)]
    all: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

impl SigningKeyCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { file: KeyFileArgs { signing_key } } => {
                let keys = CheckpointKeys::create(&signing_key, &Random::system())?;
                print_public(&keys)?;
                tell!("Created {}. Keep it and {0}.state out of the database backups.", signing_key.display());
                Ok(())
            }
            Self::Show { file: KeyFileArgs { signing_key }, database, log_name, organization } => {
                let keys = CheckpointKeys::load(&signing_key)?;
                let Some(log_name) = log_name else { return print_public(&keys) };
                let store = database.open_existing().await?;
                let shown = print_verifiers(&store, &keys, &log_name, organization).await;
                store.close().await;
                shown
            }
            Self::Rotate { file: KeyFileArgs { signing_key }, overlap } => {
                let keys = CheckpointKeys::rotate(&signing_key, &Random::system(), Clock::system().now(), overlap)?;
                print_public(&keys)?;
                tell!("The first key is the main key now. Running services notice within seconds.");
                Ok(())
            }
            Self::AcknowledgeRollback(acknowledge) => acknowledge.run().await,
        }
    }
}

/// Prints a line for each key: algorithm, public key in base64, and the time until which it signs or `-`.
fn print_public(keys: &CheckpointKeys) -> anyhow::Result<()> {
    for key in keys.all() {
        let until = key.until().map_or("-".to_owned(), |until| until.to_string());
        writeln!(stdout(), "ed25519\t{}\t{until}", STANDARD.encode(key.public()))?;
    }
    Ok(())
}

async fn print_verifiers(
    store: &Store,
    keys: &CheckpointKeys,
    log_name: &LogName,
    chosen: Option<OrganizationId>,
) -> anyhow::Result<()> {
    let organizations = match chosen {
        Some(chosen) => {
            ensure!(store.has_organization(&chosen).await?, "there is no organization {chosen}");
            vec![chosen]
        }
        None => {
            let all = store.organizations().await?.into_iter();
            all.map(|organization| OrganizationId::parse(organization.id)).collect::<Result<_, _>>()?
        }
    };
    for organization in organizations {
        let Some(LogHead { log_id, .. }) = store.log_head(&organization).await? else { continue };
        let origin = log_name.origin(&log_id)?;
        let known = store.log_keys(&organization).await?;
        let mut own: Vec<_> = keys.all().map(|key| key.public().to_vec()).collect();
        // Anyone who can write to the database can add a key there.
        for foreign in known.iter().filter(|key| !own.contains(&key.public)) {
            let verifier = VerifierKey::new(origin.clone(), &foreign.public)?.text();
            tell!("{organization}: {verifier}, introduced by entry {}, is not in the key file", foreign.seq);
        }
        let main = keys.main().public().to_vec();
        own.retain(|public| *public == main || known.iter().any(|key| key.public == *public));
        // The main key comes last.
        own.reverse();
        for public in own {
            let seq = known.iter().find(|key| key.public == public).map_or("-".to_owned(), |key| key.seq.to_string());
            writeln!(stdout(), "{organization}\t{}\t{seq}", VerifierKey::new(origin.clone(), &public)?.text())?;
        }
    }
    Ok(())
}

/// The verifier key of the main key for the log of `organization`. Errors: there is no such log.
pub(super) async fn main_verifier(
    store: &Store,
    Signing { key_file, log_name }: &Signing,
    organization: &OrganizationId,
) -> anyhow::Result<VerifierKey> {
    let head = store.log_head(organization).await?.with_context(|| format!("there is no log of {organization}"))?;
    let public = CheckpointKeys::load(key_file)?.main().public();
    Ok(VerifierKey::new(log_name.origin(&head.log_id)?, &public)?)
}

impl AcknowledgeArgs {
    async fn run(self) -> anyhow::Result<()> {
        let Self { file: KeyFileArgs { signing_key }, log_name, database, organization, all: _, yes } = self;
        let own = format!("signing-key acknowledge-rollback --signing-key {} …", signing_key.display());
        check_owner(&signing_key, &own)?;
        let store = database.open_existing().await?;
        if let Some(organization) = &organization {
            ensure!(store.has_organization(organization).await?, "there is no organization {organization}");
        }
        let signing = Signing { key_file: signing_key, log_name };
        let refused = rollbacks(&store, &signing, organization.as_ref()).await?;
        let outcome = given_up(&store, &signing, refused, yes).await;
        store.close().await;
        outcome
    }
}

async fn given_up(store: &Store, signing: &Signing, refused: Vec<Rollback>, yes: bool) -> anyhow::Result<()> {
    for rollback in &refused {
        writeln!(stdout(), "{}", shown(rollback))?;
    }
    let (damaged, refused): (Vec<_>, Vec<_>) = refused.into_iter().partition(Rollback::is_damaged);
    let damaged = damaged.len();
    if refused.is_empty() && damaged == 0 {
        tell!("There is nothing to give up: the logs extend their signed state.");
        return Ok(());
    }
    if !refused.is_empty() {
        if !yes && !confirmed(&refused)? {
            bail!("nothing was changed");
        }
        for rollback in &refused {
            let Rollback { log_id, in_file, in_database, now, .. } = rollback;
            let [in_file, in_database, now] = [in_file, in_database, now].map(|tree| tree.map(|tree| tree.size));
            if rollback.is_believed() {
                warn!(log_id, in_database, now, "the signed state in the database is accepted");
            } else {
                warn!(log_id, in_file, in_database, now, "a rollback is acknowledged: the signed state is given up");
            }
        }
        let (clock, random) = (Clock::system(), Random::system());
        let (ingest, _) =
            Ingest::start(store.clone(), clock.clone(), random.clone(), QueueLimits::default(), &Metrics::default());
        let left = acknowledge(store, &recorder(ingest), &signing.key_file, refused, clock.now(), &random).await?;
        ensure!(
            left.is_empty(),
            "{} logs were signed meanwhile, and stay as they are; run the command again",
            left.len()
        );
        tell!("Stopped services sign again within seconds.");
    }
    ensure!(damaged == 0, "{damaged} logs are damaged and cannot be signed; restore an intact database");
    Ok(())
}

/// Asks for confirmation. Errors: standard input is not a terminal.
fn confirmed(refused: &[Rollback]) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        return Err(super::usage("standard input is not a terminal; confirm with --yes"));
    }
    let believed = refused.iter().filter(|one| one.is_believed()).count();
    if believed > 0 {
        tell!(
            "For {believed} logs, only the database has the signed state. An older database would have an older state."
        );
    }
    match refused.len() - believed {
        0 => tell!("Accept it? Type yes:"),
        given_up => {
            tell!("Give up the signed state of {given_up} logs, and sign the logs in the database instead? Type yes:");
        }
    }
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// A log, the reasons why it is not signed, and its tree heads: signed and present.
fn shown(rollback: &Rollback) -> String {
    let Rollback { organization, log_id, findings, in_file, in_database, now, .. } = rollback;
    let log = organization.as_ref().map_or_else(|| format!("log {log_id}"), ToString::to_string);
    let why = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let tree = |tree: &Option<TreeHead>| {
        tree.map_or("nothing".to_owned(), |TreeHead { size, root }| format!("{size} entries, root {root}"))
    };
    format!(
        "{log}: {why}\n  signed, according to the state file: {}\n  signed, according to the database: {}\n  \
         in the database now: {}",
        tree(in_file),
        tree(in_database),
        tree(now)
    )
}
