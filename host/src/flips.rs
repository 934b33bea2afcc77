//! A campaign of flipped bits: in the files of the log and the state, in snapshots, in messages
//! between nodes. Each is noticed, or changes nothing that anybody could read; none is served.
//!
//! The bits are drawn from fixed seeds, so a failure can be repeated. Files are those of real
//! `RocksDB`, as a process leaves them: what was synced lies in the write-ahead file, and after a
//! restart in tables.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use quorate_core::id::{GroupId, LogId};
use quorate_core::log::{Entry, HardState, LogStore, Persist};
use quorate_core::outcome::Fatal;
use quorate_core::state::{
    Changes, Key, MemoryState, Meta, Range, Space, StateStore, StateView, Value, Writes,
};
use quorate_proto::sealed::{Opener, Sealer};

use crate::rocks::{RocksLog, RocksState};
use crate::snapshot::{Content, Encoder, Header, Reader};

const GROUP: GroupId = GroupId(1);
/// For each kind of thing that bits flip in: more than 500 in all.
const FLIPS: usize = 160;
const ENTRIES: u64 = 120;
/// Text for people, and locks: nothing of the data is in them, and nothing reads them.
const NOT_DATA: [&str; 4] = ["LOG", "LOCK", "IDENTITY", "OPTIONS"];

/// What was noticed, and what made no difference.
#[derive(Debug, Default)]
struct Tally {
    noticed: usize,
    harmless: usize,
}

impl Tally {
    /// What was read of something damaged, against what was written.
    fn judge<T: PartialEq>(&mut self, read: Result<T, impl Sized>, written: &T, flip: &str) {
        match read {
            Err(_) => self.noticed += 1,
            Ok(read) => {
                assert!(read == *written, "served what was not written: {flip}");
                self.harmless += 1;
            }
        }
    }

    fn check(&self, noticed_min: usize) {
        assert_eq!(self.noticed + self.harmless, FLIPS, "{self:?}");
        assert!(self.noticed >= noticed_min, "nearly all that is there matters: {self:?}");
    }
}

fn flip(bytes: &mut [u8], rng: &mut Rng) -> String {
    let (at, bit) = (rng.usize(..bytes.len()), rng.u32(..8));
    bytes[at] ^= 1 << bit;
    format!("byte {at} of {}, bit {bit}", bytes.len())
}

/// All files of a folder that hold data.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_data = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_text = NOT_DATA.iter().any(|other| name.starts_with(other));
        !is_text && path.metadata().unwrap().len() > 0
    };
    let mut files: Vec<_> = entries.filter(is_data).collect();
    files.sort();
    files
}

/// Copies a folder, flips one bit in it, and looks what `read` makes of it.
fn campaign<T: PartialEq>(
    folder: &Path,
    (seed, flips): (u64, usize),
    tally: &mut Tally,
    read: impl Fn(&Path) -> Result<T, Fatal>,
) {
    let mut rng = Rng::with_seed(seed);
    let written = read(&copy(folder).path().join("copy")).unwrap_or_else(|fatal| panic!("{fatal}"));
    for _ in 0..flips {
        let temp = copy(folder);
        let damaged = temp.path().join("copy");
        let files = files(&damaged);
        // By their size: a bit is as likely to flip as any other.
        let bytes: Vec<u64> = files.iter().map(|file| file.metadata().unwrap().len()).collect();
        let total: u64 = bytes.iter().sum();
        let mut at = rng.u64(..total);
        let chosen = bytes.iter().position(|bytes| {
            let is_here = at < *bytes;
            at = at.wrapping_sub(*bytes);
            is_here
        });
        let file = &files[chosen.unwrap()];
        let mut content = fs::read(file).unwrap();
        let what = format!("{}, {}", file.display(), flip(&mut content, &mut rng));
        fs::write(file, content).unwrap();
        tally.judge(read(&damaged), &written, &what);
    }
}

fn copy(folder: &Path) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join("copy");
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    temp
}

fn value(rng: &mut Rng) -> Bytes {
    std::iter::repeat_with(|| rng.u8(..)).take(40).collect()
}

/// Fills a log entry by entry, as a leader does.
fn fill_log(folder: &Path) {
    let mut rng = Rng::with_seed(1);
    let mut log = RocksLog::open(folder, GROUP).unwrap();
    for index in 1..=ENTRIES {
        let mut entry = Entry::default();
        (entry.index, entry.term, entry.data) = (index, 1 + index / 50, value(&mut rng));
        let hard_state = HardState { term: 3, vote: 1, commit: index, ..HardState::default() };
        let entries = [entry];
        let hard_state = Some(&hard_state);
        let round = Persist { hard_state, entries: &entries, base: None, must_sync: true };
        log.persist(round).unwrap();
    }
}

