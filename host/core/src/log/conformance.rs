//! What every [`LogStore`] must do, run against each of them by its own tests.

use bytes::Bytes;

use super::{Base, Entry, HardState, LogStore, Persist, entry_bytes};
use crate::id::LogId;

/// Runs the whole suite; `open` makes a new, empty log each time.
pub fn suite<L: LogStore>(open: impl Fn() -> L) {
    begins_empty(&open());
    keeps_what_it_was_given(open());
    replaces_a_conflicting_tail(open());
    limits_bytes_but_gives_at_least_one(open());
    keeps_hard_state_apart_from_entries(open());
    is_cut_at_its_front(open());
    may_be_cut_to_nothing(open());
    begins_anew_behind_a_snapshot(open());
    knows_the_sizes_of_its_entries(open());
}

/// An entry for tests.
pub fn entry(index: u64, term: u64, data: &'static [u8]) -> Entry {
    Entry { index, term, data: Bytes::from_static(data), ..Entry::default() }
}

/// Persists entries durably.
pub fn append(log: &mut impl LogStore, entries: &[Entry]) {
    log.persist(Persist { entries, must_sync: true, ..Persist::default() }).expect("persist");
}

/// A hard state for tests.
pub fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit, ..HardState::default() }
}

/// Persists a hard state alone.
pub fn commit(log: &mut impl LogStore, hard_state: &HardState, must_sync: bool) {
    let hard_state = Some(hard_state);
    log.persist(Persist { hard_state, must_sync, ..Persist::default() }).expect("persist");
}

/// Five entries, of terms 1, 1, 2, 2 and 3, all committed.
pub fn five_entries(log: &mut impl LogStore) {
    let terms = [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)];
    append(log, &terms.map(|(index, term)| entry(index, term, b"data")));
    commit(log, &hard_state(3, 1, 5), true);
}

/// The log begins anew behind `id`, with the state of that number, and these entries.
pub fn restore(log: &mut impl LogStore, id: LogId, state: u64, entries: &[Entry]) {
    let hard_state = hard_state(9, 2, id.index);
    let base = Some(Base { id, state });
    let hard_state = Some(&hard_state);
    log.persist(Persist { base, hard_state, entries, must_sync: true }).expect("persist");
}

fn terms(log: &impl LogStore, to: u64) -> Vec<Option<u64>> {
    (0..=to).map(|index| log.term(index).expect("term")).collect()
}

fn is_cut_at_its_front(mut log: impl LogStore) {
    five_entries(&mut log);
    assert_eq!(log.base(), Base::default());
    log.cut(3).expect("cut");
    assert_eq!(log.base(), Base { id: LogId { term: 2, index: 3 }, state: 0 });
    assert_eq!(terms(&log, 6), [None, None, None, Some(2), Some(2), Some(3), None]);
    assert_eq!(log.entries(4, 6, u64::MAX).expect("entries").len(), 2);
    assert!(log.entries(3, 6, u64::MAX).is_err(), "it was cut off");
    log.cut(3).expect("once more");
    append(&mut log, &[entry(6, 3, b"")]);
    assert_eq!((log.base().id.index, log.last_index()), (3, 6));
    assert_eq!(log.hard_state(), hard_state(3, 1, 5));
}

fn may_be_cut_to_nothing(mut log: impl LogStore) {
    five_entries(&mut log);
    log.cut(5).expect("cut");
    assert_eq!((log.last_index(), log.term(5).expect("term")), (5, Some(3)));
    append(&mut log, &[entry(6, 3, b"six")]);
    assert_eq!(log.entries(6, 7, u64::MAX).expect("entries"), [entry(6, 3, b"six")]);
}

