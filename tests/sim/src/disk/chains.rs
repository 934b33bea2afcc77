//! Hashes of all entries up to each one: what the simulator compares logs by. A log that begins
//! behind a snapshot has that of the snapshot's last entry, which others have written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_core::id::LogId;
use quorate_core::log::Entry;

use super::Written;
use crate::trace::{mix, mix_bytes};

/// The hash of every log up to every entry that some node wrote. Never gone through in its order.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<HashMap<(u64, u64), u64>>>);

impl Known {
    /// The hash up to an entry.
    pub fn get(&self, id: LogId) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(id.index, id.term)).copied()
    }

    /// Takes a hash down unless there is one; returns the one that was there first.
    pub fn first(&self, id: LogId, chain: u64) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry((id.index, id.term)).or_insert(chain)
    }

    /// Takes a hash down, whatever was there.
    pub fn replace(&self, id: LogId, chain: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((id.index, id.term), chain);
    }
}

/// The hashes of one log.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    /// The last index before the first hash.
    base: u64,
    /// The hash up to the base.
    before: u64,
    hashes: Vec<u64>,
}

impl Chains {
    /// The index of the last entry.
    pub fn last(&self) -> u64 {
        self.base + self.hashes.len() as u64
    }

    /// The hash of all entries up to an index; `None` past the end, and before the beginning.
    pub fn get(&self, index: u64) -> Option<u64> {
        if index == self.base {
            return Some(self.before);
        }
        self.hashes.get(usize::try_from(index.checked_sub(self.base + 1)?).ok()?).copied()
    }

    /// Whether an entry is covered by the snapshot that the log begins with.
    pub fn covers(&self, index: u64) -> bool {
        index < self.base
    }

    pub(super) fn truncate(&mut self, last: u64) {
        let keep = last.saturating_sub(self.base);
        self.hashes.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// The log begins behind an entry that others have written.
    pub(super) fn begin(&mut self, id: LogId, known: &Known) {
        let before = known.get(id).unwrap_or(u64::MAX);
        *self = Self { base: id.index, before, hashes: Vec::new() };
    }

    pub(super) fn write(&mut self, entries: &[Entry], written: &mut Vec<Written>) {
        let Some(first) = entries.first() else { return };
        self.truncate(first.index - 1);
        for entry in entries {
            let before = self.hashes.last().copied().unwrap_or(self.before);
            let kind = entry.get_entry_type() as u64;
            let chain = mix_bytes(mix(mix(before, entry.term), kind), &entry.data);
            self.hashes.push(chain);
            let id = LogId { term: entry.term, index: entry.index };
            written.push(Written { id, chain });
        }
    }
}
