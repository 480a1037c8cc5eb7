//! The feed of an organization: a long poll, which follows the log for the time of one request.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::routing::get;
use futures_util::{Stream, StreamExt};
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{Answer, Call, Services, after_access, json, params};
use crate::error::Error;
use crate::grpc::pb;

/// The route of the feed.
const FEED_ROUTE: &str = "/v1/{organization_id}/feed";
/// How long a feed searches the log for a first entry, at least. Then it returns the number reached.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of entries of a feed.
const MAX_ENTRIES: usize = 100;
/// A feed that has this many bytes of entries takes no further message.
const MAX_BYTES: usize = 1024 * 1024;

pub(super) fn routes<S: Services>() -> Router<Arc<S>> {
    Router::new().route(FEED_ROUTE, get(feed::<S>))
}

/// Whether the router has matched `request` to a feed, which waits for entries.
pub fn is_feed(request: &Request) -> bool {
    request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str() == FEED_ROUTE)
}

async fn feed<S: Services>(State(service): State<Arc<S>>, call: Call<String>) -> Answer {
    let organization_id = call.path.clone();
    let params = call.params(params::FEED).and_then(|params| params.feed(organization_id.clone()));
    let (message, wait) = match params {
        Ok(decoded) => decoded,
        Err(fault) => {
            let filter = Some(pb::AuditLogFilter { user_ids: vec![String::new()], ..Default::default() });
            let invalid = pb::FollowAuditLogsRequest { organization_id, filter, after_sequence: None };
            return Err(after_access(fault, service.follow_audit_logs(call.request(invalid))).await);
        }
    };
    let messages = service.follow_audit_logs(call.request(message)).await?.into_inner();
    let Feed { audit_logs, bytes: _, sequence, head_sequence } = Feed::read(messages, wait).await?;
    Ok(json::feed(&audit_logs, sequence, head_sequence))
}

/// The entries of a feed so far.
#[derive(Default)]
struct Feed {
    audit_logs: Vec<pb::AuditLog>,
    bytes: usize,
    sequence: i64,
    head_sequence: i64,
}

impl Feed {
    /// Reads `messages` until there are entries and no more at hand. Without entries, it returns after `wait`. Errors:
    /// the stream fails, or sends nothing in time.
    async fn read(
        messages: impl Stream<Item = Result<pb::FollowAuditLogsResponse, Status>>,
        wait: Duration,
    ) -> Result<Self, Status> {
        let begun = Instant::now();
        let mut messages = pin!(messages);
        let mut feed: Option<Self> = None;
        loop {
            let is_at_end = feed.as_ref().is_some_and(Self::is_at_end);
            let limit = if is_at_end { wait } else { wait.max(SEARCH_TIMEOUT) };
            let Ok(next) = timeout_at(begun + limit, messages.next()).await else {
                return feed.ok_or_else(|| Error::Timeout.into());
            };
            let message = next.unwrap_or_else(|| Err(Error::Draining.into()))?;
            let read = feed.get_or_insert_default();
            if read.add(message) {
                return Ok(std::mem::take(read));
            }
        }
    }

    /// Adds the entries of `message` that there is room for. Returns whether the feed is complete.
    fn add(&mut self, message: pb::FollowAuditLogsResponse) -> bool {
        self.bytes += message.encoded_len();
        let pb::FollowAuditLogsResponse { audit_logs, sequence, head_sequence, leaf_hashes: _ } = message;
        let (room, count) = (MAX_ENTRIES - self.audit_logs.len(), audit_logs.len());
        self.audit_logs.extend(audit_logs.into_iter().take(room));
        self.sequence = match self.audit_logs.last() {
            Some(last) if count > room => last.sequence,
            _ => sequence,
        };
        self.head_sequence = head_sequence;
        let is_full = self.audit_logs.len() >= MAX_ENTRIES || self.bytes >= MAX_BYTES;
        // If nothing matched for a while, the next feed goes on from here.
        !self.audit_logs.is_empty() && (is_full || count == 0 || self.is_at_end())
    }

    /// Whether no entry that the service knows of is left.
    fn is_at_end(&self) -> bool {
        self.sequence >= self.head_sequence
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const NO_WAIT: Duration = Duration::ZERO;

    type Sent = Result<pb::FollowAuditLogsResponse, Status>;

    fn message(entries: impl IntoIterator<Item = i64>, sequence: i64, head_sequence: i64) -> Sent {
        let entry = |sequence| pb::AuditLog { sequence, ..Default::default() };
        let audit_logs = entries.into_iter().map(entry).collect();
        Ok(pb::FollowAuditLogsResponse { audit_logs, sequence, head_sequence, leaf_hashes: Vec::new() })
    }

    /// The number of entries, and the numbers reached and known. Nothing comes after `sent`.
    async fn read(sent: Vec<Sent>) -> (usize, i64, i64) {
        let feed = Feed::read(stream::iter(sent).chain(stream::pending()), NO_WAIT).await.expect("a feed");
        (feed.audit_logs.len(), feed.sequence, feed.head_sequence)
    }

    #[tokio::test]
    async fn a_feed_ends_at_a_hundred_entries_or_at_the_end_of_the_log() {
        assert_eq!(read(vec![message([], 7, 7)]).await, (0, 7, 7), "there is nothing, and no time to wait");
        assert_eq!(read(vec![message(3..=4, 5, 5), message([6], 6, 6)]).await, (2, 5, 5));
        assert_eq!(read(vec![message([], 5, 9), message([6], 6, 9), message([8], 9, 9)]).await, (2, 9, 9));
        assert_eq!(read(vec![message([4], 5, 99), message([], 20, 99), message([21], 21, 99)]).await, (1, 20, 99));
        let many = || vec![message(1..=4, 4, 500), message(5..=104, 104, 500), message(105..=200, 200, 500)];
        assert_eq!(read(many()).await, (100, 100, 500), "the number is that of the last entry");
        assert_eq!(read(vec![message(1..=100, 120, 500)]).await, (100, 120, 500));
    }

    #[tokio::test]
    async fn a_feed_ends_with_the_error_of_its_stream() {
        let failed = || Err(Status::unauthenticated("revoked"));
        let read = async |sent: Vec<Sent>| match Feed::read(stream::iter(sent), NO_WAIT).await {
            Ok(_) => panic!("it failed"),
            Err(status) => status.code(),
        };
        assert_eq!(read(vec![failed()]).await, tonic::Code::Unauthenticated);
        assert_eq!(read(vec![message([], 3, 3), failed()]).await, tonic::Code::Unauthenticated);
        assert_eq!(read(vec![message([], 3, 3)]).await, tonic::Code::Unavailable, "a stream does not end");
    }
}
