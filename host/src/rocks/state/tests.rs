//! The state on disk: what every state does, and what a crash, damage and a second process do.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use quorate_core::state::conformance::{builders, meta, pairs, suite, writes};
use quorate_core::state::{Key, MemoryState, StateBuilder as _, Writes};
use tempfile::TempDir;

use super::*;

fn error<T>(result: Result<T, Fatal>) -> String {
    result.err().expect("must be refused").to_string()
}

/// So that little is much; RocksDB takes no less than 64 KiB.
fn small(bytes: usize) -> Buffers {
    Buffers { held_bytes_max: bytes, written_bytes_max: 2 * bytes, memtable_bytes: bytes }
}

/// Puts a record into RocksDB, past all that watches over it.
fn plant(state: &RocksState, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    state.flush().unwrap();
    let view = state.current.view();
    let db = view.below.pinned.db();
    let mut record = db.get(key).unwrap().unwrap();
    change(&mut record);
    db.put(key, record).unwrap();
}

#[test]
fn the_state_on_disk_conforms() {
    let dir = TempDir::new().unwrap();
    let states = Cell::new(0);
    suite(|| {
        states.set(states.get() + 1);
        RocksState::open(&dir.path().join(states.get().to_string())).unwrap()
    });
}

#[test]
fn states_built_on_disk_conform() {
    let dir = TempDir::new().unwrap();
    let states = Cell::new(0);
    builders(|| {
        states.set(states.get() + 1);
        RocksBuilder::create(&dir.path().join(states.get().to_string())).unwrap()
    });
}

#[test]
fn a_state_that_was_left_half_built_is_none() {
    let dir = TempDir::new().unwrap();
    let mut builder = RocksBuilder::create_with(dir.path(), small(64 * 1024)).unwrap();
    for number in 0..200_u32 {
        builder.put(Space::Plugin, &number.to_be_bytes(), &[7; 16 * 1024]).unwrap();
    }
    drop(builder);
    assert!(error(RocksState::open(dir.path())).contains("is not whole"));
    assert!(error(RocksBuilder::create(dir.path())).contains("or a part of one"));
}

#[test]
fn reopening_keeps_pairs_and_meta() {
    let dir = TempDir::new().unwrap();
    let state = RocksState::open(dir.path()).unwrap();
    state.commit(&writes(&[(b"a", Some(b"1")), (b"", Some(b"2"))]), meta(5)).unwrap();
    state.flush().unwrap();
    drop(state);
    let view = RocksState::open(dir.path()).unwrap().snapshot();
    assert_eq!(view.meta(), &meta(5));
    let expected = [(b"".to_vec(), b"2".to_vec()), (b"a".to_vec(), b"1".to_vec())];
    assert_eq!(pairs(&*view, Range::ALL), expected);
}

