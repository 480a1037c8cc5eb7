//! The one table of an entry's columns. [`Model`] has their names, types and order; [`Column::erasure`] has the group
//! that each is erased with. Statements, row readers and erasures derive from it.

use sea_orm::entity::prelude::*;

use crate::domain::Group;

/// An entry. Columns are inserted and read in this order, so a column's index in a row is `column as usize`.
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
    /// `[{"field":…,"oldValue":…,"newValue":…},…]`. Text, because jsonb would change the values.
    pub changes: String,
    /// `{"ipAddress":…,…}`, keys in byte order.
    pub metadata: String,
    pub trace_id: Option<String>,
    pub writer_key_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// One bit for each erased group of values.
    pub erased: i16,
    /// One salt per group, concatenated. Lists read the columns before this one; proofs read all.
    pub salts: Vec<u8>,
    pub leaf_hash: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The change that an erasure of groups makes to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnErasure {
    /// No change: the column has a fact, or binds the entry to its log.
    Never,
    /// The column gets this SQL literal if its group is erased.
    Emptied(Group, &'static str),
    /// The salts of the groups become zeros.
    Zeroed,
    /// The bits of the groups are set.
    Flagged,
}

impl Column {
    /// The number of columns that a list reads, from the first on.
    pub const LISTED: usize = Self::Salts as usize;

    /// The change that an erasure makes to this column. A column that it empties must also be in `ERASABLE` of the
    /// first migration, so that PostgreSQL gathers no statistics of it.
    pub fn erasure(self) -> ColumnErasure {
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
            | Self::LeafHash => ColumnErasure::Never,
            Self::UserName | Self::UserEmail => ColumnErasure::Emptied(Group::Actor, "NULL"),
            Self::Metadata => ColumnErasure::Emptied(Group::Actor, "'{}'"),
            Self::ResourceName => ColumnErasure::Emptied(Group::Content, "NULL"),
            Self::Changes => ColumnErasure::Emptied(Group::Content, "'[]'"),
            Self::Salts => ColumnErasure::Zeroed,
            Self::Erased => ColumnErasure::Flagged,
        }
    }
}
