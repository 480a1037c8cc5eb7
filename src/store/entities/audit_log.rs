//! An entry.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_logs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub id: String,
    pub timestamp: i64,
    pub recorded_at: i64,
    pub resource_type: i16,
    pub resource_id: String,
    pub resource_name: Option<String>,
    pub action: i16,
    pub user_id: String,
    pub user_name: Option<String>,
    pub user_email: Option<String>,
    /// `[{"field":…,"oldValue":…,"newValue":…},…]`: text, since jsonb would change the values.
    pub changes: String,
    /// `{"ipAddress":…,…}`, keys in byte order.
    pub metadata: String,
    pub trace_id: Option<String>,
    pub writer_key_id: String,
    /// Of the groups that the values are hashed in, one after the other.
    pub salts: Vec<u8>,
    pub leaf_hash: Vec<u8>,
    /// A bit for each group of values that was erased.
    pub erased: i16,
}

impl ActiveModelBehavior for ActiveModel {}
