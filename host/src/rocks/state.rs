//! The state of a machine in a RocksDB of its own.
//!
//! | key | record |
//! |---|---|
//! | `0` | the [`Meta`] |
//! | a [`Space`]'s number, then a key in it | the value |
//!
//! **After a crash the state is that of an earlier commit, whole.** Nothing is logged or synced: a
//! commit is one batch into the memtable, and RocksDB writes memtables to disk as it sees fit.
//! That is sound for three reasons. A batch is never split between two memtables. All keys are in
//! one column family, so there is one sequence of memtables, and they become part of the database
//! in the order in which they were filled; what is on disk is always a prefix of the commits (with
//! a second column family, one could be flushed ahead of the other). And a table is synced before
//! the manifest, which names it, is. The log then has what is missing.

mod builder;
mod pinned;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use quorate_core::outcome::Fatal;
use quorate_core::state::{Changes, Meta, Range, Space, StateStore, StateView, Visit};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBRawIterator, Options, ReadOptions, WriteBatch, WriteOptions,
};

pub use self::builder::RocksBuilder;
use self::pinned::Pinned;
use super::record::{seal, unseal};

/// What gathers in memory before RocksDB makes a table of it. A crash takes at most three of them.
const WRITE_BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// Blocks, indexes and filters of tables that are kept in memory.
const BLOCK_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// About one in a hundred look-ups of an absent key reads a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// No space has this number.
const META_KEY: [u8; 1] = [0];

/// A state on disk. The folder stays open until its last snapshot is dropped.
pub struct RocksState {
    db: Arc<DB>,
    /// As of the last commit. Held for the moment that it takes to copy or replace it.
    view: RwLock<Arc<View>>,
}

impl RocksState {
    /// Opens the state in the folder `dir`, new or as it was left.
    pub fn open(dir: &Path) -> Result<Self, Fatal> {
        Self::open_with(dir, WRITE_BUFFER_BYTES)
    }

    /// Removes a state and its folder; false while somebody reads from it.
    pub fn remove(dir: &Path) -> bool {
        if !dir.exists() {
            return true;
        }
        DB::destroy(&Options::default(), dir).is_ok()
            && (!dir.exists() || std::fs::remove_dir_all(dir).is_ok())
    }

    fn open_with(dir: &Path, write_buffer_bytes: usize) -> Result<Self, Fatal> {
        let db = Arc::new(super::open(&options(write_buffer_bytes), dir)?);
        let pinned = Pinned::of(&db);
        let meta = match get(&pinned, &META_KEY)? {
            Some(body) => Meta::decode(&body).ok_or_else(|| damaged(&db, &META_KEY))?,
            None if builder::is_empty(&db)? => Meta::default(),
            None => {
                let what = "is not whole: it was being made from a snapshot; remove the folder";
                return Err(Fatal::msg(format!("the state in {} {what}", dir.display())));
            }
        };
        Ok(Self { db, view: RwLock::new(Arc::new(View { pinned, meta })) })
    }
}

impl StateStore for RocksState {
    fn snapshot(&self) -> Arc<dyn StateView> {
        let view = self.view.read().expect("no holder of this lock panics");
        Arc::<View>::clone(&view)
    }

    fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal> {
        let mut batch = WriteBatch::default();
        for space in Space::ALL {
            for (key, value) in changes.space(space) {
                let key = pair_key(space, key);
                match value {
                    Some(value) => batch.put(&key, seal(&key, |out| out.extend_from_slice(value))),
                    None => batch.delete(&key),
                }
            }
        }
        batch.put(META_KEY, seal(&META_KEY, |out| out.extend_from_slice(&meta.encode())));
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let written = self.db.write_opt(batch, &options);
        written.map_err(|error| failure(&self.db, "cannot be written", error))?;

        // There is one writer, so this snapshot is of this commit.
        let view = Arc::new(View { pinned: Pinned::of(&self.db), meta });
        let mut current = self.view.write().expect("no holder of this lock panics");
        let before = std::mem::replace(&mut *current, view);
        drop(current);
        drop(before);
        Ok(())
    }

    fn flush(&self) -> Result<(), Fatal> {
        // Waits until the table is on disk and named in the manifest.
        self.db.flush().map_err(|error| failure(&self.db, "cannot be flushed", error))
    }
}

struct View {
    pinned: Pinned,
    meta: Meta,
}

impl StateView for View {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Fatal> {
        get(&self.pinned, &pair_key(space, key))
    }

    fn scan(&self, space: Space, range: Range<'_>, visit: &mut Visit<'_>) -> Result<(), Fatal> {
        if range.is_empty() {
            return Ok(());
        }
        let db = self.pinned.db();
        let mut options = ReadOptions::default();
        let end = range.hi.map_or_else(|| vec![space.number() + 1], |hi| pair_key(space, hi));
        options.set_iterate_lower_bound(pair_key(space, range.lo));
        options.set_iterate_upper_bound(end);
        let mut pairs = self.pinned.snapshot().raw_iterator_opt(options);
        let start =
            if range.reverse { DBRawIterator::seek_to_last } else { DBRawIterator::seek_to_first };
        let step = if range.reverse { DBRawIterator::prev } else { DBRawIterator::next };
        start(&mut pairs);
        while let Some((key, record)) = pairs.item() {
            let value = unseal(key, record).ok_or_else(|| damaged(db, key))?;
            if visit(&key[1..], value).is_break() {
                return Ok(());
            }
            step(&mut pairs);
        }
        // The end of the range, or an error.
        pairs.status().map_err(|error| failure(db, "cannot be read", error))
    }
}

/// The body of the record of `key`.
fn get(pinned: &Pinned, key: &[u8]) -> Result<Option<Bytes>, Fatal> {
    let db = pinned.db();
    let record = pinned.snapshot().get_pinned(key);
    let record = record.map_err(|error| failure(db, "cannot be read", error))?;
    let Some(record) = record else { return Ok(None) };
    let body = unseal(key, &record).ok_or_else(|| damaged(db, key))?;
    Ok(Some(Bytes::copy_from_slice(body)))
}

fn pair_key(space: Space, key: &[u8]) -> Vec<u8> {
    [&[space.number()], key].concat()
}

fn damaged(db: &DB, key: &[u8]) -> Fatal {
    let (number, key) = key.split_first().expect("no key of a record is empty");
    let what = match Space::from_number(*number) {
        Some(Space::Plugin) => format!("the value of key \"{}\"", key.escape_ascii()),
        Some(Space::Sessions) => format!("the session record \"{}\"", key.escape_ascii()),
        None => "the record of what is applied".to_owned(),
    };
    Fatal::damage(format!("the state in {} is broken: {what} is damaged", db.path().display()))
}

fn failure(db: &DB, what: &str, error: rocksdb::Error) -> Fatal {
    super::failure(format!("the state in {} {what}", db.path().display()), error)
}

fn options(write_buffer_bytes: usize) -> Options {
    let mut options = super::options();
    options.set_write_buffer_size(write_buffer_bytes);
    // One to fill while two are being written.
    options.set_max_write_buffer_number(3);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES_MAX));
    // Within the cache's bound, instead of growing with the state.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    options.set_block_based_table_factory(&table);
    options
}
