//! The count of all entries of a key.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_totals")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// The number of all counted entries, by kind.
    pub counts: Vec<u8>,
    /// The position of the newest counted entry. An entry after it changes no running count.
    pub newest_timestamp: i64,
    pub newest_seq: i64,
    /// The number of counted entries after the last running count.
    pub tail: i64,
}

impl ActiveModelBehavior for ActiveModel {}
