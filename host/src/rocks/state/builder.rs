//! A state on disk made from the pairs of a snapshot, in bounded memory.

use std::path::{Path, PathBuf};

use quorate_core::outcome::Fatal;
use quorate_core::state::{Meta, Space, StateBuilder};
use rocksdb::{DB, IteratorMode, WriteBatch, WriteOptions};

use super::{Buffers, META_KEY, RocksState, failure, options, pair_key};
use crate::rocks::record::seal;

/// Pairs that gather before they are handed to RocksDB.
const BATCH_BYTES: usize = 1024 * 1024;

/// Builds a [`RocksState`] in a new folder. What it leaves unfinished does not open as a state.
pub struct RocksBuilder {
    db: DB,
    folder: PathBuf,
    buffers: Buffers,
    batch: WriteBatch,
}

impl RocksBuilder {
    /// A state of no pairs yet in the folder `dir`, which must not hold one.
    pub fn create(dir: &Path) -> Result<Self, Fatal> {
        Self::create_with(dir, Buffers::default())
    }

    pub(super) fn create_with(dir: &Path, buffers: Buffers) -> Result<Self, Fatal> {
        let db = crate::rocks::open(&options(buffers), dir)?;
        if !is_empty(&db)? {
            let what = format!("the folder {} has a state, or a part of one", dir.display());
            return Err(Fatal::msg(what));
        }
        let folder = dir.to_owned();
        Ok(Self { db, folder, buffers, batch: WriteBatch::default() })
    }

    fn write(&mut self) -> Result<(), Fatal> {
        let batch = std::mem::take(&mut self.batch);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let written = self.db.write_opt(batch, &options);
        written.map_err(|error| failure(&self.db, "cannot be written", error))
    }

    fn flush(&self) -> Result<(), Fatal> {
        self.db.flush().map_err(|error| failure(&self.db, "cannot be flushed", error))
    }
}

impl StateBuilder for RocksBuilder {
    type Store = RocksState;

    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Fatal> {
        let key = pair_key(space, key);
        self.batch.put(&key, seal(&key, |out| out.extend_from_slice(value)));
        if self.batch.size_in_bytes() >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    fn finish(mut self, meta: Meta) -> Result<RocksState, Fatal> {
        self.write()?;
        // Twice: the meta is on disk only after all that it speaks of.
        self.flush()?;
        self.batch.put(META_KEY, seal(&META_KEY, |out| out.extend_from_slice(&meta.encode())));
        self.write()?;
        self.flush()?;
        drop(self.db);
        RocksState::open_with(&self.folder, self.buffers)
    }
}

/// Whether nothing was ever written.
pub(super) fn is_empty(db: &DB) -> Result<bool, Fatal> {
    match db.iterator(IteratorMode::Start).next() {
        None => Ok(true),
        Some(Ok(_)) => Ok(false),
        Some(Err(error)) => Err(failure(db, "cannot be read", error)),
    }
}
