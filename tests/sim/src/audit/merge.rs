//! One call of each that was sent: a call of a session may have been sent many times, to many
//! nodes, but is one operation with one outcome.

use std::collections::BTreeMap;

use quorate_core::outcome::Rejection;
use quorate_core::session::SessionError;

use crate::calls::{Call, Outcome};
use crate::oracle::{Checked, ensure};

/// All calls by the number of the first that sent each: from when it was first sent, to when
/// somebody first knew what it decided.
pub(super) fn merge(calls: &[Call]) -> Checked<BTreeMap<u64, Call>> {
    let mut merged: BTreeMap<u64, Call> = BTreeMap::new();
    for (number, call) in (0..).zip(calls) {
        match merged.get_mut(&call.first) {
            None => {
                let outcome = known(&call.outcome);
                merged.insert(number, Call { outcome, ..call.clone() });
            }
            Some(first) => add(first, call)?,
        }
    }
    Ok(merged)
}

fn add(first: &mut Call, again: &Call) -> Checked {
    let outcome = known(&again.outcome);
    match (&first.outcome, &outcome) {
        (Outcome::Answered(..), Outcome::Answered(..)) => {
            ensure(first.outcome == outcome, "all copies of a call have one answer", || {
                format!("{}, {outcome}", first.outcome)
            })?;
            first.ended = first.ended.min(again.ended);
        }
        (_, Outcome::Answered(..)) => (first.outcome, first.ended) = (outcome, again.ended),
        // Surely not executed only if no copy is.
        (Outcome::Refused, Outcome::Unknown | Outcome::Pending) => first.outcome = outcome,
        _ => {}
    }
    Ok(())
}

/// What an answer says of the call itself.
fn known(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Answered(_, Err(Rejection::Session(error))) => match error {
            // Another copy of it may have been executed before.
            SessionError::Expired | SessionError::Forgotten { .. } => Outcome::Unknown,
            SessionError::NeverOpened | SessionError::Reused => Outcome::Refused,
        },
        other => other.clone(),
    }
}