fn read_log(folder: &Path) -> Result<(HardState, Vec<Entry>), Fatal> {
    let log = RocksLog::open(folder, GROUP)?;
    let entries = log.entries(1, log.last_index() + 1, u64::MAX)?;
    Ok((log.hard_state(), entries))
}

#[test]
fn no_flipped_bit_of_a_log_is_served() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("log");
    fill_log(&folder);
    let mut tally = Tally::default();
    campaign(&folder, (1, FLIPS / 2), &mut tally, read_log);
    // A start makes tables of what lay in the write-ahead file.
    drop(RocksLog::open(&folder, GROUP).unwrap());
    campaign(&folder, (2, FLIPS / 2), &mut tally, read_log);
    tally.check(FLIPS / 2);
}

fn fill_state(state: &dyn StateStore) {
    let mut rng = Rng::with_seed(2);
    for index in 1..=ENTRIES {
        let key = |space: &str| Key::from_slice(format!("{space}{}", index % 90).as_bytes());
        let write = |space| {
            Writes::from([(key(space), Some(Value::from(&*value(&mut Rng::with_seed(index)))))])
        };
        let changes = Changes { plugin: write("p"), sessions: write("s") };
        let applied = LogId { term: 1, index };
        let meta = Meta { applied, digest: rng.u64(..), ..Meta::default() };
        state.commit(&changes, meta).unwrap();
    }
    state.flush().unwrap();
}

type Pairs = Vec<(Space, Vec<u8>, Vec<u8>)>;

/// What a view shows, by scans and by single reads: those take other ways through the files.
fn read_view(view: &dyn StateView) -> Result<(Meta, Pairs), Fatal> {
    let mut pairs = Vec::new();
    for space in Space::ALL {
        view.scan(space, Range::ALL, &mut |key, value| {
            pairs.push((space, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
    }
    for (space, key, value) in &pairs {
        let found = view.get(*space, key)?;
        assert_eq!(found.as_deref(), Some(value.as_slice()), "a read says other than a scan");
    }
    Ok((view.meta().clone(), pairs))
}

#[test]
fn no_flipped_bit_of_a_state_is_served() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("state");
    fill_state(&RocksState::open(&folder).unwrap());
    let mut tally = Tally::default();
    campaign(&folder, (3, FLIPS), &mut tally, |folder| {
        read_view(&*RocksState::open(folder)?.snapshot())
    });
    tally.check(FLIPS / 2);
}

#[test]
fn no_flipped_bit_of_a_snapshot_is_served() {
    let state = MemoryState::new();
    fill_state(&state);
    let view = state.snapshot();
    let (cluster, module) = ("a".to_owned(), [7; 32]);
    let header = Header { cluster, group: GROUP, module, fuel: 1, meta: view.meta().clone() };
    let mut encoder = Encoder::new(&header, Arc::clone(&view)).unwrap();
    let frames = std::iter::from_fn(|| encoder.next_frame().unwrap());
    let file: Vec<u8> = frames.flatten().collect();
    let read = |file: &[u8]| -> Result<(Header, Pairs), String> {
        let mut reader = Reader::new(file);
        let mut builder = quorate_core::state::MemoryBuilder::new();
        let mut found = None;
        while let Some(content) = reader.next_content().map_err(|error| error.to_string())? {
            match content {
                Content::Header(header) => found = Some(header),
                Content::Records(records) => records.put_into(&mut builder).unwrap(),
                Content::End => {}
            }
        }
        let header = found.filter(|_| reader.decoder().is_whole()).ok_or("it is cut off")?;
        let state = quorate_core::state::StateBuilder::finish(builder, header.meta.clone());
        let (_, pairs) = read_view(&*state.unwrap().snapshot()).unwrap();
        Ok((header, pairs))
    };
    let written = read(&file).unwrap();
    let (mut rng, mut tally) = (Rng::with_seed(4), Tally::default());
    for _ in 0..FLIPS {
        let mut damaged = file.clone();
        let what = flip(&mut damaged, &mut rng);
        tally.judge(read(&damaged), &written, &what);
    }
    tally.check(FLIPS);
}

#[test]
fn no_flipped_bit_of_a_message_is_taken() {
    let (mut rng, mut tally) = (Rng::with_seed(5), Tally::default());
    for number in 0..FLIPS {
        let mut sealer = Sealer::default();
        let plain = if number % 2 == 0 {
            value(&mut rng).repeat(1 + number)
        } else {
            format!("{{\"number\":{number}}}").repeat(1 + number).into_bytes()
        };
        let mut message = Vec::new();
        sealer.seal(&plain, &mut message);
        let what = flip(&mut message, &mut rng);
        let opened = Opener::default().open(message.into()).map(|opened| opened.to_vec());
        tally.judge(opened, &plain, &what);
    }
    tally.check(FLIPS);
}
