//! `auditlog catalogue`.

use std::io::{Write, stdout};

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};

use super::Database;
use crate::catalogue::FRESH;
use crate::domain::{CatalogueName, Clock, PathSegment};
use crate::store::{Addition, Removal, Store};

/// When services have noticed a change, and have written what they took before.
const NOTICED: Duration = FRESH.saturating_add(Duration::from_secs(1));

/// Lists the resource types and actions, and adds and removes resource types.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog catalogue list
  auditlog catalogue add webhook --history webhooks
  auditlog catalogue remove webhook")]
pub struct Catalogue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List them: kind, name, and the path of a resource type's histories.
    #[command(after_help = "\
Examples:
  auditlog catalogue list")]
    List {
        #[command(flatten)]
        database: Database,
    },
    /// Add a resource type, or the path of its histories to one that has none. Services that run notice
    /// within 5 seconds.
    #[command(after_help = "\
Examples:
  auditlog catalogue add webhook --history webhooks
  auditlog catalogue add billing_plan")]
    Add {
        #[command(flatten)]
        database: Database,
        /// What entries call it, such as vector_store: a-z, 0-9 and _, a letter first, at most 64.
        #[arg(value_name = "NAME")]
        name: CatalogueName,
        /// Serve its histories as GET /v1/SEGMENT/{id}/history: a-z, 0-9 and -, a letter first, at most 64.
        #[arg(long, value_name = "SEGMENT")]
        history: Option<PathSegment>,
    },
    /// Remove a resource type that no entry has. One that is in use stays: entries are never deleted.
    #[command(after_help = "\
Examples:
  auditlog catalogue remove webhook")]
    Remove {
        #[command(flatten)]
        database: Database,
        /// Its name.
        #[arg(value_name = "NAME")]
        name: CatalogueName,
    },
}

impl Catalogue {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::List { database } => list(database).await,
            Command::Add { database, name, history } => {
                let store = database.open_existing().await?;
                match store.add_resource_type(&name, history.as_ref()).await? {
                    Addition::Added => tell!("Added resource type {name}. Services notice within 5 seconds."),
                    Addition::PathAdded => tell!("{name} has histories now. Services notice within 5 seconds."),
                    Addition::Known => tell!("Resource type {name} is there already."),
                    Addition::OtherPath(path) => {
                        bail!(
                            "{name} is there already with histories at /v1/{path}/{{id}}/history, which clients may use"
                        )
                    }
                    Addition::PathTaken(other) => bail!("that history path is {other}'s; name another --history"),
                    Addition::Full(most) => bail!("there are {most} resource types, those removed included: the most"),
                }
                store.close().await;
                Ok(())
            }
            Command::Remove { database, name } => {
                let store = database.open_existing().await?;
                remove(&store, &name).await?;
                tell!("Removed resource type {name}.");
                store.close().await;
                Ok(())
            }
        }
    }
}

/// Removes a type for good, or not at all: services that run may still have it for some seconds.
async fn remove(store: &Store, name: &CatalogueName) -> anyhow::Result<()> {
    let used = |organization: String| {
        anyhow!("{name} is in use: organization {organization} has entries of it, and entries are never deleted")
    };
    let segment = match store.remove_resource_type(name, Clock::system().now()).await? {
        Removal::Removed(segment) => segment,
        Removal::Unknown => bail!("{}", unknown(name, &store.catalogue().await?)),
        Removal::Used(organization) => return Err(used(organization)),
        Removal::Needed => bail!("{name} stays: entries that the service makes itself are of it"),
    };
    tell!("Waiting {} seconds, until services that run have noticed …", NOTICED.as_secs());
    tokio::time::sleep(NOTICED).await;
    if let Some(organization) = store.user_of_resource_type(name).await? {
        store.add_resource_type(name, segment.as_ref()).await?;
        return Err(used(organization).context("it was used while it was removed, and stays"));
    }
    Ok(())
}

fn unknown(name: &CatalogueName, catalogue: &crate::domain::Catalogue) -> String {
    let why = catalogue.new_resource_type(name.as_str()).err().map_or_else(String::new, |why| why.to_string());
    format!("the resource type {why}")
}

async fn list(database: Database) -> anyhow::Result<()> {
    let store = database.open_existing().await?;
    let crate::domain::Catalogue { resource_types, actions } = store.catalogue().await?;
    for one in resource_types.iter().filter(|one| !one.is_removed) {
        writeln!(
            stdout(),
            "resource_type\t{}\t{}",
            one.name,
            one.path_segment.as_ref().map_or("-", PathSegment::as_str)
        )?;
    }
    for one in &actions {
        writeln!(stdout(), "action\t{}\t-", one.name)?;
    }
    store.close().await;
    Ok(())
}
