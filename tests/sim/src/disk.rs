//! A node's disk, as far as its log is concerned, and the log on it.
//!
//! The log is a file of records, one for each durable round, each with a checksum. What was written
//! and not synced when the process ends may be there, gone, cut off, or there in parts; what was
//! synced may rot. The log that runs on it is the core's own `MemoryLog`, filled from the file at
//! each start: so what a crash leaves behind is what raft starts from.
//!
//! The disk also keeps what the simulator knows better than the node: what is durable at which
//! moment, and the hash chain of the entries.

mod chains;
mod log;
mod record;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_core::id::LogId;
use quorate_core::log::{Base, Entry, HardState};

use crate::fault::Unsynced;
use crate::oracle::Violation;
use crate::time::Time;

pub use chains::{Chains, Known};
pub use log::{SimLog, peek};
use record::{Kind, Record, records};

/// What is torn or reordered: a file system writes no less.
const SECTOR_BYTES: usize = 64;

/// A disk that several lives of a node share.
pub type SharedDisk = Arc<Mutex<Disk>>;

/// An entry that a node has just written, for whoever compares the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Its place.
    pub id: LogId,
    /// The hash of all entries up to it.
    pub chain: u64,
}

/// What is durable from some moment on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durable {
    /// From when.
    pub at: Time,
    /// So much of the file.
    len: usize,
    /// The term.
    pub term: u64,
    /// The vote in that term.
    pub vote: u64,
    /// The last entry.
    pub last: u64,
    /// The first entry that its round has written; what was there before is replaced.
    first: u64,
}

/// How the next syncs go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ailment {
    /// Each takes so much longer.
    pub slow_us: Time,
    /// The next one fails, and its data is there or not.
    pub fails: Option<bool>,
    /// There is no space.
    pub is_full: bool,
}

/// What happened to the disk, for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A sync was slow.
    Slow,
    /// A sync failed.
    Failed,
    /// A write found no space.
    Full,
}

/// The disk of one node.
#[derive(Debug)]
pub struct Disk {
    file: Vec<u8>,
    /// A log in memory: syncs take no time, and nothing outlives the process.
    is_volatile: bool,
    /// In order of time; the last is what will be durable when all syncs are through.
    durable: Vec<Durable>,
    /// The first entry that was written without a sync, if any was.
    unsynced_first: Option<u64>,
    /// Chains of the entries that the running node sees.
    chains: Chains,
    /// Those of all nodes.
    known: Known,
    /// Where the log of the running node begins.
    pub base: Base,
    rng: fastrand::Rng,
    /// The time as the running round sees it: each sync moves it.
    pub now: Time,
    /// What is wrong with it.
    pub ailment: Ailment,
    /// Entries written since somebody looked.
    pub written: Vec<Written>,
    /// What happened since somebody looked.
    pub incidents: Vec<Incident>,
    /// What no log may be asked to do.
    pub violation: Option<Violation>,
}

