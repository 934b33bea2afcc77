//! How histories are written in these tests.

use quorate_history::{Answer, Call, Found, Op, Outcome};

/// What a call found: a value, and the revision at which it was put.
pub(crate) type What = Option<(u64, u64)>;

/// What a call found where nothing was.
pub(crate) const NOTHING: What = None;

/// A call on key 0 from `begun` to `ended`.
pub(crate) fn op((begun, ended): (u64, u64), call: Call, outcome: Outcome) -> Op {
    Op { begun, ended, key: 0, call, outcome }
}

/// The same call on another key.
pub(crate) fn on(key: u32, op: Op) -> Op {
    Op { key, ..op }
}

/// A Get and what it found.
pub(crate) fn get(time: (u64, u64), index: u64, revision: u64, found: What) -> Op {
    op(time, Call::Get, read(index, revision, found))
}

/// A Put that was answered.
pub(crate) fn put(time: (u64, u64), value: u64, place: (u64, u64), found: What) -> Op {
    op(time, Call::Put(value), wrote(place.0, place.1, found))
}

/// A Put without an answer.
pub(crate) fn put_unknown(time: (u64, u64), value: u64) -> Op {
    op(time, Call::Put(value), Outcome::Unknown)
}

/// An answer of a call that wrote.
pub(crate) fn wrote(index: u64, revision: u64, found: What) -> Outcome {
    answer(index, revision, true, found)
}

/// An answer of a call that only read.
pub(crate) fn read(index: u64, revision: u64, found: What) -> Outcome {
    answer(index, revision, false, found)
}

fn answer(index: u64, revision: u64, wrote: bool, found: What) -> Outcome {
    let found = found.map(|(value, mod_revision)| Found { value, mod_revision });
    Outcome::Answered(Answer { index, term: 1, revision, wrote, found })
}
