//! The sizes of a log's entries: what tells when to cut it, and where, without reading it.

use std::collections::VecDeque;

use super::{Entry, entry_bytes};

/// The sizes of all entries of a log, as running totals: nothing depends on how many there are.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// The index before the first entry.
    base: u64,
    /// Behind each entry, the bytes of all that were ever written up to it.
    ends: VecDeque<u64>,
    /// The bytes of those that are cut off.
    cut_bytes: u64,
}

impl Sizes {
    /// Those of a log that has nothing behind this index.
    pub fn new(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// How many entries there are.
    pub fn count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// How many bytes they have together.
    pub fn bytes(&self) -> u64 {
        self.end(self.ends.len()) - self.cut_bytes
    }

    /// How many bytes the entries up to an index have together.
    pub fn bytes_up_to(&self, index: u64) -> u64 {
        self.end(self.position(index)) - self.cut_bytes
    }

    /// Entries were written: those from the first one's index on are replaced.
    pub fn write(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.ends.truncate(self.position(first.index - 1));
        for entry in entries {
            let end = self.end(self.ends.len()) + entry_bytes(entry);
            self.ends.push_back(end);
        }
    }

    /// The entries up to an index were cut off.
    pub fn cut(&mut self, index: u64) {
        let position = self.position(index);
        self.cut_bytes = self.end(position);
        drop(self.ends.drain(..position));
        self.base = self.base.max(index);
    }

    /// The index behind which no more is left than so many entries and so many bytes.
    pub fn before_tail(&self, entries_max: u64, bytes_max: u64) -> u64 {
        let all = self.end(self.ends.len());
        let by_count = self.count().saturating_sub(entries_max);
        let by_bytes = if self.bytes() <= bytes_max {
            0
        } else {
            self.ends.partition_point(|end| all - end > bytes_max) as u64 + 1
        };
        self.base + by_count.max(by_bytes)
    }

    /// Where the first so many entries end.
    fn end(&self, count: usize) -> u64 {
        let last = count.checked_sub(1).and_then(|last| self.ends.get(last));
        last.copied().unwrap_or(self.cut_bytes)
    }

    fn position(&self, index: u64) -> usize {
        let position = usize::try_from(index.saturating_sub(self.base)).unwrap_or(usize::MAX);
        position.min(self.ends.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::entry;

    #[test]
    fn sizes_follow_writes_and_cuts() {
        let mut sizes = Sizes::new(0);
        sizes.write(&[entry(1, 1, &[0; 100]), entry(2, 1, b""), entry(3, 1, b"")]);
        let (small, large) = (entry_bytes(&entry(1, 1, b"")), entry_bytes(&entry(1, 1, &[0; 100])));
        assert_eq!((sizes.count(), sizes.bytes()), (3, large + 2 * small));
        sizes.write(&[entry(2, 2, &[0; 100])]);
        assert_eq!((sizes.count(), sizes.bytes()), (2, 2 * large));
        assert_eq!(sizes.bytes_up_to(1), large);
        sizes.cut(1);
        assert_eq!((sizes.count(), sizes.bytes(), sizes.bytes_up_to(1)), (1, large, 0));
        sizes.cut(2);
        sizes.write(&[entry(3, 2, b"")]);
        assert_eq!((sizes.count(), sizes.bytes(), sizes.bytes_up_to(9)), (1, small, small));
    }

    #[test]
    fn a_tail_is_bounded_by_entries_and_by_bytes() {
        let mut sizes = Sizes::new(0);
        let entries: Vec<_> = (1..=10).map(|index| entry(index, 1, b"")).collect();
        sizes.write(&entries);
        let small = sizes.bytes() / 10;
        assert_eq!(sizes.before_tail(4, u64::MAX), 6);
        assert_eq!(sizes.before_tail(u64::MAX, 3 * small), 7);
        assert_eq!(sizes.before_tail(u64::MAX, u64::MAX), 0);
        assert_eq!(sizes.before_tail(0, 0), 10);
    }
}
