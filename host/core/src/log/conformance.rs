//! What every [`LogStore`] must do, run against each of them by its own tests.

use bytes::Bytes;

use super::{Entry, HardState, LogStore, Persist};

/// Runs the whole suite; `open` makes a new, empty log each time.
pub fn suite<L: LogStore>(open: impl Fn() -> L) {
    begins_empty(&open());
    keeps_what_it_was_given(open());
    replaces_a_conflicting_tail(open());
    limits_bytes_but_gives_at_least_one(open());
    keeps_hard_state_apart_from_entries(open());
}

/// An entry for tests.
pub fn entry(index: u64, term: u64, data: &'static [u8]) -> Entry {
    Entry { index, term, data: Bytes::from_static(data), ..Entry::default() }
}

/// Persists entries durably.
pub fn append(log: &mut impl LogStore, entries: &[Entry]) {
    log.persist(Persist { hard_state: None, entries, must_sync: true }).expect("persist");
}

/// A hard state for tests.
pub fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit, ..HardState::default() }
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
    log.persist(Persist { hard_state: Some(&first), entries: &[], must_sync: true })
        .expect("persist");
    append(&mut log, &[entry(1, 3, b"a")]);
    assert_eq!(log.hard_state(), first);
    let second = hard_state(3, 2, 1);
    log.persist(Persist { hard_state: Some(&second), entries: &[], must_sync: false })
        .expect("persist");
    assert_eq!(log.hard_state(), second);
    assert_eq!(log.last_index(), 1);
}
