//! Decides whether any order of the calls on each key explains what each of them saw: the search
//! of Wing, Gong and Lowe. Keys are searched one by one, for a history is linearizable if and only
//! if that of each key is.
//!
//! Neither indexes, terms nor revisions order anything here. Revisions are names of values, no
//! more: that is how a Cas says what it wants to find.
//!
//! 1. `seen`: what calls found of each other, and so what the search has to place
//! 2. `window`: the search
//! 3. here: cutting what is seen of a key where no call was under way
//!
//! What this deliberately does not do: ask what a Cas compared with, if its answer was lost and
//! nobody ever saw the revision that it wanted. It may have held at any time.

mod done;
mod seen;
mod window;

use std::collections::BTreeMap;

use self::seen::{Seen, State, Step};
use self::window::Window;
use crate::{Op, Wrong, assert_recorded_well};

/// What it took to find an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Calls that the order contains: not those that had no effect that anybody saw.
    pub ops: usize,
    /// Parts that were searched one by one, as no call was under way between them.
    pub windows: usize,
    /// Calls of the largest part.
    pub largest_window: usize,
    /// Pairs of a set of calls and what the key holds after them that were visited.
    pub states: usize,
}

/// Checks a history, in which the calls may stand in any order.
///
/// # Panics
/// If two calls would write the same value, or one ended before it began.
pub fn check(history: &[Op]) -> Result<Searched, Wrong> {
    assert_recorded_well(history);
    let seen = Seen::of(history)?;
    let mut by_key: BTreeMap<u32, Vec<Step<'_>>> = BTreeMap::new();
    for op in history {
        if let Some(step) = seen.step(op)? {
            by_key.entry(op.key).or_default().push(step);
        }
    }
    let mut searched = Searched::default();
    for steps in by_key.values_mut() {
        steps.sort_by_key(|step| step.begun);
        search(steps, &mut searched)?;
    }
    Ok(searched)
}

/// Searches all of a key, its calls being in the order in which they began.
fn search(steps: &[Step<'_>], searched: &mut Searched) -> Result<(), Wrong> {
    let needing = window::needing(steps);
    let mut state = State::Absent;
    let mut begin = 0;
    while begin < steps.len() {
        let window = Window { steps, needing: &needing, begin, end: window_end(steps, begin) };
        state = window.search(state, &mut searched.states)?;
        let calls = window.end - window.begin;
        searched.ops += calls;
        searched.windows += 1;
        searched.largest_window = searched.largest_window.max(calls);
        begin = window.end;
    }
    Ok(())
}

/// The first call from `begin` on that began when all before had ended.
fn window_end(steps: &[Step<'_>], begin: usize) -> usize {
    let mut latest_end = steps[begin].ended;
    for (at, step) in steps.iter().enumerate().skip(begin) {
        if step.begun > latest_end {
            return at;
        }
        latest_end = latest_end.max(step.ended);
    }
    steps.len()
}
