//! The state of a machine in a RocksDB of its own.
//!
//! | key | record |
//! |---|---|
//! | `0` | the [`Meta`] |
//! | a [`Space`]'s number, then a key in it | the value |
//!
//! **What is written last is not in RocksDB yet.** Commits gather in a [`Layer`] in memory: what
//! plugins read is mostly what they have just written, and a key that is written often need not
//! reach RocksDB each time. A full layer is frozen, and a thread of its own writes it to RocksDB
//! while the next one fills ([`settle`]). A view is the two layers over a snapshot of RocksDB.
//!
//! **After a crash the state is that of an earlier commit, whole.** Nothing is logged or synced: a
//! layer is one batch into the memtable, with the meta of its last commit, and RocksDB writes
//! memtables to disk as it sees fit. That is sound for three reasons. A batch is never split
//! between two memtables. All keys are in one column family, so there is one sequence of memtables,
//! and they become part of the database in the order in which they were filled; what is on disk is
//! always a prefix of the layers (with a second column family, one could be flushed ahead of the
//! other). And a table is synced before the manifest, which names it, is. The log then has what is
//! missing.
//!
//! [`settle`]: settle::begin

mod builder;
mod pinned;
mod settle;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, TryLockError};

use quorate_core::outcome::Fatal;
use quorate_core::state::{
    Changes, Layer, Meta, Range, Space, StateStore, StateView, Value, Visit,
};
use rocksdb::{BlockBasedOptions, Cache, DB, DBRawIterator, Options, ReadOptions};

pub use self::builder::RocksBuilder;
use self::pinned::Pinned;
use self::settle::Settling;
use super::record::unseal;

/// What a layer takes in memory when it is frozen, less the last entry. There are two of them, and
/// for a moment what RocksDB is handed; and those that a view holds on to.
const LAYER_HELD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What was written to a layer when it is frozen, and RocksDB made to put it on disk, also where it
/// is the same keys again and again: what is not on disk is applied once more after a crash.
const LAYER_WRITTEN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What gathers in RocksDB's memory before it makes a table of it, less the last layer.
const MEMTABLE_BYTES: usize = 32 * 1024 * 1024;
/// Blocks, indexes and filters of tables that are kept in memory.
const BLOCK_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// About one in a hundred look-ups of an absent key reads a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;
/// How much of a memtable its filter takes: 16 bits for each 200 bytes.
const MEMTABLE_FILTER_RATIO: f64 = 0.01;

const UNPOISONED: &str = "writing the state does not panic";

/// No space has this number.
const META_KEY: [u8; 1] = [0];

/// A state on disk. The folder stays open until its last snapshot is dropped.
pub struct RocksState {
    current: Arc<Current>,
    /// The layer that is being written to RocksDB, if any. Held by who waits for it.
    settling: Mutex<Option<Settling>>,
    /// What could not be written. Nothing is committed or durable any more.
    fault: OnceLock<String>,
    buffers: Buffers,
}

impl RocksState {
    /// Opens the state in the folder `dir`, new or as it was left.
    pub fn open(dir: &Path) -> Result<Self, Fatal> {
        Self::open_with(dir, Buffers::default())
    }

    /// Removes a state and its folder; false while somebody reads from it.
    pub fn remove(dir: &Path) -> bool {
        if !dir.exists() {
            return true;
        }
        DB::destroy(&Options::default(), dir).is_ok()
            && (!dir.exists() || std::fs::remove_dir_all(dir).is_ok())
    }

    fn open_with(dir: &Path, buffers: Buffers) -> Result<Self, Fatal> {
        let db = Arc::new(super::open(&options(buffers), dir)?);
        let pinned = Pinned::of(&db);
        let meta = match get(&pinned, &META_KEY)? {
            Some(body) => Meta::decode(&body).ok_or_else(|| damaged(&db, &META_KEY))?,
            None if builder::is_empty(&db)? => Meta::default(),
            None => {
                let what = "is not whole: it was being made from a snapshot; remove the folder";
                return Err(Fatal::msg(format!("the state in {} {what}", dir.display())));
            }
        };
        let (layer, frozen) = (Layer::default(), Layer::default());
        let pinned = Arc::new(pinned);
        let below = Below { frozen, meta: meta.clone(), is_written: true, pinned };
        Ok(Self {
            current: Arc::new(Current::new(View { layer, below: Arc::new(below), meta })),
            settling: Mutex::new(None),
            fault: OnceLock::new(),
            buffers,
        })
    }

