//! The tasks of HTTP/2 streams, so that one stream can be reset while its connection goes on.

use futures_util::future::{AbortHandle, abortable};
use hyper::rt::Executor;

tokio::task_local! {
    static CURRENT: StreamTask;
}

/// The task that answers one stream of an HTTP/2 connection.
#[derive(Clone)]
pub(super) struct StreamTask(AbortHandle);

impl StreamTask {
    /// The task that runs; `None` over HTTP/1, where the connection has no streams.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Ends the task, which resets its stream.
    pub(super) fn reset(&self) {
        self.0.abort();
    }
}

/// Spawns the tasks of streams.
#[derive(Clone, Copy)]
pub(super) struct StreamExecutor;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let (stream, handle) = abortable(stream);
        tokio::spawn(CURRENT.scope(StreamTask(handle), stream));
    }
}