#[test]
fn a_snapshot_outlives_its_state() {
    let dir = TempDir::new().unwrap();
    let state = RocksState::open(dir.path()).unwrap();
    state.commit(&writes(&[(b"a", Some(b"1"))]), meta(1)).unwrap();
    let view = state.snapshot();
    state.commit(&writes(&[(b"a", None)]), meta(2)).unwrap();
    state.flush().unwrap();
    drop(state);
    assert_eq!(view.get(Space::Plugin, b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    assert!(error(RocksState::open(dir.path())).contains("another process has the folder"));
    drop(view);
    assert_eq!(RocksState::open(dir.path()).unwrap().snapshot().meta(), &meta(2));
}

#[test]
fn a_flipped_byte_names_its_key() {
    let dir = TempDir::new().unwrap();
    let state = RocksState::open(dir.path()).unwrap();
    state.commit(&writes(&[(b"a", Some(b"1")), (b"b", Some(b"2"))]), meta(1)).unwrap();
    plant(&state, &pair_key(Space::Plugin, b"b"), |record| *record.last_mut().unwrap() ^= 1);

    let before = state.snapshot();
    assert_eq!(
        before.get(Space::Plugin, b"b").unwrap().as_deref(),
        Some(b"2".as_slice()),
        "a snapshot is fixed"
    );
    state.commit(&Changes::default(), meta(2)).unwrap();
    state.flush().unwrap();
    let view = state.snapshot();
    assert!(error(view.get(Space::Plugin, b"b")).contains("value of key \"b\" is damaged"));
    for reverse in [false, true] {
        let scanned = view.scan(Space::Plugin, Range { reverse, ..Range::ALL }, &mut |_, _| {
            ControlFlow::Continue(())
        });
        assert!(error(scanned).contains("value of key \"b\" is damaged"));
    }
    assert_eq!(
        view.get(Space::Plugin, b"a").unwrap().as_deref(),
        Some(b"1".as_slice()),
        "its neighbour is sound"
    );
}

#[test]
fn a_damaged_meta_is_noticed() {
    let dir = TempDir::new().unwrap();
    let state = RocksState::open(dir.path()).unwrap();
    state.commit(&Changes::default(), meta(1)).unwrap();
    plant(&state, &META_KEY, |record| record.fill(0));
    drop(state);
    assert!(error(RocksState::open(dir.path())).contains("what is applied is damaged"));
}

/// Few keys in layers of a few commits, against the state in memory: puts and deletions move from
/// layer to layer and into RocksDB, and each view goes on showing what it showed at first.
#[test]
fn layers_and_rocksdb_are_one_state() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = TempDir::new().unwrap();
        let (state, model) =
            (RocksState::open_with(dir.path(), small(1024)).unwrap(), MemoryState::new());
        let mut views = Vec::new();
        for index in 1..200 {
            let mut writes = |space: u8| -> Writes {
                let count = random.usize(..4);
                let write = |_| {
                    let key = Key::from_slice(&[random.u8(..12); 2]);
                    let value = random.u8(..3) > 0;
                    (key, value.then(|| Value::from(vec![space; random.usize(..200)])))
                };
                (0..count).map(write).collect()
            };
            let changes = Changes { plugin: writes(1), sessions: writes(2) };
            state.commit(&changes, meta(index)).unwrap();
            model.commit(&changes, meta(index)).unwrap();
            if random.u8(..20) == 0 {
                state.flush().unwrap();
            }
            if random.u8(..10) == 0 {
                views.push((state.snapshot(), model.snapshot()));
            }
            let (view, expected) = (state.snapshot(), model.snapshot());
            same(&*view, &*expected, &mut random);
        }
        for (view, expected) in views {
            same(&*view, &*expected, &mut random);
        }
        state.flush().unwrap();
        drop(state);
        let reopened = RocksState::open(dir.path()).unwrap();
        same(&*reopened.snapshot(), &*model.snapshot(), &mut random);
    }
}

/// As it is while the frozen layer is not written: no thread begins to.
#[test]
fn a_frozen_layer_is_read_through() {
    let dir = TempDir::new().unwrap();
    let (state, model) = (RocksState::open(dir.path()).unwrap(), MemoryState::new());
    let commit = |changes: Changes, index: u64| {
        state.commit(&changes, meta(index)).unwrap();
        model.commit(&changes, meta(index)).unwrap();
    };
    let all = |value: u8| -> Changes {
        let pair = |key: u8| (Key::from_slice(&[key; 2]), Some(Value::from([value])));
        Changes::from((0..12).map(pair).collect::<Writes>())
    };
    let some = |first: u8, value: Option<u8>| -> Changes {
        let pair = |key: u8| (Key::from_slice(&[key; 2]), value.map(|value| Value::from([value])));
        Changes::from((first..12).step_by(3).map(pair).collect::<Writes>())
    };
    commit(all(1), 1);
    state.flush().unwrap();
    commit(some(0, Some(2)), 2);
    commit(some(1, None), 3);
    drop(state.current.update(View::freeze));
    commit(some(1, Some(4)), 4);
    commit(some(6, None), 5);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..500 {
        same(&*state.snapshot(), &*model.snapshot(), &mut random);
    }
}