    fn check(&self) -> Result<(), Fatal> {
        self.fault.get().map_or(Ok(()), |fault| Err(Fatal::msg(fault.clone())))
    }

    fn noted<T>(&self, done: Result<T, Fatal>) -> Result<T, Fatal> {
        // The first one is what counts.
        done.inspect_err(|fatal| drop(self.fault.set(fatal.to_string())))
    }

    /// Takes note of a layer that is written, or could not be. Does not wait.
    fn reap(&self) -> Result<(), Fatal> {
        match self.settling.try_lock() {
            Ok(mut settling) => match settling.take_if(|settling| settling.is_over()) {
                Some(settling) => self.noted(settling.join()),
                None => self.check(),
            },
            // Who holds it waits for a layer, and takes note.
            Err(TryLockError::WouldBlock) => self.check(),
            Err(TryLockError::Poisoned(_)) => panic!("{UNPOISONED}"),
        }
    }

    /// Has what was committed so far written to RocksDB, as soon as what was frozen before is.
    fn freeze(&self) -> Result<MutexGuard<'_, Option<Settling>>, Fatal> {
        let mut settling = self.settling.lock().expect(UNPOISONED);
        self.check()?;
        if let Some(before) = settling.take() {
            self.noted(before.join())?;
        }
        *settling = self.noted(settle::begin(&self.current, self.buffers))?;
        Ok(settling)
    }
}

impl StateStore for RocksState {
    fn snapshot(&self) -> Arc<dyn StateView> {
        self.current.view()
    }

    fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal> {
        self.reap()?;
        let is_full = self.current.update(|view| {
            view.layer.write(changes);
            view.meta = meta;
            view.layer.held_bytes() >= self.buffers.held_bytes_max
                || view.layer.written_bytes() >= self.buffers.written_bytes_max
        });
        if is_full { self.freeze().map(drop) } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), Fatal> {
        // In one hold: what could not be written is then nobody else's to hear of.
        let mut settling = self.freeze()?;
        if let Some(settling) = settling.take() {
            self.noted(settling.join())?;
        }
        drop(settling);
        let db = Arc::clone(self.current.view().below.pinned.db());
        // Waits until the table is on disk and named in the manifest.
        self.noted(db.flush().map_err(|error| failure(&db, "cannot be flushed", error)))
    }
}

/// What gathers where.
#[derive(Clone, Copy)]
struct Buffers {
    held_bytes_max: usize,
    written_bytes_max: usize,
    memtable_bytes: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            held_bytes_max: LAYER_HELD_BYTES_MAX,
            written_bytes_max: LAYER_WRITTEN_BYTES_MAX,
            memtable_bytes: MEMTABLE_BYTES,
        }
    }
}

/// The state as of the last commit.
struct Current {
    // Held for the moment that it takes to copy or replace it, or while nobody has a snapshot, to
    // write what one entry has changed.
    view: RwLock<Arc<View>>,
    /// Who changes it: apply, and the thread that writes a layer.
    writer: Mutex<()>,
}

impl Current {
    fn new(view: View) -> Self {
        Self { view: RwLock::new(Arc::new(view)), writer: Mutex::new(()) }
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().expect("no holder of this lock panics"))
    }

    /// Changes it: in place while nobody has a snapshot, else in a copy, beside who reads.
    fn update<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let writer = self.writer.lock().expect("no holder of this lock panics");
        let mut current = self.view.write().expect("no holder of this lock panics");
        if let Some(view) = Arc::get_mut(&mut current) {
            return change(view);
        }
        drop(current);
        let mut view = View::clone(&self.view());
        let changed = change(&mut view);
        let mut current = self.view.write().expect("no holder of this lock panics");
        let before = std::mem::replace(&mut *current, Arc::new(view));
        drop(current);
        drop(writer);
        drop(before);
        changed
    }
}

#[derive(Clone)]
struct View {
    /// What was committed since the last one was frozen.
    layer: Layer,
    below: Arc<Below>,
    meta: Meta,
}

