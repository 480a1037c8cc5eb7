//! The threads that read and write connections.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// A runtime for connections, beside the one that answers requests. The kernel divides the cores between both, so that
/// a flood of requests that are refused leaves half of them to the requests that are not. Dropping it ends the
/// connections.
pub(super) struct ConnectionThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl ConnectionThreads {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("connections").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.handle.spawn(task))
    }
}

impl Drop for ConnectionThreads {
    fn drop(&mut self) {
        // Dropping a runtime waits for its tasks, which async code must not.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}
