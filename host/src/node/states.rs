//! The states of a node: the one in use, and those that snapshots bring. Each is a folder of its
//! own, named by its number; which one a start goes on with is the log's to say, and all others are
//! removed then. So a crash leaves the old state or the new, whole.
//!
//! Whoever reads or writes the state does it through [`States`], and notices nothing when another
//! one takes its place.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::Context as _;
use quorate_core::log::Base;
use quorate_core::outcome::Fatal;
use quorate_core::state::{
    Changes, MemoryBuilder, MemoryState, Meta, Space, StateBuilder, StateStore, StateView,
};

use crate::rocks::{RocksBuilder, RocksState};

/// The state in use, which can be replaced, and those that wait.
pub struct States {
    /// Where they are; nowhere when they are in memory.
    folder: Option<PathBuf>,
    current: RwLock<Arc<dyn StateStore>>,
    numbered: Mutex<Numbered>,
}

struct Numbered {
    current: u64,
    last: u64,
    staged: BTreeMap<u64, Arc<dyn StateStore>>,
    /// States that others have replaced, to close; that may take a while.
    replaced: Vec<Arc<dyn StateStore>>,
    /// Folders to remove as soon as nobody reads from them any more.
    retired: Vec<PathBuf>,
}

/// A state that is being made.
pub enum Builder {
    /// In memory.
    Memory(MemoryBuilder),
    /// On disk; boxed, since it is large.
    Rocks(Box<RocksBuilder>),
}

impl Builder {
    /// Adds a pair. Pairs come in the order of their spaces and keys.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Fatal> {
        match self {
            Self::Memory(builder) => builder.put(space, key, value),
            Self::Rocks(builder) => builder.put(space, key, value),
        }
    }
}

impl States {
    /// An empty state in memory.
    pub fn in_memory() -> Self {
        Self::of_memory(MemoryState::new())
    }

    /// A state in memory.
    pub fn of_memory(state: MemoryState) -> Self {
        Self::new(None, Arc::new(state), 0)
    }

    /// The state in `folder` that a log of this base names. Removes all others.
    pub fn open(folder: &Path, base: Base) -> anyhow::Result<Self> {
        let found = numbers(folder)?;
        let is_new = found.is_empty() && base.id.index == 0;
        anyhow::ensure!(
            is_new || found.contains(&base.state),
            "the state {} is gone, and the log goes with it: this folder is damaged, or its log is \
             an older copy. Leave it, and let this node join anew",
            folder_of(folder, base.state).display()
        );
        for other in found.into_iter().filter(|number| *number != base.state) {
            let other = folder_of(folder, other);
            fs::remove_dir_all(&other).with_context(|| format!("removing {}", other.display()))?;
        }
        let state = RocksState::open(&folder_of(folder, base.state))?;
        Ok(Self::new(Some(folder.to_owned()), Arc::new(state), base.state))
    }

    fn new(folder: Option<PathBuf>, state: Arc<dyn StateStore>, number: u64) -> Self {
        let numbered = Numbered {
            current: number,
            last: number,
            staged: BTreeMap::new(),
            replaced: Vec::new(),
            retired: Vec::new(),
        };
        Self { folder, current: RwLock::new(state), numbered: Mutex::new(numbered) }
    }

