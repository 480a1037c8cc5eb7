//! The tasks of HTTP/2 streams: they start where their requests are read, and can be ended one by one.

use std::task::{Context, Waker};

use futures_util::future::{AbortHandle, abortable};
use hyper::rt::Executor;

tokio::task_local! {
    static CURRENT: StreamTask;
}

/// The task that answers one stream of an HTTP/2 connection.
#[derive(Clone)]
pub(super) struct StreamTask(AbortHandle);

impl StreamTask {
    /// The current task; `None` over HTTP/1, which has no streams.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Ends the task, which resets its stream.
    pub(super) fn reset(&self) {
        self.0.abort();
    }
}

/// Runs the tasks of streams. A request that is refused at once is answered here without a task: thousands of such
/// tasks would queue before the tasks of other requests.
#[derive(Clone, Copy)]
pub(super) struct StreamExecutor;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let (stream, handle) = abortable(stream);
        let mut task = Box::pin(CURRENT.scope(StreamTask(handle), stream));
        // The spawned task polls again first, which replaces this waker.
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(task);
        }
    }
}
