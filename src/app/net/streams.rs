//! Where requests run: they start in the task that reads their connection, and continue on the runtime of the service.

use std::task::{Context, Poll, Waker};

use axum::body::Body;
use futures_util::future::{AbortHandle, Either, Ready, abortable, ready};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::rt::Executor;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

tokio::task_local! {
    static CURRENT: AbortHandle;
}

/// Ends the current task, which resets the HTTP/2 stream that it answers; `None` over HTTP/1, which has no streams.
pub(super) fn current_stream() -> Option<AbortHandle> {
    CURRENT.try_with(AbortHandle::clone).ok()
}

/// The answer of a request, or the task that will have it.
type Started<T> = Either<Ready<Result<T, JoinError>>, AbortOnDropHandle<T>>;

/// Polls `request` once, in the task that reads its connection. One poll is enough for most refusals. All other requests
/// continue on `service`, the runtime of the service.
pub(super) fn start<F>(service: &Handle, request: F) -> Started<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut request = Box::pin(request);
    // What the request opens or spawns belongs to the service from the first poll on.
    let _entered = service.enter();
    // The spawned task polls again first, which replaces this waker.
    match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Either::Left(ready(Ok(answer))),
        Poll::Pending => Either::Right(AbortOnDropHandle::new(service.spawn(request))),
    }
}

/// Reads `body` on `service`, one frame ahead. The connection of HTTP/1 reads bodies itself, and a stream queries the
/// database for each piece.
pub(super) fn read_on(service: &Handle, mut body: Body) -> Body {
    let (frames, mut received) = mpsc::channel(1);
    let reading = AbortOnDropHandle::new(service.spawn(async move {
        while let Ok(place) = frames.reserve().await {
            let frame = body.frame().await;
            let is_end = frame.is_none();
            place.send(frame);
            if is_end {
                break;
            }
        }
    }));
    Body::new(StreamBody::new(stream::poll_fn(move |cx| {
        let _ends_with_the_body = &reading;
        // Without an end, the client must not take the response for complete.
        received.poll_recv(cx).map(|frame| frame.unwrap_or_else(|| Some(Err(axum::Error::new("the response was cut")))))
    })))
}

/// Runs the tasks of streams on the runtime of the service.
#[derive(Clone)]
pub(super) struct StreamExecutor(pub(super) Handle);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let (stream, handle) = abortable(stream);
        if let Either::Right(task) = start(&self.0, CURRENT.scope(handle, stream)) {
            // It ends by itself, with its stream.
            drop(task.detach());
        }
    }
}