    fn numbered(&self) -> MutexGuard<'_, Numbered> {
        self.numbered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.current.read().expect("no holder of this lock panics"))
    }

    /// Where the state in use is, if on disk.
    pub fn folder(&self) -> Option<PathBuf> {
        let number = self.numbered().current;
        self.folder.as_ref().map(|folder| folder_of(folder, number))
    }

    /// Begins another state, under a number of its own.
    pub fn begin(&self) -> Result<(u64, Builder), Fatal> {
        let number = {
            let mut numbered = self.numbered();
            numbered.last += 1;
            numbered.last
        };
        let builder = match &self.folder {
            None => Builder::Memory(MemoryBuilder::new()),
            Some(folder) => {
                let builder = RocksBuilder::create(&folder_of(folder, number))?;
                Builder::Rocks(Box::new(builder))
            }
        };
        Ok((number, builder))
    }

    /// All pairs are there: the state is durable from here on, and waits to be installed.
    pub fn finish(&self, number: u64, builder: Builder, meta: Meta) -> Result<(), Fatal> {
        let state: Arc<dyn StateStore> = match builder {
            Builder::Memory(builder) => Arc::new(builder.finish(meta)?),
            Builder::Rocks(builder) => Arc::new(builder.finish(meta)?),
        };
        self.numbered().staged.insert(number, state);
        Ok(())
    }

    /// A state that was begun is of no use, finished or not. What it takes up is there until the
    /// next [`sweep`](Self::sweep).
    pub fn discard(&self, number: u64) {
        let mut numbered = self.numbered();
        let staged = numbered.staged.remove(&number);
        self.retire(&mut numbered, number);
        drop(numbered);
        drop(staged);
    }

    /// A staged state takes the place of the one in use, which is there until the next
    /// [`sweep`](Self::sweep).
    pub fn install(&self, number: u64) -> Result<(), Fatal> {
        let mut numbered = self.numbered();
        let missing = || Fatal::msg(format!("the state of number {number} was never staged"));
        let state = numbered.staged.remove(&number).ok_or_else(missing)?;
        let mut current = self.current.write().expect("no holder of this lock panics");
        let replaced = std::mem::replace(&mut *current, state);
        drop(current);
        numbered.replaced.push(replaced);
        let before = std::mem::replace(&mut numbered.current, number);
        self.retire(&mut numbered, before);
        Ok(())
    }

    fn retire(&self, numbered: &mut Numbered, number: u64) {
        if let Some(folder) = &self.folder {
            numbered.retired.push(folder_of(folder, number));
        }
    }

    /// Removes the states that are of no use any more. It may take a while: consensus and apply,
    /// which retire them, do not wait for it.
    pub fn sweep(&self) {
        let replaced = std::mem::take(&mut self.numbered().replaced);
        drop(replaced);
        let mut retired = std::mem::take(&mut self.numbered().retired);
        // One that is still being read from is open; its turn comes later, or with a start.
        retired.retain(|folder| !RocksState::remove(folder));
        self.numbered().retired.extend(retired);
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl StateStore for States {
    fn snapshot(&self) -> Arc<dyn StateView> {
        self.current().snapshot()
    }

    fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal> {
        self.current().commit(changes, meta)
    }

    fn flush(&self) -> Result<(), Fatal> {
        self.current().flush()
    }
}

/// The first one has the name that it always had.
fn folder_of(folder: &Path, number: u64) -> PathBuf {
    if number == 0 { folder.join("state") } else { folder.join(format!("state-{number}")) }
}

/// Those that are there.
fn numbers(folder: &Path) -> anyhow::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let number = name.strip_prefix("state-").and_then(|number| number.parse().ok());
        numbers.extend(if name == "state" { Some(0) } else { number });
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use quorate_core::id::LogId;
    use quorate_core::state::conformance;

    use super::*;

    fn staged(states: &States, index: u64) -> u64 {
        let (number, mut builder) = states.begin().unwrap();
        builder.put(Space::Plugin, b"key", &index.to_le_bytes()).unwrap();
        states.finish(number, builder, conformance::meta(index)).unwrap();
        number
    }

    fn base(state: u64) -> Base {
        Base { id: LogId { term: 1, index: 1 }, state }
    }

    #[test]
    fn a_state_takes_the_place_of_another_and_a_start_keeps_the_one_that_the_log_names() {
        let folder = tempfile::tempdir().unwrap();
        let states = States::open(folder.path(), Base::default()).unwrap();
        let (first, second) = (staged(&states, 5), staged(&states, 9));
        assert_eq!(states.snapshot().meta().applied.index, 0, "nothing has changed yet");
        states.install(first).unwrap();
        assert_eq!(states.snapshot().meta(), &conformance::meta(5));
        assert!(folder.path().join("state").exists(), "who installs does not wait for that");
        states.sweep();
        assert!(!folder.path().join("state").exists(), "the old one is gone");
        drop(states);
        // As if the log had been written, and the process had ended before apply came to it.
        let states = States::open(folder.path(), base(second)).unwrap();
        assert_eq!(states.snapshot().meta(), &conformance::meta(9));
        assert_eq!(numbers(folder.path()).unwrap(), [second]);
        drop(states);
        let gone = States::open(folder.path(), base(first)).err().unwrap().to_string();
        assert!(gone.contains("is gone"), "{gone}");
        assert!(States::open(folder.path(), Base::default()).is_err(), "an older log");
    }

    #[test]
    fn a_state_that_is_read_from_stays_until_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let states = States::open(folder.path(), Base::default()).unwrap();
        let view = states.snapshot();
        states.install(staged(&states, 5)).unwrap();
        states.sweep();
        assert_eq!(view.meta().applied.index, 0);
        assert!(folder.path().join("state").exists());
        drop(view);
        states.sweep();
        assert!(!folder.path().join("state").exists());
    }
}
