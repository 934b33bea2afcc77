//! A node's state on its disk: as in RocksDB without a write-ahead log, what is committed becomes
//! durable only some time later, in its order. A crash leaves the state of some earlier commit,
//! whole.
//!
//! States have numbers, as folders have names. One of them is in use; others came with snapshots,
//! and are durable as a whole. Which one a start goes on with is the log's to say.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::outcome::Fatal;
use quorate_core::state::{
    Changes, Key, MemoryState, Meta, Range, Space, StateStore, StateView, Value,
};

use crate::trace::{mix, mix_bytes};

/// How many commits may wait to be durable, on average.
const FLUSH_EVERY: u64 = 12;

/// The state of one node, over several of its processes.
#[derive(Debug)]
pub struct SimState(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// What a state holds that nothing was done to.
    genesis: Arc<Changes>,
    /// The number of the state in use.
    number: u64,
    /// Whole states that wait to be used, by number.
    staged: BTreeMap<u64, MemoryState>,
    live: Arc<MemoryState>,
    durable: MemoryState,
    /// Committed, in order, and not durable.
    pending: Vec<(Changes, Meta)>,
    rng: fastrand::Rng,
    /// The digest of the last commit's writes and meta.
    last_commit: u64,
}

impl SimState {
    /// A state that nothing was done to.
    pub fn new(rng: fastrand::Rng, genesis: &Arc<Changes>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            genesis: Arc::clone(genesis),
            number: 0,
            staged: BTreeMap::new(),
            live: Arc::new(begin(genesis)),
            durable: begin(genesis),
            pending: Vec::new(),
            rng,
            last_commit: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of what the last commit wrote, and of what it says of itself.
    pub fn last_commit(&self) -> u64 {
        self.lock().last_commit
    }

    /// The process has ended; returns how many commits are lost.
    pub fn crash(&self) -> Result<usize, Fatal> {
        let mut inner = self.lock();
        let all = inner.pending.len();
        let kept = inner.rng.usize(0..=all);
        let lost = all - kept;
        inner.flush(kept)?;
        inner.pending.clear();
        inner.live = Arc::new(copy(&inner.durable)?);
        Ok(lost)
    }

    /// Everything in it is gone.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        inner.staged.clear();
        inner.number = 0;
        inner.pending.clear();
        inner.durable = begin(&inner.genesis);
        inner.live = Arc::new(begin(&inner.genesis));
    }

    /// A state has come as a snapshot; from here on it is durable. Returns its number.
    pub fn stage(&self, changes: &Changes, meta: Meta) -> Result<u64, Fatal> {
        let mut inner = self.lock();
        let last = inner.staged.last_key_value().map_or(inner.number, |(number, _)| *number);
        let number = last.max(inner.number) + 1;
        let state = MemoryState::new();
        state.commit(changes, meta)?;
        inner.staged.insert(number, state);
        Ok(number)
    }

    /// A state that was staged takes the place of the one in use, which is gone.
    pub fn install(&self, number: u64) -> Result<(), Fatal> {
        let mut inner = self.lock();
        let missing = || Fatal::msg(format!("there is no state of number {number}"));
        let state = inner.staged.remove(&number).ok_or_else(missing)?;
        inner.pending.clear();
        inner.number = number;
        inner.live = Arc::new(copy(&state)?);
        inner.durable = state;
        Ok(())
    }

    /// A state that was staged is of no use.
    pub fn discard(&self, number: u64) {
        self.lock().staged.remove(&number);
    }

    /// A start goes on with the state of that number; all others go. False when it is not there.
    pub fn open(&self, number: u64) -> Result<bool, Fatal> {
        let is_staged = self.lock().staged.contains_key(&number);
        if is_staged {
            self.install(number)?;
        }
        let mut inner = self.lock();
        let is_there = inner.number == number;
        if is_there {
            inner.staged.clear();
        }
        Ok(is_there)
    }

    /// What the state of a number has made durable.
    pub fn durable(&self, number: u64) -> u64 {
        let inner = self.lock();
        let state = if inner.number == number { Some(&inner.durable) } else { None };
        let state = state.or_else(|| inner.staged.get(&number));
        state.map_or(0, |state| state.snapshot().meta().applied.index)
    }

