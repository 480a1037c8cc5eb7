//! `auditlog catalogue`.

use std::io::{Write, stdout};

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Subcommand, ValueEnum};

use super::{DatabaseArgs, usage};
use crate::catalogue::CACHE_TTL;
use crate::domain::{Catalogue, CatalogueKind, CatalogueName, Clock, Named, PathSegment, Random};
use crate::store::{Addition, Removal, Store};

/// After this time, running services have noticed a change, and have written the entries that they accepted before.
const NOTICED: Duration = CACHE_TTL.saturating_add(Duration::from_secs(1));

#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  auditlog catalogue list
  auditlog catalogue add resource-type webhook --history webhooks
  auditlog catalogue add action user.login
  auditlog catalogue remove action user.login")]
pub(super) enum CatalogueCommand {
    /// List resource types and actions, one per line: kind, name, and the history path of a resource type or -.
    #[command(after_help = "\
Examples:
  auditlog catalogue list")]
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Add a resource type or an action, or add a history path to a resource type without one. Running services notice
    /// within 5 seconds.
    #[command(after_help = "\
Examples:
  auditlog catalogue add resource-type webhook --history webhooks
  auditlog catalogue add resource-type billing_plan
  auditlog catalogue add action user.login")]
    Add {
        #[command(flatten)]
        database: DatabaseArgs,
        /// resource-type or action.
        #[arg(value_name = "KIND")]
        kind: KindArg,
        /// Name, such as vector_store or user.login: a letter, then at most 63 of a-z, 0-9, _, ., : and -. Names are
        /// kept for ever, and must hold nothing personal.
        #[arg(value_name = "NAME")]
        name: CatalogueName,
        /// Serve the histories of a resource type at GET /v1/SEGMENT/{id}/history. SEGMENT is a letter, then at most 63
        /// of a-z, 0-9 and -.
        #[arg(long, value_name = "SEGMENT")]
        history: Option<PathSegment>,
    },
    /// Remove a resource type or an action without entries. A name with entries stays, because entries are never
    /// deleted. The command takes 6 seconds, until running services have noticed.
    #[command(after_help = "\
Examples:
  auditlog catalogue remove resource-type webhook
  auditlog catalogue remove action user.login")]
    Remove {
        #[command(flatten)]
        database: DatabaseArgs,
        /// resource-type or action.
        #[arg(value_name = "KIND")]
        kind: KindArg,
        /// Name of the resource type or the action.
        #[arg(value_name = "NAME")]
        name: CatalogueName,
    },
}

/// The kind of a name on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum KindArg {
    /// The type of a resource.
    ResourceType,
    /// An action.
    Action,
}

impl From<KindArg> for CatalogueKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::ResourceType => Self::ResourceType,
            KindArg::Action => Self::Action,
        }
    }
}

impl CatalogueCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { database } => list(database).await,
            Self::Add { database, kind, name, history } => add(database, kind.into(), &name, history.as_ref()).await,
            Self::Remove { database, kind, name } => {
                let (store, kind) = (database.open_existing().await?, kind.into());
                remove(&store, kind, &name).await?;
                tell!("Removed {kind} {name}.");
                store.close().await;
                Ok(())
            }
        }
    }
}

async fn add(
    database: DatabaseArgs,
    kind: CatalogueKind,
    name: &CatalogueName,
    history: Option<&PathSegment>,
) -> anyhow::Result<()> {
    if kind == CatalogueKind::Action && history.is_some() {
        return Err(usage("--history is for resource types: an action has no histories"));
    }
    let store = database.open_existing().await?;
    match store.add_to_catalogue(kind, name, history, Clock::system().now(), &Random::system()).await? {
        Addition::Added => tell!("Added {kind} {name}. Services notice within 5 seconds."),
        Addition::PathAdded => tell!("Added the history path of {name}. Services notice within 5 seconds."),
        Addition::Known => match kind {
            CatalogueKind::ResourceType => tell!("Resource type {name} already exists."),
            CatalogueKind::Action => tell!("Action {name} already exists."),
        },
        Addition::OtherPath(path) => {
            bail!("{name} already has histories at /v1/{path}/{{id}}/history, and clients may use that path")
        }
        Addition::PathTaken(other) => bail!("the history path belongs to {other}; choose another --history"),
        Addition::Full(most) => bail!("{most} {kind}s are the maximum, and removed ones count"),
    }
    store.close().await;
    Ok(())
}

/// Removes a name. Running services may still accept entries with it for some seconds; if one did, the name is added
/// again.
async fn remove(store: &Store, kind: CatalogueKind, name: &CatalogueName) -> anyhow::Result<()> {
    let used = |organization: String| {
        anyhow!("{name} is in use: organization {organization} has entries of it, and entries are never deleted")
    };
    let (clock, random) = (Clock::system(), Random::system());
    let segment = match store.remove_from_catalogue(kind, name, clock.now(), &random).await? {
        Removal::Removed(segment) => segment,
        Removal::Unknown => bail!("{}", unknown(kind, name, &store.catalogue().await?)),
        Removal::Used(organization) => return Err(used(organization)),
        Removal::Needed => bail!("{name} cannot be removed: entries of the service itself have this {kind}"),
    };
    tell!("Waiting {} seconds until running services have noticed …", NOTICED.as_secs());
    tokio::time::sleep(NOTICED).await;
    if let Some(organization) = store.user_of_name(kind, name).await? {
        store.add_to_catalogue(kind, name, segment.as_ref(), clock.now(), &random).await?;
        return Err(used(organization).context("it was used during the removal, and stays"));
    }
    Ok(())
}

fn unknown(kind: CatalogueKind, name: &CatalogueName, catalogue: &Catalogue) -> String {
    let why = match kind {
        CatalogueKind::ResourceType => catalogue.new_resource_type(name.as_str()).err(),
        CatalogueKind::Action => catalogue.new_action(name.as_str()).err(),
    };
    format!("the {kind} {}", why.map_or_else(String::new, |why| why.to_string()))
}

async fn list(database: DatabaseArgs) -> anyhow::Result<()> {
    let store = database.open_existing().await?;
    let Catalogue { resource_types, actions } = store.catalogue().await?;
    for Named { name, path_segment, .. } in resource_types.iter().filter(|one| !one.is_removed) {
        let segment = path_segment.as_ref().map_or("-", PathSegment::as_str);
        writeln!(stdout(), "{}\t{name}\t{segment}", CatalogueKind::ResourceType.text())?;
    }
    for Named { name, .. } in actions.iter().filter(|one| !one.is_removed) {
        writeln!(stdout(), "{}\t{name}\t-", CatalogueKind::Action.text())?;
    }
    store.close().await;
    Ok(())
}