fn begins_anew_behind_a_snapshot(mut log: impl LogStore) {
    five_entries(&mut log);
    log.cut(2).expect("cut");
    let id = LogId { term: 7, index: 4 };
    restore(&mut log, id, 3, &[entry(5, 8, b"new")]);
    assert_eq!(log.base(), Base { id, state: 3 });
    assert_eq!(terms(&log, 6), [None, None, None, None, Some(7), Some(8), None]);
    assert_eq!(log.entries(5, 6, u64::MAX).expect("entries"), [entry(5, 8, b"new")]);
    assert_eq!(log.hard_state(), hard_state(9, 2, 4));
    let id = LogId { term: 9, index: 100 };
    restore(&mut log, id, 4, &[]);
    assert_eq!((log.base(), log.last_index()), (Base { id, state: 4 }, 100));
    append(&mut log, &[entry(101, 9, b"")]);
    assert_eq!(log.last_index(), 101);
}

fn knows_the_sizes_of_its_entries(mut log: impl LogStore) {
    five_entries(&mut log);
    let small = entry_bytes(&entry(1, 1, b"data"));
    assert_eq!((log.sizes().count(), log.sizes().bytes()), (5, 5 * small));
    log.cut(2).expect("cut");
    append(&mut log, &[entry(6, 3, b"data"), entry(7, 3, b"data")]);
    append(&mut log, &[entry(6, 4, b"data")]);
    assert_eq!((log.sizes().count(), log.sizes().bytes()), (4, 4 * small));
    restore(&mut log, LogId { term: 9, index: 10 }, 1, &[entry(11, 9, b"data")]);
    assert_eq!((log.sizes().count(), log.sizes().bytes()), (1, small));
}

fn begins_empty(log: &impl LogStore) {
    assert_eq!(log.last_index(), 0);
    assert_eq!(log.hard_state(), HardState::default());
    assert_eq!(log.term(0).expect("term"), Some(0));
    assert_eq!(log.term(1).expect("term"), None);
}

fn keeps_what_it_was_given(mut log: impl LogStore) {
    let entries = [entry(1, 1, b"a"), entry(2, 1, b""), entry(3, 2, b"c")];
    append(&mut log, &entries);
    assert_eq!(log.last_index(), 3);
    assert_eq!(log.entries(1, 4, u64::MAX).expect("entries"), entries);
    assert_eq!(log.entries(2, 3, u64::MAX).expect("entries"), entries.get(1..2).expect("one"));
    let terms: Vec<_> = (0..5).map(|index| log.term(index).expect("term")).collect();
    assert_eq!(terms, [Some(0), Some(1), Some(1), Some(2), None]);
    assert!(log.entries(2, 5, u64::MAX).is_err(), "past the end");
}

fn replaces_a_conflicting_tail(mut log: impl LogStore) {
    append(&mut log, &[entry(1, 1, b"a"), entry(2, 1, b"b"), entry(3, 1, b"c")]);
    append(&mut log, &[entry(2, 2, b"B")]);
    assert_eq!(log.last_index(), 2, "the old tail must not outlive the new entry");
    assert_eq!(log.term(3).expect("term"), None);
    let entries = log.entries(1, 3, u64::MAX).expect("entries");
    assert_eq!(entries, [entry(1, 1, b"a"), entry(2, 2, b"B")]);
    append(&mut log, &[entry(3, 2, b"C")]);
    assert_eq!(log.entries(3, 4, u64::MAX).expect("entries"), [entry(3, 2, b"C")]);
}

fn limits_bytes_but_gives_at_least_one(mut log: impl LogStore) {
    append(&mut log, &[entry(1, 1, &[0; 1000]), entry(2, 1, &[0; 1000]), entry(3, 1, b"")]);
    assert_eq!(log.entries(1, 4, 0).expect("entries").len(), 1);
    assert_eq!(log.entries(1, 4, 2050).expect("entries").len(), 2);
    assert_eq!(log.entries(1, 4, u64::MAX).expect("entries").len(), 3);
}

fn keeps_hard_state_apart_from_entries(mut log: impl LogStore) {
    let first = hard_state(3, 2, 0);
    commit(&mut log, &first, true);
    append(&mut log, &[entry(1, 3, b"a")]);
    assert_eq!(log.hard_state(), first);
    let second = hard_state(3, 2, 1);
    commit(&mut log, &second, false);
    assert_eq!(log.hard_state(), second);
    assert_eq!(log.last_index(), 1);
}
