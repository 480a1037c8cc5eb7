//! The last checkpoint of a log.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "checkpoints")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// The size of the tree, in entries.
    pub size: i64,
    pub root: Vec<u8>,
    /// The signed note.
    pub note: String,
    pub signed_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
