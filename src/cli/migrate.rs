//! `auditlog migrate`.

use std::io::{Write, stdout};

use clap::Args;

use super::DatabaseArgs;
use crate::store::Store;

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog migrate --database-url sqlite://auditlog.db
  AUDITLOG_DATABASE_URL_FILE=/run/secrets/database-url auditlog migrate")]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

impl MigrateArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let DatabaseArgs { database_url, database_connections } = self.database;
        let store = Store::connect(&database_url.0, database_connections).await?;
        match store.migrate().await? {
            0 => writeln!(stdout(), "The schema is up to date.")?,
            steps => writeln!(stdout(), "The schema is up to date; steps applied: {steps}.")?,
        }
        store.close().await;
        Ok(())
    }
}
