//! Followers: all matching entries after a number, and then each new one. A follower is an export whose end moves with
//! the head of the log.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::Query;
use super::export::{Export, ExportPiece};
use crate::domain::{Filter, OrganizationId, Seq, check_seq};
use crate::error::{AtField, Error, Result};
use crate::store::FollowedHead;

/// How often a follower is told the number reached while nothing matches.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The minimum time from the end of the log to the next read. A follower of a busy log then reads the entries of many
/// commits at once.
const READ_BACKOFF: Duration = Duration::from_millis(200);

/// A follower under way. While it waits, it holds neither database resources nor bytes of the budget.
pub struct Follow {
    export: Export,
    head: FollowedHead,
    next_read: Instant,
    next_heartbeat: Instant,
}

impl Query {
    /// Starts to follow a log after the number `after`, by default after its last entry now. Errors:
    /// `OrganizationNotFound`; `InvalidParameter` for a number that the log does not have.
    pub async fn follow(
        &self,
        key_id: &str,
        organization: OrganizationId,
        filter: Filter,
        after: Option<Seq>,
    ) -> Result<Follow> {
        let _permit = self.store.read_permit(key_id, &organization).await?;
        let head = self.store.follow(&organization).await?.ok_or(Error::OrganizationNotFound)?;
        let end = head.seq();
        let at = check_seq(after.unwrap_or(end), end, "the organization's last number").at("after_sequence")?;
        // The torture harness must detect that a follower that resumes misses an entry.
        let skips = at > 0 && crate::positive_control::is("followers-skip");
        let at = if skips { end.min(at + 1) } else { at };
        let export = Export::new(self.store.clone(), key_id, organization, filter, at, end);
        let now = Instant::now();
        Ok(Follow { export, head, next_read: now, next_heartbeat: now })
    }
}

impl Follow {
    /// Waits until there are entries to read or a heartbeat is due; the first one is due at once. May be dropped at any
    /// time.
    pub async fn wait(&mut self) {
        let Self { export, head, next_read, next_heartbeat } = self;
        export.release();
        let at = export.sequence();
        let readable = async {
            head.passes(at).await;
            sleep_until(*next_read).await;
        };
        // An error means that the heartbeat is due.
        let _ = timeout_at(*next_heartbeat, readable).await;
    }

    /// The entries of the next numbers, as in an export; `None` if nothing matched and no heartbeat is due. A heartbeat
    /// has no entries.
    pub async fn next(&mut self) -> Result<Option<ExportPiece>> {
        let head = self.head.seq();
        self.export.extend(head);
        let heartbeat = ExportPiece { entries: Vec::new(), leaves: Vec::new(), sequence: self.export.sequence(), head };
        let piece = match heartbeat.sequence < head {
            true => self.export.next().await?.unwrap_or(heartbeat),
            false => heartbeat,
        };
        let (now, is_at_end) = (Instant::now(), piece.sequence >= piece.head);
        if is_at_end {
            self.next_read = now + READ_BACKOFF;
        }
        let is_due = !piece.entries.is_empty() || !is_at_end || now >= self.next_heartbeat;
        if is_due {
            self.next_heartbeat = now + HEARTBEAT;
        }
        Ok(is_due.then_some(piece))
    }
}