impl View {
    /// Begins another layer, over this one. Returns what this one lay over.
    fn freeze(&mut self) -> Arc<Below> {
        let below = Below {
            frozen: std::mem::take(&mut self.layer),
            meta: self.meta.clone(),
            is_written: false,
            pinned: Arc::clone(&self.below.pinned),
        };
        std::mem::replace(&mut self.below, Arc::new(below))
    }
}

/// All that the layer lies over.
struct Below {
    /// The layer before. While it is not written, RocksDB lacks it; then it stays for look-ups of
    /// what was written a while ago, if it is not huge.
    frozen: Layer,
    /// As of the frozen layer.
    meta: Meta,
    is_written: bool,
    pinned: Arc<Pinned>,
}

impl StateView for View {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Value>, Fatal> {
        let below = &*self.below;
        let known = self.layer.get(space, key).or_else(|| below.frozen.get(space, key));
        match known {
            Some(value) => Ok(value.cloned()),
            None => get(&below.pinned, &pair_key(space, key)),
        }
    }

    fn scan(&self, space: Space, range: Range<'_>, visit: &mut Visit<'_>) -> Result<(), Fatal> {
        if range.is_empty() {
            return Ok(());
        }
        let Below { frozen, is_written, pinned, .. } = &*self.below;
        let is_dead = |key: &[u8]| {
            // One that is written is not shown here: RocksDB's record is what counts.
            let is_in_frozen = !is_written && frozen.get(space, key).is_some();
            is_in_frozen || self.layer.get(space, key).is_some()
        };
        let written = |visit: &mut Visit<'_>| scan(pinned, space, range, &is_dead, visit);
        let below = |visit: &mut Visit<'_>| match is_written {
            true => written(visit),
            false => frozen.scan_over(written, space, range, visit),
        };
        self.layer.scan_over(below, space, range, visit)
    }
}

/// What RocksDB has of a range that is not empty. Of a key that is dead, as a layer knows better,
/// it does not matter whether its record is sound.
fn scan(
    pinned: &Pinned,
    space: Space,
    range: Range<'_>,
    is_dead: &dyn Fn(&[u8]) -> bool,
    visit: &mut Visit<'_>,
) -> Result<(), Fatal> {
    let db = pinned.db();
    let mut options = ReadOptions::default();
    let end = range.hi.map_or_else(|| vec![space.number() + 1], |hi| pair_key(space, hi));
    options.set_iterate_lower_bound(pair_key(space, range.lo));
    options.set_iterate_upper_bound(end);
    let mut pairs = pinned.snapshot().raw_iterator_opt(options);
    let start =
        if range.reverse { DBRawIterator::seek_to_last } else { DBRawIterator::seek_to_first };
    let step = if range.reverse { DBRawIterator::prev } else { DBRawIterator::next };
    start(&mut pairs);
    while let Some((key, record)) = pairs.item() {
        match unseal(key, record) {
            Some(value) if visit(&key[1..], value).is_break() => return Ok(()),
            Some(_) => {}
            None if is_dead(&key[1..]) => {}
            None => return Err(damaged(db, key)),
        }
        step(&mut pairs);
    }
    // The end of the range, or an error.
    pairs.status().map_err(|error| failure(db, "cannot be read", error))
}

/// The body of the record of `key`.
fn get(pinned: &Pinned, key: &[u8]) -> Result<Option<Value>, Fatal> {
    let db = pinned.db();
    let record = pinned.snapshot().get_pinned(key);
    let record = record.map_err(|error| failure(db, "cannot be read", error))?;
    let Some(record) = record else { return Ok(None) };
    let body = unseal(key, &record).ok_or_else(|| damaged(db, key))?;
    Ok(Some(Value::from(body)))
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

fn options(buffers: Buffers) -> Options {
    let mut options = super::options();
    options.set_write_buffer_size(buffers.memtable_bytes);
    // One to fill while the other is being written. Who fills it waits; apply does only if the next
    // layer is full before that.
    options.set_max_write_buffer_number(2);
    // So that a look-up of what is not there seldom has to search one.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_RATIO);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES_MAX));
    // Within the cache's bound, instead of growing with the state.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    options.set_block_based_table_factory(&table);
    options
}
