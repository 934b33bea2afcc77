//! A node's state on its disk: as in RocksDB without a write-ahead log, what is committed becomes
//! durable only some time later, in its order. A crash leaves the state of some earlier commit,
//! whole.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_core::outcome::Fatal;
use quorate_core::state::{MemoryState, Meta, Range, StateStore, StateView, Writes};

use crate::trace::{mix, mix_bytes};

/// How many commits may wait to be durable, on average.
const FLUSH_EVERY: u64 = 12;

/// The state of one node, over several of its processes.
#[derive(Debug)]
pub struct SimState(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    live: Arc<MemoryState>,
    durable: MemoryState,
    /// Committed, in order, and not durable.
    pending: Vec<(Writes, Meta)>,
    rng: fastrand::Rng,
    /// The digest of the last commit's writes and meta.
    last_commit: u64,
}

impl SimState {
    /// An empty state.
    pub fn new(rng: fastrand::Rng) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            live: Arc::default(),
            durable: MemoryState::new(),
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
        inner.pending.clear();
        inner.durable = MemoryState::new();
        inner.live = Arc::default();
    }
}

impl Inner {
    fn flush(&mut self, count: usize) -> Result<(), Fatal> {
        for (writes, meta) in self.pending.drain(..count) {
            self.durable.commit(writes, meta)?;
        }
        Ok(())
    }
}

fn copy(state: &MemoryState) -> Result<MemoryState, Fatal> {
    let view = state.snapshot();
    let copy = MemoryState::new();
    let pairs = pairs(&*view)?;
    let writes = pairs.into_iter().map(|(key, value)| (key, Some(value))).collect();
    copy.commit(writes, view.meta().clone())?;
    Ok(copy)
}

/// All pairs of a state.
pub fn pairs(view: &dyn StateView) -> Result<Vec<(Bytes, Bytes)>, Fatal> {
    let mut pairs = Vec::new();
    view.scan(Range { lo: b"", hi: None, reverse: false }, &mut |key, value| {
        pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}

impl StateStore for SimState {
    fn snapshot(&self) -> Arc<dyn StateView> {
        self.lock().live.snapshot()
    }

    fn commit(&self, writes: Writes, meta: Meta) -> Result<(), Fatal> {
        let mut inner = self.lock();
        let mut digest = mix(mix(meta.applied.term, meta.applied.index), meta.time_ms);
        digest = mix_bytes(digest, &meta.conf);
        for (key, value) in &writes {
            digest = mix_bytes(mix_bytes(digest, key), value.as_deref().unwrap_or(b"deleted"));
            digest = mix(digest, value.is_some().into());
        }
        inner.last_commit = digest;
        inner.live.commit(writes.clone(), meta.clone())?;
        inner.pending.push((writes, meta));
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
    use quorate_core::state::conformance;

    use super::*;

    struct Shared(Arc<SimState>);

    impl StateStore for Shared {
        fn snapshot(&self) -> Arc<dyn StateView> {
            self.0.snapshot()
        }
        fn commit(&self, writes: Writes, meta: Meta) -> Result<(), Fatal> {
            self.0.commit(writes, meta)
        }
        fn flush(&self) -> Result<(), Fatal> {
            self.0.flush()
        }
    }

    #[test]
    fn the_simulated_state_conforms() {
        conformance::suite(|| Shared(SimState::new(fastrand::Rng::with_seed(1))));
    }

    #[test]
    fn a_crash_leaves_an_earlier_commit_whole() {
        let mut lost = 0;
        for seed in 0..100 {
            let state = SimState::new(fastrand::Rng::with_seed(seed));
            for index in 1..=5 {
                let value = Bytes::from(index.to_string());
                let writes = [(Bytes::from_static(b"k"), Some(value))].into_iter().collect();
                state.commit(writes, conformance::meta(index)).unwrap();
            }
            lost += state.crash().unwrap();
            let view = state.snapshot();
            let index = view.meta().applied.index;
            let expected = (index > 0).then(|| Bytes::from(index.to_string()));
            assert_eq!(view.get(b"k").unwrap(), expected);
        }
        assert!(lost > 50, "crashes lose something: {lost}");
    }
}
