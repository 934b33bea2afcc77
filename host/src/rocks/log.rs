//! The log of a group in a RocksDB of its own.
//!
//! | key: group, 8 bytes; kind; index, 8 bytes, all big endian | record |
//! |---|---|
//! | kind 1, the index of an entry | the entry, as raft encodes it |
//! | kind 2, index 0: the head | the last index, 8 bytes; term, vote and commit, as raft does |
//! | kind 3, index 0: the base | index and term of the last entry cut off; the state's number |
//!
//! The head's key lies behind the entries on purpose: each table that RocksDB flushes holds it, and
//! so overlaps the last of the older tables only. In front of them, it would make every compaction
//! rewrite the whole log.
//!
//! **What is acknowledged is never lost in silence.** Each durable round is one synced write of
//! one batch. The write-ahead log is recovered by `TolerateCorruptedTailRecords`: the record that
//! ends with the file may be cut off, which is how a crash leaves a write that nobody was told of;
//! any damage before that fails the opening. `PointInTime`, RocksDB's default, would instead drop
//! all rounds from the damage on, acknowledged or not, and say nothing; `AbsoluteConsistency`
//! would refuse to start after an ordinary crash. The price: RocksDB recycles write-ahead files
//! (which spares a sync the change of the file's length) only with `PointInTime`.
//!
//! All of it is read when it is opened, from its base on: the checksums, and that nothing is
//! missing. Damage is reported, never repaired: this node cannot know what it had promised.
//!
//! **A cut is one batch:** a deletion of the range, and the base. It is not synced, since a crash
//! may undo it; what RocksDB has of it is all or nothing, and no later round is there without it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use protobuf::Message;
use quorate_core::id::{GroupId, LogId};
use quorate_core::limits::LOG_CACHE_BYTES_MAX;
use quorate_core::log::{
    Base, Entry, HardState, LogStore, Persist, Sizes, check_append, check_cut, entry_bytes,
};
use quorate_core::outcome::Fatal;
use rocksdb::{
    BlockBasedOptions, DB, DBIterator, DBPinnableSlice, DBRecoveryMode, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use super::record::{seal, unseal};
use super::tail::Tail;

/// What gathers in memory before RocksDB makes a table of it.
const WRITE_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// How much a read of several entries fetches ahead.
const READAHEAD_BYTES: usize = 1024 * 1024;

const KIND_ENTRY: u8 = 1;
const KIND_HEAD: u8 = 2;
const KIND_BASE: u8 = 3;

/// A log on disk.
#[derive(Debug)]
pub struct RocksLog {
    disk: Disk,
    /// May be ahead of the disk by the commit index.
    hard_state: HardState,
    base: Base,
    last_index: u64,
    tail: Tail,
    sizes: Sizes,
    /// After a write that failed it is unknown what is on disk.
    failed: bool,
}

impl RocksLog {
    /// Opens the log of `group` in the folder `dir`, new or as it was left, and checks all of it.
    pub fn open(dir: &Path, group: GroupId) -> Result<Self, Fatal> {
        super::wal::check(dir)?;
        let db = super::open(&options(), dir)?;
        Self::load(Disk { db, group }, LOG_CACHE_BYTES_MAX as u64)
    }

    fn load(disk: Disk, tail_bytes_max: u64) -> Result<Self, Fatal> {
        let base = disk.base()?;
        let (last_index, hard_state) =
            disk.head()?.unwrap_or_else(|| (base.id.index, HardState::default()));
        let commit = hard_state.commit;
        if !(base.id.index..=last_index).contains(&commit) {
            let begin = base.id.index;
            let what = format!("it has entries {begin} to {last_index}, yet {commit} is committed");
            return Err(disk.broken(what));
        }
        let mut tail = Tail::new(tail_bytes_max);
        let mut sizes = Sizes::new(base.id.index);
        let mut term = base.id.term;
        for entry in disk.entries(base.id.index + 1, last_index + 1) {
            let entry = entry?;
            if entry.term < term {
                let what = format!("entry {} of term {} follows {term}", entry.index, entry.term);
                return Err(disk.broken(what));
            }
            term = entry.term;
            sizes.write(std::slice::from_ref(&entry));
            tail.push(entry);
        }
        if disk.has_entries_behind(last_index)? {
            return Err(disk.broken(format!("it has entries behind its end at {last_index}")));
        }
        Ok(Self { disk, hard_state, base, last_index, tail, sizes, failed: false })
    }

    /// Writes to disk; nothing more once that has failed.
    fn write(&mut self, write: &Write<'_>) -> Result<(), Fatal> {
        if self.failed {
            return Err(Fatal::msg(
                "an earlier write of the log failed; restart to learn its state",
            ));
        }
        let written = self.disk.write(write);
        self.failed = written.is_err();
        written
    }
}

impl LogStore for RocksLog {
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        let old = self.base.id.index..self.last_index;
        // Where this round's entries begin, if it has any, or the log anew.
        let (begin, end) = round.base.map_or((old.start, old.end), |base| {
            let begin = base.id.index;
            (begin, begin)
        });
        if let Some(first) = round.entries.first() {
            check_append(first.index, begin, end, round.entries);
        }
        let last_index = round.entries.last().map_or(end, |last| last.index);
        let hard_state = round.hard_state.unwrap_or(&self.hard_state).clone();
        assert!(hard_state.commit <= last_index, "a commit past the end of the log");
        assert!(hard_state.commit >= begin, "a commit before the log begins");

        // What is to be written over stays where it is: a batch takes effect in its order.
        let gone = match round.base {
            Some(_) => old.start + 1..old.end + 1,
            None => last_index + 1..old.end + 1,
        };
        let is_durable = round.must_sync || !round.entries.is_empty() || round.base.is_some();
        if is_durable || self.failed {
            let write = Write {
                gone,
                base: round.base,
                entries: round.entries,
                last_index,
                hard_state: &hard_state,
                is_synced: true,
            };
            self.write(&write)?;
        }
        if let Some(base) = round.base {
            self.base = base;
            self.tail.truncate(0);
            self.sizes = Sizes::new(begin);
        }
        if let Some(first) = round.entries.first() {
            self.tail.truncate(first.index);
        }
        for entry in round.entries {
            self.tail.push(entry.clone());
        }
        self.sizes.write(round.entries);
        self.last_index = last_index;
        self.hard_state = hard_state;
        Ok(())
    }

    fn cut(&mut self, index: u64) -> Result<(), Fatal> {
        let term = check_cut(self, index)?;
        let base = Base { id: LogId { term, index }, ..self.base };
        let hard_state = self.hard_state.clone();
        let write = Write {
            gone: self.base.id.index + 1..index + 1,
            base: Some(base),
            entries: &[],
            last_index: self.last_index,
            hard_state: &hard_state,
            is_synced: false,
        };
        self.write(&write)?;
        self.base = base;
        self.tail.cut(index);
        self.sizes.cut(index);
        Ok(())
    }

    fn base(&self) -> Base {
        self.base
    }

    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn last_index(&self) -> u64 {
        self.last_index
    }

    fn term(&self, index: u64) -> Result<Option<u64>, Fatal> {
        if index == self.base.id.index {
            return Ok(Some(self.base.id.term));
        }
        if index < self.base.id.index || index > self.last_index {
            return Ok(None);
        }
        match self.tail.get(index) {
            Some(entry) => Ok(Some(entry.term)),
            None => self.disk.entry(index).map(|entry| Some(entry.term)),
        }
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        if low <= self.base.id.index || low > high || high > self.last_index + 1 {
            return Err(Fatal::msg(format!("the log has no entries {low}..{high}")));
        }
        match self.tail.range(low, high) {
            Some(recent) => limited(recent.cloned().map(Ok), bytes_max),
            None => limited(self.disk.entries(low, high), bytes_max),
        }
    }
}

