//! Collects the messages of a check of continuity into one answer. A check of an organization may take long, so an answer
//! can have a part of the breaks, and a token for the others.

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::error::Error;
use crate::grpc::pb;

/// An answer with this many breaks takes no further message. It has more only if they are of one resource.
const MAX_BREAKS: usize = 1_000;
/// Likewise for the bytes of the messages.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads `messages` until the check is complete, or until the breaks are enough or `limit` is over. In the latter cases,
/// the answer has a token, and the breaks up to it. It differs from `sent_token`, so that each answer is a progress.
/// While there is no such token, only the deadline of the request ends the check. Errors: the stream fails or ends.
pub(super) async fn collected(
    messages: impl Stream<Item = Result<pb::CheckContinuityResponse, Status>>,
    sent_token: &str,
    limit: Duration,
) -> Result<pb::CheckContinuityResponse, Status> {
    let begun = Instant::now();
    let mut messages = pin!(messages);
    let (mut breaks, mut bytes) = (Vec::new(), 0);
    // The last message after which the answer may end, and the number of breaks up to it.
    let mut reached: Option<(pb::CheckContinuityResponse, usize)> = None;
    loop {
        let next = match &reached {
            Some(_) => timeout_at(begun + limit, messages.next()).await,
            None => Ok(messages.next().await),
        };
        let Ok(next) = next else { break };
        let mut message = next.unwrap_or_else(|| Err(Error::Draining.into()))?;
        bytes += message.encoded_len();
        breaks.append(&mut message.breaks);
        let is_complete = message.complete;
        let is_new = !message.resume_token.is_empty() && message.resume_token != sent_token;
        if is_complete || is_new {
            reached = Some((message, breaks.len()));
        }
        // A stream that always has a message ready would never time out.
        let is_enough = breaks.len() >= MAX_BREAKS || bytes >= MAX_BYTES || begun.elapsed() >= limit;
        if is_complete || (is_enough && reached.is_some()) {
            break;
        }
    }
    // The loop does not end before.
    let (last, count) = reached.ok_or(Error::Timeout)?;
    breaks.truncate(count);
    Ok(pb::CheckContinuityResponse { breaks, ..last })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tonic::Code;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    type Sent = Result<pb::CheckContinuityResponse, Status>;

    fn message(breaks: usize, token: &str) -> pb::CheckContinuityResponse {
        let breaks = vec![pb::ContinuityBreak::default(); breaks];
        pb::CheckContinuityResponse { breaks, resume_token: token.to_owned(), ..Default::default() }
    }

    fn last(breaks: usize) -> pb::CheckContinuityResponse {
        pb::CheckContinuityResponse { complete: true, summary: "done".to_owned(), ..message(breaks, "") }
    }

    /// The number of breaks and the token of the answer. Nothing comes after `sent`.
    async fn collect(sent: Vec<pb::CheckContinuityResponse>, limit: Duration) -> (usize, String) {
        let messages = stream::iter(sent.into_iter().map(Ok)).chain(stream::pending());
        let answer = collected(messages, "sent", limit).await.expect("an answer");
        assert_eq!(answer.complete, answer.resume_token.is_empty());
        assert_eq!(answer.complete, answer.summary == "done");
        (answer.breaks.len(), answer.resume_token)
    }

    fn ended(breaks: usize, token: &str) -> (usize, String) {
        (breaks, token.to_owned())
    }

    #[tokio::test]
    async fn a_complete_check_has_all_breaks() {
        assert_eq!(collect(vec![last(0)], LONG).await, ended(0, ""));
        assert_eq!(collect(vec![message(2, "a"), message(3, ""), last(1)], LONG).await, ended(6, ""));
        assert_eq!(collect(vec![message(9_000, ""), last(1_000)], LONG).await, ended(10_000, ""), "of one resource");
    }

    #[tokio::test]
    async fn an_answer_ends_at_a_token_once_it_has_enough() {
        let more = || vec![message(400, "a"), message(600, "b"), message(1, "c"), last(0)];
        assert_eq!(collect(more(), LONG).await, ended(1_000, "b"));
        let within = || vec![message(400, "a"), message(700, ""), message(1, "c"), last(0)];
        assert_eq!(collect(within(), LONG).await, ended(400, "a"), "the others are of a resource that is not complete");
        assert_eq!(collect(vec![message(1_500, ""), message(1, "c"), last(0)], LONG).await, ended(1_501, "c"));
        let large = pb::ContinuityBreak { written_json: Some("1".repeat(MAX_BYTES)), ..Default::default() };
        let large = pb::CheckContinuityResponse { breaks: vec![large], ..message(0, "a") };
        assert_eq!(collect(vec![large, message(1, "b"), last(0)], LONG).await, ended(1, "a"));
    }

    #[tokio::test]
    async fn an_answer_ends_at_a_token_once_its_time_is_over() {
        assert_eq!(collect(vec![message(2, "a"), message(3, "b")], Duration::ZERO).await, ended(2, "a"));
        let soon = Duration::from_millis(50);
        assert_eq!(collect(vec![message(2, "a"), message(3, "")], soon).await, ended(2, "a"));
        let sent = vec![message(2, "sent"), message(3, ""), message(1, "a"), message(1, "b")];
        assert_eq!(collect(sent, Duration::ZERO).await, ended(6, "a"), "the token that was sent is no progress");
    }

    #[tokio::test]
    async fn a_check_ends_with_the_error_of_its_stream() {
        let code = async |sent: Vec<Sent>| {
            let failed = collected(stream::iter(sent), "", LONG).await;
            failed.expect_err("it failed").code()
        };
        assert_eq!(code(vec![Err(Status::unauthenticated("revoked"))]).await, Code::Unauthenticated);
        assert_eq!(
            code(vec![Ok(message(1, "a")), Err(Status::unauthenticated("revoked"))]).await,
            Code::Unauthenticated
        );
        assert_eq!(code(vec![Ok(message(1, "a"))]).await, Code::Unavailable, "it did not complete");
    }
}
