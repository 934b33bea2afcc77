//! How a frozen layer gets into RocksDB: as one batch, by a thread that ends with it.
//!
//! The view reads through it until it has it from RocksDB, so a reader sees the same state before,
//! between and after. What fails is said to who next commits or waits, and to all after; the layer
//! stays where it is.

use std::sync::Arc;

use anyhow::Context as _;
use quorate_core::outcome::Fatal;
use quorate_core::state::{Layer, Meta, Space};
use rocksdb::{DB, FlushOptions, WriteBatch, WriteOptions};

use super::pinned::Pinned;
use super::{Below, Buffers, Current, META_KEY, failure, pair_key};
use crate::rocks::record::seal;
use crate::threads::Worker;

/// A layer that is being written. Dropped, it is waited for: it holds the folder open.
pub(super) type Settling = Worker<Result<(), Fatal>>;

/// Freezes the layer of the view, and begins to write it; none if RocksDB has all there is. What
/// was frozen before must be written.
pub(super) fn begin(current: &Arc<Current>, buffers: Buffers) -> Result<Option<Settling>, Fatal> {
    let before = current.update(|view| {
        assert!(view.below.is_written, "a layer is frozen while another one is");
        if view.meta == view.below.meta && view.layer.written_bytes() == 0 {
            return None;
        }
        Some(view.freeze())
    });
    let Some(before) = before else { return Ok(None) };
    let current = Arc::clone(current);
    let settling = Worker::start("state".to_owned(), move || {
        // A whole layer, which takes its time: not on apply's thread.
        drop(before);
        write(&current, buffers)
    });
    let settling = settling.context("starting a thread");
    settling.map(Some).map_err(|error| Fatal::new("the state cannot be written", error))
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