/// Takes entries until the next one would exceed `bytes_max`, but at least one.
fn limited(
    entries: impl Iterator<Item = Result<Entry, Fatal>>,
    bytes_max: u64,
) -> Result<Vec<Entry>, Fatal> {
    let mut out = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += entry_bytes(&entry);
        if bytes > bytes_max && !out.is_empty() {
            break;
        }
        out.push(entry);
    }
    Ok(out)
}

/// The records of one group.
#[derive(Debug)]
struct Disk {
    db: DB,
    group: GroupId,
}

type Key = [u8; 17];

/// One write: all of it or nothing.
struct Write<'a> {
    /// Entries that go.
    gone: Range<u64>,
    /// Where the log begins from here on, when that changes.
    base: Option<Base>,
    /// Entries that come, after others have gone.
    entries: &'a [Entry],
    last_index: u64,
    hard_state: &'a HardState,
    /// Durable on return.
    is_synced: bool,
}

impl Disk {
    fn write(&self, write: &Write<'_>) -> Result<(), Fatal> {
        let mut batch = WriteBatch::default();
        if write.base.is_some() {
            let gone = [write.gone.start, write.gone.end].map(|index| self.key(KIND_ENTRY, index));
            batch.delete_range(gone[0], gone[1]);
        } else {
            for index in write.gone.clone() {
                batch.delete(self.key(KIND_ENTRY, index));
            }
        }
        for entry in write.entries {
            let key = self.key(KIND_ENTRY, entry.index);
            batch.put(key, seal(&key, |record| encode(entry, record)));
        }
        let key = self.key(KIND_HEAD, 0);
        let head = seal(&key, |record| {
            record.extend_from_slice(&write.last_index.to_le_bytes());
            encode(write.hard_state, record);
        });
        batch.put(key, head);
        if let Some(Base { id, state }) = write.base {
            let key = self.key(KIND_BASE, 0);
            let parts = [id.index, id.term, state].map(u64::to_le_bytes).concat();
            batch.put(key, seal(&key, |record| record.extend_from_slice(&parts)));
        }

        let mut options = WriteOptions::default();
        options.set_sync(write.is_synced);
        let written = self.db.write_opt(batch, &options);
        written.map_err(|error| self.failure("cannot be written", error))
    }

