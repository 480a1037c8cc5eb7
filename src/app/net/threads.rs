//! The threads that read and write connections.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Dispatch, dispatcher};

/// A runtime for connections, beside the one that answers requests. The kernel divides the cores between both, so a flood
/// of requests that are refused leaves half of them to the requests that are not. Dropping it ends the connections.
pub(super) struct ConnectionThreads(Option<Runtime>);

impl ConnectionThreads {
    /// Starts the threads, and `task` on them.
    pub(super) fn start<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<(Self, AbortOnDropHandle<T>)> {
        // Tests have a subscriber for their thread, not for the process.
        let subscriber = dispatcher::get_default(Dispatch::clone);
        let runtime = Builder::new_multi_thread()
            .thread_name("connections")
            .on_thread_start(move || std::mem::forget(dispatcher::set_default(&subscriber)))
            .enable_all()
            .build()?;
        let task = AbortOnDropHandle::new(runtime.spawn(task));
        Ok((Self(Some(runtime)), task))
    }
}

impl Drop for ConnectionThreads {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, and panics in async code.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}
