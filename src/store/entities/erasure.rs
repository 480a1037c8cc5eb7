//! An erased group of values, and its hash.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "erasures")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub group_code: i16,
    /// The group's hash, which is in the entry's leaf.
    pub hash: Vec<u8>,
    /// The number of the entry that records the erasure.
    pub erased_by: i64,
}

impl ActiveModelBehavior for ActiveModel {}
