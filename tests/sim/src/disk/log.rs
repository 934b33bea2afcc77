//! The log of a running node: the core's own in memory, and each of its rounds in the disk's file.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::log::{Base, Entry, HardState, LogStore, MemoryLog, Persist, Sizes};
use quorate_core::outcome::Fatal;

use super::{Disk, Durable, Incident, Kind, Record, SharedDisk, lock, records};
use crate::oracle::Violation;
use crate::time::Time;

/// The log that is on a disk now, apart from any process: what of it can be read.
pub fn peek(disk: &SharedDisk) -> MemoryLog {
    let file = Bytes::from(lock(disk).file.clone());
    let mut memory = MemoryLog::new();
    let _end = records(&file).take_while(|(record, _)| record.replay(&mut memory)).count();
    memory
}

/// The log of a running node.
#[derive(Debug)]
pub struct SimLog {
    memory: MemoryLog,
    disk: SharedDisk,
}

impl SimLog {
    /// Opens the log as the last process left it; an error says that the disk has rotted.
    pub fn open(disk: &SharedDisk) -> Result<Self, Fatal> {
        let mut memory = MemoryLog::new();
        let mut this = lock(disk);
        let synced = this.durable(Time::MAX).len;
        let file = Bytes::from(this.file.clone());
        let mut at = 0;
        for (record, next) in records(&file) {
            if !record.replay(&mut memory) {
                break;
            }
            at = next;
        }
        if at < synced {
            // What was in it counts, though nobody can read it any more: its hashes stay.
            return Err(Fatal::msg(format!("the log is damaged at byte {at}")));
        }
        // What is behind was never synced, so nobody was told of it.
        this.file.truncate(at);
        if !this.is_volatile {
            this.replay_chains(at);
        }
        // What a start has read is durable: it reads from the disk, not from a cache.
        let hard_state = memory.hard_state();
        let (len, last) = (this.file.len(), memory.last_index());
        let (term, vote) = (hard_state.term, hard_state.vote);
        this.durable = vec![Durable { at: 0, len, term, vote, last, first: u64::MAX }];
        this.base = memory.base();
        drop(this);
        Ok(Self { memory, disk: Arc::clone(disk) })
    }

    fn record(&self, kind: Kind, entries: &[Entry]) -> Record {
        let (hard_state, base) = (self.memory.hard_state(), self.memory.base());
        Record { kind, hard_state, base, entries: entries.to_vec() }
    }
}

/// A full disk takes nothing.
fn check_space(disk: &mut Disk) -> Result<(), Fatal> {
    if disk.ailment.is_full {
        disk.incidents.push(Incident::Full);
        return Err(Fatal::msg("writing the log: no space left on the disk"));
    }
    Ok(())
}

impl LogStore for SimLog {
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        let before = self.memory.hard_state();
        self.memory.persist(round)?;
        let hard_state = self.memory.hard_state();
        let last = self.memory.last_index();
        let kind = if round.base.is_some() { Kind::Anew } else { Kind::Round };
        let record = self.record(kind, round.entries);
        let mut disk = lock(&self.disk);
        let disk = &mut *disk;
        if disk.violation.is_none() {
            disk.violation = broken_promise(&before, &hard_state);
        }
        let end = round.base.map_or_else(|| disk.chains.last(), |base| base.id.index);
        let expected = round.entries.last().map_or(end, |entry| entry.index);
        if last != expected {
            let detail = format!("it ends at {last} instead of {expected}");
            disk.violation = Some(Violation::new("a log holds what was written", detail));
        }
        // As in the log on RocksDB, a commit index alone stays in memory until the next round.
        if round.entries.is_empty() && !round.must_sync && round.base.is_none() {
            return Ok(());
        }
        disk.base = record.base;
        disk.write_chains(round.base, round.entries);
        check_space(disk)?;
        if !disk.is_volatile {
            disk.file.extend_from_slice(&record.encode());
        }
        if let Some(is_kept) = disk.ailment.fails.take() {
            disk.incidents.push(Incident::Failed);
            if !is_kept {
                let len = disk.durable(Time::MAX).len;
                disk.file.truncate(len);
            }
            return Err(Fatal::msg("syncing the log: input/output error"));
        }
        let first = round.entries.first().map_or(u64::MAX, |entry| entry.index);
        let first = if round.base.is_some() { 1 } else { first };
        if round.must_sync {
            disk.sync(&hard_state, first, last);
        } else {
            let unsynced = disk.unsynced_first.unwrap_or(u64::MAX);
            disk.unsynced_first = Some(unsynced.min(first));
        }
        Ok(())
    }

    fn cut(&mut self, index: u64) -> Result<(), Fatal> {
        self.memory.cut(index)?;
        let record = self.record(Kind::Cut, &[]);
        let mut disk = lock(&self.disk);
        disk.base = record.base;
        check_space(&mut disk)?;
        if !disk.is_volatile {
            disk.file.extend_from_slice(&record.encode());
        }
        Ok(())
    }

    fn base(&self) -> Base {
        self.memory.base()
    }

    fn sizes(&self) -> &Sizes {
        self.memory.sizes()
    }

    fn hard_state(&self) -> HardState {
        self.memory.hard_state()
    }

    fn last_index(&self) -> u64 {
        self.memory.last_index()
    }

    fn term(&self, index: u64) -> Result<Option<u64>, Fatal> {
        self.memory.term(index)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        self.memory.entries(low, high, bytes_max)
    }
}

/// Terms and commits never fall, and a vote is given once in a term.
fn broken_promise(before: &HardState, after: &HardState) -> Option<Violation> {
    let falls = after.term < before.term || after.commit < before.commit;
    let votes_again = after.term == before.term && before.vote != 0 && after.vote != before.vote;
    (falls || votes_again).then(|| {
        let detail = format!("{before:?} became {after:?}");
        Violation::new("terms, votes and commits never fall", detail)
    })
}