#[test]
fn a_flush_has_what_was_committed_before_it() {
    let dir = TempDir::new().unwrap();
    let state = RocksState::open_with(dir.path(), small(4 * 1024)).unwrap();
    std::thread::scope(|scope| {
        let commits = scope.spawn(|| {
            for index in 1..=3_000 {
                state
                    .commit(&writes(&[(b"a", Some(&[7; 100])), (b"b", None)]), meta(index))
                    .unwrap();
            }
        });
        let mut rounds = 0;
        while !commits.is_finished() || rounds == 0 {
            rounds += 1;
            let applied = state.snapshot().meta().applied;
            state.flush().unwrap();
            let view = state.current.view();
            let found = get(&Pinned::of(view.below.pinned.db()), &META_KEY).unwrap();
            let flushed = found.map_or_else(Meta::default, |body| Meta::decode(&body).unwrap());
            assert!(flushed.applied >= applied, "{flushed:?} {applied:?}");
        }
    });
}

#[test]
fn nothing_follows_what_could_not_be_written() {
    type Act = fn(&RocksState) -> Result<(), Fatal>;
    let commit: Act = |state| state.commit(&Changes::default(), meta(2));
    let flush: Act = |state| state.flush();
    // Whoever hears of it first.
    for acts in [[commit, flush], [flush, commit]] {
        let dir = TempDir::new().unwrap();
        let state = RocksState::open(dir.path()).unwrap();
        state.commit(&writes(&[(b"a", Some(b"1"))]), meta(1)).unwrap();
        drop(state.current.update(View::freeze));
        let failing = Settling::start("state".to_owned(), || Err(Fatal::msg("no disk"))).unwrap();
        while !failing.is_over() {
            std::thread::yield_now();
        }
        *state.settling.lock().unwrap() = Some(failing);
        for act in acts {
            assert_eq!(error(act(&state)), "no disk");
        }
        assert_eq!(state.snapshot().meta(), &meta(1));
        drop(state);
        assert_eq!(RocksState::open(dir.path()).unwrap().snapshot().meta(), &Meta::default());
    }
}

#[test]
fn damage_to_what_was_overwritten_is_none() {
    let dir = TempDir::new().unwrap();
    let state = RocksState::open(dir.path()).unwrap();
    state.commit(&writes(&[(b"a", Some(b"1")), (b"b", Some(b"2"))]), meta(1)).unwrap();
    for key in [b"a", b"b"] {
        plant(&state, &pair_key(Space::Plugin, key), |record| *record.last_mut().unwrap() ^= 1);
    }
    // A view that has it, and the layer that was written before.
    state.current.update(|view| {
        let Below { frozen, meta, pinned, .. } = &*view.below;
        let (frozen, meta) = (frozen.clone(), meta.clone());
        let pinned = Arc::new(Pinned::of(pinned.db()));
        view.below = Arc::new(Below { frozen, meta, is_written: true, pinned });
    });
    for reverse in [false, true] {
        let view = state.snapshot();
        let scanned = view.scan(Space::Plugin, Range { reverse, ..Range::ALL }, &mut |_, _| {
            ControlFlow::Continue(())
        });
        assert!(error(scanned).contains("is damaged"), "and not left out");
    }
    let changes = writes(&[(b"a", Some(b"3")), (b"b", None)]);
    state.commit(&changes, meta(2)).unwrap();
    let expected = [(b"a".to_vec(), b"3".to_vec())];
    assert_eq!(pairs(&*state.snapshot(), Range::ALL), expected);
    drop(state.current.update(View::freeze));
    assert_eq!(pairs(&*state.snapshot(), Range::ALL), expected, "nor while that is written");
}

fn same(view: &dyn StateView, expected: &dyn StateView, random: &mut fastrand::Rng) {
    assert_eq!(view.meta(), expected.meta());
    for space in Space::ALL {
        let key = [random.u8(..12); 2];
        assert_eq!(view.get(space, &key).unwrap(), expected.get(space, &key).unwrap());
        let (lo, hi) = ([random.u8(..12)], [random.u8(..14)]);
        let hi = random.bool().then_some(hi.as_slice());
        let range = Range { lo: &lo, hi, reverse: random.bool() };
        let limit = random.usize(1..20);
        let shown = |view: &dyn StateView| {
            let mut pairs = Vec::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                pairs.push((key.to_vec(), value.to_vec()));
                if pairs.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            view.scan(space, range, &mut visit).unwrap();
            pairs
        };
        assert_eq!(shown(view), shown(expected), "{range:?}");
    }
}

