//! `auditlog organizations`.

use std::io::{Write, stdout};

use clap::{Args, Subcommand};

use super::{Database, keys};
use crate::domain::{Clock, OrganizationId, Random};

/// Creates and lists organizations.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog organizations create org_abc123
  auditlog organizations list")]
pub struct Organizations {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create an organization. `keys create --organization` does so too, and so does the first write
    /// with a service-wide key.
    #[command(after_help = "\
Examples:
  auditlog organizations create org_abc123")]
    Create {
        #[command(flatten)]
        database: Database,
        /// The organization's id, 1 to 256 bytes.
        #[arg(value_name = "ORG")]
        organization: OrganizationId,
    },
    /// List the organizations: id, entries, time of creation.
    #[command(after_help = "\
Examples:
  auditlog organizations list")]
    List {
        #[command(flatten)]
        database: Database,
    },
}

impl Organizations {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Create { database, organization } => {
                let store = database.open().await?;
                match keys::ensure(&store, &organization, &Clock::system(), &Random::system()).await? {
                    true => tell!("Created organization {organization}."),
                    false => tell!("Organization {organization} is there already."),
                }
                store.close().await;
            }
            Command::List { database } => {
                let store = database.open_existing().await?;
                for organization in store.organizations().await? {
                    writeln!(stdout(), "{}\t{}\t{}", organization.id, organization.head_seq, organization.created_at)?;
                }
                store.close().await;
            }
        }
        Ok(())
    }
}
