//! The log of a group: entries and votes. The trait is the contract; [`MemoryLog`] is its
//! specification, and what a durable log is compared with ([`conformance`]).
//!
//! The raft crate's `Entry`, `HardState` and `ConfState` stand here as plain values.
//!
//! What this deliberately does not have yet: cutting the log. It begins at index 1 for as long as
//! there are no snapshots that a follower without those entries could start from.

pub mod conformance;

use raft::eraftpb;

use crate::canary::{self, Canary};
use crate::outcome::Fatal;

pub use eraftpb::{ConfState, Entry, HardState};

/// What one round of consensus must make durable, at once or not at all.
#[derive(Clone, Copy, Debug)]
pub struct Persist<'a> {
    /// Term, vote and commit, when they changed.
    pub hard_state: Option<&'a HardState>,
    /// Entries without holes. What the log holds from the first one's index on is replaced: an
    /// older tail never outlives a newer entry.
    pub entries: &'a [Entry],
    /// False for a round that changed nothing but the commit index: a log may keep that in memory
    /// until the next durable round, since it is found again from the entries.
    pub must_sync: bool,
}

/// Where a group's entries and votes are kept.
pub trait LogStore: Send + 'static {
    /// The only writer of the log. Atomic, and durable on return when `must_sync`.
    /// An error is final: whether the data is on disk is then unknown, so nobody may try again.
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal>;

    /// Term, vote and commit as last persisted; the default when nothing was.
    fn hard_state(&self) -> HardState;

    /// The index of the last entry; 0 when there is none.
    fn last_index(&self) -> u64;

    /// The term of the entry at `index`; 0 for index 0, `None` past the end.
    fn term(&self, index: u64) -> Result<Option<u64>, Fatal>;

    /// The entries from `low` up to, not including, `high`, both within the log. Stops early when
    /// they would exceed `bytes_max`, but holds at least one, since an entry larger than the limit
    /// would else never be sent.
    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, Fatal>;
}

impl LogStore for Box<dyn LogStore> {
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        (**self).persist(round)
    }

    fn hard_state(&self) -> HardState {
        (**self).hard_state()
    }

    fn last_index(&self) -> u64 {
        (**self).last_index()
    }

    fn term(&self, index: u64) -> Result<Option<u64>, Fatal> {
        (**self).term(index)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        (**self).entries(low, high, bytes_max)
    }
}

/// A log in memory: gone with its process.
#[derive(Debug, Default)]
pub struct MemoryLog {
    hard_state: HardState,
    entries: Vec<Entry>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    fn position(index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(1)?).ok()
    }
}

impl LogStore for MemoryLog {
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        if let Some(first) = round.entries.first() {
            check_append(first.index, self.last_index(), round.entries);
            let position = Self::position(first.index).expect("indexes begin at 1");
            let old = self.entries.split_off(position);
            self.entries.extend_from_slice(round.entries);
            if canary::is_planted(Canary::TailKept) {
                self.entries.extend(old.into_iter().skip(round.entries.len()));
            }
        }
        if let Some(hard_state) = round.hard_state {
            self.hard_state.clone_from(hard_state);
        }
        Ok(())
    }

    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn last_index(&self) -> u64 {
        self.entries.len() as u64
    }

    fn term(&self, index: u64) -> Result<Option<u64>, Fatal> {
        let Some(position) = Self::position(index) else { return Ok(Some(0)) };
        Ok(self.entries.get(position).map(|entry| entry.term))
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        let range = Self::position(low).zip(Self::position(high));
        let slice = range
            .and_then(|(low, high)| self.entries.get(low..high))
            .ok_or_else(|| Fatal::msg(format!("the log has no entries {low}..{high}")))?;
        let mut out = slice.to_vec();
        limit_bytes(&mut out, bytes_max);
        Ok(out)
    }
}

/// What every log asserts of an append: no hole before it, none in it.
pub fn check_append(first: u64, last_index: u64, entries: &[Entry]) {
    assert!(
        (1..=last_index + 1).contains(&first),
        "an append at {first} would leave a hole behind {last_index}"
    );
    for (expected, entry) in (first..).zip(entries) {
        assert_eq!(entry.index, expected, "a hole within an append");
    }
}

/// Cuts entries to `bytes_max`, keeping at least one.
pub fn limit_bytes(entries: &mut Vec<Entry>, bytes_max: u64) {
    let mut bytes = 0;
    let keep = entries.iter().take_while(|entry| {
        bytes += entry_bytes(entry);
        bytes <= bytes_max
    });
    let keep = keep.count().max(1);
    entries.truncate(keep);
}

/// The size of an entry as limits count it: its payload and a little for the rest.
pub fn entry_bytes(entry: &Entry) -> u64 {
    const ENTRY_OVERHEAD_BYTES: u64 = 24;
    entry.data.len() as u64 + entry.context.len() as u64 + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_log_conforms() {
        conformance::suite(MemoryLog::new);
    }

    #[test]
    #[should_panic(expected = "would leave a hole")]
    fn an_append_that_leaves_a_hole_is_a_broken_invariant() {
        let entries = [conformance::entry(2, 1, b"x")];
        MemoryLog::new()
            .persist(Persist { hard_state: None, entries: &entries, must_sync: true })
            .unwrap();
    }
}
