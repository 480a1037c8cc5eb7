//! Ends each request: at its deadline, or when it panics.

use std::any::Any;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::HeaderMap;
use tower_http::catch_panic::CatchPanicLayer;

use super::{is_erasure, is_write};
use crate::access::ErrorResponder;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::rest::{MAX_WAIT, is_feed};

/// The header with the timeout of a gRPC caller.
pub(super) const TIMEOUT_HEADER: &str = "grpc-timeout";

/// Adds a deadline and panic handling to `router`. A request ends after `limit`, or after the caller's own timeout if
/// that is shorter. A request that panics gets an internal error.
pub(super) fn ending(router: Router, limit: Duration, respond: ErrorResponder) -> Router {
    // The panic's message may quote an entry, so it is not logged. The panic hook of telemetry logs the place.
    let panicked = move |_: Box<dyn Any + Send>| respond(Error::Internal(anyhow!("a request panicked")));
    router.layer(from_fn_with_state((limit, respond), in_time)).layer(CatchPanicLayer::custom(panicked))
}

/// Ends a request at its deadline. A queued write may still be committed; a retry with the same ids shows whether it
/// was.
async fn in_time(
    State((limit, respond)): State<(Duration, ErrorResponder)>,
    mut request: Request,
    next: Next,
) -> Response {
    // The time for which a feed waits comes on top.
    let limit = if is_feed(&request) { limit.saturating_add(MAX_WAIT) } else { limit };
    let allowed = requested_timeout(request.headers()).map_or(limit, |requested| limit.min(requested));
    let late = if is_write(&request) || is_erasure(&request) { Error::WriteTimeout } else { Error::Timeout };
    if allowed.is_zero() {
        return respond(late);
    }
    let deadline = Deadline::after(allowed);
    request.extensions_mut().insert(deadline);
    deadline.timeout(next.run(request)).await.unwrap_or_else(|_| respond(late))
}

/// The value of `grpc-timeout`: up to eight digits and a unit. An unreadable value is ignored, as in tonic. Source:
/// gRPC over HTTP2, "Timeout".
fn requested_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT_HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 60 * 60)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
