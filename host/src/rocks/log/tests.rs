//! The log on disk: what every log does, and what a crash, damage and a second process do to it.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use quorate_core::log::MemoryLog;
use quorate_core::log::conformance::{self, append, entry, hard_state, suite};
use tempfile::TempDir;

use super::*;

const GROUP: GroupId = GroupId(7);

fn reopen(dir: &Path) -> Result<RocksLog, Fatal> {
    RocksLog::open(dir, GROUP)
}

/// A log that keeps little in memory, so that reads meet the disk.
fn open_forgetful(dir: &Path, tail_bytes_max: u64) -> RocksLog {
    let db = super::super::open(&options(), dir).unwrap();
    RocksLog::load(Disk { db, group: GROUP }, tail_bytes_max).unwrap()
}

fn three_entries(dir: &Path) -> RocksLog {
    let mut log = reopen(dir).unwrap();
    append(&mut log, &[entry(1, 1, b"one"), entry(2, 1, b"two"), entry(3, 2, b"three")]);
    log
}

fn error<T>(result: Result<T, Fatal>) -> String {
    result.err().expect("must be refused").to_string()
}

#[test]
fn the_log_on_disk_conforms() {
    let dir = TempDir::new().unwrap();
    let logs = Cell::new(0);
    let new_dir = || {
        logs.set(logs.get() + 1);
        dir.path().join(logs.get().to_string())
    };
    suite(|| reopen(&new_dir()).unwrap());
    suite(|| open_forgetful(&new_dir(), 30));
}

#[test]
fn reopening_keeps_entries_and_hard_state() {
    let dir = TempDir::new().unwrap();
    let vote = hard_state(2, 3, 1);
    let entries = [entry(1, 1, b"one"), entry(2, 2, b"")];
    let mut log = reopen(dir.path()).unwrap();
    log.persist(Persist {
        hard_state: Some(&vote),
        entries: &entries,
        must_sync: true,
        base: None,
    })
    .unwrap();
    drop(log);
    let log = reopen(dir.path()).unwrap();
    assert_eq!(log.hard_state(), vote);
    assert_eq!(log.last_index(), 2);
    assert_eq!(log.entries(1, 3, u64::MAX).unwrap(), entries);
}

#[test]
fn a_commit_kept_in_memory_is_durable_with_the_next_round() {
    let dir = TempDir::new().unwrap();
    let mut log = three_entries(dir.path());
    let commit = hard_state(0, 0, 3);
    conformance::commit(&mut log, &commit, false);
    append(&mut log, &[entry(4, 2, b"four")]);
    drop(log);
    assert_eq!(reopen(dir.path()).unwrap().hard_state(), commit);
}

#[test]
fn a_conflicting_tail_is_gone_after_reopening() {
    let dir = TempDir::new().unwrap();
    let mut log = three_entries(dir.path());
    drop(log);
    log = reopen(dir.path()).unwrap();
    append(&mut log, &[entry(2, 3, b"TWO")]);
    drop(log);
    let log = reopen(dir.path()).unwrap();
    assert_eq!(log.last_index(), 2);
    let entries = log.entries(1, 3, u64::MAX).unwrap();
    assert_eq!(entries, [entry(1, 1, b"one"), entry(2, 3, b"TWO")]);
}

#[test]
fn groups_do_not_see_each_other() {
    let dir = TempDir::new().unwrap();
    drop(three_entries(dir.path()));
    for group in [GROUP.0 - 1, GROUP.0 + 1] {
        assert_eq!(RocksLog::open(dir.path(), GroupId(group)).unwrap().last_index(), 0);
    }
}

#[test]
fn a_flipped_byte_names_its_entry() {
    let dir = TempDir::new().unwrap();
    drop(three_entries(dir.path()));
    let log = open_forgetful(dir.path(), 0);
    let key = log.disk.key(KIND_ENTRY, 2);
    let mut record = log.disk.db.get(key).unwrap().unwrap();
    *record.last_mut().unwrap() ^= 1;
    log.disk.db.put(key, record).unwrap();

    assert!(error(log.term(2)).contains("entry 2 is damaged"));
    assert!(error(log.entries(1, 4, u64::MAX)).contains("entry 2 is damaged"));
    assert_eq!(log.term(1).unwrap(), Some(1), "its neighbour is sound");
    drop(log);
    assert!(error(reopen(dir.path())).contains("entry 2 is damaged"));
}

#[test]
fn a_sound_record_in_the_wrong_place_is_damage() {
    let dir = TempDir::new().unwrap();
    let log = three_entries(dir.path());
    let record = log.disk.db.get(log.disk.key(KIND_ENTRY, 1)).unwrap().unwrap();
    log.disk.db.put(log.disk.key(KIND_ENTRY, 2), record).unwrap();
    drop(log);
    assert!(error(reopen(dir.path())).contains("entry 2 is damaged"));
}

