//! The organizations.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, EntityTrait, PaginatorTrait, QueryOrder, QueryResult, Set, Statement};

use crate::domain::{OrganizationId, Seq, Timestamp};
use crate::error::Result;
use crate::store::Store;
use crate::store::entities::organization;
use auditlog_verify::merkle::Hash;

/// An organization, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// The id.
    pub id: String,
    /// The number of entries in its log.
    pub head_seq: Seq,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Store {
    /// Creates `organization`; `false` if it exists.
    pub async fn create_organization(
        &self,
        organization: &OrganizationId,
        log_id: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let row = organization::ActiveModel {
            id: Set(organization.as_str().to_owned()),
            log_id: Set(log_id.to_owned()),
            head_seq: Set(0),
            last_recorded_at: Set(Timestamp::MIN.micros()),
            edge: Set(Vec::new()),
            root: Set(Hash::of_nothing().0.to_vec()),
            created_at: Set(now.micros()),
        };
        let unless_there = OnConflict::column(organization::Column::Id).do_nothing().to_owned();
        let insert = organization::Entity::insert(row).on_conflict(unless_there);
        Ok(insert.exec_without_returning(&self.writers).await? == 1)
    }

    /// Whether the organization exists.
    pub async fn has_organization(&self, organization: &OrganizationId) -> Result<bool> {
        Ok(organization::Entity::find_by_id(organization.as_str()).count(&self.readers).await? > 0)
    }

    /// All organizations, ordered by id.
    pub async fn organizations(&self) -> Result<Vec<Organization>> {
        let rows = organization::Entity::find().order_by_asc(organization::Column::Id).all(&self.readers).await?;
        let shown = |row: organization::Model| Organization {
            id: row.id,
            head_seq: row.head_seq,
            created_at: Timestamp::saturating(row.created_at),
        };
        Ok(rows.into_iter().map(shown).collect())
    }

    /// At most `limit` organizations after `after`, ordered by id, each with the last number of its log.
    pub async fn heads(&self, after: Option<&OrganizationId>, limit: i64) -> Result<Vec<(OrganizationId, Seq)>> {
        // No id is empty.
        let after = after.map_or("", OrganizationId::as_str);
        let text = "SELECT id, head_seq FROM organizations WHERE id > $1 ORDER BY id LIMIT $2";
        let backend = self.readers.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, text, [after.into(), limit.into()]);
        let rows = self.readers.query_all_raw(statement).await?;
        let head = |row: &QueryResult| {
            let (organization, head): (String, Seq) = row.try_get_many_by_index()?;
            Ok((OrganizationId::stored(organization), head))
        };
        rows.iter().map(head).collect()
    }
}
