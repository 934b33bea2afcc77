//! The log of a group in a RocksDB of its own.
//!
//! | key: group, 8 bytes; kind; index, 8 bytes, all big endian | record |
//! |---|---|
//! | kind 1, the index of an entry | the entry, as raft encodes it |
//! | kind 2, index 0: the head | the last index, 8 bytes; term, vote and commit, as raft does |
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
//! The whole log is read when it is opened: its checksums, and that nothing is missing. Damage is
//! reported, never repaired: this node cannot know what it had promised.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use protobuf::Message;
use quorate_core::id::GroupId;
use quorate_core::limits::LOG_CACHE_BYTES_MAX;
use quorate_core::log::{Entry, HardState, LogStore, Persist, check_append, entry_bytes};
use quorate_core::outcome::Fatal;
use rocksdb::{
    BlockBasedOptions, DB, DBIterator, DBPinnableSlice, DBRecoveryMode, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use super::record::{seal, unseal};
use super::tail::Tail;

/// What gathers in memory before RocksDB makes a table of it.
const WRITE_BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// How much a read of several entries fetches ahead.
const READAHEAD_BYTES: usize = 1024 * 1024;

const KIND_ENTRY: u8 = 1;
const KIND_HEAD: u8 = 2;

/// A log on disk.
#[derive(Debug)]
pub struct RocksLog {
    disk: Disk,
    /// May be ahead of the disk by the commit index.
    hard_state: HardState,
    last_index: u64,
    tail: Tail,
    /// After a write that failed it is unknown what is on disk.
    failed: bool,
}

impl RocksLog {
    /// Opens the log of `group` in the folder `dir`, new or as it was left, and checks all of it.
    pub fn open(dir: &Path, group: GroupId) -> Result<Self, Fatal> {
        let db = super::open(&options(), dir)?;
        Self::load(Disk { db, group }, LOG_CACHE_BYTES_MAX as u64)
    }

    fn load(disk: Disk, tail_bytes_max: u64) -> Result<Self, Fatal> {
        let (last_index, hard_state) = disk.head()?;
        if hard_state.commit > last_index {
            let commit = hard_state.commit;
            return Err(disk.broken(format!("it ends at {last_index}, yet {commit} is committed")));
        }
        let mut tail = Tail::new(tail_bytes_max);
        let mut term = 0;
        for entry in disk.entries(1, last_index + 1) {
            let entry = entry?;
            if entry.term < term {
                let what = format!("entry {} of term {} follows {term}", entry.index, entry.term);
                return Err(disk.broken(what));
            }
            term = entry.term;
            tail.push(entry);
        }
        if disk.has_entries_behind(last_index)? {
            return Err(disk.broken(format!("it has entries behind its end at {last_index}")));
        }
        Ok(Self { disk, hard_state, last_index, tail, failed: false })
    }
}

impl LogStore for RocksLog {
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        if self.failed {
            return Err(Fatal::msg(
                "an earlier write of the log failed; restart to learn its state",
            ));
        }
        if let Some(first) = round.entries.first() {
            check_append(first.index, self.last_index, round.entries);
        }
        let last_index = round.entries.last().map_or(self.last_index, |last| last.index);
        let hard_state = round.hard_state.unwrap_or(&self.hard_state);
        assert!(hard_state.commit <= last_index, "a commit past the end of the log");

        if round.must_sync || !round.entries.is_empty() {
            let old_tail = last_index + 1..=self.last_index;
            let written = self.disk.write(round.entries, old_tail, last_index, hard_state);
            self.failed = written.is_err();
            written?;
        }
        if let Some(first) = round.entries.first() {
            self.tail.truncate(first.index);
        }
        for entry in round.entries {
            self.tail.push(entry.clone());
        }
        self.last_index = last_index;
        if let Some(hard_state) = round.hard_state {
            self.hard_state.clone_from(hard_state);
        }
        Ok(())
    }

    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn last_index(&self) -> u64 {
        self.last_index
    }

    fn term(&self, index: u64) -> Result<Option<u64>, Fatal> {
        if index == 0 {
            return Ok(Some(0));
        }
        if index > self.last_index {
            return Ok(None);
        }
        match self.tail.get(index) {
            Some(entry) => Ok(Some(entry.term)),
            None => self.disk.entry(index).map(|entry| Some(entry.term)),
        }
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        if low == 0 || low > high || high > self.last_index + 1 {
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

impl Disk {
    /// One synced write: all of it or nothing, and durable on return.
    fn write(
        &self,
        entries: &[Entry],
        old_tail: RangeInclusive<u64>,
        last_index: u64,
        hard_state: &HardState,
    ) -> Result<(), Fatal> {
        let mut batch = WriteBatch::default();
        for entry in entries {
            let key = self.key(KIND_ENTRY, entry.index);
            batch.put(key, seal(&key, |record| encode(entry, record)));
        }
        for index in old_tail {
            batch.delete(self.key(KIND_ENTRY, index));
        }
        let key = self.key(KIND_HEAD, 0);
        let head = seal(&key, |record| {
            record.extend_from_slice(&last_index.to_le_bytes());
            encode(hard_state, record);
        });
        batch.put(key, head);

        let mut options = WriteOptions::default();
        options.set_sync(true);
        let written = self.db.write_opt(batch, &options);
        written.map_err(|error| self.failure("cannot be written", error))
    }

    /// The last index and the hard state.
    fn head(&self) -> Result<(u64, HardState), Fatal> {
        let key = self.key(KIND_HEAD, 0);
        let Some(record) = self.get(&key)? else { return Ok((0, HardState::default())) };
        unseal(&key, &record)
            .and_then(|body| body.split_first_chunk())
            .and_then(|(last_index, hard_state)| {
                let hard_state = HardState::parse_from_bytes(hard_state).ok()?;
                Some((u64::from_le_bytes(*last_index), hard_state))
            })
            .ok_or_else(|| self.broken("its record of the vote and the last index is damaged"))
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
