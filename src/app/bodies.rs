//! The bodies of requests and responses, which hold their bytes of the budget, and tell their connection what moves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connections::{Connection, Sending, Work};
use super::requests::Place;
use crate::budget::{Budget, Held};

/// A response goes out in parts of so many bytes, so that it is seen to move.
const PART: usize = 128 * 1024;

/// What came of a request, until it is answered.
pub(super) struct Received {
    held: Held,
    is_refused: AtomicBool,
}

impl Received {
    pub(super) fn new(budget: &Budget) -> Arc<Self> {
        Arc::new(Self { held: budget.hold(0), is_refused: AtomicBool::new(false) })
    }

    /// Whether there was no room for all of it.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }
}

/// The body of a request, which takes from the budget what comes.
pub(super) struct Receiving {
    pub(super) body: Body,
    pub(super) received: Arc<Received>,
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !self.received.held.grow(data.len())
        {
            self.received.is_refused.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(axum::Error::new("no bytes are left for the request"))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response, whose parts hold their bytes until they are written.
pub(super) struct Responding {
    body: Body,
    /// What is left of a frame.
    rest: Option<(Bytes, Held)>,
    budget: Budget,
    connection: Option<Arc<Connection>>,
    under_way: Option<(Option<Place>, Option<Work>)>,
}

impl Responding {
    pub(super) fn new(
        body: Body,
        budget: Budget,
        connection: Option<Arc<Connection>>,
        under_way: (Option<Place>, Option<Work>),
    ) -> Self {
        Self { body, rest: None, budget, connection, under_way: Some(under_way) }
    }

    /// The next part of `data`.
    fn part(&mut self, mut data: Bytes, mut held: Held) -> Frame<Bytes> {
        let part = data.split_to(PART.min(data.len()));
        let (bytes, sending) = (held.split(part.len()), self.connection.as_ref().map(|it| it.sends(part.len())));
        self.rest = (!data.is_empty()).then_some((data, held));
        Frame::data(Bytes::from_owner(Part { part, _bytes: bytes, _sending: sending }))
    }
}

impl http_body::Body for Responding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some((data, held)) = self.rest.take() {
            return Poll::Ready(Some(Ok(self.part(data, held))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.body.is_end_stream() || frame.is_none() {
            self.under_way = None;
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let held = self.budget.hold(data.len());
                    Some(Ok(self.part(data, held)))
                }
                Err(trailers) => Some(Ok(trailers)),
            },
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |(data, _)| data.len() as u64);
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A part of a response, until it is written.
struct Part {
    part: Bytes,
    _bytes: Held,
    _sending: Option<Sending>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.part
    }
}