#[test]
fn a_damaged_vote_is_noticed() {
    let dir = TempDir::new().unwrap();
    let log = three_entries(dir.path());
    log.disk.db.put(log.disk.key(KIND_HEAD, 0), b"????????????").unwrap();
    drop(log);
    assert!(error(reopen(dir.path())).contains("record of the vote"));
}

#[test]
fn what_does_not_fit_together_is_noticed() {
    let rejects = |tamper: fn(&Disk), expected: &str| {
        let dir = TempDir::new().unwrap();
        let log = three_entries(dir.path());
        tamper(&log.disk);
        drop(log);
        let error = error(reopen(dir.path()));
        assert!(error.contains(expected), "{error}");
    };
    rejects(|disk| disk.db.delete(disk.key(KIND_ENTRY, 2)).unwrap(), "entry 2 is missing");
    rejects(|disk| disk.db.delete(disk.key(KIND_ENTRY, 3)).unwrap(), "entry 3 is missing");
    rejects(|disk| disk.db.delete(disk.key(KIND_HEAD, 0)).unwrap(), "behind its end at 0");
    rejects(|disk| write_head(disk, &[], 2, 0), "behind its end at 2");
    rejects(|disk| write_head(disk, &[], 3, 4), "entries 0 to 3, yet 4 is committed");
    rejects(|disk| write_head(disk, &[entry(2, 9, b"")], 3, 0), "entry 3 of term 2 follows 9");
}

fn write_head(disk: &Disk, entries: &[Entry], last_index: u64, commit: u64) {
    let hard_state = &hard_state(9, 1, commit);
    let (gone, base, is_synced) = (1..1, None, true);
    disk.write(&Write { gone, base, entries, last_index, hard_state, is_synced }).unwrap();
}

/// The log as a crash leaves it: the folder copied while it is open, and the write-ahead file.
fn crashed_copy(dir: &Path) -> (TempDir, PathBuf) {
    let copy = TempDir::new().unwrap();
    let mut wal = None;
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        let to = copy.path().join(file.file_name());
        fs::copy(file.path(), &to).unwrap();
        if to.extension().is_some_and(|extension| extension == "log") {
            assert!(wal.replace(to).is_none(), "one write-ahead file");
        }
    }
    (copy, wal.expect("a write-ahead file"))
}

#[test]
fn a_crash_keeps_what_was_synced_and_drops_a_torn_write() {
    let dir = TempDir::new().unwrap();
    let log = three_entries(dir.path());
    let (copy, wal) = crashed_copy(dir.path());
    let mut bytes = fs::read(&wal).unwrap();
    // A further record, of which only the beginning arrived.
    bytes.extend_from_within(..bytes.len() / 2);
    fs::write(&wal, bytes).unwrap();
    let recovered = reopen(copy.path()).unwrap();
    assert_eq!(recovered.entries(1, 4, u64::MAX).unwrap(), log.entries(1, 4, u64::MAX).unwrap());
}

#[test]
fn damage_to_a_synced_write_is_never_taken_for_a_torn_one() {
    let dir = TempDir::new().unwrap();
    let mut log = three_entries(dir.path());
    append(&mut log, &[entry(4, 2, b"four")]);
    // In a round that others follow, and in the very last one.
    for needle in [b"three".as_slice(), b"four"] {
        let (copy, wal) = crashed_copy(dir.path());
        let mut bytes = fs::read(&wal).unwrap();
        let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
        bytes[at] ^= 1;
        fs::write(&wal, bytes).unwrap();
        assert!(error(reopen(copy.path())).contains("is damaged at byte"));
    }
}

#[test]
fn one_folder_is_opened_once() {
    let dir = TempDir::new().unwrap();
    let log = reopen(dir.path()).unwrap();
    assert!(error(reopen(dir.path())).contains("another process has the folder"));
    drop(log);
    reopen(dir.path()).unwrap();
}

#[test]
fn a_failed_write_is_final() {
    let dir = TempDir::new().unwrap();
    drop(three_entries(dir.path()));
    let db = DB::open_for_read_only(&options(), dir.path(), false).unwrap();
    let mut log = RocksLog::load(Disk { db, group: GROUP }, 0).unwrap();
    let entries = [entry(4, 2, b"four")];
    let durable = Persist { entries: &entries, must_sync: true, ..Persist::default() };
    assert!(error(log.persist(durable)).contains("cannot be written"));
    assert_eq!(log.last_index(), 3);
    let commit = hard_state(2, 1, 1);
    let volatile = Persist { hard_state: Some(&commit), ..Persist::default() };
    for round in [durable, volatile] {
        assert!(error(log.persist(round)).contains("an earlier write of the log failed"));
    }
}

