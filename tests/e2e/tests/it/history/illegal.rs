//! Histories that are wrong, each in one way that the checker must name; and one that is right.

use super::checker::{Answer, Call, Found, Op, Outcome, check};

/// A call on key "k" from `begun` to `ended`.
fn op((begun, ended): (u64, u64), call: Call, outcome: Outcome) -> Op {
    Op { begun, ended, key: "k", call, outcome }
}

fn put(value: &str) -> Call {
    Call::Put(value.to_owned())
}

fn cas(mod_revision: u64, value: &str) -> Call {
    Call::Cas(mod_revision, value.to_owned())
}

/// An answer of a call that wrote.
fn wrote(index: u64, revision: u64, found: Option<(&str, u64)>) -> Outcome {
    answer(index, revision, true, found)
}

/// An answer of a call that only read.
fn read(index: u64, revision: u64, found: Option<(&str, u64)>) -> Outcome {
    answer(index, revision, false, found)
}

fn answer(index: u64, revision: u64, wrote: bool, found: Option<(&str, u64)>) -> Outcome {
    let found = found.map(|(value, mod_revision)| Found { value: value.to_owned(), mod_revision });
    Outcome::Answered(Answer { index, term: 1, revision, wrote, found })
}

#[test]
fn a_history_with_calls_at_once_in_one_entry_and_without_an_answer_is_right() {
    let history = [
        op((0, 9), put("a"), wrote(3, 1, None)),
        // In the same entry.
        op((1, 8), cas(1, "b"), wrote(3, 2, Some(("a", 1)))),
        op((1, 8), cas(1, "c"), read(3, 2, Some(("b", 2)))),
        // Its answer was lost, but the next call has seen its value.
        op((10, 11), put("d"), Outcome::Unknown),
        op((20, 30), put("e"), wrote(5, 4, Some(("d", 3)))),
        // Never executed, as far as anybody saw.
        op((20, 30), put("f"), Outcome::Unknown),
        op((20, 30), put("g"), Outcome::Refused),
        // While a write was under way, it may or may not be seen.
        op((25, 28), Call::Get, read(4, 3, Some(("d", 3)))),
        op((29, 31), Call::Get, read(5, 4, Some(("e", 4)))),
    ];
    let summary = check(&history).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!((summary.unknown, summary.unknown_done), (2, 1));
}

/// Fails unless the checker finds exactly this.
fn finds(rule: &str, history: &[Op]) {
    let wrong = check(history).expect_err(rule).to_string();
    assert!(wrong.starts_with(rule), "{rule:?} instead of {wrong}");
}

#[test]
fn a_stale_read_is_found() {
    let first = op((0, 1), put("a"), wrote(1, 1, None));
    let second = op((2, 3), put("b"), wrote(2, 2, Some(("a", 1))));
    let stale = op((4, 5), Call::Get, read(1, 1, Some(("a", 1))));
    finds("it began later and comes earlier", &[first.clone(), second.clone(), stale]);
    // With the right revision, but an old value.
    let stale = op((4, 5), Call::Get, read(2, 2, Some(("a", 1))));
    finds("it did not see the latest value", &[first.clone(), second.clone(), stale]);
    let blind = op((4, 5), Call::Get, read(2, 2, None));
    finds("it did not see the latest value", &[first, second, blind]);
}

#[test]
fn an_acknowledged_write_that_is_lost_is_found() {
    finds(
        "it did not see the latest value",
        &[op((0, 1), put("a"), wrote(1, 1, None)), op((2, 3), put("b"), wrote(2, 2, None))],
    );
    // The place in the log that it had now belongs to another.
    finds(
        "two calls have one revision",
        &[op((0, 1), put("a"), wrote(1, 1, None)), op((2, 3), put("b"), wrote(1, 1, None))],
    );
}

#[test]
fn an_order_that_contradicts_time_or_the_log_is_found() {
    // The first of the log began when the last had ended; the one between them hides it. Whether
    // its own answer arrived or not.
    for late in [wrote(1, 1, None), Outcome::Unknown] {
        finds(
            "it began later and comes earlier",
            &[
                op((10, 11), put("a"), late),
                op((0, 20), put("b"), wrote(2, 2, Some(("a", 1)))),
                op((0, 5), put("c"), wrote(3, 3, Some(("b", 2)))),
            ],
        );
    }
    finds(
        "its revision contradicts its index",
        &[
            op((0, 9), put("a"), wrote(2, 1, None)),
            op((0, 9), put("b"), wrote(1, 2, Some(("a", 1)))),
        ],
    );
    finds(
        "it began later and has an earlier index",
        &[
            op((0, 1), put("a"), wrote(1, 1, None)),
            op((2, 3), put("b"), wrote(1, 2, Some(("a", 1)))),
        ],
    );
}

#[test]
fn a_call_that_is_executed_twice_or_in_spite_of_its_refusal_is_found() {
    finds(
        "it was executed twice",
        &[
            op((0, 1), put("a"), Outcome::Unknown),
            op((2, 3), put("b"), wrote(2, 2, Some(("a", 1)))),
            op((4, 5), Call::Get, read(3, 3, Some(("a", 3)))),
        ],
    );
    finds(
        "it read what was not written",
        &[
            op((0, 1), put("a"), wrote(1, 1, None)),
            op((2, 3), Call::Get, read(2, 2, Some(("a", 2)))),
        ],
    );
    finds(
        "a refused call was executed",
        &[
            op((0, 1), put("a"), Outcome::Refused),
            op((2, 3), Call::Get, read(1, 1, Some(("a", 1)))),
        ],
    );
}

#[test]
fn a_value_from_nowhere_is_found() {
    finds("it read what nobody wrote", &[op((0, 1), Call::Get, read(1, 1, Some(("a", 1))))]);
    let elsewhere = Op { key: "other", ..op((0, 1), put("a"), wrote(1, 1, None)) };
    finds("it read another key", &[elsewhere, op((2, 3), Call::Get, read(1, 1, Some(("a", 1))))]);
    finds(
        "it read the future",
        &[
            op((0, 1), Call::Get, read(1, 1, Some(("a", 1)))),
            op((2, 3), put("a"), Outcome::Unknown),
        ],
    );
}

#[test]
fn a_comparison_that_decides_wrongly_is_found() {
    let put = op((0, 1), put("a"), wrote(1, 1, None));
    let done = op((2, 3), cas(7, "b"), wrote(2, 2, Some(("a", 1))));
    finds("it decided otherwise than the state was", &[put.clone(), done]);
    let not_done = op((2, 3), cas(1, "b"), read(2, 1, Some(("a", 1))));
    finds("it decided otherwise than the state was", &[put, not_done]);
}
