//! The search: from each set of calls that can stand first in the order, by each call that can come
//! next. What was visited is not visited again, which bounds the search whatever else fails.
//!
//! Four things that follow from every value being written once keep it small, and lose no order:
//!
//! 1. A call that only reads what the key holds now is placed at once: later it fits no better, and
//!    no other call is worse off.
//! 2. What the key holds is never left while calls need to find it, for it does not come back. So
//!    there is a choice only between writes that need nothing: those without an answer.
//! 3. What no call needs any more is the same as any other such thing.
//! 4. When such a write and all that followed from it has led to what no call needs any more, the
//!    other choices are dropped: what they place first can as well come after it.

use std::collections::{BTreeMap, HashSet};

use super::done::Done;
use super::seen::{Needs, State, Step};
use crate::Wrong;

/// Calls that a message names at most.
const NAMED_MAX: usize = 8;

/// Calls of a key, from `begin` to before `end` of its steps. All before had ended when the first
/// of them began, and all of them when the next did.
pub(super) struct Window<'h> {
    pub(super) steps: &'h [Step<'h>],
    pub(super) needing: &'h BTreeMap<State, Vec<usize>>,
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// The calls that need to find each state.
pub(super) fn needing(steps: &[Step<'_>]) -> BTreeMap<State, Vec<usize>> {
    let mut needing: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        if let Needs::Exactly(state) = step.needs {
            needing.entry(state).or_default().push(at);
        }
    }
    needing
}

/// Calls that stand first, in some order, and what the key holds after them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Prefix {
    done: Done,
    state: State,
}

impl Window<'_> {
    /// What the key holds after all calls, if it held `state` before them. It is the same in every
    /// order: what later calls need to find, or else what none needs.
    pub(super) fn search(&self, state: State, visits: &mut usize) -> Result<State, Wrong> {
        let mut longest = Prefix { done: Done::below(self.begin), state };
        let mut to_visit = vec![longest.clone()];
        let mut visited = HashSet::new();
        while let Some(mut prefix) = to_visit.pop() {
            self.read(&mut prefix);
            if !visited.insert(prefix.clone()) {
                continue;
            }
            *visits += 1;
            if prefix.done.first_missing() >= self.end {
                return Ok(prefix.state);
            }
            if prefix.state == State::Spent {
                to_visit.clear();
            }
            to_visit.extend(self.writes(&prefix).map(|at| self.write(&prefix, at)));
            if longest.done.count() < prefix.done.count() {
                longest = prefix;
            }
        }
        Err(self.stuck(&longest))
    }

    /// Places the calls that can come next and only read what the key holds.
    fn read(&self, prefix: &mut Prefix) {
        loop {
            let next = self.next(&prefix.done);
            let reads = next.into_iter().filter(|at| {
                let step = &self.steps[*at];
                step.writes.is_none() && step.needs == Needs::Exactly(prefix.state)
            });
            let before = prefix.done.count();
            for at in reads {
                prefix.done.insert(at);
            }
            if prefix.done.count() == before {
                break;
            }
        }
        if self.left(prefix).next().is_none() {
            prefix.state = State::Spent;
        }
    }

    /// The calls that are left and need what the key holds.
    fn left(&self, prefix: &Prefix) -> impl Iterator<Item = usize> {
        let needing = self.needing.get(&prefix.state).map_or(&[][..], Vec::as_slice);
        needing.iter().copied().filter(|at| !prefix.done.contains(*at))
    }

    /// The writes that can come next.
    fn writes(&self, prefix: &Prefix) -> impl Iterator<Item = usize> {
        let mut left = self.left(prefix);
        let needing = (left.next(), left.next());
        self.next(&prefix.done).into_iter().filter(move |at| match needing {
            (None, _) => self.steps[*at].needs == Needs::Anything,
            // No other than the last of them may end what the key holds.
            (Some(last), None) => last == *at && self.steps[*at].writes.is_some(),
            (Some(_), Some(_)) => false,
        })
    }

    fn write(&self, prefix: &Prefix, at: usize) -> Prefix {
        let mut done = prefix.done.clone();
        done.insert(at);
        let value = self.steps[at].writes.expect("it is a write");
        Prefix { done, state: State::Value(value) }
    }

    /// The calls that can come next as far as time goes: none that is left had ended when they
    /// began.
    fn next(&self, done: &Done) -> Vec<usize> {
        let mut next = Vec::new();
        let mut first_end = u64::MAX;
        for at in (done.first_missing()..self.end).filter(|at| !done.contains(*at)) {
            let step = &self.steps[at];
            if step.begun > first_end {
                break;
            }
            // It ends no earlier than it begins, and so than those before it began: they stay.
            first_end = first_end.min(step.ended);
            next.push(at);
        }
        next
    }

    /// Names the calls of which none can come next in the longest order that was found.
    fn stuck(&self, prefix: &Prefix) -> Wrong {
        let next: Vec<String> = (self.next(&prefix.done).into_iter().take(NAMED_MAX))
            .map(|at| format!("\n  {:?}", self.steps[at].op))
            .collect();
        Wrong(format!(
            "no order explains what was seen: after {} of {} calls the key holds {}, \
             and none of these fits next:{}",
            prefix.done.count(),
            self.steps.len(),
            prefix.state,
            next.concat(),
        ))
    }
}
