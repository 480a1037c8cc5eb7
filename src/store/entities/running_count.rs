//! A count of a key's entries up to a position.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "running_counts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// Level 0 counts all entries up to the position; level 1 counts those since the level-0 count before it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub level: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub timestamp: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub counts: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}
