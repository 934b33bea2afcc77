//! The log of a group: entries and votes. The trait is the contract; [`MemoryLog`] is its
//! specification, and what a durable log is compared with ([`conformance`]).
//!
//! The raft crate's `Entry`, `HardState` and `ConfState` stand here as plain values.
//!
//! A log is cut at its front once a state has its entries, and begins anew behind a snapshot. It
//! always knows the term of the last entry that it no longer has: its base.
//!
//! What this deliberately does not know: when to cut. That is the replica's to decide.

pub mod conformance;
mod sizes;

use raft::eraftpb;

use crate::canary::{self, Canary};
use crate::id::LogId;
use crate::outcome::Fatal;

pub use eraftpb::{ConfState, Entry, HardState};
pub use sizes::Sizes;

/// Where a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The last entry that it no longer has; nothing was cut off when its index is 0.
    pub id: LogId,
    /// The number of the state that goes with it: each snapshot that is installed brings another.
    pub state: u64,
}

/// What one round of consensus must make durable, at once or not at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Persist<'a> {
    /// The log begins anew behind a snapshot: all that it held is gone. The state of that number is
    /// durable, and from here on the one to start with.
    pub base: Option<Base>,
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

    /// Forgets the entries up to `index`, which it has, and remembers that one's term. Atomic. A
    /// crash may undo it. What is not applied, and durable as state, must not be cut off.
    fn cut(&mut self, index: u64) -> Result<(), Fatal>;

    /// Where the log begins.
    fn base(&self) -> Base;

    /// The sizes of its entries.
    fn sizes(&self) -> &Sizes;

    /// Term, vote and commit as last persisted; the default when nothing was.
    fn hard_state(&self) -> HardState;

    /// The index of the last entry; that of the base when there is none.
    fn last_index(&self) -> u64;

    /// The term of the entry at `index`; known for the base too, `None` before it and past the end.
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

    fn cut(&mut self, index: u64) -> Result<(), Fatal> {
        (**self).cut(index)
    }

    fn base(&self) -> Base {
        (**self).base()
    }

    fn sizes(&self) -> &Sizes {
        (**self).sizes()
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
    base: Base,
    entries: Vec<Entry>,
    sizes: Sizes,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the entry at `index` is, or would be.
    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.id.index + 1)?).ok()
    }
}

impl LogStore for MemoryLog {
    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        if let Some(base) = round.base {
            self.base = base;
            self.entries.clear();
            self.sizes = Sizes::new(base.id.index);
        }
        if let Some(first) = round.entries.first() {
            check_append(first.index, self.base.id.index, self.last_index(), round.entries);
            let position = self.position(first.index).expect("an append is behind the base");
            let old = self.entries.split_off(position);
            self.entries.extend_from_slice(round.entries);
            if canary::is_planted(Canary::TailKept) {
                self.entries.extend(old.into_iter().skip(round.entries.len()));
            }
            self.sizes.write(round.entries);
        }
        if let Some(hard_state) = round.hard_state {
            self.hard_state.clone_from(hard_state);
        }
        Ok(())
    }

    fn cut(&mut self, index: u64) -> Result<(), Fatal> {
        let term = check_cut(self, index)?;
        let mut count = self.position(index + 1).expect("a cut is behind the base");
        if canary::is_planted(Canary::CutTooFar) {
            // And the next one takes its place.
            count = (count + 1).min(self.entries.len());
        }
        self.entries.drain(..count);
        self.sizes.cut(index);
        self.base.id = LogId { term, index };
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
        self.base.id.index + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> Result<Option<u64>, Fatal> {
        if index == self.base.id.index {
            return Ok(Some(self.base.id.term));
        }
        let entry = self.position(index).and_then(|position| self.entries.get(position));
        Ok(entry.map(|entry| entry.term))
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        let range = self.position(low).zip(self.position(high));
        let slice = range
            .and_then(|(low, high)| self.entries.get(low..high))
            .ok_or_else(|| Fatal::msg(format!("the log has no entries {low}..{high}")))?;
        let mut out = slice.to_vec();
        limit_bytes(&mut out, bytes_max);
        Ok(out)
    }
}

/// What every log asserts of an append: it is behind the base, no hole before it, none in it.
pub fn check_append(first: u64, base: u64, last_index: u64, entries: &[Entry]) {
    assert!(first > base, "an append at {first} would replace what was cut off at {base}");
    assert!(first <= last_index + 1, "an append at {first} would leave a hole behind {last_index}");
    for (expected, entry) in (first..).zip(entries) {
        assert_eq!(entry.index, expected, "a hole within an append");
    }
}

/// What every log asserts of a cut: it is within the log, and committed. Returns the term there.
pub fn check_cut(log: &impl LogStore, index: u64) -> Result<u64, Fatal> {
    let (base, last) = (log.base().id.index, log.last_index());
    assert!((base..=last).contains(&index), "a cut at {index} of a log from {base} to {last}");
    assert!(index <= log.hard_state().commit, "a cut at {index}, which is not committed");
    Ok(log.term(index)?.expect("the log has what it is cut at"))
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
            .persist(Persist { entries: &entries, must_sync: true, ..Persist::default() })
            .unwrap();
    }
}
