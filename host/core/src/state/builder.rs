//! A state made from nothing but its pairs, as a snapshot brings them.
//!
//! It has no meta until [`StateBuilder::finish`], which sets it last and at once. So a state that
//! was left half-built is never taken for one: a store on disk refuses to open it.

use imbl::OrdMap;

use super::{Key, MemoryState, MemoryView, Meta, Space, StateStore, Value};
use crate::outcome::Fatal;

/// Builds a state. Dropped unfinished, it leaves nothing that can be opened.
pub trait StateBuilder {
    /// What it builds.
    type Store: StateStore;

    /// Adds a pair. Pairs come in the order of their spaces and keys, each once.
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Fatal>;

    /// The state of all pairs and this meta, durable where the store is.
    fn finish(self, meta: Meta) -> Result<Self::Store, Fatal>;
}

/// Builds a [`MemoryState`].
#[derive(Debug, Default)]
pub struct MemoryBuilder {
    view: MemoryView,
}

impl MemoryBuilder {
    /// Of no pairs yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StateBuilder for MemoryBuilder {
    type Store = MemoryState;

    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Fatal> {
        let pairs: &mut OrdMap<_, _> = self.view.pairs_mut(space);
        pairs.insert(Key::from_slice(key), Value::from(value));
        Ok(())
    }

    fn finish(self, meta: Meta) -> Result<MemoryState, Fatal> {
        Ok(MemoryState::of(MemoryView { meta, ..self.view }))
    }
}
