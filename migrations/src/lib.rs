//! The schema: one file per migration, the same for SQLite and PostgreSQL.

mod m0001_create;

use sea_orm_migration::MigrationTrait;
pub use sea_orm_migration::MigratorTrait;

/// All migrations, oldest first.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_create::Migration)]
    }
}
