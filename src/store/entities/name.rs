//! A name of a user or a resource, and the number of counted entries that have it.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "names")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub field: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub folded: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    pub entries: i64,
}

impl ActiveModelBehavior for ActiveModel {}