    /// The last index and the hard state, if anything was ever written.
    fn head(&self) -> Result<Option<(u64, HardState)>, Fatal> {
        let key = self.key(KIND_HEAD, 0);
        let Some(record) = self.get(&key)? else { return Ok(None) };
        let head = unseal(&key, &record).and_then(|body| body.split_first_chunk()).and_then(
            |(last_index, hard_state)| {
                let hard_state = HardState::parse_from_bytes(hard_state).ok()?;
                Some((u64::from_le_bytes(*last_index), hard_state))
            },
        );
        let damaged = || self.broken("its record of the vote and the last index is damaged");
        head.ok_or_else(damaged).map(Some)
    }

    fn base(&self) -> Result<Base, Fatal> {
        let key = self.key(KIND_BASE, 0);
        let Some(record) = self.get(&key)? else { return Ok(Base::default()) };
        let numbers = unseal(&key, &record).and_then(|body| {
            let numbers = body.as_chunks::<8>().0.iter().map(|part| u64::from_le_bytes(*part));
            numbers.collect::<Vec<_>>().try_into().ok()
        });
        let [index, term, state]: [u64; 3] =
            numbers.ok_or_else(|| self.broken("its record of where it begins is damaged"))?;
        Ok(Base { id: LogId { term, index }, state })
    }

    fn entry(&self, index: u64) -> Result<Entry, Fatal> {
        let key = self.key(KIND_ENTRY, index);
        let record = self.get(&key)?.ok_or_else(|| self.missing(index))?;
        self.decode_entry(index, &record)
    }

    /// The entries from `low` up to, not including, `high`.
    fn entries(&self, low: u64, high: u64) -> impl Iterator<Item = Result<Entry, Fatal>> {
        let mut pairs = self.pairs(self.key(KIND_ENTRY, low)..self.key(KIND_ENTRY, high));
        (low..high).map(move |index| match pairs.next() {
            Some(Ok((key, record))) if *key == self.key(KIND_ENTRY, index) => {
                self.decode_entry(index, &record)
            }
            Some(Ok(_)) | None => Err(self.missing(index)),
            Some(Err(error)) => Err(self.failure("cannot be read", error)),
        })
    }

    fn has_entries_behind(&self, last_index: u64) -> Result<bool, Fatal> {
        let behind = self.key(KIND_ENTRY, last_index + 1)..self.key(KIND_HEAD, 0);
        let pair = self.pairs(behind).next().transpose();
        Ok(pair.map_err(|error| self.failure("cannot be read", error))?.is_some())
    }

    fn decode_entry(&self, index: u64, record: &[u8]) -> Result<Entry, Fatal> {
        unseal(&self.key(KIND_ENTRY, index), record)
            .and_then(|body| Entry::parse_from_bytes(body).ok())
            .filter(|entry| entry.index == index)
            .ok_or_else(|| self.broken(format!("entry {index} is damaged")))
    }

    fn get(&self, key: &Key) -> Result<Option<DBPinnableSlice<'_>>, Fatal> {
        self.db.get_pinned(key).map_err(|error| self.failure("cannot be read", error))
    }

    fn pairs(&self, range: Range<Key>) -> DBIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(range);
        options.set_readahead_size(READAHEAD_BYTES);
        self.db.iterator_opt(IteratorMode::Start, options)
    }

    fn key(&self, kind: u8, index: u64) -> Key {
        let mut key = [kind; 17];
        key[..8].copy_from_slice(&self.group.0.to_be_bytes());
        key[9..].copy_from_slice(&index.to_be_bytes());
        key
    }

    fn missing(&self, index: u64) -> Fatal {
        self.broken(format!("entry {index} is missing"))
    }

    fn broken(&self, what: impl fmt::Display) -> Fatal {
        Fatal::msg(format!("the log in {} is broken: {what}", self.db.path().display()))
    }

    fn failure(&self, what: &str, error: rocksdb::Error) -> Fatal {
        super::failure(format!("the log in {} {what}", self.db.path().display()), error)
    }
}

fn encode(message: &impl Message, record: &mut Vec<u8>) {
    message.write_to_vec(record).expect("a vector takes any message under 2 GiB");
}

fn options() -> Options {
    let mut options = super::options();
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // The same care for the write-ahead file before the current one: its length is on record.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_target_file_size_base(WRITE_BUFFER_BYTES as u64);
    // What is read often is in the tail.
    let mut table = BlockBasedOptions::default();
    table.disable_cache();
    options.set_block_based_table_factory(&table);
    options
}
