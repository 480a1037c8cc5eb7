//! A count of a key's entries up to a position.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "count_marks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// 0: a super mark, whose counts are of all entries up to it. 1: a mark whose counts begin after the last
    /// super mark before it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub level: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub timestamp: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub counts: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}
