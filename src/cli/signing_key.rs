//! `auditlog signing-key`.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use tracing::warn;

use super::Database;
use crate::app::recorder;
use crate::domain::{Clock, OrganizationId, Random};
use crate::files::check_owner;
use crate::ingest::{Ingest, QueueLimits};
use crate::metrics::Metrics;
use crate::signer::{Keys, Rollback, Signing, TreeHead, acknowledge, rollbacks};
use crate::store::{LogHead, Store};
use auditlog_verify::merkle::{LogName, VerifierKey};

/// Makes, shows and exchanges the keys that sign checkpoints.
///
/// A key file belongs to one service, and to all of its processes. docs/signing.md tells how to keep it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog signing-key create --signing-key auditlog.key
  auditlog signing-key show --signing-key auditlog.key --log-name audit.example.com
  auditlog signing-key rotate --signing-key auditlog.key")]
pub struct SigningKey {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key and its file, which only its owner can read, and print the public key. No file is overwritten.
    #[command(after_help = "\
Examples:
  auditlog signing-key create --signing-key auditlog.key")]
    Create {
        #[command(flatten)]
        file: KeyFile,
    },
    /// Print the public keys, and with a log name the verifier keys of each log: organization, key, and the number of
    /// the entry that introduced it.
    ///
    /// The key that signs comes last. Keys that only the database names are told on standard error.
    /// 0 is the number of a first key. A log that is not signed yet has - in its place. Give a verifier key to whoever
    /// shall check the log, by a way that you trust.
    #[command(after_help = "\
Examples:
  auditlog signing-key show --signing-key auditlog.key
  auditlog signing-key show --signing-key auditlog.key --log-name audit.example.com --organization org_abc123")]
    Show {
        #[command(flatten)]
        file: KeyFile,
        #[command(flatten)]
        database: Database,
        /// What the service is called in checkpoints. With it, verifier keys are printed, and the database is read.
        #[arg(long, env = "AUDITLOG_LOG_NAME", value_name = "NAME")]
        log_name: Option<LogName>,
        /// Only the keys of this organization's log.
        #[arg(long, value_name = "ORG")]
        organization: Option<OrganizationId>,
    },
    /// Add a key to the file, which signs from now on, and print its public key. The one before signs along for a while.
    ///
    /// A running service notices within seconds. It records the new key as an entry of each log before the key first
    /// signs it. Where several processes have a copy of the file, copy it to all of them before the overlap ends.
    #[command(after_help = "\
Examples:
  auditlog signing-key rotate --signing-key auditlog.key
  auditlog signing-key rotate --signing-key auditlog.key --overlap 30d")]
    Rotate {
        #[command(flatten)]
        file: KeyFile,
        /// How long the key before signs along, for those who do not know the new one yet.
        #[arg(long, default_value = "7d", value_parser = super::positive, value_name = "DURATION")]
        overlap: Duration,
    },
    /// Give up what was signed of a log, and sign what the database has instead.
    ///
    /// For a service that has stopped signing: because a backup of the database was restored, and nothing newer is left,
    /// or because a key is lost. Whoever has seen what was signed will see that it was given up. It shows what that is,
    /// and asks.
    #[command(after_help = "\
Examples:
  auditlog signing-key acknowledge-rollback --organization org_abc123 \\
    --signing-key auditlog.key --log-name audit.example.com
  auditlog signing-key acknowledge-rollback --all --yes \\
    --signing-key auditlog.key --log-name audit.example.com")]
    AcknowledgeRollback(Acknowledge),
}

#[derive(Args)]
struct KeyFile {
    /// The file of the keys.
    #[arg(long, env = "AUDITLOG_SIGNING_KEY", value_name = "FILE")]
    signing_key: PathBuf,
}

