//! `auditlog keys`.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};

use super::Database;
use crate::access::{Scope, create_key, revoke_key};
use crate::domain::{Clock, OrganizationId, Random, Timestamp};
use crate::store::{ApiKey, Store};

/// Creates, lists and revokes API keys.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog keys create --organization org_abc123 --scope read
  auditlog keys list
  auditlog keys revoke 3ZkVmSxOqL2b")]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a key and print it, this once. The database keeps a hash.
    Create(Create),
    /// List the keys: id, organization, scopes, and the times of creation, expiry, revocation and last
    /// use.
    #[command(after_help = "\
Examples:
  auditlog keys list
  auditlog keys list | column -t -s $'\\t'")]
    List {
        #[command(flatten)]
        database: Database,
    },
    /// End a key. Services notice within 5 seconds.
    #[command(after_help = "\
Examples:
  auditlog keys revoke 3ZkVmSxOqL2b")]
    Revoke {
        #[command(flatten)]
        database: Database,
        /// The key's id, the part between al_ and the next _.
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog keys create --organization org_abc123 --scope read
  auditlog keys create --all-organizations --scope read --scope write \\
    --expires-in 90d")]
struct Create {
    #[command(flatten)]
    database: Database,
    /// The one organization that the key is for, created if it is not there.
    #[arg(long, value_name = "ORG")]
    organization: Option<OrganizationId>,
    /// Make a key for all organizations, for services that write for many.
    #[arg(long)]
    all_organizations: bool,
    /// What the key may be used for: read, write, verify or erase. Repeat it for several.
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// When the key stops working by itself, such as 90d or 12h. Without it, when it is revoked.
    #[arg(long, value_parser = super::positive, value_name = "DURATION")]
    expires_in: Option<Duration>,
}

impl Keys {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Create(create) => create.run().await,
            Command::List { database } => {
                let store = database.open_existing().await?;
                for key in store.keys().await? {
                    writeln!(stdout(), "{}", shown(&key))?;
                }
                store.close().await;
                Ok(())
            }
            Command::Revoke { database, id } => {
                let store = database.open_existing().await?;
                // A whole key is understood, but its secret is not needed here.
                let id = id.strip_prefix("al_").and_then(|key| key.split('_').next()).unwrap_or(&id);
                if !revoke_key(&store, &Clock::system(), id).await? {
                    bail!("there is no such key that could be revoked; `auditlog keys list` shows those there are");
                }
                tell!("Revoked key {id}. Services notice within 5 seconds.");
                store.close().await;
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let Self { database, organization, all_organizations, scope, expires_in } = self;
        match (&organization, all_organizations) {
            (None, false) => return Err(super::usage("name an --organization ORG, or say --all-organizations")),
            (Some(_), true) => return Err(super::usage("--organization and --all-organizations exclude each other")),
            _ => {}
        }
        let (clock, random) = (Clock::system(), Random::system());
        let expires_at = expires_in.map(|lifetime| later(clock.now(), lifetime)).transpose()?;
        let store = database.open().await?;
        if let Some(organization) = &organization
            && ensure(&store, organization, &clock, &random).await?
        {
            tell!("Created organization {organization}.");
        }
        let scopes = scope.into_iter().collect();
        let key = create_key(&store, &clock, &random, organization, &scopes, expires_at).await?;
        let printed = writeln!(stdout(), "{}", key.expose()).and_then(|()| stdout().flush());
        printed.map_err(|error| anyhow!("the key was made and could not be printed ({error}); revoke it"))?;
        tell!("Keep the key now: it is not shown again.");
        store.close().await;
        Ok(())
    }
}

/// Makes `organization` unless it is there; `true` if it did.
pub(super) async fn ensure(
    store: &Store,
    organization: &OrganizationId,
    clock: &Clock,
    random: &Random,
) -> anyhow::Result<bool> {
    Ok(store.create_organization(organization, &random.hex::<16>(), clock.now()).await?)
}

fn later(now: Timestamp, lifetime: Duration) -> anyhow::Result<Timestamp> {
    let micros = i64::try_from(lifetime.as_micros()).ok();
    let expires = micros.map(|micros| now.plus(micros)).filter(|expires| *expires < Timestamp::END);
    expires.ok_or_else(|| super::usage("--expires-in must end before the year 10000"))
}

/// A line of the list.
fn shown(key: &ApiKey) -> String {
    let ApiKey { id, hash: _, organization, scopes, created_at, expires_at, revoked_at, last_used_at } = key;
    let organization = organization.as_ref().map_or("(all)", OrganizationId::as_str);
    let time = |time: &Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    let times = [expires_at, revoked_at, last_used_at].map(time).join("\t");
    format!("{id}\t{organization}\t{}\t{created_at}\t{times}", scopes.join(","))
}
