//! Brings the schema up to date, once, and refuses one that this version does not know.

use anyhow::{Context, bail};
use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseTransaction, EntityTrait, QuerySelect, Statement, TransactionTrait};

use super::entities::{api_key, audit_log, catalogue, erasure, organization};
use super::{Store, dialect};

impl Store {
    /// Applies the steps that are missing, all in one transaction, and checks the outcome. Processes
    /// that start together take turns, so each step is applied once. Gives the steps applied.
    pub async fn migrate(&self) -> anyhow::Result<usize> {
        let options = dialect::append(self.writers.get_database_backend());
        let transaction = self.writers.begin_with_options(options).await.context("cannot lock the schema")?;
        dialect::lock_schema(&transaction).await.context("cannot lock the schema")?;
        let advice = "cannot create the schema; `auditlog migrate` must run as the role that owns it";
        // It makes the table of steps, if there is none.
        Migrator::install(&transaction).await.context(advice)?;
        let before = applied(&transaction).await?.len();
        Migrator::up(&transaction, None).await.context("cannot create the schema")?;
        check_tables(&transaction).await?;
        let steps = applied(&transaction).await?.len() - before;
        transaction.commit().await.context("cannot create the schema")?;
        Ok(steps)
    }
}

impl Store {
    /// Refuses a database that has not just the steps of this version.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let transaction = self.readers.begin().await.context("cannot read the schema")?;
        let advice = "there is no schema of auditlog here; `auditlog migrate` makes it";
        let applied = applied(&transaction).await.context(advice)?;
        if applied.len() < Migrator::migrations().len() {
            bail!("the schema is older than this auditlog; `auditlog migrate` brings it up to date");
        }
        check_tables(&transaction).await?;
        transaction.rollback().await.context("cannot read the schema")
    }
}

/// The steps that the database has, if they are the first of those that this version knows.
async fn applied(transaction: &DatabaseTransaction) -> anyhow::Result<Vec<String>> {
    // Not by what the migrator has for it, which makes the table where there is none, and needs the right to.
    let backend = transaction.get_database_backend();
    let text = "SELECT version FROM seaql_migrations ORDER BY version";
    let rows = transaction.query_all_raw(Statement::from_string(backend, text)).await;
    let rows = rows.context("cannot read the schema's version")?;
    let applied: Vec<String> =
        rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>().context("cannot read the version")?;
    let known: Vec<_> = Migrator::migrations().iter().map(|step| step.name().to_owned()).collect();
    if let Some(unknown) = applied.iter().find(|step| !known.contains(step)) {
        bail!(
            "the database's schema is newer than this auditlog: it has the step {unknown}, and this version ends with \
             {}. Run the auditlog that wrote it, or a newer one",
            known.last().map_or("none", String::as_str)
        );
    }
    if !known.starts_with(&applied) {
        bail!("the database's schema is damaged: its steps are {applied:?}, which should be the first of {known:?}");
    }
    Ok(applied)
}

/// Asks each table for each of its columns.
async fn check_tables(transaction: &DatabaseTransaction) -> anyhow::Result<()> {
    async fn check<E: EntityTrait>(transaction: &DatabaseTransaction) -> anyhow::Result<()> {
        let table = E::default();
        let probe = E::find().limit(0).all(transaction).await;
        probe.map(|_| ()).with_context(|| {
            format!("the database's schema is damaged: cannot read table {}; restore a backup", table.table_name())
        })
    }
    check::<organization::Entity>(transaction).await?;
    check::<audit_log::Entity>(transaction).await?;
    check::<erasure::Entity>(transaction).await?;
    check::<api_key::Entity>(transaction).await?;
    check::<catalogue::Entity>(transaction).await
}
