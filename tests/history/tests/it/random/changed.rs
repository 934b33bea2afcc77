//! Changes something in a history, after which it may be right or wrong.

use quorate_history::{Call, Found, Op, Outcome};

use super::made::Numbers;

pub(super) fn change(history: &mut [Op], numbers: &mut Numbers) {
    let count = u64::try_from(history.len()).unwrap();
    let at = usize::try_from(numbers.below(count)).unwrap();
    let key = history[at].key;
    let others: Vec<_> =
        history.iter().filter(|op| op.key == key || numbers.below(9) == 0).collect();
    let count = u64::try_from(others.len()).unwrap();
    let other = others[usize::try_from(numbers.below(count)).unwrap()].clone();
    let what = numbers.below(8);
    let op = &mut history[at];
    let (Outcome::Answered(answer), 2..) = (&mut op.outcome, what) else {
        // After another has ended, or until another has.
        let lasted = op.ended - op.begun;
        if what.is_multiple_of(2) {
            (op.begun, op.ended) = (other.ended + 1, other.ended + 1 + lasted);
        } else {
            op.ended = op.begun.max(other.begun);
        }
        return;
    };
    match what {
        2 | 3 => answer.found = found_by(&other).or_else(|| written_by(&other)),
        4 => answer.found = written_by(&other).or_else(|| found_by(&other)),
        5 => answer.found = None,
        6 => answer.wrote = !answer.wrote && op.call != Call::Get,
        _ => op.outcome = Outcome::Unknown,
    }
    let decides = numbers.below(8) > 0;
    if let (Call::Cas(wanted, _), Outcome::Answered(answer), true) =
        (&mut op.call, &op.outcome, decides)
    {
        // So that it decides as it should, and only an order can be wrong.
        let found = answer.found.as_ref().map_or(0, |found| found.mod_revision);
        match answer.wrote {
            true => *wanted = found,
            false if *wanted == found => *wanted += 1,
            false => {}
        }
    }
}

fn found_by(op: &Op) -> Option<Found> {
    match &op.outcome {
        Outcome::Answered(answer) => answer.found.clone(),
        Outcome::Refused | Outcome::Unknown => None,
    }
}

fn written_by(op: &Op) -> Option<Found> {
    let (Call::Put(value) | Call::Cas(_, value)) = op.call else { return None };
    let mod_revision = match &op.outcome {
        Outcome::Answered(answer) => answer.revision,
        // Some revision that no other has.
        Outcome::Refused | Outcome::Unknown => 1000 + value,
    };
    Some(Found { value, mod_revision })
}
