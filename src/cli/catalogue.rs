//! `auditlog catalogue`.

use std::io::{Write, stdout};

use anyhow::bail;
use clap::{Args, Subcommand};

use super::Database;
use crate::domain::{CatalogueName, Clock, PathSegment};
use crate::store::{Addition, Removal};

/// Lists the resource types and actions, and adds and removes resource types.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog catalogue list
  auditlog catalogue add webhook --history webhooks     # and GET /v1/webhooks/{id}/history
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
        #[arg(id = "catalogue_history", long = "history", value_name = "SEGMENT")]
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
                let store = database.open().await?;
                match store.add_resource_type(&name, history.as_ref()).await? {
                    Addition::Added => eprintln!("Added resource type {name}. Services notice within 5 seconds."),
                    Addition::PathAdded => eprintln!("{name} has histories now. Services notice within 5 seconds."),
                    Addition::Known => eprintln!("Resource type {name} is there already."),
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
                match store.remove_resource_type(&name, Clock::system().now()).await? {
                    Removal::Removed => eprintln!("Removed resource type {name}. Services notice within 5 seconds."),
                    Removal::Unknown => bail!("{}", unknown(&name, &store.catalogue().await?)),
                    Removal::Used(organization) => {
                        bail!(
                            "{name} is in use: organization {organization} has entries of it, and entries are never deleted"
                        )
                    }
                }
                store.close().await;
                Ok(())
            }
        }
    }
}

fn unknown(name: &CatalogueName, catalogue: &crate::domain::Catalogue) -> String {
    // A name that is removed already is not one that there is.
    let why = catalogue.resource_type(name.as_str()).err().map_or_else(String::new, |why| why.to_string());
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
