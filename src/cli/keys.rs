//! `auditlog keys`.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{ArgGroup, Args, Subcommand};

use super::DatabaseArgs;
use crate::access::{NewKey, Scope, create_key, revoke_key};
use crate::domain::{ApiKeyName, Clock, OrganizationId, Random, Timestamp};
use crate::store::{ApiKey, Store};

#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  auditlog keys create --organization org_abc123 --scope read
  auditlog keys list
  auditlog keys revoke 3ZkVmSxOqL2b")]
pub(super) enum KeysCommand {
    /// Create an API key and print it. It cannot be printed again: the database keeps only a hash.
    Create(CreateKeyArgs),
    /// List API keys, one per line: id, name or -, organization, scopes, and the times of creation, expiry, revocation
    /// and last use.
    #[command(after_help = "\
Examples:
  auditlog keys list
  auditlog keys list | column -t -s $'\\t'")]
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Revoke an API key. Running services notice within 5 seconds.
    #[command(after_help = "\
Examples:
  auditlog keys revoke 3ZkVmSxOqL2b")]
    Revoke {
        #[command(flatten)]
        database: DatabaseArgs,
        /// Key id: the part of the key between al_ and the next _. The whole key is accepted too.
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Args)]
#[command(group(ArgGroup::new("organizations").args(["organization", "all_organizations"]).required(true)))]
#[command(after_help = "\
Examples:
  auditlog keys create --organization org_abc123 --scope read
  auditlog keys create --all-organizations --scope read --scope write \\
    --name billing-service --expires-in 90d")]
pub(super) struct CreateKeyArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Limit the key to this organization, which is created if it does not exist. A key for auditlog:service, whose log
    /// records the administration of the service, can only have the scopes read and verify.
    #[arg(long, value_name = "ORG")]
    organization: Option<OrganizationId>,
    /// Create a service-wide key, for services that write for many organizations.
    #[arg(long)]
    all_organizations: bool,
    /// Scope of the key: read, write, verify or erase. Repeat the option, or separate scopes by commas.
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// Name of the service that uses the key, such as billing-service: a letter or digit, then at most 63 of A-Z, a-z,
    /// 0-9 and . _ - : /. `keys list` shows it. The next key of a service may have the same name. Names are kept for
    /// ever and must hold nothing personal.
    #[arg(long, value_name = "NAME")]
    name: Option<ApiKeyName>,
    /// Time until the key expires, such as 90d or 12h. Default: the key works until it is revoked.
    #[arg(long, value_parser = super::positive, value_name = "DURATION")]
    expires_in: Option<Duration>,
}

impl KeysCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List { database } => {
                let store = database.open_existing().await?;
                for key in store.keys().await? {
                    writeln!(stdout(), "{}", shown(&key))?;
                }
                store.close().await;
                Ok(())
            }
            Self::Revoke { database, id } => {
                let store = database.open_existing().await?;
                // A whole key is accepted, but only its id is used.
                let id = id.strip_prefix("al_").and_then(|key| key.split('_').next()).unwrap_or(&id);
                // Read before the revocation, which must not end with an error once it is done.
                let name = store.key(id).await?.and_then(|key| key.name);
                if !revoke_key(&store, &Clock::system(), &Random::system(), id).await? {
                    bail!("no key with this id can be revoked; `auditlog keys list` shows all keys");
                }
                let name = name.map_or_else(String::new, |name| format!(" ({name})"));
                tell!("Revoked key {id}{name}. Services notice within 5 seconds.");
                store.close().await;
                Ok(())
            }
        }
    }
}

impl CreateKeyArgs {
    async fn run(self) -> anyhow::Result<()> {
        let Self { database, organization, all_organizations: _, scope, name, expires_in } = self;
        let (clock, random) = (Clock::system(), Random::system());
        let expires_at = expires_in.map(|lifetime| later(clock.now(), lifetime)).transpose()?;
        let new = NewKey { name, organization, scopes: scope.into_iter().collect(), expires_at };
        new.check().map_err(|why| super::usage(&why.to_string()))?;
        let store = database.open().await?;
        // The log of the service begins with its first entry, at the latest with that about this key.
        if let Some(organization) = new.organization.as_ref().filter(|one| !one.is_reserved())
            && ensure(&store, organization, &clock, &random).await?
        {
            tell!("Created organization {organization}.");
        }
        let key = create_key(&store, &clock, &random, new).await?;
        let printed = writeln!(stdout(), "{}", key.expose()).and_then(|()| stdout().flush());
        printed.map_err(|error| anyhow!("the key was created, but could not be printed ({error}); revoke it"))?;
        tell!("Save the key now: it is not shown again.");
        store.close().await;
        Ok(())
    }
}

/// Creates `organization` unless it exists; returns whether it was created.
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

/// A line of `keys list`: tab-separated, `(all)` for a service-wide key, `-` for a missing name or time.
fn shown(key: &ApiKey) -> String {
    let ApiKey { id, name, hash: _, organization, scopes, created_at, expires_at, revoked_at, last_used_at } = key;
    let name = name.as_ref().map_or("-", ApiKeyName::as_str);
    let organization = organization.as_ref().map_or("(all)", OrganizationId::as_str);
    let time = |time: &Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    let times = [expires_at, revoked_at, last_used_at].map(time).join("\t");
    format!("{id}\t{name}\t{organization}\t{}\t{created_at}\t{times}", scopes.join(","))
}
