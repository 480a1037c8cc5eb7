//! An organization and the head of its log.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "organizations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Names this log for ever, also when its id is used again elsewhere. 32 lower-case hex digits.
    pub log_id: String,
    /// The last number given out. Whoever holds this row's lock numbers entries.
    pub head_seq: i64,
    /// Keeps `recorded_at` from falling when the clock does. Microseconds.
    pub last_recorded_at: i64,
    /// The right edge of the log's tree, and its root.
    pub edge: Vec<u8>,
    pub root: Vec<u8>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
