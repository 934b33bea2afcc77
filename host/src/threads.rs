//! Named threads that their owner joins.

use std::{io, thread};

/// A thread that is joined when this is dropped. Whoever owns it must first have closed what the
/// thread waits for; a field declared above this one is dropped before it.
#[derive(Debug)]
pub struct Worker<T> {
    handle: Option<thread::JoinHandle<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread. Its name shows in debuggers and in `ps -L`.
    pub fn start(name: String, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let handle = thread::Builder::new().name(name).spawn(work)?;
        Ok(Self { handle: Some(handle) })
    }

    /// Whether it is over, so that [`join`](Self::join) does not wait.
    pub fn is_over(&self) -> bool {
        self.handle.as_ref().is_some_and(thread::JoinHandle::is_finished)
    }

    /// Waits for the thread's result. A panic there goes on here.
    pub fn join(mut self) -> T {
        let handle = self.handle.take().expect("joined only once, since joining consumes");
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // A panic of the thread was reported by its hook; a drop has nobody to tell.
            drop(handle.join());
        }
    }
}
