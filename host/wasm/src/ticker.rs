//! The clock of the query engine.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use wasmtime::Engine;

/// Moves an engine's epoch until it is dropped; its thread is then gone.
pub(super) struct Ticker {
    /// Nothing is ever sent: that it closes is what ends the thread.
    alive: Option<SyncSender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    /// A ticker of that period.
    pub(super) fn start(engine: &Engine, period: Duration) -> io::Result<Self> {
        let engine = engine.clone();
        let (alive, ended) = sync_channel(0);
        let thread = thread::Builder::new().name("query-ticker".to_owned()).spawn(move || {
            while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { alive: Some(alive), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its hook; a drop has nobody to tell.
            drop(thread.join());
        }
    }
}
