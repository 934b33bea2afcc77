//! Values that cannot be, and comparisons that decide wrongly.

use quorate_history::Call::{Cas, Get, Put};
use quorate_history::Outcome::{Refused, Unknown};

use super::{Illegal, LEGAL, NO_ORDER, NOT_LATEST};
use crate::write::{NOTHING, get, on, op, put, put_unknown, read, wrote};

pub(super) fn histories() -> Vec<Illegal> {
    let mut histories = values();
    histories.extend(executions());
    histories.extend(comparisons());
    histories.extend(comparisons_without_an_answer());
    histories
}

fn values() -> Vec<Illegal> {
    vec![
        Illegal {
            name: "a value that nobody wrote",
            by_index: "it read what nobody wrote",
            by_search: "it read what nobody wrote",
            history: vec![get((0, 1), 1, 1, Some((1, 1)))],
        },
        Illegal {
            name: "a value of another key",
            by_index: "it read another key",
            by_search: "it read another key",
            history: vec![on(1, put((0, 1), 1, (1, 1), NOTHING)), get((2, 3), 1, 1, Some((1, 1)))],
        },
        Illegal {
            name: "a value that is written later, without an answer",
            by_index: "it read the future",
            by_search: "it was read before it began",
            history: vec![get((0, 1), 1, 1, Some((1, 1))), put_unknown((2, 3), 1)],
        },
        Illegal {
            name: "a value of a comparison that did not hold",
            by_index: "it read what was not written",
            by_search: "it read what was not written",
            history: vec![
                put((0, 1), 1, (1, 1), NOTHING),
                op((2, 3), Cas(7, 2), read(2, 1, Some((1, 1)))),
                get((4, 5), 3, 2, Some((2, 2))),
            ],
        },
    ]
}

fn executions() -> Vec<Illegal> {
    vec![
        Illegal {
            name: "a write without an answer is executed twice",
            by_index: "it was executed twice",
            by_search: "one value has two revisions",
            history: vec![
                put_unknown((0, 1), 1),
                put((2, 3), 2, (2, 2), Some((1, 1))),
                get((4, 5), 3, 3, Some((1, 3))),
            ],
        },
        Illegal {
            name: "an acknowledged write is executed twice",
            by_index: "it read what was not written",
            by_search: "one value has two revisions",
            history: vec![put((0, 1), 1, (1, 1), NOTHING), get((2, 3), 2, 2, Some((1, 2)))],
        },
        Illegal {
            name: "a refused call is executed",
            by_index: "a refused call was executed",
            by_search: "a refused call was executed",
            history: vec![op((0, 1), Put(1), Refused), get((2, 3), 1, 1, Some((1, 1)))],
        },
        Illegal {
            name: "a refused comparison is executed, as another write found",
            by_index: "a refused call was executed",
            by_search: "a refused call was executed",
            history: vec![
                op((0, 9), Cas(0, 1), Refused),
                put((0, 9), 2, (2, 2), Some((1, 1))),
                get((10, 11), 2, 2, Some((2, 2))),
            ],
        },
        Illegal {
            name: "a Get writes",
            by_index: "a Get wrote",
            by_search: "a Get wrote",
            history: vec![op((0, 1), Get, wrote(1, 1, NOTHING))],
        },
        Illegal {
            name: "a Put does not write",
            by_index: "it decided otherwise than the state was",
            by_search: "it decided otherwise than what it found",
            history: vec![op((0, 1), Put(1), read(1, 0, NOTHING))],
        },
    ]
}

fn comparisons() -> Vec<Illegal> {
    let first = put((0, 1), 1, (1, 1), NOTHING);
    let decided = |name, history| Illegal {
        name,
        by_index: "it decided otherwise than the state was",
        by_search: "it decided otherwise than what it found",
        history,
    };
    vec![
        decided(
            "a comparison with what was never there holds",
            vec![first.clone(), op((2, 3), Cas(7, 2), wrote(2, 2, Some((1, 1))))],
        ),
        decided(
            "a comparison with what is there does not hold",
            vec![first.clone(), op((2, 3), Cas(1, 2), read(2, 1, Some((1, 1))))],
        ),
        decided(
            "a comparison with a value holds where nothing is",
            vec![op((0, 1), Cas(5, 1), wrote(1, 1, NOTHING))],
        ),
        decided(
            "a comparison with nothing does not hold where nothing is",
            vec![op((0, 1), Cas(0, 1), read(1, 0, NOTHING))],
        ),
        decided(
            "a comparison with nothing holds where a value is",
            vec![first.clone(), op((2, 3), Cas(0, 2), wrote(2, 2, Some((1, 1))))],
        ),
        decided(
            "a comparison with what was overwritten holds",
            vec![
                first.clone(),
                put((2, 3), 2, (2, 2), Some((1, 1))),
                op((4, 5), Cas(1, 3), wrote(3, 3, Some((2, 2)))),
            ],
        ),
        Illegal {
            name: "two comparisons with one revision hold",
            by_index: NOT_LATEST,
            by_search: NO_ORDER,
            history: vec![
                first.clone(),
                op((2, 9), Cas(1, 2), wrote(2, 2, Some((1, 1)))),
                op((2, 9), Cas(1, 3), wrote(3, 3, Some((1, 1)))),
            ],
        },
        Illegal {
            name: "two first writers win",
            by_index: NOT_LATEST,
            by_search: NO_ORDER,
            history: vec![
                op((0, 9), Cas(0, 1), wrote(1, 1, NOTHING)),
                op((0, 9), Cas(0, 2), wrote(2, 2, NOTHING)),
            ],
        },
        Illegal {
            name: "a comparison does not hold because of a write that comes later",
            by_index: NOT_LATEST,
            by_search: NO_ORDER,
            history: vec![
                first,
                op((2, 3), Cas(1, 2), read(2, 1, Some((3, 2)))),
                get((4, 5), 1, 1, Some((1, 1))),
                put((2, 9), 3, (3, 2), Some((1, 1))),
            ],
        },
    ]
}

/// They need not hold in the order of the log for all that it tells, so only the search knows.
fn comparisons_without_an_answer() -> Vec<Illegal> {
    let first = put((0, 1), 1, (1, 1), NOTHING);
    let only_searched =
        |name, history| Illegal { name, by_index: LEGAL, by_search: NO_ORDER, history };
    vec![
        only_searched(
            "two comparisons with one revision hold, both without an answer",
            vec![
                first.clone(),
                op((2, 3), Cas(1, 2), Unknown),
                op((2, 3), Cas(1, 3), Unknown),
                get((4, 5), 2, 2, Some((2, 2))),
                get((6, 7), 3, 3, Some((3, 3))),
            ],
        ),
        only_searched(
            "a comparison without an answer holds though it began too late",
            vec![
                first.clone(),
                put((2, 3), 2, (2, 2), Some((1, 1))),
                op((4, 5), Cas(1, 3), Unknown),
                get((6, 7), 3, 3, Some((3, 3))),
            ],
        ),
        only_searched(
            "a comparison with nothing holds without an answer where a value is",
            vec![first, op((2, 3), Cas(0, 2), Unknown), get((4, 5), 2, 2, Some((2, 2)))],
        ),
    ]
}
