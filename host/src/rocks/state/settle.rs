//! How a frozen layer gets into RocksDB: as one batch, by a thread that ends with it.
//!
//! The view reads through it until it has it from RocksDB, so a reader sees the same state before,
//! between and after. What fails is said to who next
//! commits or waits, and to all after; the layer stays where it is.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use quorate_core::outcome::Fatal;
use quorate_core::state::{Layer, Meta, Space};
use rocksdb::{DB, FlushOptions, WriteBatch, WriteOptions};

use super::pinned::Pinned;
use super::{Below, Buffers, Current, META_KEY, failure, pair_key};
use crate::rocks::record::seal;

/// A layer that is being written.
pub(super) struct Settling(Option<JoinHandle<Result<(), Fatal>>>);

impl Settling {
    /// Freezes the layer of the view, and begins to write it; none if RocksDB has all there is.
    /// What was frozen before must be written.
    pub(super) fn begin(current: &Arc<Current>, buffers: Buffers) -> Result<Option<Self>, Fatal> {
        let before = current.update(|view| {
            assert!(view.below.is_written, "a layer is frozen while another one is");
            if view.meta == view.below.meta && view.layer.written_bytes() == 0 {
                return None;
            }
            let below = Below {
                frozen: std::mem::take(&mut view.layer),
                meta: view.meta.clone(),
                is_written: false,
                pinned: Arc::clone(&view.below.pinned),
            };
            Some(std::mem::replace(&mut view.below, Arc::new(below)))
        });
        let Some(before) = before else { return Ok(None) };
        let current = Arc::clone(current);
        let thread = thread::Builder::new().name("state".to_owned());
        let writing = thread.spawn(move || {
            // A whole layer, which takes its time: not on apply's thread.
            drop(before);
            write(&current, buffers)
        });
        let writing = writing.context("starting a thread that writes the state");
        Ok(Some(Self(Some(writing.map_err(|error| Fatal::new("writing the state", error))?))))
    }

    /// Whether it is written, or has failed.
    pub(super) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Until it is in RocksDB.
    pub(super) fn wait(mut self) -> Result<(), Fatal> {
        let writing = self.0.take().expect("it is waited for once");
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Settling {
    /// It holds the folder open.
    fn drop(&mut self) {
        if let Some(writing) = self.0.take() {
            // Nobody is left who could be told; the log has what is missing.
            drop(writing.join());
        }
    }
}

fn write(current: &Current, buffers: Buffers) -> Result<(), Fatal> {
    let below = Arc::clone(&current.view().below);
    let db = below.pinned.db();
    put(db, &below.frozen, &below.meta)?;
    if below.frozen.written_bytes() >= buffers.written_bytes_max {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        db.flush_opt(&options).map_err(|error| failure(db, "cannot be flushed", error))?;
    }
    // One that an entry has made huge is not kept for those who read.
    let is_kept = below.frozen.held_bytes() <= 2 * buffers.held_bytes_max;
    let frozen = if is_kept { below.frozen.clone() } else { Layer::default() };
    let (meta, pinned) = (below.meta.clone(), Arc::new(Pinned::of(db)));
    let written = Below { frozen, meta, is_written: true, pinned };
    current.update(|view| view.below = Arc::new(written));
    Ok(())
}

/// In one batch, which no crash splits.
fn put(db: &DB, layer: &Layer, meta: &Meta) -> Result<(), Fatal> {
    let mut batch = WriteBatch::with_capacity_bytes(layer.held_bytes());
    batch.put(META_KEY, seal(&META_KEY, |out| out.extend_from_slice(&meta.encode())));
    for space in Space::ALL {
        for (key, value) in layer.iter(space) {
            let key = pair_key(space, key);
            match value {
                Some(value) => batch.put(&key, seal(&key, |out| out.extend_from_slice(value))),
                None => batch.delete(&key),
            }
        }
    }
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    db.write_opt(batch, &options).map_err(|error| failure(db, "cannot be written", error))
}
