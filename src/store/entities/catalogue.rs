//! The names of resource types and actions.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "catalogue")]
pub struct Model {
    /// `resource_type` or `action`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub code: i16,
    pub name: String,
    pub path_segment: Option<String>,
    /// The row stays, so that its code is never reused.
    pub removed_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
