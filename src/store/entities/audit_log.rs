//! The one table of an entry's columns: [`Model`] has their names, types and order, and [`Column::erasure`] the group
//! that each is erased with. Statements, row readers and erasures derive from it.

use sea_orm::entity::prelude::*;

use crate::domain::Group;

/// An entry. Its columns are inserted and read in this order, so that a column's place in a row is `column as usize`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_logs")]
pub struct Model {
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
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// A bit for each group of values that was erased.
    pub erased: i16,
    /// A salt for each group, one after the other. Lists read the columns before this one, and proofs all.
    pub salts: Vec<u8>,
    pub leaf_hash: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The change that an erasure of some groups makes to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// None: the column holds a fact, or binds the entry to its log.
    Never,
    /// It becomes this SQL literal if its group is among them.
    Emptied(Group, &'static str),
    /// Their salts in it become zeros.
    Zeroed,
    /// Their bits in it are set.
    Flagged,
}

impl Column {
    /// How many columns a list reads, the first ones.
    pub const LISTED: usize = Self::Salts as usize;

    /// The change that an erasure makes to this column. A column that it empties also belongs into `FORGOTTEN` of the
    /// first migration, so that PostgreSQL gathers no statistics of it.
    pub fn erasure(self) -> Erasure {
        match self {
            Self::Seq
            | Self::Id
            | Self::Timestamp
            | Self::RecordedAt
            | Self::ResourceType
            | Self::ResourceId
            | Self::Action
            | Self::UserId
            | Self::TraceId
            | Self::WriterKeyId
            | Self::OrganizationId
            | Self::LeafHash => Erasure::Never,
            Self::UserName | Self::UserEmail => Erasure::Emptied(Group::Actor, "NULL"),
            Self::Metadata => Erasure::Emptied(Group::Actor, "'{}'"),
            Self::ResourceName => Erasure::Emptied(Group::Content, "NULL"),
            Self::Changes => Erasure::Emptied(Group::Content, "'[]'"),
            Self::Salts => Erasure::Zeroed,
            Self::Erased => Erasure::Flagged,
        }
    }
}
