//! The state of a machine: an ordered store of byte keys, and the place in the log it stands for.
//! The trait is the contract; [`MemoryState`] is its specification ([`conformance`]).

pub mod conformance;

use std::ops::ControlFlow;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use imbl::OrdMap;

use crate::canary::{self, Canary};
use crate::id::LogId;
use crate::outcome::Fatal;

/// What a state knows of itself, changed together with the pairs, at once or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The last entry applied.
    pub applied: LogId,
    /// The machine's time: the largest that an applied entry carried.
    pub time_ms: u64,
    /// The group's members as of `applied`, encoded by consensus; empty for the founders.
    pub conf: Bytes,
}

/// The writes of one entry: a value, or `None` for a deletion, by key.
pub type Writes = std::collections::BTreeMap<Bytes, Option<Bytes>>;

/// Where a machine's state is kept. One writer (apply), any number of readers.
pub trait StateStore: Send + Sync + 'static {
    /// The state as it is now, unmoved by later commits. Cheap.
    fn snapshot(&self) -> Arc<dyn StateView>;

    /// Applies the writes of one entry and its meta, at once or not at all. Not durable on return:
    /// after a crash the state is that of this or an earlier commit, and the log has the rest.
    fn commit(&self, writes: Writes, meta: Meta) -> Result<(), Fatal>;

    /// Makes all commits so far durable.
    fn flush(&self) -> Result<(), Fatal>;
}

/// A state that does not change.
pub trait StateView: Send + Sync {
    /// What it knows of itself.
    fn meta(&self) -> &Meta;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fatal>;

    /// Shows the pairs of a range in order of their keys until `visit` breaks.
    fn scan(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<(), Fatal>;
}

/// What a scan calls with each key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Keys from `lo` up to, not including, `hi`.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// The first key.
    pub lo: &'a [u8],
    /// Where to end; `None` goes to the last key there is.
    pub hi: Option<&'a [u8]>,
    /// From the last key to the first.
    pub reverse: bool,
}

impl Range<'_> {
    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.hi.is_some_and(|hi| hi <= self.lo)
    }
}

/// A state in memory: a persistent map, whose snapshot is a copy of its root.
#[derive(Debug, Default)]
pub struct MemoryState {
    // Held for the moment that it takes to copy or replace the root.
    root: RwLock<Arc<MemoryView>>,
}

#[derive(Clone, Debug, Default)]
struct MemoryView {
    pairs: OrdMap<Bytes, Bytes>,
    meta: Meta,
}

impl MemoryState {
    /// An empty state.
    pub fn new() -> Self {
        Self::default()
    }

    fn root(&self) -> Arc<MemoryView> {
        Arc::clone(&self.root.read().expect("no holder of this lock panics"))
    }
}

impl StateStore for MemoryState {
    fn snapshot(&self) -> Arc<dyn StateView> {
        self.root()
    }

    fn commit(&self, writes: Writes, meta: Meta) -> Result<(), Fatal> {
        let mut pairs = self.root().pairs.clone();
        for (key, value) in writes {
            match value {
                Some(value) => pairs.insert(key, value),
                None if canary::is_planted(Canary::DeletionsLost) => None,
                None => pairs.remove(&key),
            };
        }
        let view = Arc::new(MemoryView { pairs, meta });
        *self.root.write().expect("no holder of this lock panics") = view;
        Ok(())
    }

    fn flush(&self) -> Result<(), Fatal> {
        Ok(())
    }
}

impl StateView for MemoryView {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fatal> {
        Ok(self.pairs.get(key).cloned())
    }

    fn scan(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<(), Fatal> {
        use std::ops::Bound;
        if range.is_empty() {
            return Ok(());
        }
        let hi = range.hi.map_or(Bound::Unbounded, Bound::Excluded);
        let pairs = self.pairs.range::<_, [u8]>((Bound::Included(range.lo), hi));
        let mut show = |(key, value): (&Bytes, &Bytes)| visit(key, value);
        // Broken off or run to the end: the caller knows which.
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = if range.reverse {
            pairs.rev().try_for_each(&mut show)
        } else {
            pairs.into_iter().try_for_each(&mut show)
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_state_conforms() {
        conformance::suite(MemoryState::new);
    }
}
