//! A node's disk, as far as its log is concerned, and the log on it.
//!
//! The log is a file of records, one for each durable round, each with a checksum. What was written
//! and not synced when the process ends may be there, gone, cut off, or there in parts; what was
//! synced may rot. The log that runs on it is the core's own [`MemoryLog`], filled from the file at
//! each start: so what a crash leaves behind is what raft starts from.
//!
//! The disk also keeps what the simulator knows better than the node: what is durable at which
//! moment, and the hash chain of the entries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protobuf::Message as _;
use quorate_core::log::{Entry, HardState, LogStore, MemoryLog, Persist};
use quorate_core::outcome::Fatal;

use crate::fault::Unsynced;
use crate::oracle::Violation;
use crate::time::Time;
use crate::trace::{mix, mix_bytes};

/// What is torn or reordered: a file system writes no less.
const SECTOR_BYTES: usize = 64;
const HEADER_BYTES: usize = 8;

/// A disk that several lives of a node share.
pub type SharedDisk = Arc<Mutex<Disk>>;

/// An entry that a node has just written, for whoever compares the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Its place.
    pub index: u64,
    /// Its term.
    pub term: u64,
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
    /// Chains of the entries that the running node sees, from index 1.
    chains: Vec<u64>,
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
    pub fn new(is_volatile: bool, rng: fastrand::Rng) -> SharedDisk {
        Arc::new(Mutex::new(Self {
            file: Vec::new(),
            is_volatile,
            durable: vec![Durable::default()],
            unsynced_first: None,
            chains: Vec::new(),
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

    /// The hashes of all entries up to each one, from index 1.
    pub fn chains(&self) -> &[u64] {
        &self.chains
    }

    /// The hash of all entries up to an index; `None` past the end.
    pub fn chain(&self, index: u64) -> Option<u64> {
        let Some(position) = index.checked_sub(1) else { return Some(0) };
        self.chains.get(usize::try_from(position).ok()?).copied()
    }

    /// Everything on it is gone: an operator starts over with an empty folder. Returns the hashes
    /// of the entries that were there.
    pub fn wipe(&mut self) -> Vec<u64> {
        self.file.clear();
        self.durable = vec![Durable::default()];
        std::mem::take(&mut self.chains)
    }

    /// The process has ended. Returns what became of what was not synced, if there was any.
    pub fn crash(&mut self, now: Time, unsynced: Unsynced) -> Option<Unsynced> {
        let durable = self.durable(now);
        let last = usize::try_from(self.durable_last(now)).unwrap_or(usize::MAX);
        self.chains.truncate(last);
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
        let mut at = 0;
        while let Some((_, entries, next)) = decode(&file, at) {
            if entries.last().is_some_and(|last| last.index >= index) {
                break;
            }
            at = next;
        }
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

    fn extend_chains(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let keep = usize::try_from(first.index - 1).unwrap_or(usize::MAX);
        self.chains.truncate(keep);
        for entry in entries {
            let before = self.chains.last().copied().unwrap_or(0);
            let kind = entry.get_entry_type() as u64;
            let chain = mix_bytes(mix(mix(before, entry.term), kind), &entry.data);
            self.chains.push(chain);
            self.written.push(Written { index: entry.index, term: entry.term, chain });
        }
    }
}

/// The log that is on a disk now, apart from any process: what of it can be read.
pub fn peek(disk: &SharedDisk) -> MemoryLog {
    let file = Bytes::from(lock(disk).file.clone());
    let mut memory = MemoryLog::new();
    let mut at = 0;
    while let Some((hard_state, entries, next)) = decode(&file, at) {
        let round = Persist { hard_state: Some(&hard_state), entries: &entries, must_sync: false };
        if memory.persist(round).is_err() {
            break;
        }
        at = next;
    }
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
        let before = std::mem::take(&mut this.chains);
        let synced = this.durable(Time::MAX).len;
        let file = Bytes::from(this.file.clone());
        let mut at = 0;
        while at < file.len() {
            let Some((hard_state, entries, next)) = decode(&file, at) else {
                if at < synced {
                    // What was in it counts, though nobody can read it any more.
                    this.chains = before;
                    return Err(Fatal::msg(format!("the log is damaged at byte {at}")));
                }
                // It was never synced, so nobody was told of it.
                this.file.truncate(at);
                break;
            };
            memory.persist(Persist {
                hard_state: Some(&hard_state),
                entries: &entries,
                must_sync: false,
            })?;
            this.extend_chains(&entries);
            at = next;
        }
        this.written.clear();
        // What a start has read is durable: it reads from the disk, not from a cache.
        let hard_state = memory.hard_state();
        let (len, last) = (this.file.len(), memory.last_index());
        let (term, vote) = (hard_state.term, hard_state.vote);
        this.durable = vec![Durable { at: 0, len, term, vote, last, first: u64::MAX }];
        drop(this);
        Ok(Self { memory, disk: Arc::clone(disk) })
    }
}

impl LogStore for SimLog {
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        let before = self.memory.hard_state();
        self.memory.persist(round)?;
        let hard_state = self.memory.hard_state();
        let last = self.memory.last_index();
        let mut disk = lock(&self.disk);
        let disk = &mut *disk;
        if disk.violation.is_none() {
            disk.violation = broken_promise(&before, &hard_state);
        }
        let expected = round.entries.last().map_or(disk.chains.len() as u64, |entry| entry.index);
        if last != expected {
            let detail = format!("it ends at {last} instead of {expected}");
            disk.violation = Some(Violation::new("a log holds what was written", detail));
        }
        // As in the log on RocksDB, a commit index alone stays in memory until the next round.
        if round.entries.is_empty() && !round.must_sync {
            return Ok(());
        }
        disk.extend_chains(round.entries);
        if disk.ailment.is_full {
            disk.incidents.push(Incident::Full);
            return Err(Fatal::msg("writing the log: no space left on the disk"));
        }
        if !disk.is_volatile {
            let record = encode(&hard_state, round.entries);
            disk.file.extend_from_slice(&record);
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
        if round.must_sync {
            disk.sync(&hard_state, first, last);
        } else {
            let unsynced = disk.unsynced_first.unwrap_or(u64::MAX);
            disk.unsynced_first = Some(unsynced.min(first));
        }
        Ok(())
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

/// A record: length and checksum, each 4 bytes; then term, vote, commit, and the entries.
fn encode(hard_state: &HardState, entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in [hard_state.term, hard_state.vote, hard_state.commit] {
        body.extend(part.to_le_bytes());
    }
    for entry in entries {
        entry.write_length_delimited_to_vec(&mut body).expect("an entry always encodes");
    }
    let len = u32::try_from(body.len()).expect("a round is limited");
    let mut record = len.to_le_bytes().to_vec();
    // The length is part of what is checked.
    record.extend(crc32c::crc32c_append(len, &body).to_le_bytes());
    record.extend(body);
    record
}

fn decode(file: &Bytes, at: usize) -> Option<(HardState, Vec<Entry>, usize)> {
    let number = |at: usize| {
        let bytes = file.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (len, crc) = (number(at)?, number(at + 4)?);
    let end = at + HEADER_BYTES + usize::try_from(len).ok()?;
    let body = file.get(at + HEADER_BYTES..end)?;
    if body.len() < 24 || crc32c::crc32c_append(len, body) != crc {
        return None;
    }
    let part = |at: usize| body[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let mut hard_state = HardState::default();
    (hard_state.term, hard_state.vote, hard_state.commit) = (part(0)?, part(8)?, part(16)?);
    let mut entries = Vec::new();
    let rest = file.slice(at + HEADER_BYTES + 24..end);
    let mut input = protobuf::CodedInputStream::from_carllerche_bytes(&rest);
    while !input.eof().ok()? {
        entries.push(input.read_message().ok()?);
    }
    Some((hard_state, entries, end))
}

#[cfg(test)]
mod tests {
    use quorate_core::log::conformance;

    use super::*;

    fn open(disk: &SharedDisk) -> SimLog {
        SimLog::open(disk).unwrap()
    }

    #[test]
    fn the_simulated_log_conforms() {
        conformance::suite(|| open(&Disk::new(false, fastrand::Rng::with_seed(1))));
    }

    /// Two rounds, of which the second is not synced when the process ends.
    fn crashed(unsynced: Unsynced, seed: u64) -> (SharedDisk, Option<Unsynced>) {
        let disk = Disk::new(false, fastrand::Rng::with_seed(seed));
        let mut log = open(&disk);
        conformance::append(&mut log, &[conformance::entry(1, 1, b"durable")]);
        let synced = lock(&disk).now;
        conformance::append(&mut log, &[conformance::entry(2, 1, &[7; 500])]);
        let done = lock(&disk).crash(synced, unsynced);
        (disk, done)
    }

    #[test]
    fn what_was_synced_is_there_whatever_became_of_the_rest() {
        for seed in 0..50 {
            for unsynced in [Unsynced::Lost, Unsynced::Torn, Unsynced::Reordered] {
                let (disk, done) = crashed(unsynced, seed);
                assert!(done.is_some());
                assert_eq!(open(&disk).last_index(), 1, "seed {seed}, {unsynced:?}");
            }
            let (disk, _) = crashed(Unsynced::Kept, seed);
            assert_eq!(open(&disk).last_index(), 2);
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for seed in 0..200 {
            let (disk, _) = crashed(Unsynced::Lost, seed);
            assert!(lock(&disk).rot());
            let error = SimLog::open(&disk).expect_err("it is damaged").to_string();
            assert!(error.contains("damaged"), "{error}");
        }
    }
}
