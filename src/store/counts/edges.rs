//! The running counts before many positions: the edges of time buckets.

use crate::domain::{CountKey, OrganizationId, Position};
use crate::error::Result;
use crate::store::counts::snapshot::{last_count, last_counts};
use crate::store::entries::list::Snapshot;
use crate::store::model::RunningCount;
use crate::store::sql::{Sql, number};

/// The maximum number of positions of one statement. Their counts are in memory together.
const MAX_PLACES: usize = 2_000;

impl Snapshot {
    /// For each of `places`, in order: the last running count of its key at or before its position.
    pub async fn counts_at(
        &self,
        organization: &OrganizationId,
        places: &[(&CountKey, Position)],
    ) -> Result<Vec<RunningCount>> {
        let mut counts = Vec::with_capacity(places.len());
        for places in places.chunks(MAX_PLACES) {
            let begin = counts.len();
            counts.resize_with(begin + places.len(), RunningCount::default);
            let mut sql = self.sql(organization);
            let statement = edges_statement(&mut sql, places);
            for row in self.query(sql.statement(statement)).await? {
                let place: i64 = row.try_get_by_index(0)?;
                if let Some(count) = usize::try_from(place).ok().and_then(|place| counts.get_mut(begin + place)) {
                    *count = last_count(&row, 1)?;
                }
            }
        }
        Ok(counts)
    }
}

/// `SELECT place`, and the columns of a level-0 count and a level-1 count.
fn edges_statement(sql: &mut Sql, places: &[(&CountKey, Position)]) -> String {
    let row = |(place, (key, Position { timestamp, seq })): (usize, &(&CountKey, Position))| {
        serde_json::json!([place, key.text(), timestamp.micros(), seq])
    };
    let k = sql.rows(places.iter().enumerate().map(row).collect());
    format!(
        "SELECT {}, u.timestamp, u.seq, u.counts, i.timestamp, i.seq, i.counts FROM {k} {}",
        number("k", 0),
        last_counts(sql.backend)
    )
}