#[derive(Args)]
struct Acknowledge {
    #[command(flatten)]
    file: KeyFile,
    /// What the service is called in checkpoints.
    #[arg(long, env = "AUDITLOG_LOG_NAME", value_name = "NAME")]
    log_name: LogName,
    #[command(flatten)]
    database: Database,
    /// The organization whose log it is.
    #[arg(long, value_name = "ORG")]
    organization: Option<OrganizationId>,
    /// All logs, also those that are gone from the database.
    #[arg(long)]
    all: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl SigningKey {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Create { file: KeyFile { signing_key } } => {
                let keys = Keys::create(&signing_key, &Random::system())?;
                print_public(&keys)?;
                tell!("Made {}. Keep it and {0}.state apart from the database's backups.", signing_key.display());
                Ok(())
            }
            Command::Show { file: KeyFile { signing_key }, database, log_name, organization } => {
                let keys = Keys::load(&signing_key)?;
                let Some(log_name) = log_name else { return print_public(&keys) };
                let store = database.open_existing().await?;
                let shown = print_verifiers(&store, &keys, &log_name, organization).await;
                store.close().await;
                shown
            }
            Command::Rotate { file: KeyFile { signing_key }, overlap } => {
                let keys = Keys::rotate(&signing_key, &Random::system(), Clock::system().now(), overlap)?;
                print_public(&keys)?;
                tell!("The first key signs from now on. Services that read this file notice within seconds.");
                Ok(())
            }
            Command::AcknowledgeRollback(acknowledge) => acknowledge.run().await,
        }
    }
}

/// Algorithm, public key, and until when it signs.
fn print_public(keys: &Keys) -> anyhow::Result<()> {
    for key in keys.all() {
        let until = key.until().map_or("-".to_owned(), |until| until.to_string());
        writeln!(stdout(), "ed25519\t{}\t{until}", STANDARD.encode(key.public()))?;
    }
    Ok(())
}

async fn print_verifiers(
    store: &Store,
    keys: &Keys,
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
        // Whoever can write to the database can name a key there.
        for foreign in known.iter().filter(|key| !own.contains(&key.public)) {
            let verifier = VerifierKey::new(origin.clone(), &foreign.public)?.text();
            tell!("{organization}: {verifier}, introduced by entry {}, is not in the key file", foreign.seq);
        }
        let main = keys.main().public().to_vec();
        own.retain(|public| *public == main || known.iter().any(|key| key.public == *public));
        // The one that signs last.
        own.reverse();
        for public in own {
            let seq = known.iter().find(|key| key.public == public).map_or("-".to_owned(), |key| key.seq.to_string());
            writeln!(stdout(), "{organization}\t{}\t{seq}", VerifierKey::new(origin.clone(), &public)?.text())?;
        }
    }
    Ok(())
}

impl Acknowledge {
    async fn run(self) -> anyhow::Result<()> {
        let Self { file: KeyFile { signing_key }, log_name, database, organization, all, yes } = self;
        match (&organization, all) {
            (None, false) => return Err(super::usage("name an --organization ORG, or say --all")),
            (Some(_), true) => return Err(super::usage("--organization and --all exclude each other")),
            _ => {}
        }
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
        tell!("There is nothing to give up: the logs extend what was signed.");
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
                warn!(log_id, in_database, now, "what the database says was signed is believed");
            } else {
                warn!(log_id, in_file, in_database, now, "a rollback is acknowledged: what was signed is given up");
            }
        }
        let (clock, random) = (Clock::system(), Random::system());
        let (ingest, _) =
            Ingest::start(store.clone(), clock.clone(), random, QueueLimits::default(), &Metrics::default());
        let left = acknowledge(store, &recorder(ingest), &signing.key_file, refused, clock.now()).await?;
        ensure!(left.is_empty(), "{} logs were signed meanwhile and left alone; look again", left.len());
        tell!("Services that have stopped sign again within seconds.");
    }
    ensure!(damaged == 0, "{damaged} logs are damaged, and cannot be signed as they are; bring a whole database back");
    Ok(())
}

/// Asks whoever sits there.
fn confirmed(refused: &[Rollback]) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        return Err(super::usage("say --yes to give up what was signed"));
    }
    let believed = refused.iter().filter(|one| one.is_believed()).count();
    if believed > 0 {
        tell!("Of {believed} logs the database alone says what was signed; an older database would say less.");
    }
    match refused.len() - believed {
        0 => tell!("Believe it? Type yes:"),
        given_up => {
            tell!("Give up what was signed of {given_up} logs, and sign what the database has instead? Type yes:");
        }
    }
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// A log, why it is not signed, and what is given up for what.
fn shown(rollback: &Rollback) -> String {
    let Rollback { organization, log_id, findings, in_file, in_database, now, .. } = rollback;
    let log = organization.as_ref().map_or_else(|| format!("log {log_id}"), ToString::to_string);
    let why = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let tree = |tree: &Option<TreeHead>| {
        tree.map_or("nothing".to_owned(), |TreeHead { size, root }| format!("{size} entries, root {root}"))
    };
    format!(
        "{log}: {why}\n  signed, by the key's file: {}\n  signed, by the database: {}\n  in the database now: {}",
        tree(in_file),
        tree(in_database),
        tree(now)
    )
}