/// Locks a disk. One thread runs a simulation, so nobody ever waits.
pub fn lock(disk: &SharedDisk) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// An empty disk.
    pub fn new(is_volatile: bool, known: &Known, rng: fastrand::Rng) -> SharedDisk {
        Arc::new(Mutex::new(Self {
            file: Vec::new(),
            is_volatile,
            durable: vec![Durable::default()],
            unsynced_first: None,
            chains: Chains::default(),
            known: known.clone(),
            base: Base::default(),
            rng,
            now: 0,
            ailment: Ailment::default(),
            written: Vec::new(),
            incidents: Vec::new(),
            violation: None,
        }))
    }

    /// What is durable at a moment.
    pub fn durable(&self, now: Time) -> Durable {
        let known = self.durable.iter().rev().find(|durable| durable.at <= now);
        known.or_else(|| self.durable.first()).copied().unwrap_or_default()
    }

    /// The last entry that is durable at a moment, of those that the running node sees: what a
    /// round under way replaces is not, whatever was durable at its place before.
    pub fn durable_last(&self, now: Time) -> u64 {
        let rewritten = self.durable.iter().filter(|round| round.at > now).map(|round| round.first);
        let first = rewritten.chain(self.unsynced_first).min().unwrap_or(u64::MAX);
        self.durable(now).last.min(first.saturating_sub(1))
    }

    /// The hashes of all entries up to each one.
    pub fn chains(&self) -> &Chains {
        &self.chains
    }

    /// Everything on it is gone: an operator starts over with an empty folder. Returns the hashes
    /// of the entries that were there.
    pub fn wipe(&mut self) -> Chains {
        self.file.clear();
        self.durable = vec![Durable::default()];
        std::mem::take(&mut self.chains)
    }

    /// The process has ended. Returns what became of what was not synced, if there was any.
    pub fn crash(&mut self, now: Time, unsynced: Unsynced) -> Option<Unsynced> {
        let durable = self.durable(now);
        if self.is_volatile {
            self.chains.truncate(self.durable_last(now));
        } else {
            self.replay_chains(durable.len);
        }
        self.unsynced_first = None;
        self.durable = vec![Durable { at: 0, ..durable }];
        self.ailment.fails = None;
        let tail = self.file.len() - durable.len;
        if tail == 0 {
            return None;
        }
        let within = self.rng.usize(0..tail);
        let done = match unsynced {
            Unsynced::Lost => {
                self.file.truncate(durable.len);
                Unsynced::Lost
            }
            Unsynced::Torn => {
                self.file.truncate(durable.len + within);
                Unsynced::Torn
            }
            Unsynced::Reordered => self.lose_sector(durable.len + within),
            Unsynced::Kept => Unsynced::Kept,
        };
        Some(done)
    }

    /// A sector in the un-synced tail did not reach the disk, although the last one did.
    fn lose_sector(&mut self, near: usize) -> Unsynced {
        let durable = self.durable(Time::MAX).len;
        let len = self.file.len();
        // Some of it that is not the end.
        let near = near.min(len.saturating_sub(SECTOR_BYTES + 1));
        let begin = (near / SECTOR_BYTES * SECTOR_BYTES).max(durable);
        let end = begin + SECTOR_BYTES;
        if end >= len {
            self.file.truncate(begin);
            return Unsynced::Torn;
        }
        self.file[begin..end].fill(0);
        Unsynced::Reordered
    }

    /// Puts an older copy in the place of the log, which ends before an entry; false if there is no
    /// such copy.
    pub fn cut_before(&mut self, index: u64) -> bool {
        let file = Bytes::from(self.file.clone());
        let has = |record: &Record| {
            let last = record.entries.last().map_or(0, |last| last.index);
            // A cut tells where it was cut, and what it cut off was there before.
            last.max(if record.kind == Kind::Anew { record.base.id.index } else { 0 }) >= index
        };
        let older = records(&file).take_while(|(record, _)| !has(record)).last();
        let at = older.map_or(0, |(_, next)| next);
        if index == 0 || at == file.len() {
            return false;
        }
        self.file.truncate(at);
        let durable = self.durable(Time::MAX);
        self.durable = vec![Durable { at: 0, len: at, ..durable }];
        true
    }

    /// Flips a bit of what was synced; false if there is nothing.
    pub fn rot(&mut self) -> bool {
        let len = self.durable(Time::MAX).len.min(self.file.len());
        if len == 0 {
            return false;
        }
        let byte = self.rng.usize(0..len);
        self.file[byte] ^= 1 << self.rng.u32(0..8);
        true
    }

    fn sync(&mut self, hard_state: &HardState, first: u64, last: u64) {
        if !self.is_volatile {
            self.now += self.rng.u64(120..900) + self.ailment.slow_us;
            if self.ailment.slow_us > 0 {
                self.incidents.push(Incident::Slow);
            }
        }
        let (term, vote, len) = (hard_state.term, hard_state.vote, self.file.len());
        let now = self.now;
        // Only the newest of those that are through is of use.
        if self.durable.len() > 8 {
            self.durable.drain(..4);
        }
        let first = self.unsynced_first.take().map_or(first, |unsynced| unsynced.min(first));
        self.durable.push(Durable { at: now, len, term, vote, last, first });
    }

    fn write_chains(&mut self, base: Option<Base>, entries: &[Entry]) {
        if let Some(base) = base {
            self.chains.begin(base.id, &self.known);
        }
        self.chains.write(entries, &mut self.written);
    }

    /// The hashes of what the file holds up to a length.
    fn replay_chains(&mut self, len: usize) {
        let file = Bytes::copy_from_slice(&self.file[..len]);
        self.chains = Chains::default();
        for (record, _) in records(&file) {
            let base = (record.kind == Kind::Anew).then_some(record.base);
            self.write_chains(base, &record.entries);
        }
        self.written.clear();
    }
}
