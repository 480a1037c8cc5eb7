//! `auditlog organizations`.

use std::io::{Write, stdout};

use clap::Subcommand;

use super::{DatabaseArgs, keys};
use crate::domain::{Clock, OrganizationId, Random};

#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  auditlog organizations create org_abc123
  auditlog organizations list")]
pub(super) enum OrganizationsCommand {
    /// Create an organization. `keys create --organization` and the first write with a service-wide key do so too.
    #[command(after_help = "\
Examples:
  auditlog organizations create org_abc123")]
    Create {
        #[command(flatten)]
        database: DatabaseArgs,
        /// Organization id, 1 to 256 bytes. Ids that begin with auditlog: belong to the service itself.
        #[arg(value_name = "ORG")]
        organization: OrganizationId,
    },
    /// List organizations, one per line: id, number of entries, time of creation.
    #[command(after_help = "\
Examples:
  auditlog organizations list")]
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

impl OrganizationsCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { organization, .. } if organization.is_reserved() => {
                return Err(super::usage("organizations whose id begins with auditlog: belong to the service itself"));
            }
            Self::Create { database, organization } => {
                let store = database.open().await?;
                match keys::ensure(&store, &organization, &Clock::system(), &Random::system()).await? {
                    true => tell!("Created organization {organization}."),
                    false => tell!("Organization {organization} already exists."),
                }
                store.close().await;
            }
            Self::List { database } => {
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
