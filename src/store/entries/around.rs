//! The entries after a position, oldest first. [`Snapshot::page`] reads those before it.

use super::history::stream_statement;
use super::list::Snapshot;
use crate::domain::{Entry, OrganizationId, PositionRange, Seq};
use crate::error::Result;
use crate::store::entities::audit_log;
use crate::store::sql::IndexScan;

impl Snapshot {
    /// At most `limit` entries of `organization` in `span`, with numbers up to `head`, oldest first.
    pub async fn oldest(
        &self,
        organization: &OrganizationId,
        span: PositionRange,
        head: Seq,
        limit: i64,
    ) -> Result<Vec<Entry>> {
        let mut sql = self.sql(organization);
        let columns = audit_log::listed_columns("a");
        let statement = stream_statement(&mut sql, &columns, &IndexScan::Time, span, head, limit);
        let rows = self.query(sql.statement(statement)).await?;
        rows.iter().map(audit_log::entry).collect()
    }
}
