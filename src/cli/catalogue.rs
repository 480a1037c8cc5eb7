//! `auditlog catalogue`.

use std::io::{Write, stdout};

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Subcommand;

use super::DatabaseArgs;
use crate::catalogue::CACHE_TTL;
use crate::domain::{CatalogueName, Clock, PathSegment};
use crate::store::{Addition, Removal, Store};

/// After this time, running services have noticed a change, and have written the entries that they accepted before.
const NOTICED: Duration = CACHE_TTL.saturating_add(Duration::from_secs(1));

#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  auditlog catalogue list
  auditlog catalogue add webhook --history webhooks
  auditlog catalogue remove webhook")]
pub(super) enum CatalogueCommand {
    /// List resource types and actions, one per line: kind, name, and the history path of a resource type or -.
    #[command(after_help = "\
Examples:
  auditlog catalogue list")]
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Add a resource type, or add a history path to a resource type without one. Running services notice within 5
    /// seconds.
    #[command(after_help = "\
Examples:
  auditlog catalogue add webhook --history webhooks
  auditlog catalogue add billing_plan")]
    Add {
        #[command(flatten)]
        database: DatabaseArgs,
        /// Name of the resource type, such as vector_store: a letter, then at most 63 of a-z, 0-9 and _.
        #[arg(value_name = "NAME")]
        name: CatalogueName,
        /// Serve its histories at GET /v1/SEGMENT/{id}/history. SEGMENT is a letter, then at most 63 of a-z, 0-9 and -.
        #[arg(long, value_name = "SEGMENT")]
        history: Option<PathSegment>,
    },
    /// Remove a resource type without entries. A type with entries stays, because entries are never deleted. The
    /// command takes 6 seconds, until running services have noticed.
    #[command(after_help = "\
Examples:
  auditlog catalogue remove webhook")]
    Remove {
        #[command(flatten)]
        database: DatabaseArgs,
        /// Name of the resource type.
        #[arg(value_name = "NAME")]
        name: CatalogueName,
    },
}

impl CatalogueCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { database } => list(database).await,
            Self::Add { database, name, history } => {
                let store = database.open_existing().await?;
                match store.add_resource_type(&name, history.as_ref()).await? {
                    Addition::Added => tell!("Added resource type {name}. Services notice within 5 seconds."),
                    Addition::PathAdded => tell!("Added the history path of {name}. Services notice within 5 seconds."),
                    Addition::Known => tell!("Resource type {name} already exists."),
                    Addition::OtherPath(path) => {
                        bail!(
                            "{name} already has histories at /v1/{path}/{{id}}/history, and clients may use that path"
                        )
                    }
                    Addition::PathTaken(other) => {
                        bail!("the history path belongs to {other}; choose another --history")
                    }
                    Addition::Full(most) => bail!("{most} resource types are the maximum, and removed ones count"),
                }
                store.close().await;
                Ok(())
            }
            Self::Remove { database, name } => {
                let store = database.open_existing().await?;
                remove(&store, &name).await?;
                tell!("Removed resource type {name}.");
                store.close().await;
                Ok(())
            }
        }
    }
}

/// Removes a type. Running services may still accept entries of it for some seconds; if one did, the type is added
/// again.
async fn remove(store: &Store, name: &CatalogueName) -> anyhow::Result<()> {
    let used = |organization: String| {
        anyhow!("{name} is in use: organization {organization} has entries of it, and entries are never deleted")
    };
    let segment = match store.remove_resource_type(name, Clock::system().now()).await? {
        Removal::Removed(segment) => segment,
        Removal::Unknown => bail!("{}", unknown(name, &store.catalogue().await?)),
        Removal::Used(organization) => return Err(used(organization)),
        Removal::Needed => bail!("{name} cannot be removed: entries of the service itself have this type"),
    };
    tell!("Waiting {} seconds until running services have noticed …", NOTICED.as_secs());
    tokio::time::sleep(NOTICED).await;
    if let Some(organization) = store.user_of_resource_type(name).await? {
        store.add_resource_type(name, segment.as_ref()).await?;
        return Err(used(organization).context("it was used during the removal, and stays"));
    }
    Ok(())
}

fn unknown(name: &CatalogueName, catalogue: &crate::domain::Catalogue) -> String {
    let why = catalogue.new_resource_type(name.as_str()).err().map_or_else(String::new, |why| why.to_string());
    format!("the resource type {why}")
}

async fn list(database: DatabaseArgs) -> anyhow::Result<()> {
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
