//! The state on disk: what every state does, and what a crash, damage and a second process do.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use bytes::Bytes;
use quorate_core::state::conformance::{builders, meta, pairs, suite, writes};
use quorate_core::state::{StateBuilder as _, Writes};
use tempfile::TempDir;

use super::*;

fn error<T>(result: Result<T, Fatal>) -> String {
    result.err().expect("must be refused").to_string()
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
    let mut builder = RocksBuilder::create_with(dir.path(), 64 * 1024).unwrap();
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
    let key = pair_key(Space::Plugin, b"b");
    let mut record = state.db.get(&key).unwrap().unwrap();
    *record.last_mut().unwrap() ^= 1;
    state.db.put(&key, record).unwrap();

    let before = state.snapshot();
    assert_eq!(
        before.get(Space::Plugin, b"b").unwrap().as_deref(),
        Some(b"2".as_slice()),
        "a snapshot is fixed"
    );
    state.commit(&Changes::default(), meta(2)).unwrap();
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
    state.db.put(META_KEY, [0; 40]).unwrap();
    drop(state);
    assert!(error(RocksState::open(dir.path())).contains("what is applied is damaged"));
}

const CRASH_DIR: &str = "QUORATE_CRASH_DIR";
const CRASH_KEYS: u8 = 20;
/// Small, so that the process dies among flushes and compactions.
const CRASH_BUFFER_BYTES: usize = 128 * 1024;

/// The process that `a_killed_process_leaves_a_whole_commit` starts and kills; on its own, nothing.
/// Commits without end: every commit writes its index to all keys.
#[test]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(CRASH_DIR) else { return };
    let state = RocksState::open_with(Path::new(&dir), CRASH_BUFFER_BYTES).unwrap();
    let applied = state.snapshot().meta().applied.index;
    for index in applied + 1.. {
        let value = Bytes::from(index.to_le_bytes().repeat(100));
        let pair = |key| (Bytes::from(vec![key]), Some(value.clone()));
        let plugin: Writes = (0..CRASH_KEYS).map(pair).collect();
        state.commit(&Changes { sessions: plugin.clone(), plugin }, meta(index)).unwrap();
        writeln!(std::io::stdout(), "committed {index}").unwrap();
    }
}

#[test]
fn a_killed_process_leaves_a_whole_commit() {
    let dir = TempDir::new().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut applied = 0;
    for commits in [300, 437, 561] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&format!("{module}::commits_until_killed"), "--exact", "--nocapture"])
            .env(CRASH_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Held until the kill: a closed pipe would let the child panic, and so close its state.
        let mut committed =
            lines.map_while(Result::ok).filter(|line| line.starts_with("committed"));
        assert_eq!(committed.by_ref().take(commits).count(), commits);
        child.kill().unwrap();
        child.wait().unwrap();

        let view = RocksState::open(dir.path()).unwrap().snapshot();
        let index = view.meta().applied.index;
        assert!(index > applied, "what was flushed is kept");
        assert_eq!(view.meta(), &meta(index));
        let pairs = pairs(&*view, Range::ALL);
        assert_eq!(pairs.len(), usize::from(CRASH_KEYS));
        let expected = index.to_le_bytes().repeat(100);
        assert!(pairs.iter().all(|(_, value)| *value == expected), "torn commit {index}");
        for key in 0..CRASH_KEYS {
            let session = view.get(Space::Sessions, &[key]).unwrap();
            assert_eq!(session.as_deref(), Some(&expected[..]), "spaces torn apart {index}");
        }
        applied = index;
    }
}
