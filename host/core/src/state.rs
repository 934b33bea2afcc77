//! The state of a machine: ordered byte keys, a store of them for each [`Space`], and the place in
//! the log that they stand for. The trait is the contract; [`MemoryState`] is its specification
//! ([`conformance`]).

mod builder;
pub mod conformance;
pub(crate) mod layer;
mod meta;

use std::ops::ControlFlow;
use std::sync::{Arc, RwLock};

use imbl::OrdMap;
use smallvec::SmallVec;

use crate::canary::{self, Canary};
use crate::outcome::Fatal;

pub use self::builder::{MemoryBuilder, StateBuilder};
pub use self::layer::Layer;
pub use self::meta::Meta;

/// Whose keys: the same bytes in two spaces are two keys. Its number is part of what is stored and
/// sent, and of the order in which a state is shown as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
    /// What the plugin keeps.
    Plugin = 1,
    /// What sessions have been told.
    Sessions = 2,
}

impl Space {
    /// All of them, in their order.
    pub const ALL: [Self; 2] = [Self::Plugin, Self::Sessions];

    /// The number that it is stored by.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The space of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|space| space.number() == number)
    }
}

/// A key. Short ones, which most are, lie where they are kept: to compare them, no further memory
/// is to be fetched.
pub type Key = SmallVec<[u8; KEY_INLINE_BYTES]>;
/// As many as make a [`Key`] no larger than an allocation and what holds on to it.
const KEY_INLINE_BYTES: usize = 24;

/// A value. Who keeps it and who reads it share it.
pub type Value = Arc<[u8]>;

/// Writes to one space: a value, or `None` for a deletion, by key.
pub type Writes = std::collections::BTreeMap<Key, Option<Value>>;

/// What one commit writes, space by space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To [`Space::Plugin`].
    pub plugin: Writes,
    /// To [`Space::Sessions`].
    pub sessions: Writes,
}

impl Changes {
    /// The writes of one space.
    pub fn space(&self, space: Space) -> &Writes {
        match space {
            Space::Plugin => &self.plugin,
            Space::Sessions => &self.sessions,
        }
    }

    /// The same, to add to.
    pub fn space_mut(&mut self, space: Space) -> &mut Writes {
        match space {
            Space::Plugin => &mut self.plugin,
            Space::Sessions => &mut self.sessions,
        }
    }
}

impl From<Writes> for Changes {
    /// Writes of the plugin alone.
    fn from(plugin: Writes) -> Self {
        Self { plugin, sessions: Writes::new() }
    }
}

/// Where a machine's state is kept. One writer (apply), any number of readers.
pub trait StateStore: Send + Sync + 'static {
    /// The state as it is now, unmoved by later commits. Cheap.
    fn snapshot(&self) -> Arc<dyn StateView>;

    /// Applies the writes of one entry, to all spaces, and its meta, at once or not at all. Not
    /// durable on return: after a crash the state is that of this or an earlier commit, and the log
    /// has the rest. After an error nothing more may be committed; what failed may be seen, and is
    /// never durable.
    fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal>;

    /// Makes all commits so far durable.
    fn flush(&self) -> Result<(), Fatal>;
}

/// A state that does not change.
pub trait StateView: Send + Sync {
    /// What it knows of itself.
    fn meta(&self) -> &Meta;

    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Value>, Fatal>;

    /// Shows the pairs of a range in order of their keys until `visit` breaks.
    fn scan(&self, space: Space, range: Range<'_>, visit: &mut Visit<'_>) -> Result<(), Fatal>;
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
    /// All keys, from the first to the last.
    pub const ALL: Self = Self { lo: b"", hi: None, reverse: false };

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.hi.is_some_and(|hi| hi <= self.lo)
    }
}

/// A state in memory: persistent maps, whose snapshot is a copy of its root.
#[derive(Debug, Default)]
pub struct MemoryState {
    // Held for the moment that it takes to copy or replace the root, or to write what one entry
    // has changed.
    root: RwLock<Arc<MemoryView>>,
}

#[derive(Clone, Debug, Default)]
struct MemoryView {
    plugin: OrdMap<Key, Value>,
    sessions: OrdMap<Key, Value>,
    meta: Meta,
}

impl MemoryView {
    fn pairs(&self, space: Space) -> &OrdMap<Key, Value> {
        match space {
            Space::Plugin => &self.plugin,
            Space::Sessions => &self.sessions,
        }
    }

    fn pairs_mut(&mut self, space: Space) -> &mut OrdMap<Key, Value> {
        match space {
            Space::Plugin => &mut self.plugin,
            Space::Sessions => &mut self.sessions,
        }
    }

    fn write(&mut self, changes: &Changes, meta: Meta) {
        for space in Space::ALL {
            let pairs = self.pairs_mut(space);
            for (key, value) in changes.space(space) {
                match value {
                    Some(value) => pairs.insert(key.clone(), Value::clone(value)),
                    None if canary::is_planted(Canary::DeletionsLost) => None,
                    None => pairs.remove::<[u8]>(key),
                };
            }
        }
        self.meta = meta;
    }
}

impl MemoryState {
    /// An empty state.
    pub fn new() -> Self {
        Self::default()
    }

    fn of(view: MemoryView) -> Self {
        Self { root: RwLock::new(Arc::new(view)) }
    }

    fn root(&self) -> Arc<MemoryView> {
        Arc::clone(&self.root.read().expect("no holder of this lock panics"))
    }
}

impl StateStore for MemoryState {
    fn snapshot(&self) -> Arc<dyn StateView> {
        self.root()
    }

    fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal> {
        // In place while nobody has a snapshot: else each node of the maps that it meets is copied.
        let mut root = self.root.write().expect("no holder of this lock panics");
        if let Some(view) = Arc::get_mut(&mut root) {
            view.write(changes, meta);
            return Ok(());
        }
        drop(root);
        let mut view = MemoryView::clone(&self.root());
        view.write(changes, meta);
        *self.root.write().expect("no holder of this lock panics") = Arc::new(view);
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

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Value>, Fatal> {
        Ok(self.pairs(space).get(key).cloned())
    }

    fn scan(&self, space: Space, range: Range<'_>, visit: &mut Visit<'_>) -> Result<(), Fatal> {
        if range.is_empty() {
            return Ok(());
        }
        let pairs = self.pairs(space).range::<_, [u8]>(layer::bounds(range));
        let mut show = |(key, value): (&Key, &Value)| visit(key, value);
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
        conformance::builders(MemoryBuilder::new);
    }
}
