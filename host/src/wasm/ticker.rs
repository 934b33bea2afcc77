//! The clock of the query engine.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use wasmtime::Engine;

use crate::threads::Worker;

/// Moves an engine's epoch until it is dropped; its thread is then gone.
pub(super) struct Ticker {
    /// Nothing is ever sent: that it closes is what ends the thread.
    _alive: SyncSender<()>,
    _thread: Worker<()>,
}

impl Ticker {
    /// A ticker of that period.
    pub(super) fn start(engine: &Engine, period: Duration) -> io::Result<Self> {
        let engine = engine.clone();
        let (alive, ended) = sync_channel(0);
        let thread = Worker::start("query-ticker".to_owned(), move || {
            while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { _alive: alive, _thread: thread })
    }
}