#[test]
fn a_log_that_was_cut_begins_where_it_was_cut_after_reopening() {
    let dir = TempDir::new().unwrap();
    let mut log = reopen(dir.path()).unwrap();
    conformance::five_entries(&mut log);
    log.cut(3).unwrap();
    drop(log);
    let mut log = open_forgetful(dir.path(), 0);
    assert_eq!((log.base().id, log.last_index()), (LogId { term: 2, index: 3 }, 5));
    assert_eq!(log.sizes().count(), 2);
    assert!(error(log.entries(3, 5, u64::MAX)).contains("no entries 3..5"));
    let id = LogId { term: 8, index: 40 };
    conformance::restore(&mut log, id, 6, &[entry(41, 9, b"new")]);
    drop(log);
    let log = reopen(dir.path()).unwrap();
    assert_eq!((log.base(), log.last_index()), (Base { id, state: 6 }, 41));
    assert_eq!(log.entries(41, 42, u64::MAX).unwrap(), [entry(41, 9, b"new")]);
    let mut record = log.disk.get(&log.disk.key(KIND_BASE, 0)).unwrap().unwrap().to_vec();
    record[9] ^= 1;
    log.disk.db.put(log.disk.key(KIND_BASE, 0), record).unwrap();
    drop(log);
    assert!(error(reopen(dir.path())).contains("where it begins is damaged"));
}

/// A small generator, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn mirrors_the_log_in_memory() {
    let dir = TempDir::new().unwrap();
    let mut random = Random(0x005e_ed0f_1095);
    let (mut disk, mut memory) = (open_forgetful(dir.path(), 4_000), MemoryLog::new());
    let mut commit = 0;
    for term in 1..=2_000 {
        let last = memory.last_index();
        let cut = if random.below(10) == 0 { random.below(last - commit + 1) } else { 0 };
        let kept = last - cut;
        let next = kept + 1..kept + 2 + random.below(6);
        let entries: Vec<_> = next.map(|index| random_entry(&mut random, index, term)).collect();
        let entries = if random.below(10) == 0 { &[] } else { entries.as_slice() };
        commit = commit.max(kept.saturating_sub(20));
        let hard_state = hard_state(term, random.below(3), commit);
        let hard_state = (random.below(2) == 0).then_some(&hard_state);
        let round = Persist { hard_state, entries, must_sync: true, base: None };
        disk.persist(round).unwrap();
        memory.persist(round).unwrap();
        if random.below(30) == 0 {
            let commit = memory.hard_state().commit;
            let begin = memory.base().id.index;
            let index = begin + random.below(commit - begin + 1);
            disk.cut(index).unwrap();
            memory.cut(index).unwrap();
        }
        if random.below(100) == 0 {
            drop(disk);
            disk = open_forgetful(dir.path(), 4_000);
        }
        compare(&disk, &memory, &mut random);
    }
    let (begin, end) = (memory.base().id.index + 1, memory.last_index() + 1);
    assert!(end > 3_000, "a large log");
    let all = memory.entries(begin, end, u64::MAX).unwrap();
    assert_eq!(disk.entries(begin, end, u64::MAX).unwrap(), all);
}

fn random_entry(random: &mut Random, index: u64, term: u64) -> Entry {
    let mut entry = entry(index, term, b"");
    entry.data = (0..random.below(300)).map(|byte| byte.to_le_bytes()[0]).collect();
    entry.context = (0..random.below(2)).map(|_| 1).collect();
    entry
}

fn compare(disk: &RocksLog, memory: &MemoryLog, random: &mut Random) {
    let (begin, last) = (memory.base().id.index, memory.last_index());
    assert_eq!((disk.base(), disk.last_index()), (memory.base(), last));
    assert_eq!(disk.hard_state(), memory.hard_state());
    let bytes_up_to = |index| (disk.sizes().bytes_up_to(index), memory.sizes().bytes_up_to(index));
    for index in begin..=last {
        let (on_disk, in_memory) = bytes_up_to(index);
        assert_eq!(on_disk, in_memory, "up to {index}");
    }
    assert_eq!(disk.term(begin).unwrap(), memory.term(begin).unwrap(), "of the base");
    for recent in [40, last + 1 - begin] {
        let low = last + 1 - random.below(recent.min(last + 1 - begin));
        let high = low + random.below(last + 2 - low);
        let bytes_max = random.below(3_000);
        let (ours, theirs) =
            (disk.entries(low, high, bytes_max), memory.entries(low, high, bytes_max));
        assert_eq!(ours.unwrap(), theirs.unwrap(), "{low}..{high}");
        assert_eq!(disk.term(low).unwrap(), memory.term(low).unwrap(), "term of {low}");
    }
}
