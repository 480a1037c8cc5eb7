//! An organization and the head of its log.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "organizations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The id of this log for ever, even if the organization's id is reused elsewhere. 32 lower-case hex digits.
    pub log_id: String,
    /// The last number in use. The holder of this row's lock gives out numbers.
    pub head_seq: i64,
    /// Keeps `recorded_at` from falling when the clock is set back. Microseconds.
    pub last_recorded_at: i64,
    /// The right edge of the log's tree.
    pub edge: Vec<u8>,
    /// The root hash of the log's tree.
    pub root: Vec<u8>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
