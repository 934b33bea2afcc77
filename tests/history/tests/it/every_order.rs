//! A third checker, so simple that it can be seen to be right: it tries every order of all calls,
//! and both for each that may or may not have been executed. For a few calls only.

use std::collections::BTreeMap;

use quorate_history::{Answer, Call, Op, Outcome};

/// More would take too long.
pub(crate) const CALLS_MAX: usize = 6;

/// Whether an order of the calls explains all of them.
pub(crate) fn explains(history: &[Op]) -> bool {
    assert!(history.len() <= CALLS_MAX, "{}", history.len());
    Revisions::of(history).is_some_and(|revisions| {
        let placed = vec![false; history.len()];
        place_next(history, &revisions, &placed, &BTreeMap::new())
    })
}

/// The revision of each value that somebody saw, by the value.
struct Revisions(BTreeMap<u64, u64>);

impl Revisions {
    /// None if they contradict each other.
    fn of(history: &[Op]) -> Option<Self> {
        let mut pairs = Vec::new();
        for op in history {
            let Outcome::Answered(answer) = &op.outcome else { continue };
            pairs.extend(answer.found.as_ref().map(|found| (found.value, found.mod_revision)));
            if answer.wrote {
                pairs.push((written(op)?, answer.revision));
            }
        }
        let agree = |(value, revision): &(u64, u64)| {
            *revision > 0 && pairs.iter().all(|(v, r)| (v == value) == (r == revision))
        };
        pairs.iter().all(agree).then(|| Self(pairs.iter().copied().collect()))
    }

    fn at(&self, state: Option<u64>) -> Option<u64> {
        state.map_or(Some(0), |value| self.0.get(&value).copied())
    }

    /// Whether anybody saw what has this revision.
    fn know(&self, revision: u64) -> bool {
        revision == 0 || self.0.values().any(|known| *known == revision)
    }
}

fn written(op: &Op) -> Option<u64> {
    match op.call {
        Call::Get => None,
        Call::Put(value) | Call::Cas(_, value) => Some(value),
    }
}

/// Places each call that can come next, and then the rest.
fn place_next(
    history: &[Op],
    revisions: &Revisions,
    placed: &[bool],
    states: &BTreeMap<u32, u64>,
) -> bool {
    let left = || history.iter().zip(placed).filter(|(_, placed)| !**placed).map(|(op, _)| op);
    let must_come = |op: &Op| matches!(op.outcome, Outcome::Answered(_));
    if !left().any(must_come) {
        return true;
    }
    (0..history.len()).filter(|at| !placed[*at]).any(|at| {
        let op = &history[at];
        let is_late = left().any(|other| must_come(other) && other.ended < op.begun);
        let state = states.get(&op.key).copied();
        if is_late || !fits(op, revisions, state) {
            return false;
        }
        let mut placed = placed.to_vec();
        placed[at] = true;
        let mut states = states.clone();
        if writes(op) {
            states.insert(op.key, written(op).unwrap());
        }
        place_next(history, revisions, &placed, &states)
    })
}

/// Whether a call, executed now, sees what it saw. One without an answer is executed only to write.
fn fits(op: &Op, revisions: &Revisions, state: Option<u64>) -> bool {
    let answer = match &op.outcome {
        Outcome::Refused => return false,
        Outcome::Unknown => None,
        Outcome::Answered(answer) => Some(answer),
    };
    let finds = |answer: &Answer| answer.found.as_ref().map(|found| found.value) == state;
    let holds = match op.call {
        Call::Get => false,
        Call::Put(_) => true,
        Call::Cas(wanted, _) => {
            // Neither this nor the search can tell what it compared with.
            let may_hold = answer.is_none() && !revisions.know(wanted);
            may_hold || revisions.at(state) == Some(wanted)
        }
    };
    answer.is_none_or(finds) && writes(op) == holds
}

fn writes(op: &Op) -> bool {
    match &op.outcome {
        Outcome::Answered(answer) => answer.wrote,
        Outcome::Refused => false,
        Outcome::Unknown => written(op).is_some(),
    }
}
