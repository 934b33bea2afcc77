//! Histories of clients at once, from a seed: right ones, made by executing every call at some
//! instant between its beginning and its end; and the same with something changed.

use quorate_history::{Op, by_index, by_search};

use crate::every_order::{self, CALLS_MAX};

mod changed;
mod made;

use self::changed::change;
use self::made::{Numbers, Shape, make};

/// As many clients as the simulator has at most.
const CROWD: Shape = Shape { clients: 16, calls: 400, keys: 3, time: 20, without_answer: 10 };
const TINY: Shape =
    Shape { clients: 3, calls: CALLS_MAX as u64, keys: 2, time: 4, without_answer: 25 };

#[test]
fn what_clients_can_see_is_accepted_by_both() {
    for seed in 0..300 {
        let mut numbers = Numbers::new(seed);
        let shape = Shape {
            clients: 1 + numbers.below(16),
            calls: 1 + numbers.below(400),
            keys: 1 + numbers.below(3),
            time: 1 + numbers.below(50),
            without_answer: numbers.below(60),
        };
        let history = make(&shape, &mut numbers);
        by_index::check(&history).unwrap_or_else(|wrong| panic!("by index, {seed}: {wrong}"));
        by_search::check(&history).unwrap_or_else(|wrong| panic!("by search, {seed}: {wrong}"));
    }
}

#[test]
fn the_search_visits_no_more_states_than_there_are_calls() {
    for seed in 0..100 {
        let shape = Shape { without_answer: seed % 50, ..CROWD };
        let mut history = make(&shape, &mut Numbers::new(seed));
        let searched = by_search::check(&history).unwrap();
        assert!(searched.windows > 0 && searched.largest_window > 0, "{seed}: {searched:?}");
        assert!(searched.states <= 3 * history.len(), "{seed}: {searched:?}");
        // One that is paused all the while, so that no window ends before it does.
        history[0].begun = 0;
        history[0].ended = u64::MAX;
        let searched = by_search::check(&history).unwrap();
        assert!(searched.states <= 3 * history.len(), "{seed}: {searched:?}");
    }
}

/// The worst there is: all orders are possible until the last read, which none explains.
#[test]
fn many_writes_without_an_answer_at_once_do_not_take_long() {
    use crate::write::{get, put_unknown};
    let writes = (1..=100).map(|value| put_unknown((0, 1), value));
    let reads = (1..=100).map(|value| get((2, 3), 100, 100, Some((value, value))));
    let mut history: Vec<Op> = writes.chain(reads).collect();
    let searched = by_search::check(&history).unwrap();
    assert_eq!((searched.ops, searched.windows), (200, 1));
    assert!(searched.states < 500, "{searched:?}");
    history.push(get((4, 5), 100, 100, Some((1, 1))));
    history.push(get((4, 5), 100, 100, Some((2, 2))));
    by_search::check(&history).unwrap_err();
}

#[test]
fn the_search_agrees_with_a_trial_of_every_order() {
    let (mut right, mut wrong, mut without_order) = (0, 0, 0);
    for seed in 0..100_000 {
        let mut numbers = Numbers::new(seed);
        let shape = Shape { keys: 1 + seed % 2, ..TINY };
        let mut history = make(&shape, &mut numbers);
        for _ in 0..numbers.below(4) {
            change(&mut history, &mut numbers);
        }
        let found = by_search::check(&history);
        assert_eq!(found.is_ok(), every_order::explains(&history), "{found:?}: {history:#?}");
        match found {
            Ok(_) => right += 1,
            Err(found) if found.to_string().starts_with("no order") => without_order += 1,
            Err(_) => wrong += 1,
        }
    }
    let counts = format!("{right} right, {wrong} wrong, and {without_order} without an order");
    assert!(right > 50_000 && wrong > 10_000 && without_order > 10_000, "{counts}");
}

/// The log has more to say than values have, so whatever the search finds must be found there too;
/// but for comparisons without an answer, which only the search asks about.
#[test]
fn what_is_wrong_with_values_is_wrong_with_the_log() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..3000 {
        let mut numbers = Numbers::new(seed);
        let shape = Shape { calls: 10 + numbers.below(100), without_answer: 20, ..CROWD };
        let mut history = make(&shape, &mut numbers);
        history.retain(|op| !made::is_cas_without_answer(op));
        let lost = by_search::check(&history).is_err();
        assert_eq!(lost, by_index::check(&history).is_err() && lost, "{seed}");
        change(&mut history, &mut numbers);
        match (by_search::check(&history), by_index::check(&history)) {
            (Err(found), Ok(_)) => panic!("{seed}: only the search found {found}"),
            (Err(_), Err(_)) => wrong += 1,
            (Ok(_), _) => right += 1,
        }
    }
    assert!(right > 1000 && wrong > 1000, "{right} right and {wrong} wrong");
}
