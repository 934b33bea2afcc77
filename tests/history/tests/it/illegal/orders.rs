//! Reads and writes that contradict each other, or the clock.

use super::{EARLIER, Illegal, NO_ORDER, NOT_LATEST};
use crate::write::{NOTHING, get, on, put, put_unknown};

pub(super) fn histories() -> Vec<Illegal> {
    let mut histories = stale_reads();
    histories.extend(stale_reads_of_unknown_writes());
    histories.extend(lost_writes());
    histories.extend(against_time());
    histories
}

fn illegal(name: &'static str, by_index: &'static str, history: Vec<super::Op>) -> Illegal {
    Illegal { name, by_index, by_search: NO_ORDER, history }
}

fn stale_reads() -> Vec<Illegal> {
    let first = put((0, 1), 1, (1, 1), NOTHING);
    let second = put((2, 3), 2, (2, 2), Some((1, 1)));
    let then = |read| vec![first.clone(), second.clone(), read];
    vec![
        illegal("a stale read", EARLIER, then(get((4, 5), 1, 1, Some((1, 1))))),
        illegal(
            "a stale read that claims the latest revision",
            NOT_LATEST,
            then(get((4, 5), 2, 2, Some((1, 1)))),
        ),
        illegal("a key that is gone", NOT_LATEST, then(get((4, 5), 2, 2, NOTHING))),
        illegal(
            "two clients of which the later one reads the older value",
            EARLIER,
            vec![
                first.clone(),
                put((2, 99), 2, (2, 2), Some((1, 1))),
                get((10, 11), 2, 2, Some((2, 2))),
                get((20, 21), 1, 1, Some((1, 1))),
            ],
        ),
        illegal(
            "a read during a write that finds what was before the last",
            NOT_LATEST,
            vec![
                first.clone(),
                second.clone(),
                put((4, 9), 3, (3, 3), Some((2, 2))),
                get((5, 6), 2, 2, Some((1, 1))),
            ],
        ),
        illegal(
            "write skew: each client writes a key and then misses the other's",
            NOT_LATEST,
            vec![
                put((0, 5), 1, (1, 1), NOTHING),
                on(1, put((0, 5), 2, (2, 2), NOTHING)),
                on(1, get((6, 9), 2, 2, NOTHING)),
                get((6, 9), 2, 2, NOTHING),
            ],
        ),
    ]
}

fn stale_reads_of_unknown_writes() -> Vec<Illegal> {
    let first = put((0, 1), 1, (1, 1), NOTHING);
    vec![
        illegal(
            "a write without an answer is seen, and then is not",
            EARLIER,
            vec![
                first,
                put_unknown((2, 3), 2),
                get((4, 5), 2, 2, Some((2, 2))),
                get((6, 7), 1, 1, Some((1, 1))),
            ],
        ),
        illegal(
            "a write without an answer comes back after it was overwritten",
            NOT_LATEST,
            vec![
                put_unknown((0, 1), 1),
                put((2, 3), 2, (2, 2), Some((1, 1))),
                get((4, 5), 2, 2, Some((1, 1))),
            ],
        ),
        illegal(
            "two readers at once see two writes in either order",
            NOT_LATEST,
            vec![
                put_unknown((0, 99), 1),
                put_unknown((0, 99), 2),
                get((10, 11), 1, 1, Some((1, 1))),
                get((20, 21), 2, 2, Some((2, 2))),
                get((20, 21), 2, 2, Some((1, 1))),
                get((30, 31), 2, 2, Some((2, 2))),
                get((30, 31), 2, 2, Some((1, 1))),
            ],
        ),
    ]
}

fn lost_writes() -> Vec<Illegal> {
    let first = put((0, 1), 1, (1, 1), NOTHING);
    vec![
        illegal(
            "an acknowledged write is lost",
            NOT_LATEST,
            vec![first.clone(), put((2, 3), 2, (2, 2), NOTHING)],
        ),
        illegal(
            "an acknowledged write is lost after others have seen it",
            NOT_LATEST,
            vec![
                first.clone(),
                put((2, 3), 2, (2, 2), Some((1, 1))),
                get((4, 5), 2, 2, Some((2, 2))),
                put((6, 7), 3, (3, 3), Some((1, 1))),
            ],
        ),
        illegal(
            "two writes at once overwrite the same",
            NOT_LATEST,
            vec![
                first.clone(),
                put((2, 9), 2, (2, 2), Some((1, 1))),
                put((2, 9), 3, (3, 3), Some((1, 1))),
            ],
        ),
        illegal(
            "two leaders: the log forks, and each branch goes on",
            NOT_LATEST,
            vec![
                first,
                put((2, 3), 2, (2, 2), Some((1, 1))),
                put((4, 5), 3, (3, 3), Some((2, 2))),
                put((2, 3), 4, (4, 4), Some((1, 1))),
                put((4, 5), 5, (5, 5), Some((4, 4))),
            ],
        ),
        illegal(
            "two writes at once have overwritten each other",
            NOT_LATEST,
            vec![put((0, 9), 1, (1, 1), Some((2, 2))), put((0, 9), 2, (2, 2), Some((1, 1)))],
        ),
        illegal("a write finds itself", NOT_LATEST, vec![put((0, 9), 1, (1, 1), Some((1, 1)))]),
    ]
}

/// The first of the log began when the last had ended; the one between them hides it.
fn against_time() -> Vec<Illegal> {
    let others = [put((0, 20), 2, (2, 2), Some((1, 1))), put((0, 5), 3, (3, 3), Some((2, 2)))];
    let after = |first| [vec![first], others.to_vec()].concat();
    vec![
        illegal(
            "a chain of writes against time",
            EARLIER,
            after(put((10, 11), 1, (1, 1), NOTHING)),
        ),
        illegal(
            "a chain of writes against time that begins without an answer",
            EARLIER,
            after(put_unknown((10, 11), 1)),
        ),
        illegal(
            "a write that was seen before another is seen after it",
            NOT_LATEST,
            vec![
                put((0, 9), 1, (1, 1), NOTHING),
                put((0, 9), 2, (2, 2), Some((1, 1))),
                get((10, 11), 2, 2, Some((1, 1))),
            ],
        ),
        illegal(
            "a read of what is written later",
            "it read the future",
            vec![get((0, 1), 1, 1, Some((1, 1))), put((2, 3), 1, (1, 1), NOTHING)],
        ),
    ]
}