    /// What was committed up to an index is durable now.
    pub fn flush_up_to(&self, index: u64) -> Result<(), Fatal> {
        let mut inner = self.lock();
        let count = inner.pending.partition_point(|(_, meta)| meta.applied.index <= index);
        inner.flush(count)
    }
}

impl Inner {
    fn flush(&mut self, count: usize) -> Result<(), Fatal> {
        for (changes, meta) in self.pending.drain(..count) {
            self.durable.commit(&changes, meta)?;
        }
        Ok(())
    }
}

fn begin(genesis: &Changes) -> MemoryState {
    let state = MemoryState::new();
    state.commit(genesis, Meta::default()).expect("a state in memory takes all");
    state
}

fn copy(state: &MemoryState) -> Result<MemoryState, Fatal> {
    let view = state.snapshot();
    let copy = MemoryState::new();
    copy.commit(&all(&*view)?, view.meta().clone())?;
    Ok(copy)
}

/// All of a state, as the changes that make it from nothing.
pub fn all(view: &dyn StateView) -> Result<Changes, Fatal> {
    let mut changes = Changes::default();
    for space in Space::ALL {
        let pairs = pairs(view, space)?;
        changes.space_mut(space).extend(pairs.into_iter().map(|(key, value)| (key, Some(value))));
    }
    Ok(changes)
}

/// A number that stands for all of a state.
pub fn digest(view: &dyn StateView) -> Result<u64, Fatal> {
    let meta = mix_bytes(0, &view.meta().encode());
    Ok(digest_of(meta, &all(view)?))
}

fn digest_of(seed: u64, changes: &Changes) -> u64 {
    let mut digest = seed;
    for space in Space::ALL {
        digest = mix(digest, space.number().into());
        for (key, value) in changes.space(space) {
            digest = mix_bytes(mix_bytes(digest, key), value.as_deref().unwrap_or(b"deleted"));
            digest = mix(digest, value.is_some().into());
        }
    }
    digest
}

/// All pairs of a space.
pub fn pairs(view: &dyn StateView, space: Space) -> Result<Vec<(Key, Value)>, Fatal> {
    let mut pairs = Vec::new();
    view.scan(space, Range::ALL, &mut |key, value| {
        pairs.push((Key::from_slice(key), Value::from(value)));
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}

impl StateStore for SimState {
    fn snapshot(&self) -> Arc<dyn StateView> {
        self.lock().live.snapshot()
    }

    fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal> {
        let mut inner = self.lock();
        let digest = digest_of(mix_bytes(0, &meta.encode()), changes);
        inner.last_commit = digest;
        inner.live.commit(changes, meta.clone())?;
        inner.pending.push((changes.clone(), meta));
        if inner.rng.u64(0..FLUSH_EVERY) == 0 {
            let all = inner.pending.len();
            let count = inner.rng.usize(0..=all);
            inner.flush(count)?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Fatal> {
        let mut inner = self.lock();
        let all = inner.pending.len();
        inner.flush(all)
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::state::{Writes, conformance};

    use super::*;

    struct Shared(Arc<SimState>);

    impl StateStore for Shared {
        fn snapshot(&self) -> Arc<dyn StateView> {
            self.0.snapshot()
        }
        fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal> {
            self.0.commit(changes, meta)
        }
        fn flush(&self) -> Result<(), Fatal> {
            self.0.flush()
        }
    }

    #[test]
    fn the_simulated_state_conforms() {
        conformance::suite(|| Shared(SimState::new(fastrand::Rng::with_seed(1), &Arc::default())));
    }

    #[test]
    fn a_crash_leaves_an_earlier_commit_whole() {
        let mut lost = 0;
        for seed in 0..100 {
            let state = SimState::new(fastrand::Rng::with_seed(seed), &Arc::default());
            for index in 1..=5 {
                let value = Value::from(index.to_string().as_bytes());
                let write = (Key::from_slice(b"k"), Some(value));
                let plugin: Writes = [write].into_iter().collect();
                let changes = Changes { sessions: plugin.clone(), plugin };
                state.commit(&changes, conformance::meta(index)).unwrap();
            }
            lost += state.crash().unwrap();
            let view = state.snapshot();
            let index = view.meta().applied.index;
            let expected = (index > 0).then(|| Value::from(index.to_string().as_bytes()));
            for space in Space::ALL {
                assert_eq!(view.get(space, b"k").unwrap(), expected);
            }
        }
        assert!(lost > 50, "crashes lose something: {lost}");
    }
}
