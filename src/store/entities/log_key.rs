//! A key that signs for a log.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "log_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub public_key: Vec<u8>,
    /// The number of the entry that introduced the key; 0 for the first key.
    pub seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}
