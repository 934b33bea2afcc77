//! Histories that are right, which no checker may call wrong.

use quorate_history::Call::{Cas, Get, Put};
use quorate_history::Outcome::{Refused, Unknown};
use quorate_history::{Op, by_index, by_search};

use crate::write::{NOTHING, get, on, op, put, put_unknown, read, wrote};

/// Fewer than these would prove too little.
const LEGAL_MIN: usize = 16;

fn histories() -> Vec<(&'static str, Vec<Op>)> {
    let mut histories = of_calls_at_once();
    histories.extend(of_comparisons());
    histories.extend(without_an_answer());
    histories
}

fn of_calls_at_once() -> Vec<(&'static str, Vec<Op>)> {
    vec![
        ("the first read finds nothing", vec![get((0, 1), 0, 0, NOTHING)]),
        (
            "a read during a write finds what was before",
            vec![
                put((0, 1), 1, (1, 1), NOTHING),
                put((2, 9), 2, (2, 2), Some((1, 1))),
                get((3, 4), 1, 1, Some((1, 1))),
                get((10, 11), 2, 2, Some((2, 2))),
            ],
        ),
        (
            "a read during a write finds what it writes",
            vec![
                put((0, 1), 1, (1, 1), NOTHING),
                put((2, 9), 2, (2, 2), Some((1, 1))),
                get((3, 4), 2, 2, Some((2, 2))),
            ],
        ),
        (
            "reads on both sides of a write's effect",
            vec![
                put((0, 50), 1, (1, 1), NOTHING),
                get((1, 2), 0, 0, NOTHING),
                get((3, 9), 0, 0, NOTHING),
                get((4, 8), 1, 1, Some((1, 1))),
                get((9, 10), 1, 1, Some((1, 1))),
            ],
        ),
        (
            "what ends at the instant at which the other begins is at once with it",
            vec![
                put((0, 1), 1, (1, 1), NOTHING),
                put((2, 5), 2, (2, 2), Some((1, 1))),
                get((5, 5), 1, 1, Some((1, 1))),
            ],
        ),
        (
            "writes at once take effect in the reverse order of their beginnings",
            vec![
                put((0, 9), 1, (3, 3), Some((2, 2))),
                put((1, 9), 2, (2, 2), Some((3, 1))),
                put((2, 9), 3, (1, 1), NOTHING),
                get((20, 21), 3, 3, Some((1, 3))),
            ],
        ),
        (
            "keys do not order each other but by revisions",
            vec![
                put((0, 9), 1, (1, 1), NOTHING),
                on(1, put((0, 9), 2, (2, 2), NOTHING)),
                on(1, get((3, 9), 2, 2, Some((2, 2)))),
                on(2, get((3, 9), 2, 2, NOTHING)),
                get((3, 9), 2, 2, Some((1, 1))),
            ],
        ),
    ]
}

fn of_comparisons() -> Vec<(&'static str, Vec<Op>)> {
    vec![
        (
            "of two comparisons at once one holds",
            vec![
                put((0, 1), 1, (1, 1), NOTHING),
                op((2, 9), Cas(1, 2), read(3, 2, Some((3, 2)))),
                op((2, 9), Cas(1, 3), wrote(2, 2, Some((1, 1)))),
            ],
        ),
        (
            "of two first writers one wins",
            vec![
                op((0, 9), Cas(0, 1), wrote(1, 1, NOTHING)),
                op((0, 9), Cas(0, 2), read(2, 1, Some((1, 1)))),
            ],
        ),
        (
            "a comparison with what was never there does not hold",
            vec![op((0, 1), Cas(7, 1), read(1, 0, NOTHING)), get((2, 3), 1, 0, NOTHING)],
        ),
        (
            "a comparison with a revision of another key does not hold",
            vec![
                on(1, put((0, 1), 1, (1, 1), NOTHING)),
                put((2, 3), 2, (2, 2), NOTHING),
                op((4, 5), Cas(1, 3), read(3, 2, Some((2, 2)))),
            ],
        ),
        (
            "commands of one entry, of which the later ones see the earlier",
            vec![
                op((0, 9), Put(1), wrote(3, 1, NOTHING)),
                op((1, 8), Cas(1, 2), wrote(3, 2, Some((1, 1)))),
                op((1, 8), Cas(1, 3), read(3, 2, Some((2, 2)))),
            ],
        ),
        (
            "a comparison without an answer that held",
            vec![
                put((0, 1), 1, (1, 1), NOTHING),
                op((2, 3), Cas(1, 2), Unknown),
                op((2, 3), Cas(1, 3), Unknown),
                get((4, 5), 2, 2, Some((2, 2))),
            ],
        ),
    ]
}

