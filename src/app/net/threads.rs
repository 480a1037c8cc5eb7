//! The threads that read and write connections.

use std::io;

use rustix::process::nice;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// The niceness of the threads beside the others of the process: with 5, the kernel gives them a quarter of a core that
/// both want. So a flood of refusals leaves three quarters to the requests that are not refused.
const NICENESS: i32 = 5;

/// A runtime for connections, beside the one that answers requests. Dropping it ends the connections.
pub(super) struct ConnectionThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl ConnectionThreads {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("connections")
            // Without the right to change it, the kernel gives both the same.
            .on_thread_start(|| {
                let _ = nice(NICENESS);
            })
            .enable_all()
            .build()?;
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
