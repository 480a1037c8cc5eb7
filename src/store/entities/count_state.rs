//! The last counted number of an organization.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "count_state")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// Entries up to this number are counted. The process with the lock of this row counts the next ones.
    pub counted_seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}
