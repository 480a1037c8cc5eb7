//! A row of hashes of a log's tree.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "log_tiles")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// 0 for leaf hashes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub level: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub tile_index: i64,
    /// 256 leaf hashes; on higher levels, as many as there are.
    pub hashes: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}