fn without_an_answer() -> Vec<(&'static str, Vec<Op>)> {
    vec![
        (
            "a write without an answer is seen long after its client gave up",
            vec![
                put_unknown((0, 1), 1),
                get((2, 3), 0, 0, NOTHING),
                put((4, 5), 2, (1, 1), NOTHING),
                get((6, 7), 2, 2, Some((1, 2))),
            ],
        ),
        (
            "a write without an answer is never seen, or its revision is",
            vec![
                put((0, 1), 1, (1, 1), NOTHING),
                put_unknown((2, 3), 2),
                put_unknown((2, 3), 3),
                op((2, 3), Cas(1, 4), Unknown),
                get((4, 5), 1, 1, Some((1, 1))),
                on(1, put((6, 7), 5, (9, 3), NOTHING)),
            ],
        ),
        (
            "writes without an answer take effect in the reverse order",
            vec![
                put_unknown((0, 1), 1),
                put_unknown((2, 3), 2),
                put_unknown((4, 5), 3),
                get((6, 7), 1, 1, Some((3, 1))),
                get((8, 9), 2, 2, Some((2, 2))),
                get((10, 11), 3, 3, Some((1, 3))),
            ],
        ),
        (
            "reads without an answer, and refused calls, say nothing",
            vec![
                op((0, 1), Put(1), Refused),
                op((0, 1), Get, Refused),
                op((2, 3), Get, Unknown),
                get((4, 5), 0, 0, NOTHING),
            ],
        ),
        (
            "of everything something",
            vec![
                op((0, 9), Put(1), wrote(3, 1, NOTHING)),
                op((1, 8), Cas(1, 2), wrote(3, 2, Some((1, 1)))),
                op((1, 8), Cas(1, 3), read(3, 2, Some((2, 2)))),
                op((10, 11), Put(4), Unknown),
                op((20, 30), Put(5), wrote(5, 4, Some((4, 3)))),
                op((20, 30), Put(6), Unknown),
                op((20, 30), Put(7), Refused),
                op((25, 28), Get, read(4, 3, Some((4, 3)))),
                op((29, 31), Get, read(5, 4, Some((5, 4)))),
            ],
        ),
    ]
}

#[test]
fn histories_that_are_right_are_accepted_by_both() {
    let histories = histories();
    assert!(histories.len() >= LEGAL_MIN, "{}", histories.len());
    for (name, history) in &histories {
        by_index::check(history).unwrap_or_else(|wrong| panic!("by index, {name}: {wrong}"));
        by_search::check(history).unwrap_or_else(|wrong| panic!("by search, {name}: {wrong}"));
    }
}

#[test]
fn what_was_checked_is_counted() {
    let histories = histories();
    let (_, history) = histories.last().unwrap();
    let summary = by_index::check(history).unwrap();
    assert_eq!((summary.gets, summary.puts, summary.refused, summary.terms), (2, 2, 1, 1));
    assert_eq!((summary.cas_done, summary.cas_not_done), (1, 1));
    assert_eq!((summary.unknown, summary.unknown_done), (2, 1));
    let searched = by_search::check(history).unwrap();
    // The write that was seen was under way until then, and so joins what came after it.
    assert_eq!((searched.ops, searched.windows, searched.largest_window), (7, 2, 4));
    assert!(searched.states >= searched.windows, "{searched:?}");
}
