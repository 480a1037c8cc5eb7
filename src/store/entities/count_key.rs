//! The whole count of a key.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "count_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// Of all its folded entries.
    pub counts: Vec<u8>,
    /// The position of its newest folded entry: what comes after it changes no mark.
    pub newest_timestamp: i64,
    pub newest_seq: i64,
    /// The entries after its last mark.
    pub tail: i64,
}

impl ActiveModelBehavior for ActiveModel {}
