//! Brings the schema up to date, and refuses a schema that this version does not know.

use anyhow::{Context, bail};
use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QuerySelect, Statement};

use crate::store::admin::secrets;
use crate::store::entities::{
    api_key, audit_log, catalogue, checkpoint, count_state, erasure, key_total, log_key, log_tile, name, organization,
    running_count, secret,
};
use crate::store::errors::{cause, is_denied};
use crate::store::{Store, dialect};

/// The migrator's own table.
const STEPS: &str = "seaql_migrations";

/// The last migration that this version knows. Its database has this migration while it runs.
pub fn schema_version() -> String {
    Migrator::migrations().last().map_or_else(String::new, |step| step.name().to_owned())
}

impl Store {
    /// Applies the missing migrations in one transaction, and checks the result. Processes that start together take
    /// turns, so each migration is applied once. Returns the number of migrations applied.
    pub async fn migrate(&self) -> anyhow::Result<usize> {
        let transaction = self.writers.begin_migration().await.map_err(cause).context("cannot lock the schema")?;
        dialect::lock_schema(&transaction).await.map_err(cause).context("cannot lock the schema")?;
        let advice = "cannot create the schema; `auditlog migrate` must run as the role that owns it";
        // Creates the table of migrations if it is missing.
        Migrator::install(&transaction).await.map_err(cause).context(advice)?;
        let before = applied(&transaction).await?.len();
        Migrator::up(&transaction, None).await.map_err(cause).context("cannot create the schema")?;
        secrets::make_missing(&transaction).await.map_err(cause).context("cannot make the database's keys")?;
        check_tables(&transaction).await?;
        let steps = applied(&transaction).await?.len() - before;
        transaction.commit().await.map_err(cause).context("cannot create the schema")?;
        Ok(steps)
    }

    /// Whether migrations of this version are missing. Errors: the schema is of another version, or this role may not
    /// read it.
    pub(in crate::store) async fn lacks_steps(&self) -> anyhow::Result<bool> {
        let transaction = self.readers.begin().await.map_err(cause).context("cannot read the schema")?;
        let lacks = match steps(&transaction).await {
            Ok(steps) => known(steps)?.len() < Migrator::migrations().len(),
            Err(error) if is_denied(&error) => return Err(denied(error, STEPS)),
            // The table of migrations is missing; for any other fault, the migration reports it.
            Err(_) => true,
        };
        transaction.rollback().await.map_err(cause).context("cannot read the schema")?;
        Ok(lacks)
    }

    /// Errors: the database does not have exactly the migrations of this version.
    pub(in crate::store) async fn check(&self) -> anyhow::Result<()> {
        let transaction = self.readers.begin().await.map_err(cause).context("cannot read the schema")?;
        let advice = "there is no schema of auditlog here; `auditlog migrate` creates it";
        let applied = match steps(&transaction).await {
            Err(error) if is_denied(&error) => return Err(denied(error, STEPS)),
            steps => known(steps.map_err(cause).context(advice)?)?,
        };
        if applied.len() < Migrator::migrations().len() {
            bail!("the schema is older than this auditlog; `auditlog migrate` brings it up to date");
        }
        check_tables(&transaction).await?;
        transaction.rollback().await.map_err(cause).context("cannot read the schema")
    }
}

/// The migrations of the database. Errors: they are not the first ones that this version knows.
async fn applied(transaction: &impl ConnectionTrait) -> anyhow::Result<Vec<String>> {
    known(steps(transaction).await.map_err(cause).context("cannot read the schema's version")?)
}

/// The migrations of the database. The migrator's own function is not used, because it creates a missing table, which
/// needs more rights.
async fn steps(transaction: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let text = format!("SELECT version FROM {STEPS} ORDER BY version");
    let rows = transaction.query_all_raw(Statement::from_string(transaction.get_database_backend(), text)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Returns `applied`. Errors: they are not the first migrations that this version knows.
fn known(applied: Vec<String>) -> anyhow::Result<Vec<String>> {
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

/// Selects all columns of each table.
async fn check_tables(transaction: &impl ConnectionTrait) -> anyhow::Result<()> {
    async fn check<E: EntityTrait>(transaction: &impl ConnectionTrait) -> anyhow::Result<()> {
        let table = E::default();
        let Err(error) = E::find().limit(0).all(transaction).await else { return Ok(()) };
        let table = table.table_name();
        if is_denied(&error) {
            return Err(denied(error, table));
        }
        let why = format!("the database's schema is damaged: cannot read table {table}; restore a backup");
        Err(cause(error).context(why))
    }
    check::<organization::Entity>(transaction).await?;
    check::<audit_log::Entity>(transaction).await?;
    check::<erasure::Entity>(transaction).await?;
    check::<api_key::Entity>(transaction).await?;
    check::<catalogue::Entity>(transaction).await?;
    check::<secret::Entity>(transaction).await?;
    check::<log_tile::Entity>(transaction).await?;
    check::<checkpoint::Entity>(transaction).await?;
    check::<log_key::Entity>(transaction).await?;
    check::<count_state::Entity>(transaction).await?;
    check::<key_total::Entity>(transaction).await?;
    check::<running_count::Entity>(transaction).await?;
    check::<name::Entity>(transaction).await
}

fn denied(error: DbErr, table: &str) -> anyhow::Error {
    cause(error).context(format!(
        "the role of the database URL lacks the right to read table {table}; docs/postgresql-roles.md has the GRANT for it"
    ))
}
