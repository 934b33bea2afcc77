//! The end of a log, in memory: what followers ask for and what consensus looks up is nearly always
//! recent, and then no read meets the disk.

use std::collections::VecDeque;

use quorate_core::log::{Entry, entry_bytes};

/// The last entries of a log, as many as fit into a number of bytes; maybe none.
#[derive(Debug)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: u64,
    bytes_max: u64,
}

impl Tail {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the entry that follows the last one, and forgets the oldest ones over the limit.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
        while self.bytes > self.bytes_max {
            let oldest = self.entries.pop_front().expect("no entries, no bytes");
            self.bytes -= entry_bytes(&oldest);
        }
    }

    /// Forgets the entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64) {
        while let Some(last) = self.entries.pop_back_if(|last| last.index >= index) {
            self.bytes -= entry_bytes(&last);
        }
    }

    /// Forgets the entries up to `index`.
    pub(super) fn cut(&mut self, index: u64) {
        while let Some(first) = self.entries.pop_front_if(|first| first.index <= index) {
            self.bytes -= entry_bytes(&first);
        }
    }

    /// The entry at `index`, when it is here.
    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(self.position(index)?)
    }

    /// The entries from `low` up to, not including, `high`, when all of them are here.
    pub(super) fn range(&self, low: u64, high: u64) -> Option<impl Iterator<Item = &Entry>> {
        let (low, high) = (self.position(low)?, self.position(high)?);
        (low <= high && high <= self.entries.len()).then(|| self.entries.range(low..high))
    }

    fn position(&self, index: u64) -> Option<usize> {
        let first = self.entries.front()?.index;
        usize::try_from(index.checked_sub(first)?).ok()
    }
}
