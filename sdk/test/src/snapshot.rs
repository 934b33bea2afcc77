//! A state as a test holds it: to compare, to look at, to go on from.

use std::fmt;
use std::ops::ControlFlow;

use quorate_core::id::LogId;
use quorate_core::outcome::Fatal;
use quorate_core::state::{
    Changes, Key, MemoryState, Meta, Range, Space, StateStore as _, StateView, Value,
};

use crate::dump;

/// All that a plugin has stored, and the place in the log and the time that it is of. Two are equal
/// when the same is stored, wherever they come from.
#[derive(Clone, Default)]
pub struct Snapshot {
    pairs: Vec<(Key, Value)>,
    index: u64,
    time_ms: u64,
}

impl Snapshot {
    /// A state at a time.
    pub(crate) fn of(view: &dyn StateView, index: u64, time_ms: u64) -> Result<Self, Fatal> {
        let mut pairs = Vec::new();
        view.scan(Space::Plugin, Range::ALL, &mut |key, value| {
            pairs.push((Key::from_slice(key), Value::from(value)));
            ControlFlow::Continue(())
        })?;
        Ok(Self { pairs, index, time_ms })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The stored pairs, in the order of their keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The log index that it is of.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// The time that it was taken at.
    pub(crate) fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Makes it that of another time.
    pub(crate) fn set_time_ms(&mut self, time_ms: u64) {
        self.time_ms = time_ms;
    }

    /// What makes it from nothing.
    pub(crate) fn changes(&self) -> Changes {
        let pairs = self.pairs.iter();
        let plugin = pairs.map(|(key, value)| (key.clone(), Some(Value::clone(value)))).collect();
        Changes { plugin, ..Changes::default() }
    }

    /// The same as a state, where the log goes on.
    pub(crate) fn state(&self) -> Result<MemoryState, Fatal> {
        let state = MemoryState::new();
        let applied = LogId { term: 1, index: self.index };
        let meta = Meta { applied, time_ms: self.time_ms, ..Meta::default() };
        state.commit(&self.changes(), meta)?;
        Ok(state)
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.pairs == other.pairs
    }
}

impl Eq for Snapshot {}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pairs().try_for_each(|(key, value)| writeln!(f, "{}", dump::pair(key, value)))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}:\n{self}", self.index)
    }
}