const CRASH_DIR: &str = "QUORATE_CRASH_DIR";
const CRASH_LAYERS: &str = "QUORATE_CRASH_LAYERS";
const CRASH_KEYS: u8 = 20;
/// Small, so that the process dies among flushes and compactions.
const CRASH_BUFFER_BYTES: usize = 128 * 1024;
/// Commits between two flushes.
const CRASH_FLUSH: u64 = 60;

/// Every other commit deletes the odd keys.
fn is_there(key: u8, index: u64) -> bool {
    index.is_multiple_of(2) || key.is_multiple_of(2)
}

/// The process that `a_killed_process_leaves_a_whole_commit` starts and kills; on its own, nothing.
/// Commits without end: every commit writes its index to all keys, or deletes the odd ones.
#[test]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(CRASH_DIR) else { return };
    // A layer of some commits, which RocksDB is then made to put on disk; or one of each commit,
    // some of which RocksDB puts into one table.
    let small = small(CRASH_BUFFER_BYTES);
    let buffers = if std::env::var_os(CRASH_LAYERS).is_some() {
        small
    } else {
        Buffers { held_bytes_max: 1, written_bytes_max: usize::MAX, ..small }
    };
    let state = RocksState::open_with(Path::new(&dir), buffers).unwrap();
    let applied = state.snapshot().meta().applied.index;
    for index in applied + 1.. {
        let value = Value::from(index.to_le_bytes().repeat(100));
        let is_there = |key| is_there(key, index);
        let pair = |key| (Key::from_slice(&[key]), is_there(key).then(|| Value::clone(&value)));
        let plugin: Writes = (0..CRASH_KEYS).map(pair).collect();
        state.commit(&Changes { sessions: plugin.clone(), plugin }, meta(index)).unwrap();
        writeln!(std::io::stdout(), "committed {index}").unwrap();
        if index.is_multiple_of(CRASH_FLUSH) {
            state.flush().unwrap();
            writeln!(std::io::stdout(), "flushed {index}").unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_a_whole_commit() {
    let dir = TempDir::new().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut applied = 0;
    for (lines, has_layers) in [(300, true), (437, false), (561, false)] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args([&format!("{module}::commits_until_killed"), "--exact", "--nocapture"])
            .env(CRASH_DIR, dir.path())
            .stdout(Stdio::piped());
        if has_layers {
            child.env(CRASH_LAYERS, "");
        }
        let mut child = child.spawn().unwrap();
        // Held until the kill: a closed pipe would let the child panic, and so close its state.
        let mut said = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter(|line| line.starts_with("committed") || line.starts_with("flushed"));
        let heard: Vec<_> = said.by_ref().take(lines).collect();
        assert_eq!(heard.len(), lines);
        child.kill().unwrap();
        child.wait().unwrap();

        let flushed = heard.iter().filter_map(|line| line.strip_prefix("flushed ")).next_back();
        let flushed: u64 = flushed.expect("it flushes now and then").parse().unwrap();
        let view = RocksState::open(dir.path()).unwrap().snapshot();
        let index = view.meta().applied.index;
        assert!(flushed > applied && index >= flushed, "what was flushed is kept");
        assert_eq!(view.meta(), &meta(index));
        let pairs = pairs(&*view, Range::ALL);
        let keys = (0..CRASH_KEYS).filter(|key| is_there(*key, index)).count();
        assert_eq!(pairs.len(), keys, "deletions torn apart {index}");
        let expected = index.to_le_bytes().repeat(100);
        assert!(pairs.iter().all(|(_, value)| *value == expected), "torn commit {index}");
        for key in 0..CRASH_KEYS {
            let session = view.get(Space::Sessions, &[key]).unwrap();
            let expected = is_there(key, index).then_some(&expected[..]);
            assert_eq!(session.as_deref(), expected, "spaces torn apart {index}");
        }
        applied = index;
    }
}
